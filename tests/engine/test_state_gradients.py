"""Gradients in states: scores of both policies, and rewards at both ends, against autograd and finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor

from dagsdk.config.schema import LoraConfig
from dagsdk.engine.clean_rewards import CleanRewards
from dagsdk.engine.pairs import Pairs, pairs
from dagsdk.errors import TrainingError
from dagsdk.objectives.parts import Needs
from dagsdk.objectives.protocol import Transitions
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.rewards.mixture import RewardMixture

SCORES = frozenset({Needs.SCORES, Needs.BACKWARD_SCORES})
GRADIENTS = frozenset({Needs.REWARD_GRADIENT})


@pytest.fixture(params=["lora", "full"])
def trained(request: pytest.FixtureRequest, bench: Any) -> Any:
    """A bench whose policy has moved away from its reference."""

    def make(**rollout: object) -> Any:
        b = bench(lora=LoraConfig() if request.param == "lora" else None, **rollout)
        generator = torch.Generator().manual_seed(3)
        for parameter in b.adapter.trained().values():
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
        return b

    return make


def everything(t: Trajectories) -> Pairs:
    return pairs(torch.ones(len(t), dtype=torch.bool), (0, t.steps))


def built(b: Any, needs: frozenset[Needs], t: Trajectories, chosen: Pairs | None = None) -> Transitions:
    return b.transitions(t, everything(t) if chosen is None else chosen, needs=needs)


def log_density(b: Any, x_t: Tensor, x_next: Tensor, chosen: Pairs, t: Trajectories) -> Tensor:
    """log p(x_t' | x_t) of each transition, summed over the latent."""
    times, following = b.schedule.times[chosen.step], b.schedule.times[chosen.step + 1]
    guided, _ = b.policy.outputs(x_t, times, chosen.conditioning(t))
    return b.policy.transition(guided, x_t, times, following).log_prob(x_next, "sum")


def differentiated(b: Any, chosen: Pairs, t: Trajectories) -> tuple[Tensor, Tensor]:
    """∇ log p in x_t and in x_t'."""
    ends = chosen.of(t.states).requires_grad_(), chosen.of(t.states, 1).requires_grad_()
    return torch.autograd.grad(log_density(b, *ends, chosen, t).sum(), ends)


ROLLOUTS = pytest.mark.parametrize(
    "rollout",
    [{"guidance_scale": 1.0}, {"guidance_scale": 3.0}, {"last_step": "drop"}, {"reduction": "sum"}],
    ids=["plain", "guided", "drop", "sum"],
)


@ROLLOUTS
def test_scores_are_gradients_of_the_log_density(trained: Any, rollout: dict[str, Any]) -> None:
    b = trained(**rollout)
    t = b.trajectories(3)
    assert t.steps == 5 - (rollout == {"last_step": "drop"})
    chosen = everything(t)
    seen = built(b, SCORES, t)
    here, there = differentiated(b, chosen, t)
    with b.adapter.reference():
        reference_here, reference_there = differentiated(b, chosen, t)
    backward, forward = seen.backward_scores, seen.scores
    for found, gradient in (
        (backward.here, here),
        (forward.next, there),
        (backward.here_reference, reference_here),
        (forward.next_reference, reference_there),
    ):
        assert found.shape == (len(chosen), 4, 4, 4) and found.dtype == torch.float32
        torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max()))
    for mine, theirs in ((backward.here, backward.here_reference), (forward.next, forward.next_reference)):
        moved = (mine - theirs).flatten(1).norm(dim=1)
        assert (moved > 1e-3 * theirs.flatten(1).norm(dim=1)).all()


