"""Gradients in states: scores of both policies, and rewards at both ends, against autograd and finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor

from dagsdk.engine.evaluate import Evaluator
from dagsdk.engine.lora import Adapter
from dagsdk.engine.trajectory import Pairs, Trajectory, pairs
from dagsdk.objectives.protocol import Needs, Signals, Transitions
from dagsdk.rewards.mixture import Mixture

SCORES = frozenset({Needs.SCORES, Needs.BACKWARD_SCORES})
GRADIENTS = frozenset({Needs.REWARD_GRADIENT})
SCORE_FIELDS = ("score_next", "score_next_reference", "score", "score_reference")


@pytest.fixture(params=["lora", "full"])
def trained(request: pytest.FixtureRequest, bench: Any) -> Any:
    """A bench whose policy has moved away from its reference."""

    def make(**rollout: object) -> Any:
        b = bench(**rollout)
        if request.param == "full":
            b.adapter.merge()
            b.adapter = Adapter(b.family, None, seed=0)
        generator = torch.Generator().manual_seed(3)
        for parameter in b.adapter.trained().values():
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
        return b

    return make


def everything(t: Trajectory) -> Pairs:
    return pairs(torch.ones(len(t), dtype=torch.bool), (0, t.steps))


def evaluated(evaluator: Evaluator, t: Trajectory, chosen: Pairs | None = None) -> Transitions:
    return evaluator.transitions(t, everything(t) if chosen is None else chosen, Signals(), None)


def log_density(b: Any, x_t: Tensor, x_next: Tensor, chosen: Pairs, t: Trajectory) -> Tensor:
    """log p(x_t' | x_t) of each transition, summed over the latent."""
    times, following = b.schedule.times[chosen.step], b.schedule.times[chosen.step + 1]
    guided, _ = b.policy.outputs(x_t, times, chosen.conditioning(t))
    return b.policy.transition(guided, x_t, times, following).log_prob(x_next, "sum")


def differentiated(b: Any, chosen: Pairs, t: Trajectory) -> tuple[Tensor, Tensor]:
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
    seen = evaluated(b.evaluator(SCORES), t)
    here, there = differentiated(b, chosen, t)
    with b.adapter.reference():
        reference_here, reference_there = differentiated(b, chosen, t)
    expected = {"score": here, "score_next": there, "score_reference": reference_here}
    for name, gradient in {**expected, "score_next_reference": reference_there}.items():
        found = getattr(seen, name)
        assert found.shape == (len(chosen), 4, 4, 4) and found.dtype == torch.float32
        torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max()))
    for mine, told in (("score", "score_reference"), ("score_next", "score_next_reference")):
        moved = (getattr(seen, mine) - getattr(seen, told)).flatten(1).norm(dim=1)
        assert (moved > 1e-3 * getattr(seen, told).flatten(1).norm(dim=1)).all()


@pytest.mark.parametrize("end", ["here", "next"])
def test_a_small_step_along_a_score_changes_the_density_by_its_square(trained: Any, end: str) -> None:
    b = trained(guidance_scale=3.0)
    t = b.trajectories(3)
    chosen = everything(t)
    seen = evaluated(b.evaluator(SCORES), t)
    score = (seen.score if end == "here" else seen.score_next).detach()
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
    seen = evaluated(b.evaluator(SCORES), b.trajectories(2))
    assert torch.equal(seen.score_next, seen.score_next_reference)
    torch.testing.assert_close(seen.score, seen.score_reference)


def test_gradients_reach_the_policy_through_the_score_of_the_next_state_only(trained: Any) -> None:
    b = trained()
    before = b.adapter.state()
    seen = evaluated(b.evaluator(SCORES | GRADIENTS | {Needs.REFERENCE}), b.trajectories(2))
    assert all(torch.equal(value, before[name]) for name, value in b.adapter.state().items())  # the reference is gone
    fixed = ("score_next_reference", "score", "score_reference", "reward_gradient", "reward_gradient_next")
    assert not any(getattr(seen, name).requires_grad for name in fixed)
    assert all(parameter.grad is None for parameter in b.family.network.parameters())
    (seen.score_next.square().mean() + seen.reference_kl.mean()).backward()
    trained_parameters = b.adapter.trained()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained_parameters.values())
    assert any(p.grad.abs().max() > 0 for p in trained_parameters.values())
    names = set(trained_parameters)
    assert all(p.grad is None for name, p in b.family.network.named_parameters() if name not in names)


def test_what_the_policy_learns_from_scores_is_their_derivative(trained: Any) -> None:
    """Also where the reference was looked at in between: of the mean square of s, by a step along its gradient."""
    b = trained(guidance_scale=2.0)
    t = b.trajectories(2)
    chosen = everything(t)
    chosen = Pairs(chosen.sample[chosen.step < 3], chosen.step[chosen.step < 3])
    evaluator = b.evaluator(SCORES | {Needs.REFERENCE})

    def square() -> Tensor:
        seen = evaluated(evaluator, t, chosen)
        return (seen.score_next - seen.score_next_reference).square().mean()

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
    for need, filled in ((Needs.SCORES, SCORE_FIELDS[:2]), (Needs.BACKWARD_SCORES, SCORE_FIELDS[2:])):
        seen = evaluated(b.evaluator(frozenset({need})), t)
        assert [name for name in SCORE_FIELDS if getattr(seen, name) is not None] == list(filled)


