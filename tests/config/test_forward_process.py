"""What does not go together with an objective on the forward process is refused, with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from dagsdk.config.files import structure_run
from dagsdk.errors import ConfigError

RUN: dict[str, Any] = {
    "output": "runs/x",
    "model": {"name": "shapes"},
    "prompts": {"name": "shapes"},
    "rewards": [{"name": "jpeg"}],
    "objective": {"name": "rwr"},
}


def problems(registry: Any, **sections: dict[str, Any]) -> list[str]:
    try:
        structure_run({**RUN, **sections}, registry)
    except ConfigError as error:
        return list(error.problems)
    return []


def test_deterministic_sampling_and_any_number_of_denoisings_are_fine(registry: Any) -> None:
    assert not problems(registry, rollout={"eta": 0.0}, train={"denoisings": 3})
    assert not problems(registry, rollout={"name": "window", "branches": 3})
    assert not problems(registry, rollout={"name": "unbuildable"})  # the run itself will say why


@pytest.mark.parametrize(
    ("sections", "begins"),
    [
        ({"objective": {"name": "astray"}}, "objective.name: objective 'astray' declares OLD, which only transitions"),
        (
            {"train": {"transitions": 9}},
            "train.transitions: 9 chooses among the steps of trajectories; objective 'rwr'",
        ),
        ({"train": {"strata": 5}}, "train.strata: 5 chooses among the steps"),
        ({"rollout": {"variance": "learned"}}, 'rollout.variance: "learned" is trained through the density'),
        (
            {"rollout": {"name": "window", "steps": 20, "first": 6}},
            "rollout.name: rollout 'window' trains steps 6 to 19 of 20; objective 'rwr'",
        ),
        (
            {"rollout": {"name": "window", "branches": 3, "eta": 0.0}},
            "rollout.eta: 0 is deterministic sampling, so the 3 branches of rollout 'window' would be the same image",
        ),
        (
            {"train": {"trajectories": 2, "denoisings": 4, "updates": 9}},
            "train.updates: 9 is too large; an epoch trains on 8 noised images (train.trajectories 2 x train.den",
        ),
        (
            {"replay": {"trajectories": 4}},
            "replay.trajectories: 4 is not possible with objective 'rwr', which learns only from images of the model",
        ),
    ],
)
def test_one_line_with_the_reason(sections: dict[str, Any], begins: str, registry: Any) -> None:
    found = problems(registry, **sections)
    assert len(found) == 1 and found[0].startswith(begins), found


def test_updates_count_noised_images(registry: Any) -> None:
    assert not problems(registry, train={"trajectories": 2, "denoisings": 4, "updates": 8}, rollout={"steps": 2})