@pytest.mark.parametrize("end", ["here", "next"])
def test_a_small_step_along_a_score_changes_the_density_by_its_square(trained: Any, end: str) -> None:
    b = trained(guidance_scale=3.0)
    t = b.trajectories(3)
    chosen = everything(t)
    seen = built(b, SCORES, t)
    score = (seen.backward_scores.here if end == "here" else seen.scores.next).detach()
    squared = score.flatten(1).square().sum(1)
    size = (0.2 / squared)[:, None, None, None]  # a change of ±0.2 in the log-density
    x_t, x_next = chosen.of(t.states), chosen.of(t.states, 1)
    with torch.no_grad():
        up, down = (
            log_density(
                b,
                x_t + sign * size * score * (end == "here"),
                x_next + sign * size * score * (end == "next"),
                chosen,
                t,
            )
            for sign in (1, -1)
        )
    torch.testing.assert_close(up - down, torch.full_like(up, 0.4), rtol=0.03, atol=0)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_before_training_both_policies_have_the_same_scores(bench: Any, guidance: float) -> None:
    b = bench(guidance_scale=guidance)
    seen = built(b, SCORES, b.trajectories(2))
    assert torch.equal(seen.scores.next, seen.scores.next_reference)
    torch.testing.assert_close(seen.backward_scores.here, seen.backward_scores.here_reference)


def test_gradients_reach_the_policy_through_the_score_of_the_next_state_only(trained: Any) -> None:
    b = trained()
    before = b.adapter.state()
    seen = built(b, SCORES | GRADIENTS | {Needs.REFERENCE}, b.trajectories(2))
    assert all(torch.equal(value, before[name]) for name, value in b.adapter.state().items())  # the reference is gone
    scores, backward, rewards = seen.scores, seen.backward_scores, seen.reward_gradient
    fixed = scores.next_reference, backward.here, backward.here_reference, rewards.here, rewards.next
    assert not any(tensor.requires_grad for tensor in fixed)
    assert all(parameter.grad is None for parameter in b.model.network.parameters())
    (scores.next.square().mean() + seen.reference.kl.mean()).backward()
    trained_parameters = b.adapter.trained()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained_parameters.values())
    assert any(p.grad.abs().max() > 0 for p in trained_parameters.values())
    names = set(trained_parameters)
    assert all(p.grad is None for name, p in b.model.network.named_parameters() if name not in names)


def test_what_the_policy_learns_from_scores_is_their_derivative(trained: Any) -> None:
    """Also where the reference was looked at in between: of the mean square of s, by a step along its gradient."""
    b = trained(guidance_scale=2.0)
    t = b.trajectories(2)
    chosen = everything(t)
    chosen = Pairs(chosen.sample[chosen.step < 3], chosen.step[chosen.step < 3])

    def square() -> Tensor:
        scores = built(b, SCORES | {Needs.REFERENCE}, t, chosen).scores
        return (scores.next - scores.next_reference).square().mean()

    value = square()
    parameters = list(b.adapter.trained().values())
    gradient = torch.autograd.grad(value, parameters)
    length = float(sum(g.square().sum() for g in gradient))
    size = 0.02 * value.item() / length
    sides = []
    for sign in (1, -1):
        for parameter, g in zip(parameters, gradient, strict=True):
            parameter.data += sign * size * g
        sides.append(square().item())
        for parameter, g in zip(parameters, gradient, strict=True):
            parameter.data -= sign * size * g
    assert (sides[0] - sides[1]) / (2 * size) == pytest.approx(length, rel=0.05)


def test_scores_are_there_only_where_they_are_needed(bench: Any) -> None:
    b = bench()
    t = b.trajectories(2)
    forward, backward = (built(b, frozenset({need}), t) for need in (Needs.SCORES, Needs.BACKWARD_SCORES))
    assert forward.scores and backward.backward_scores
    with pytest.raises(TrainingError, match="BACKWARD_SCORES"):
        _ = forward.backward_scores
    with pytest.raises(TrainingError, match="SCORES"):
        _ = backward.scores


# --- rewards ---


def test_alpha_bar_is_alpha_squared_at_both_times(bench: Any) -> None:
    b = bench()
    t = b.trajectories(2)
    seen = built(b, GRADIENTS, t)
    levels = b.model.path.alpha(b.schedule.times).square().float()
    assert torch.equal(seen.reward_gradient.alpha_bar, levels[seen.step])
    assert torch.equal(seen.reward_gradient.alpha_bar_next, levels[seen.step + 1])
    assert (levels.diff() > 0).all() and levels[-1] > 0.99


