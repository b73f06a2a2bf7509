"""Evaluation of transitions: the first update sees the sampling policy, and gradients reach what they should."""

from __future__ import annotations

import pytest
import torch
from attrs import evolve

from dagsdk.engine.trajectory import Pairs, pairs
from dagsdk.errors import RewardError
from dagsdk.objectives.protocol import Needs, Signals
from dagsdk.rewards.mixture import Mixture
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
        seen = b.evaluator().transitions(t, batch, Signals(), None)
        assert ((seen.log_pf - seen.log_pf_old).exp() - 1).abs().max() < 1e-6
        assert seen.output_gap.max() < 1e-9


def test_recorded_and_current_potentials_agree_at_the_first_update(bench) -> None:
    b = bench()
    t = b.trajectories()
    chosen = everything(t)
    evaluator = b.evaluator()
    potentials = evaluator.forward_looking.record(t, chosen)
    recorded = evaluator.transitions(t, chosen, Signals(beta=3.0), potentials)
    current = evaluator.transitions(t, chosen, Signals(beta=3.0), None)
    assert torch.allclose(recorded.log_flow, current.log_flow, atol=1e-5)
    assert torch.allclose(recorded.log_flow_next, current.log_flow_next, atol=1e-5)
    assert recorded.log_flow.std() > 0.01


def test_after_training_they_differ(bench) -> None:
    b = bench()
    t = b.trajectories()
    chosen = everything(t)
    evaluator = b.evaluator()
    potentials = evaluator.forward_looking.record(t, chosen)
    b.perturb()
    recorded = evaluator.transitions(t, chosen, Signals(beta=3.0), potentials)
    current = evaluator.transitions(t, chosen, Signals(beta=3.0), None)
    assert not torch.allclose(recorded.log_flow, current.log_flow, atol=1e-5)


def test_each_needed_state_is_decoded_and_scored_once(bench) -> None:
    b = bench()
    t = b.trajectories(6)
    scored: list[int] = []
    evaluator = b.evaluator()
    reward = evaluator.forward_looking.reward
    counting = Mixture([("counting", 1.0, lambda x, p: scored.append(len(x)) or reward(x, p))])
    looking = evolve(evaluator.forward_looking, reward=counting)
    looking.record(t, everything(t))
    assert sum(scored) == 6 * 5  # the terminal state's score is known already
    scored.clear()
    looking.record(t, Pairs(torch.tensor([0, 0, 3]), torch.tensor([1, 2, 4])))
    assert sum(scored) == 3 + 1  # states 1, 2, 3 of the first, 4 of the other


def test_states_on_the_way_go_through_their_trajectorys_scale(bench) -> None:
    b = bench()
    t = b.trajectories(3)
    mean, std = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 0.5])
    scaled = t.scored((t.scores - mean) / std, {"brightness": Scale(mean, std)})
    looking = b.evaluator().forward_looking
    plain, found = looking.record(t, everything(t)), looking.record(scaled, everything(t))
    assert torch.allclose(found, (plain - mean[:, None]) / std[:, None], atol=1e-5)


def test_every_second_state_holds_its_value(bench) -> None:
    b = bench()
    t = b.trajectories(3)
    full = b.evaluator().forward_looking.record(t, everything(t))
    held = b.evaluator(every=2).forward_looking.record(t, everything(t))
    assert torch.allclose(held, full[:, [0, 0, 2, 2, 4, 5]], atol=1e-6)


def test_log_flow_at_the_end_is_the_reward(bench) -> None:
    b = bench()
    t = b.trajectories()
    seen = b.evaluator().transitions(t, everything(t), Signals(beta=2.5), None)
    assert torch.equal(seen.is_last, seen.step == 4)
    last = seen.is_last
    assert torch.allclose(seen.log_flow_next[last], 2.5 * t.scores)
    assert torch.allclose(seen.log_reward, 2.5 * t.scores.repeat_interleave(5))


