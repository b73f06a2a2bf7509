"""Parts of batches and trajectories: there as a whole, or an error that says which need fills them."""

from __future__ import annotations

import pytest
import torch
from attrs import evolve

from dagsdk import Denoisings, Needs, Trajectories, Transitions
from dagsdk.errors import TrainingError

ONE = torch.ones(2)
RECORDS = {
    Transitions: Transitions(log_pf=ONE, log_pb=ONE, log_reward=ONE, is_last=ONE, step=ONE, signal=ONE),
    Denoisings: Denoisings(
        output=ONE,
        target=ONE,
        noise=ONE,
        x_t=ONE,
        alpha=ONE,
        sigma=ONE,
        signal=ONE,
        log_reward=ONE,
        group=ONE,
    ),
    Trajectories: Trajectories(
        prompts=(), group=ONE, branch=ONE, replayed=ONE, rewards=ONE, log_prior=ONE, log_pf_old=ONE, log_pb=ONE
    ),
}
PARTS = [
    (Transitions, "state_flow", Needs.STATE_FLOW),
    (Transitions, "old", Needs.OLD),
    (Transitions, "old_output", Needs.OLD_OUTPUT),
    (Transitions, "reference", Needs.REFERENCE),
    (Transitions, "scores", Needs.SCORES),
    (Transitions, "backward_scores", Needs.BACKWARD_SCORES),
    (Transitions, "reward_gradient", Needs.REWARD_GRADIENT),
    (Transitions, "flow_gradient", Needs.FLOW_GRADIENT),
    (Denoisings, "output_old", Needs.OLD_OUTPUT),
    (Denoisings, "output_reference", Needs.REFERENCE),
    (Trajectories, "reference", Needs.REFERENCE_PATH),
    (Trajectories, "state_flow", Needs.STATE_FLOW_PATH),
]


@pytest.mark.parametrize(("kind", "name", "need"), PARTS)
def test_a_missing_part_names_its_need(kind: type, name: str, need: Needs) -> None:
    with pytest.raises(TrainingError) as caught:
        getattr(RECORDS[kind], name)
    assert str(caught.value) == (
        f"{kind.__name__} have no `{name}`, since the objective does not need {need.name}; add "
        f"Needs.{need.name} to the `needs` of its ObjectiveSpec"
    )


@pytest.mark.parametrize(("kind", "name", "need"), PARTS)
def test_a_part_is_what_its_need_filled(kind: type, name: str, need: Needs) -> None:
    filled = evolve(RECORDS[kind], parts={need: ONE})
    assert getattr(filled, name) is ONE


def test_every_need_but_one_fills_a_part() -> None:
    assert {need for *_, need in PARTS} == set(Needs) - {Needs.FORWARD_LOOKING}