# --- rewards ---


def test_signal_levels_are_alpha_squared_of_both_times(bench: Any) -> None:
    b = bench()
    t = b.trajectories(2)
    seen = evaluated(b.evaluator(GRADIENTS), t)
    levels = b.family.path.alpha(b.schedule.times).square().float()
    assert torch.equal(seen.signal_level, levels[seen.step])
    assert torch.equal(seen.signal_level_next, levels[seen.step + 1])
    assert (levels.diff() > 0).all() and levels[-1] > 0.99


def test_at_the_end_with_a_tail_it_is_the_gradient_through_the_tail(trained: Any) -> None:
    """x_0 is one noiseless step behind the last state, and the reward is that of x_0."""
    b = trained(last_step="drop", guidance_scale=3.0)
    t = b.trajectories(3)
    chosen = everything(t)
    seen = evaluated(b.evaluator(GRADIENTS), t)
    looking, last = b.evaluator().forward_looking, seen.is_last
    ends = Pairs(chosen.sample[last], chosen.step[last])
    conditions = ends.conditioning(t)

    def reward(states: Tensor) -> Tensor:
        return looking.score(b.policy.finish(states, conditions), t, ends.sample)

    terminal = ends.of(t.states, 1)
    with torch.no_grad():
        torch.testing.assert_close(reward(terminal), t.scores)
        gradient = seen.reward_gradient_next[last]
        squared = gradient.flatten(1).square().sum(1)
        rise = (reward(terminal + 0.1 * gradient) - reward(terminal - 0.1 * gradient)) / 0.2
    torch.testing.assert_close(rise, squared, rtol=0.03, atol=1e-6)
    # another one than without the tail
    without = terminal.clone().requires_grad_()
    (plain,) = torch.autograd.grad(looking.score(without, t, ends.sample).sum(), without)
    assert (plain - gradient).norm() > 1e-3 * gradient.norm()  # rounding is at 1e-6


def own(images: Tensor, prompts: Any) -> Tensor:
    """Each prompt likes another channel, in another measure."""
    texts = ["a cat", "b", "", "ünïcode ✨"]
    return torch.stack(
        [(1 + texts.index(p.text)) * i[texts.index(p.text) % 3].mean() for p, i in zip(prompts, images, strict=True)]
    )


def test_a_transition_has_the_gradient_of_its_own_prompts_reward(bench: Any) -> None:
    """In any order, whatever else the micro-batch holds, and however the decoder's batches fall."""
    b = bench()
    t = b.trajectories(4)
    evaluator = b.evaluator(GRADIENTS)
    looking = evolve(evaluator.forward_looking, reward=Mixture([("own", 1.0, own)]), batch=3)
    evaluator = evolve(evaluator, forward_looking=looking)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    chosen = everything(t)
    mixed = Pairs(chosen.sample[order], chosen.step[order])
    seen = evaluated(evaluator, t, mixed)
    names = "reward_gradient", "reward_gradient_next"
    for i in range(len(t)):
        rows = mixed.sample == i
        steps = mixed.step[rows]
        alone = evaluated(evaluator, t.part(slice(i, i + 1)), Pairs(torch.zeros_like(steps), steps))
        for expected, found in ((getattr(alone, name), getattr(seen, name)[rows]) for name in names):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    # the prompts of other trajectories would have given others
    turned = evaluated(evaluator, evolve(t, prompts=t.prompts[1:] + t.prompts[:1]), mixed)
    assert not any(torch.allclose(getattr(turned, name), getattr(seen, name), rtol=0.1) for name in names)


# --- the residual ---


def test_the_residual_is_that_of_both_ends_and_alone_learns_from_itself(bench: Any) -> None:
    b = bench()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = b.family.residual_network((8, 8))
        torch.nn.init.normal_(network.unet.conv_out.weight)
    t = b.trajectories(3)
    chosen = everything(t)
    seen = evaluated(evolve(b.evaluator(frozenset({Needs.RESIDUAL})), residual=network), t)
    times, conditions = b.schedule.times[chosen.step], chosen.conditioning(t)
    with torch.no_grad():
        torch.testing.assert_close(seen.residual, network(chosen.of(t.states), times, conditions))
    inner = ~seen.is_last
    torch.testing.assert_close(seen.residual_next[inner], seen.residual[seen.step > 0])
    assert seen.residual.std() > 0.1
    (seen.residual.square().sum() + seen.residual_next.square().sum()).backward()
    assert all(p.grad is not None for p in network.parameters())
    assert all(p.grad is None for p in b.family.network.parameters())
    assert evaluated(evolve(b.evaluator(frozenset()), residual=network), t).residual is None