def test_reward_gradients_are_those_of_the_score(bench) -> None:
    b = bench()
    t = b.trajectories()
    chosen = everything(t)
    seen = b.evaluator(frozenset({Needs.REWARD_GRADIENT})).transitions(t, chosen, Signals(), None)
    inner = ~seen.is_last
    for name in ("reward_gradient", "reward_gradient_next"):
        gradient = getattr(seen, name)
        assert gradient.shape == (len(chosen), 4, 4, 4) and not gradient.requires_grad
    # what a transition leads to is what the next one begins with
    torch.testing.assert_close(seen.reward_gradient_next[inner], seen.reward_gradient[seen.step > 0])
    # along the gradient, a small step changes the score of x̂_0 by its squared length
    looking, conditions = b.evaluator().forward_looking, chosen.conditioning(t)
    times = b.schedule.times[chosen.step]

    def score(states: torch.Tensor) -> torch.Tensor:
        output = b.policy.conditional_output(states, times, conditions)
        return looking.score(b.policy.clean_state(output, states, times)[0], t, chosen.sample)

    gradient, x_t = seen.reward_gradient, chosen.of(t.states)
    with torch.no_grad():
        rise = (score(x_t + 0.1 * gradient) - score(x_t - 0.1 * gradient)) / 0.2
    squared = gradient.flatten(1).square().sum(1)
    torch.testing.assert_close(rise, squared, rtol=0.02, atol=1e-5)
    assert squared.min() > 1e-5
    # and at the end that of the image itself
    last, ends = seen.is_last, chosen.of(t.states, 1)
    images = ends[last].requires_grad_()
    (whole,) = torch.autograd.grad(looking.score(images, t, chosen.sample[last]).sum(), images)
    torch.testing.assert_close(seen.reward_gradient_next[last], whole)


def test_a_reward_without_a_gradient_is_an_error(bench) -> None:
    b = bench()
    t = b.trajectories(2)
    evaluator = b.evaluator(frozenset({Needs.REWARD_GRADIENT}))
    detached = ("detached", 1.0, lambda x, p: x.detach().mean((1, 2, 3)))
    looking = evolve(
        evaluator.forward_looking, reward=Mixture([("bright", 1.0, lambda x, p: x.mean((1, 2, 3))), detached])
    )
    with pytest.raises(RewardError, match=r"reward 'detached' .* REWARD_GRADIENT"):
        evolve(evaluator, forward_looking=looking).transitions(t, everything(t), Signals(), None)


def test_gradients_reach_the_adapter_and_the_flow_only(bench) -> None:
    b = bench()
    t = b.trajectories()
    seen = b.evaluator().transitions(t, everything(t), Signals(beta=2.0), None)
    (seen.log_pf.sum() + seen.log_flow.sum()).backward()
    trained = b.adapter.trained()
    assert all(p.grad is not None for p in trained.values())
    assert any(p.grad.abs().max() > 0 for p in trained.values())
    assert all(p.grad is not None for p in b.flow.parameters())
    frozen = [p for p in b.family.network.parameters() if not p.requires_grad]
    assert frozen and all(p.grad is None for p in frozen)


def test_only_what_is_needed_is_computed(bench) -> None:
    b = bench()
    t = b.trajectories()
    seen = b.evaluator(frozenset()).transitions(t, everything(t), Signals(), None)
    absent = ("log_flow", "log_flow_next", "log_pf_old", "output_gap", "reference_gap", "log_pf_reference")
    assert all(getattr(seen, name) is None for name in absent)


def test_the_reference_is_the_model_before_training(bench) -> None:
    b = bench()
    t = b.trajectories()
    before = b.evaluator().transitions(t, everything(t), Signals(), None)
    b.perturb()
    after = b.evaluator(frozenset({Needs.REFERENCE})).transitions(t, everything(t), Signals(), None)
    assert torch.allclose(after.log_pf_reference, before.log_pf, atol=1e-6)
    assert after.reference_gap.min() > 0
    assert after.reference_gap.requires_grad


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_sum_reduction_is_the_density(bench, guidance: float) -> None:
    by_mean, by_sum = (bench(guidance_scale=guidance, reduction=r).trajectories(2) for r in ("mean", "sum"))
    dimensions = 4 * 4 * 4
    assert torch.allclose(by_sum.log_pf_old, dimensions * by_mean.log_pf_old, rtol=1e-5, atol=1e-4)
