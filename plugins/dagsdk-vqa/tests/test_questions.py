from __future__ import annotations

from typing import Any

import pytest
import torch

from dagsdk import Prompt
from dagsdk.errors import RewardError
from dagsdk_vqa.options import QuestionOptions
from dagsdk_vqa.questions import Question, mean_by_image, questions

PLAIN = QuestionOptions(template="{question}")


def test_questions_come_from_metadata_in_order() -> None:
    several = [{"question": "Is it a dog?", "answer": "yes"}, {"question": "How many?", "answer": 3, "kind": "count"}]
    prompts = [
        Prompt("three dogs", {"questions": several, "other": 1}),
        Prompt("x", {"question": "Colour?", "answer": "red"}),
    ]
    assert questions(prompts, PLAIN) == [
        Question(0, "Is it a dog?", "yes"),
        Question(0, "How many?", "3"),
        Question(1, "Colour?", "red"),
    ]


def test_other_prompts_are_asked_the_default_question() -> None:
    options = QuestionOptions(question="Is this {prompt}?", template="Look: {question}")
    prompts = [Prompt("a {question} of {prompt}"), Prompt("")]
    texts = [question.text for question in questions(prompts, options)]
    assert texts == ["Look: Is this a {question} of {prompt}?", "Look: Is this ?"]
    assert {question.answer for question in questions(prompts, options)} == {"yes"}


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"questions": []}, r'"questions" is \[\]'),
        ({"questions": "Is it?"}, '"questions" is'),
        ({"questions": ["Is it?"]}, r'"questions"\[0\] is'),
        ({"questions": [{"question": "Is it?", "answer": "yes"}, {"question": "Is it?"}]}, r'\[1\] "answer" is None'),
        ({"questions": [{"question": "Is it?", "answer": "yes"}], "answer": "no"}, "there are both"),
        ({"question": "Is it?"}, '"answer" is None'),
        ({"answer": "yes"}, '"question" is None'),
        ({"question": " ", "answer": "yes"}, '"question" is'),
        ({"question": 3, "answer": "yes"}, '"question" is 3'),
        ({"question": "Is it?", "answer": "?!"}, '"answer" is'),
        ({"question": "Is it?", "answer": True}, '"answer" is True'),
        ({"question": "Is it?", "answer": 2.5}, '"answer" is 2.5'),
    ],
)
def test_wrong_metadata_is_one_error_that_names_the_prompt(metadata: dict[str, Any], says: str) -> None:
    with pytest.raises(RewardError, match=rf"prompt 'a cat': .*{says}.*correct the prompt set"):
        questions([Prompt("a dog"), Prompt("a cat", metadata)], PLAIN)


def test_the_reward_of_an_image_is_the_mean_of_its_questions() -> None:
    asked = [Question(0, "", ""), Question(1, "", ""), Question(1, "", ""), Question(1, "", "")]
    rewards = mean_by_image(asked, [0.25, 1.0, 0.0, 1.0], torch.zeros(2, 3, 1, 1))
    assert rewards.dtype == torch.float32
    assert rewards.tolist() == pytest.approx([0.25, 2 / 3])


def test_no_images_have_no_rewards() -> None:
    assert mean_by_image([], [], torch.zeros(0, 3, 8, 8)).shape == (0,)
