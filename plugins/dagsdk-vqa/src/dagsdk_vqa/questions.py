"""The questions about a batch of images, and the rewards of images from those of their questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from dagsdk import Prompt
from dagsdk.errors import RewardError
from dagsdk_vqa.answers import normalise
from dagsdk_vqa.options import QuestionOptions


@frozen
class Question:
    """row: of the image in its batch. text: what the model reads. answer: the right one."""

    row: int
    text: str
    answer: str


def questions(prompts: Sequence[Prompt], options: QuestionOptions) -> list[Question]:
    """The questions of all prompts, in order, at least one per prompt. Raises RewardError for wrong metadata."""
    return [
        Question(row, options.template.replace("{question}", text), answer)
        for row, prompt in enumerate(prompts)
        for text, answer in _pairs(prompt, options)
    ]


def mean_by_image(asked: Sequence[Question], rewards: Sequence[float], images: Tensor) -> Tensor:
    """The mean reward of each image's questions: shape (b,), float32, on the images' device."""
    by_row: list[list[float]] = [[] for _ in images]
    for question, reward in zip(asked, rewards, strict=True):
        by_row[question.row].append(reward)
    means = [sum(row) / len(row) for row in by_row]
    return torch.tensor(means, device=images.device, dtype=torch.float32)


def _pairs(prompt: Prompt, options: QuestionOptions) -> Iterator[tuple[str, str]]:
    metadata = prompt.metadata
    if "questions" in metadata:
        if "question" in metadata or "answer" in metadata:
            raise _wrong(prompt, 'there are both "questions" and "question" or "answer"')
        entries = metadata["questions"]
        if not isinstance(entries, list | tuple) or not entries:
            raise _wrong(prompt, f'"questions" is {entries!r}')
        yield from (_pair(prompt, entry, f'"questions"[{i}]') for i, entry in enumerate(entries))
    elif "question" in metadata or "answer" in metadata:
        yield _pair(prompt, metadata, "")
    else:
        yield options.question.replace("{prompt}", prompt.text), "yes"


def _pair(prompt: Prompt, entry: Any, where: str) -> tuple[str, str]:
    if not isinstance(entry, Mapping):
        raise _wrong(prompt, f"{where} is {entry!r}")
    path = f"{where} " if where else ""
    question, answer = entry.get("question"), entry.get("answer")
    if not isinstance(question, str) or not question.strip():
        raise _wrong(prompt, f'{path}"question" is {question!r}')
    if isinstance(answer, int) and not isinstance(answer, bool):
        answer = str(answer)
    if not isinstance(answer, str) or not normalise(answer):
        raise _wrong(prompt, f'{path}"answer" is {answer!r}')
    return question, answer


def _wrong(prompt: Prompt, problem: str) -> RewardError:
    return RewardError(
        f"prompt {prompt.text[:80]!r}: in its metadata {problem}; it must have either "
        '"questions": [{"question": "Is it a cat?", "answer": "yes"}, ...], not empty, or one "question" and "answer", '
        "each a text with a letter or digit in it (an answer may be a whole number): correct the prompt set"
    )
