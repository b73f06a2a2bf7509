"""Evaluation of transitions: the first update sees the sampling policy, and gradients reach what they should."""

from __future__ import annotations

import attrs
import pytest
import torch
from bench import rewarded

from dagsdk.engine.clean_rewards import CleanRewards
from dagsdk.engine.pairs import Pairs, pairs
from dagsdk.engine.potentials import RecordedPotentials
from dagsdk.errors import RewardError, TrainingError
from dagsdk.models.stable_diffusion import StableDiffusion
from dagsdk.objectives.parts import Needs
from dagsdk.objectives.protocol import Signals
from dagsdk.rewards.mixture import RewardMixture
from dagsdk.rewards.normalisation import Scale

EVERYTHING = (0, 5)


def everything(t) -> Pairs:
    return pairs(torch.ones(len(t), dtype=torch.bool), (0, t.steps))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_at_the_first_update_the_policy_ratio_is_one(bench, prediction_type: str) -> None:
    b = bench(prediction_type)
    t = b.trajectories()
    chosen = everything(t)
    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0))
    for batch in Pairs(chosen.sample[order], chosen.step[order]).split(7):
        seen = b.transitions(t, batch)
        assert ((seen.log_pf - seen.old.log_pf).exp() - 1).abs().max() < 1e-6
        assert seen.old_output.gap.max() < 1e-9


def test_recorded_and_current_potentials_agree_at_the_first_update(bench) -> None:
    b = bench()
    t = b.trajectories()
    chosen = everything(t)
    recorded = b.transitions(t, chosen, Signals(beta=3.0))
    current = b.transitions(t, chosen, Signals(beta=3.0), mode="current")
    assert torch.allclose(recorded.state_flow.here, current.state_flow.here, atol=1e-5)
    assert torch.allclose(recorded.state_flow.next, current.state_flow.next, atol=1e-5)
    assert recorded.state_flow.here.std() > 0.01


def test_after_training_they_differ(bench) -> None:
    b = bench()
    t = b.trajectories()
    chosen = everything(t)
    b.perturb()
    recorded = b.transitions(t, chosen, Signals(beta=3.0))
    current = b.transitions(t, chosen, Signals(beta=3.0), mode="current")
    assert not torch.allclose(recorded.state_flow.here, current.state_flow.here, atol=1e-5)


def test_each_needed_state_is_decoded_and_rewarded_once(bench) -> None:
    b = bench()
    t = b.trajectories(6)
    counted: list[int] = []
    reward = b.rewards.reward
    counting = RewardMixture([("counting", 1.0, lambda x, p: counted.append(len(x)) or reward(x, p))])
    looking = RecordedPotentials(CleanRewards(b.policy, counting, 4), 1)
    looking.record(t, everything(t))
    assert sum(counted) == 6 * 5  # the terminal state's reward is known already
    counted.clear()
    looking.record(t, Pairs(torch.tensor([0, 0, 3]), torch.tensor([1, 2, 4])))
    assert sum(counted) == 3 + 1  # states 1, 2, 3 of the first, 4 of the other


def test_states_on_the_way_go_through_their_trajectorys_scale(bench) -> None:
    b = bench()
    t = b.trajectories(3)
    mean, std = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 0.5])
    scaled = rewarded(t, (t.rewards - mean) / std, {"brightness": Scale(mean, std)})
    looking = RecordedPotentials(b.rewards, 1)
    plain, found = looking.record(t, everything(t)), looking.record(scaled, everything(t))
    assert torch.allclose(found, (plain - mean[:, None]) / std[:, None], atol=1e-5)


def test_every_second_state_holds_its_value(bench) -> None:
    b = bench()
    t = b.trajectories(3)
    full = RecordedPotentials(b.rewards, 1).record(t, everything(t))
    held = RecordedPotentials(b.rewards, 2).record(t, everything(t))
    assert torch.allclose(held, full[:, [0, 0, 2, 2, 4, 5]], atol=1e-6)


def test_log_F_at_the_end_is_the_reward(bench) -> None:
    b = bench()
    t = b.trajectories()
    seen = b.transitions(t, everything(t), Signals(beta=2.5))
    assert torch.equal(seen.is_last, seen.step == 4)
    last = seen.is_last
    assert torch.allclose(seen.state_flow.next[last], 2.5 * t.rewards)
    assert torch.allclose(seen.log_reward, 2.5 * t.rewards.repeat_interleave(5))


def test_reward_gradients_are_those_of_the_reward(bench) -> None:
    b = bench()
    t = b.trajectories()
    chosen = everything(t)
    seen = b.transitions(t, chosen, needs=frozenset({Needs.REWARD_GRADIENT}))
    inner = ~seen.is_last
    for name in ("here", "next"):
        gradient = getattr(seen.reward_gradient, name)
        assert gradient.shape == (len(chosen), 4, 4, 4) and not gradient.requires_grad
    # what a transition leads to is what the next one begins with
    torch.testing.assert_close(seen.reward_gradient.next[inner], seen.reward_gradient.here[seen.step > 0])
    # along the gradient, a small step changes the reward of x̂_0 by its squared length
    looking, conditions = b.rewards, chosen.conditioning(t)
    times = b.schedule.times[chosen.step]

    def reward(states: torch.Tensor) -> torch.Tensor:
        output = b.policy.conditional_output(states, times, conditions)
        return looking.of(b.policy.clean_state(output, states, times)[0], t, chosen.sample)

    gradient, x_t = seen.reward_gradient.here, chosen.of(t.states)
    with torch.no_grad():
        rise = (reward(x_t + 0.1 * gradient) - reward(x_t - 0.1 * gradient)) / 0.2
    squared = gradient.flatten(1).square().sum(1)
    torch.testing.assert_close(rise, squared, rtol=0.02, atol=1e-5)
    assert squared.min() > 1e-5
    # and at the end that of the image itself
    last, ends = seen.is_last, chosen.of(t.states, 1)
    images = ends[last].requires_grad_()
    (whole,) = torch.autograd.grad(looking.of(images, t, chosen.sample[last]).sum(), images)
    torch.testing.assert_close(seen.reward_gradient.next[last], whole)