def test_at_the_end_with_a_tail_it_is_the_gradient_through_the_tail(trained: Any) -> None:
    """x_0 is one noiseless step after the last state, and the reward is that of x_0."""
    b = trained(last_step="drop", guidance_scale=3.0)
    t = b.trajectories(3)
    chosen = everything(t)
    seen = built(b, GRADIENTS, t)
    last = seen.is_last
    ends = Pairs(chosen.sample[last], chosen.step[last])
    conditions = ends.conditioning(t)

    def reward(states: Tensor) -> Tensor:
        return b.rewards.of(b.policy.finish(states, conditions), t, ends.sample)

    terminal = ends.of(t.states, 1)
    with torch.no_grad():
        torch.testing.assert_close(reward(terminal), t.rewards)
        gradient = seen.reward_gradient.next[last]
        squared = gradient.flatten(1).square().sum(1)
        rise = (reward(terminal + 0.1 * gradient) - reward(terminal - 0.1 * gradient)) / 0.2
    torch.testing.assert_close(rise, squared, rtol=0.03, atol=1e-6)
    # another one than without the tail
    without = terminal.clone().requires_grad_()
    (plain,) = torch.autograd.grad(b.rewards.of(without, t, ends.sample).sum(), without)
    assert (plain - gradient).norm() > 1e-3 * gradient.norm()  # rounding is at 1e-6


def own(images: Tensor, prompts: Any) -> Tensor:
    """Each prompt has a channel of its own that counts, by a factor of its own."""
    texts = ["a cat", "b", "", "ünïcode ✨"]
    return torch.stack(
        [(1 + texts.index(p.text)) * i[texts.index(p.text) % 3].mean() for p, i in zip(prompts, images, strict=True)]
    )


def test_a_transition_has_the_gradient_of_its_own_prompts_reward(bench: Any) -> None:
    """In any order, whatever else the micro-batch holds, and however the decoder's batches fall."""
    b = bench()
    t = b.trajectories(4)
    b.rewards = CleanRewards(b.policy, RewardMixture([("own", 1.0, own)]), 3)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    chosen = everything(t)
    mixed = Pairs(chosen.sample[order], chosen.step[order])
    seen = built(b, GRADIENTS, t, mixed).reward_gradient
    for i in range(len(t)):
        rows = mixed.sample == i
        steps = mixed.step[rows]
        one = built(b, GRADIENTS, t.part(slice(i, i + 1)), Pairs(torch.zeros_like(steps), steps)).reward_gradient
        for expected, found in ((one.here, seen.here[rows]), (one.next, seen.next[rows])):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    # the prompts of other trajectories would have given others
    turned = built(b, GRADIENTS, evolve(t, prompts=t.prompts[1:] + t.prompts[:1]), mixed).reward_gradient
    assert not torch.allclose(turned.here, seen.here, rtol=0.1)
    assert not torch.allclose(turned.next, seen.next, rtol=0.1)


# --- the flow gradient ---


def test_the_flow_gradient_is_that_of_both_ends_and_trains_its_own_network_only(bench: Any) -> None:
    b = bench()
    network = b.networks["flow_gradient"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        torch.nn.init.normal_(network.unet.conv_out.weight)
    t = b.trajectories(3)
    chosen = everything(t)
    seen = built(b, frozenset({Needs.FLOW_GRADIENT}), t)
    times, conditions = b.schedule.times[chosen.step], chosen.conditioning(t)
    found = seen.flow_gradient
    with torch.no_grad():
        torch.testing.assert_close(found.here, network(chosen.of(t.states), times, conditions))
    inner = ~seen.is_last
    torch.testing.assert_close(found.next[inner], found.here[seen.step > 0])
    assert found.here.std() > 0.1
    (found.here.square().sum() + found.next.square().sum()).backward()
    assert all(p.grad is not None for p in network.parameters())
    assert all(p.grad is None for p in b.model.network.parameters())
    with pytest.raises(TrainingError, match="FLOW_GRADIENT"):
        _ = built(b, frozenset(), t).flow_gradient
