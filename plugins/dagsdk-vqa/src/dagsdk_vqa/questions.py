"""Which questions a batch of images is asked, and how the scores of questions become those of images."""

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
    """row: of the image that is asked about. text: what the model reads. answer: the right one."""

    row: int
    text: str
    answer: str


def questions(prompts: Sequence[Prompt], options: QuestionOptions) -> list[Question]:
    """The questions of all prompts, in order, at least one a prompt. Raises RewardError for unsound metadata."""
    return [
        Question(row, options.template.replace("{question}", text), answer)
        for row, prompt in enumerate(prompts)
        for text, answer in _pairs(prompt, options)
    ]


def mean_by_image(asked: Sequence[Question], scores: Sequence[float], images: Tensor) -> Tensor:
    """The mean score of each image's questions: shape (b,), float32, on the images' device."""
    by_row: list[list[float]] = [[] for _ in images]
    for question, score in zip(asked, scores, strict=True):
        by_row[question.row].append(score)
    means = [sum(row) / len(row) for row in by_row]
    return torch.tensor(means, device=images.device, dtype=torch.float32)


def _pairs(prompt: Prompt, options: QuestionOptions) -> Iterator[tuple[str, str]]:
    metadata = prompt.metadata
    if "questions" in metadata:
        if "question" in metadata or "answer" in metadata:
            raise _unsound(prompt, '"questions" stands beside "question" or "answer"')
        entries = metadata["questions"]
        if not isinstance(entries, list | tuple) or not entries:
            raise _unsound(prompt, f'"questions" is {entries!r}')
        yield from (_pair(prompt, entry, f'"questions"[{i}]') for i, entry in enumerate(entries))
    elif "question" in metadata or "answer" in metadata:
        yield _pair(prompt, metadata, "")
    else:
        yield options.question.replace("{prompt}", prompt.text), "yes"


def _pair(prompt: Prompt, entry: Any, where: str) -> tuple[str, str]:
    if not isinstance(entry, Mapping):
        raise _unsound(prompt, f"{where} is {entry!r}")
    path = f"{where} " if where else ""
    question, answer = entry.get("question"), entry.get("answer")
    if not isinstance(question, str) or not question.strip():
        raise _unsound(prompt, f'{path}"question" is {question!r}')
    if isinstance(answer, int) and not isinstance(answer, bool):
        answer = str(answer)
    if not isinstance(answer, str) or not normalise(answer):
        raise _unsound(prompt, f'{path}"answer" is {answer!r}')
    return question, answer


def _unsound(prompt: Prompt, problem: str) -> RewardError:
    return RewardError(
        f"prompt {prompt.text[:80]!r}: in its metadata {problem}; it must hold either "
        '"questions": [{"question": "Is it a cat?", "answer": "yes"}, ...], not empty, or one "question" and "answer", '
        "each a text with a letter or digit in it (an answer may be a whole number): mend the prompt set"
    )
