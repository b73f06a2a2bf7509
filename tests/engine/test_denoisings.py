"""The forward process: images noised afresh, what the network makes of them, and a whole run on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from tiny_run import Versions, components, config
from torch import Tensor

from dagsdk.config.schema import LoraConfig
from dagsdk.engine.denoisings import DenoisingBuilder
from dagsdk.engine.pairs import Pairs, pairs
from dagsdk.engine.trained import Trained
from dagsdk.errors import TrainingError
from dagsdk.objectives.parts import Needs
from dagsdk.objectives.protocol import Denoisings, Loss, Signals
from dagsdk.objectives.toolbox import Stateless
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.process.path import RectifiedFlow
from dagsdk.process.prediction import denoise
from dagsdk.run.trainer import Trainer

COUNT = 4
BOTH = frozenset({Needs.OLD_OUTPUT, Needs.REFERENCE})


def everything(t: Trajectories, count: int = COUNT) -> Pairs:
    return pairs(torch.ones(len(t), dtype=torch.bool), (0, count))


def builder(b: Any, needs: frozenset[Needs] = BOTH, **options: Any) -> DenoisingBuilder:
    trained = Trained(b.adapter, None, 0.0)
    return DenoisingBuilder(
        **{"policy": b.policy, "trained": trained, "needs": needs, "count": COUNT, "seed": 5} | options
    )


def built(b: Any, t: Trajectories, chosen: Pairs | None = None, **options: Any) -> Denoisings:
    return builder(b, **options).start(t, Signals(), everything(t))(chosen or everything(t))


def noting_times(b: Any) -> list[Tensor]:
    """From now on, the times that the network is called at; it answers with zeros."""
    seen: list[Tensor] = []
    b.policy = evolve(b.policy, conditional_output=lambda x_t, t, conditioning: seen.append(t) or torch.zeros_like(x_t))
    return seen


# --- one batch ---


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "velocity"])
def test_states_are_noised_and_the_target_is_what_the_network_should_say(bench: Any, kind: str) -> None:
    b = bench("epsilon" if kind == "velocity" else kind)
    t = b.trajectories(3)
    if kind == "velocity":
        b.model.path, b.model.prediction = RectifiedFlow(), "velocity"
    times = noting_times(b)
    seen = built(b, t, needs=frozenset())
    clean = t.latents.clean[everything(t).sample]
    alpha, sigma = (level[:, None, None, None] for level in (seen.alpha, seen.sigma))
    torch.testing.assert_close(seen.alpha, b.model.path.alpha(times[0]).float())
    torch.testing.assert_close(seen.sigma, b.model.path.sigma(times[0]).float())
    torch.testing.assert_close(seen.x_t, alpha * clean + sigma * seen.noise)
    assert abs(float(seen.noise.mean())) < 0.1 and abs(float(seen.noise.std()) - 1) < 0.1
    # a network that said so would know the image and the noise
    found, noise = denoise(b.model.prediction, seen.target, seen.x_t, seen.alpha, seen.sigma)
    torch.testing.assert_close(found, clean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(noise, seen.noise, rtol=1e-3, atol=1e-3)
    assert {x.dtype for x in (seen.x_t, seen.target, seen.noise, seen.alpha, seen.sigma)} == {torch.float32}


def test_the_output_is_that_of_the_network_without_guidance(bench: Any) -> None:
    b = bench(guidance_scale=3.0)
    t = b.trajectories(2)
    seen, chosen = built(b, t), everything(t)
    alphas = b.model.path.alpha(torch.arange(1000)).float()
    times = (alphas == seen.alpha[:, None]).int().argmax(1)
    torch.testing.assert_close(seen.output, b.model.predict(seen.x_t, times, chosen.conditioning(t)))


def test_rewards_signals_and_groups_are_those_of_each_image(bench: Any) -> None:
    b = bench()
    t = evolve(b.trajectories(3), group=torch.tensor([4, 5, 4]))
    noting_times(b)
    chosen = Pairs(torch.tensor([2, 0, 1]), torch.tensor([1, 0, 3]))
    start = builder(b, frozenset()).start
    seen = start(t, Signals(beta=2.0, values=torch.tensor([7.0, 8.0, 9.0])), chosen)(chosen)
    assert seen.signal.tolist() == [9.0, 7.0, 8.0] and seen.group.tolist() == [4, 4, 5]
    assert torch.equal(seen.log_reward, 2 * t.rewards[chosen.sample])
    assert start(t, Signals(), chosen)(chosen).signal.tolist() == [0.0, 0.0, 0.0]
    each = Signals(values=torch.arange(12.0).view(3, COUNT))
    assert start(t, each, chosen)(chosen).signal.tolist() == [9.0, 0.0, 7.0]


def test_times_are_stratified_over_the_path(bench: Any) -> None:
    """Each image has one time in each of the parts, evenly drawn within it."""
    b = bench()
    images = b.trajectories(1).part(torch.zeros(500, dtype=torch.long))
    seen = noting_times(b)
    built(b, images, needs=frozenset())
    times = seen[0].view(500, COUNT)
    width = 1000 // COUNT
    assert torch.equal(times // width, torch.arange(COUNT).expand(500, -1))
    within = (times % width) / width
    # five standard errors of the mean and of the variance of a uniform draw
    assert (within.mean(0) - 0.5).abs().max() < 5 * (1 / 12 / 500) ** 0.5
    assert (within.var(0) - 1 / 12).abs().max() < 5 * (1 / 180 / 500) ** 0.5
    together = torch.corrcoef(within.T) - torch.eye(COUNT)
    assert together.abs().max() < 5 / 500**0.5


def test_noise_and_times_do_not_depend_on_the_micro_batch(bench: Any) -> None:
    b = bench()
    t = b.trajectories(3)
    order = torch.randperm(3 * COUNT, generator=torch.Generator().manual_seed(0))
    chosen = Pairs(everything(t).sample[order], everything(t).step[order])
    whole, start = built(b, t, chosen), builder(b).start(t, Signals(), everything(t))
    parts = [start(part) for part in chosen.split(5)]
    for name in ("noise", "x_t", "target", "alpha"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    torch.testing.assert_close(torch.cat([part.output for part in parts]), whole.output, rtol=1e-4, atol=1e-4)


def test_noise_is_drawn_anew_for_each_pair_epoch_process_and_seed(bench: Any) -> None:
    b = bench()
    t = b.trajectories(2)
    noting_times(b)
    seen = [
        built(b, t, needs=frozenset()),
        built(b, evolve(t, epoch=1), needs=frozenset()),
        built(b, t, needs=frozenset(), process=1),
        built(b, t, needs=frozenset(), seed=6),
    ]
    noises = torch.cat([batch.noise for batch in seen]).flatten(1)
    assert len(noises.unique(dim=0)) == len(noises) == 4 * 2 * COUNT
    assert all(not torch.equal(batch.alpha, seen[0].alpha) for batch in seen[1:])
    again = built(b, t, needs=frozenset())
    assert torch.equal(again.noise, seen[0].noise) and torch.equal(again.alpha, seen[0].alpha)


@pytest.fixture(params=["lora", "full"])
def either(request: pytest.FixtureRequest, bench: Any) -> Any:
    return bench(lora=LoraConfig() if request.param == "lora" else None)


def test_the_reference_is_the_model_before_training(either: Any) -> None:
    b, t = either, either.trajectories(2)
    before = built(b, t)
    assert torch.equal(before.output_reference, before.output)
    b.perturb()
    after = built(b, t)
    assert torch.equal(after.output_reference, before.output)
    assert not torch.allclose(after.output, before.output, atol=1e-2)


def test_the_old_output_is_that_of_the_weights_that_sampled(either: Any) -> None:
    b, t = either, either.trajectories(2)
    b.perturb()  # of an earlier epoch
    build = builder(b).start(t, Signals(), everything(t))
    first = build(everything(t))
    assert torch.equal(first.output_old, first.output)
    b.perturb()
    weights = b.adapter.state()
    second = build(everything(t))
    assert torch.equal(second.output_old, first.output)
    assert not torch.allclose(second.output, first.output, atol=1e-2)
    assert all(torch.equal(weights[name], value) for name, value in b.adapter.state().items())
    assert torch.equal(built(b, t).output_old, second.output)  # of the next epoch


def test_gradients_reach_what_is_trained_and_nothing_else(either: Any) -> None:
    """Also where other weights stood in between."""
    b, t = either, either.trajectories(2)
    b.perturb()
    seen = built(b, t)
    fixed = seen.output_old, seen.output_reference, seen.target, seen.noise, seen.x_t, seen.alpha, seen.sigma
    assert not any(tensor.requires_grad for tensor in fixed)
    (seen.output - seen.target).square().sum().backward()
    found = {name: p.grad for name, p in b.adapter.trained().items()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in found.values())
    assert any(gradient.abs().max() > 0 for gradient in found.values())
    others = [p for name, p in b.model.network.named_parameters() if name not in found]
    others += [p for module in b.model.frozen_modules() for p in module.parameters()]
    assert others and all(p.grad is None for p in others)
    # the same as without them
    for p in b.adapter.trained().values():
        p.grad = None
    plain = built(b, t, needs=frozenset())
    (plain.output - plain.target).square().sum().backward()
    for name, p in b.adapter.trained().items():
        torch.testing.assert_close(p.grad, found[name])


@pytest.mark.parametrize(("need", "name"), [(Needs.OLD_OUTPUT, "output_old"), (Needs.REFERENCE, "output_reference")])
def test_each_need_fills_its_part_by_one_call_and_no_other(bench: Any, need: Needs, name: str) -> None:
    b = bench()
    t = b.trajectories(2)
    calls = noting_times(b)
    seen = built(b, t, needs=frozenset({need}))
    assert set(seen.parts) == {need} and getattr(seen, name).shape == seen.output.shape
    assert len(calls) == 2
    calls.clear()
    bare = built(b, t, needs=frozenset())
    assert len(calls) == 1
    with pytest.raises(TrainingError, match=rf"`{name}`.*Needs\.{need.name}"):
        getattr(bare, name)


# --- a whole run ---


class Weighted(Stateless):
    """Denoising weighted by exp(reward), close to the weights that sampled and to the reference."""

    def __init__(self) -> None:
        self.seen: list[Trajectories] = []

    def prepare(self, trajectories: Trajectories, /) -> Signals:
        self.seen.append(trajectories)
        return Signals(values=trajectories.rewards.softmax(0) * len(trajectories))

    def loss(self, batch: Denoisings, /) -> Loss:
        def gap(other: Tensor) -> Tensor:
            return (batch.output - other).square().flatten(1).mean(1)

        old, reference = gap(batch.output_old), gap(batch.output_reference)
        values = batch.signal * gap(batch.target) + 0.1 * old + 0.1 * reference
        return Loss(values=values, metrics={"old": old.detach(), "reference": reference.detach()})


def run_of(folder: Path, eta: float, resume: bool = False, **parts: Any) -> Trainer:
    made = config(folder, denoisings=3)
    made = evolve(made, rollout=evolve(made.rollout, eta=eta))
    given = {"objective": Weighted(), "needs": BOTH, "batches": "denoisings"}
    live = evolve(components(folder.parent / f"{folder.name}-model"), **given | parts)
    return Trainer(made, Versions(), components=live, resume=resume)


def bits(run: Trainer) -> dict[str, Tensor]:
    return run.engine.trained.state()["trained"]


@pytest.mark.parametrize("eta", [1.0, 0.0], ids=["stochastic", "deterministic"])
def test_a_run_on_it_keeps_clean_latents_only_and_resumes_to_the_same_bits(tmp_path: Path, eta: float) -> None:
    whole = run_of(tmp_path / "whole", eta)
    fresh = bits(whole)
    lines = list(whole)
    assert [line["transitions"] for line in lines] == [6 * 3] * 4  # there are four steps
    assert lines[0]["old"] > 0 and lines[0]["reference"] == pytest.approx(lines[0]["old"])  # of the second update
    assert lines[-1]["reference"] > lines[0]["reference"]
    assert any(not torch.equal(fresh[name], value) for name, value in bits(whole).items())
    for seen in whole.components.objective.seen:
        assert seen.log_pf_old.shape == seen.log_pb.shape == (6, 0) and seen.steps == 0
    plan = whole.components.rollout.plan(0, 4, whole.engine.steps)
    kept = whole.engine.sampler.sample(whole.engine.prompts.draw(plan, 0), plan)
    assert kept.latents.clean.shape == (6, 4, 4, 4) and kept.latents.states is None and kept.latents.outputs is None
    with pytest.raises(TrainingError, match="no states were kept"):
        _ = kept.states

    begun = run_of(tmp_path / "begun", eta)
    for line in begun:
        if line["epoch"] == 2:
            break
    resumed = run_of(tmp_path / "begun", eta, resume=True)
    assert resumed.epoch == 2
    found = list(resumed)
    assert [line["loss"] for line in found] == [line["loss"] for line in lines[2:]]
    assert all(torch.equal(value, bits(resumed)[name]) for name, value in bits(whole).items())


def test_images_may_be_those_of_the_reference(tmp_path: Path) -> None:
    """Then the policy that is trained draws none of them."""
    means: dict[str, list[float]] = {}
    for samples in ("policy", "reference"):
        run = run_of(tmp_path / samples, 0.0, samples=samples)
        run.engine.prompts.draw = repeated(run)
        means[samples] = [line["reward/mean"] for line in run]
    assert len(set(means["reference"])) == 1
    assert len(set(means["policy"])) == 4 and means["policy"][0] == means["reference"][0]


def repeated(run: Trainer) -> Callable[..., Any]:
    """Draws the prompts and seeds of the first epoch, whatever the epoch."""
    draw = run.engine.prompts.draw
    first = draw(run.components.rollout.plan(0, 4, run.engine.steps), 0)
    return lambda plan, epoch: evolve(first, epoch=epoch)