def test_a_reward_without_a_gradient_is_an_error(bench) -> None:
    b = bench()
    t = b.trajectories(2)
    detached = ("detached", 1.0, lambda x, p: x.detach().mean((1, 2, 3)))
    b.rewards = CleanRewards(b.policy, RewardMixture([("bright", 1.0, lambda x, p: x.mean((1, 2, 3))), detached]), 4)
    with pytest.raises(RewardError, match=r"reward 'detached' .* REWARD_GRADIENT"):
        b.transitions(t, everything(t), needs=frozenset({Needs.REWARD_GRADIENT}))


def test_gradients_reach_the_adapter_and_the_state_flow_only(bench) -> None:
    b = bench()
    t = b.trajectories()
    seen = b.transitions(t, everything(t), Signals(beta=2.0))
    (seen.log_pf.sum() + seen.state_flow.here.sum()).backward()
    trained = b.adapter.trained()
    assert all(p.grad is not None for p in trained.values())
    assert any(p.grad.abs().max() > 0 for p in trained.values())
    assert all(p.grad is not None for p in b.state_flow.parameters())
    frozen = [p for p in b.model.network.parameters() if not p.requires_grad]
    assert frozen and all(p.grad is None for p in frozen)


PARTS = {
    Needs.STATE_FLOW: "state_flow",
    Needs.OLD: "old",
    Needs.OLD_OUTPUT: "old_output",
    Needs.REFERENCE: "reference",
    Needs.SCORES: "scores",
    Needs.BACKWARD_SCORES: "backward_scores",
    Needs.REWARD_GRADIENT: "reward_gradient",
    Needs.FLOW_GRADIENT: "flow_gradient",
}
ELSEWHERE = {Needs.FORWARD_LOOKING, Needs.REFERENCE_PATH, Needs.STATE_FLOW_PATH}
"""What fills no part of a transition."""


def test_every_need_is_covered_here() -> None:
    assert set(Needs) == {*PARTS, *ELSEWHERE}


@pytest.mark.parametrize("need", PARTS, ids=lambda need: need.name)
def test_each_need_fills_its_part_and_no_other(bench, need: Needs) -> None:
    b = bench()
    t = b.trajectories(2)
    seen = b.transitions(t, everything(t), Signals(beta=2.0), needs=frozenset({need}))
    assert set(seen.parts) == {need}
    for other, name in PARTS.items():
        if other is need:
            part = getattr(seen, name)
            fields = [getattr(part, field.name) for field in attrs.fields(type(part))]
            assert fields and all(len(field) == len(everything(t)) for field in fields)
        else:
            with pytest.raises(TrainingError, match=rf"`{name}`.*Needs\.{other.name}"):
                getattr(seen, name)


@pytest.mark.parametrize("need", [None, *PARTS], ids=lambda need: need.name if need else "nothing")
def test_each_need_costs_the_passes_that_it_takes(bench, monkeypatch, need: Needs | None) -> None:
    """One policy pass per micro-batch, one of the reference where it is looked at, one more for ∇ r at x_t'."""
    calls, predict = [], StableDiffusion.predict
    monkeypatch.setattr(StableDiffusion, "predict", lambda self, *args: calls.append(1) or predict(self, *args))
    b = bench()
    t = b.trajectories(2)
    batch = everything(t)
    calls.clear()
    b.transitions(t, batch, needs=frozenset() if need is None else frozenset({need}))
    compared = need in (Needs.REFERENCE, Needs.SCORES, Needs.BACKWARD_SCORES)
    assert len(calls) == 1 + compared + (need is Needs.REWARD_GRADIENT)


def test_the_reference_is_the_model_before_training(bench) -> None:
    b = bench()
    t = b.trajectories()
    before = b.transitions(t, everything(t))
    b.perturb()
    after = b.transitions(t, everything(t), needs=frozenset({Needs.REFERENCE}))
    assert torch.allclose(after.reference.log_pf, before.log_pf, atol=1e-6)
    assert after.reference.gap.min() > 0
    assert after.reference.gap.requires_grad


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_sum_reduction_is_the_density(bench, guidance: float) -> None:
    by_mean, by_sum = (bench(guidance_scale=guidance, reduction=r).trajectories(2) for r in ("mean", "sum"))
    dimensions = 4 * 4 * 4
    assert torch.allclose(by_sum.log_pf_old, dimensions * by_mean.log_pf_old, rtol=1e-5, atol=1e-4)
