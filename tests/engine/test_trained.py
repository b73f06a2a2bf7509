"""Which weights the policy holds: those in training, their moving average, a snapshot, or the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny import tiny_pipeline
from torch import Tensor

from dagsdk.config.schema import LoraConfig
from dagsdk.engine.adapter import Adapter
from dagsdk.engine.noise_scale import NoiseScale
from dagsdk.engine.trained import Trained
from dagsdk.models.stable_diffusion import StableDiffusion

TIMES = torch.tensor([900, 600, 300, 0])


def trained(folder: Path, decay: float = 0.5) -> Trained:
    adapter = Adapter(StableDiffusion(tiny_pipeline(folder / "t")), LoraConfig(rank=1), 0)
    return Trained(adapter, NoiseScale(TIMES), decay)


def weights(one: Trained) -> list[Tensor]:
    return [p.detach().clone() for group in one.parameters.values() for p in group]


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def step(one: Trained, by: float = 1.0) -> None:
    """An optimiser step that adds `by` to every weight."""
    parameters = [p for group in one.parameters.values() for p in group]
    optimiser = torch.optim.SGD(parameters, lr=1.0)
    one.follow(optimiser)
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, -by)
    optimiser.step()


def stepped(one: Trained) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The weights before, in training and to use, after two steps."""
    before = weights(one)
    for _ in range(2):
        with one.training():
            step(one)
            raw = weights(one)
    return before, raw, weights(one)


def test_outside_training_it_holds_the_average_and_inside_the_weights(tmp_path: Path) -> None:
    one = trained(tmp_path)
    before, raw, average = stepped(one)
    assert all(torch.allclose(new, old + 2) for new, old in zip(raw, before, strict=True))
    # diffusers' average has d = (1 + k) / (10 + k), at most `decay`, after the step k > 1, and d = 0 at the first
    expected = [old + 1 + (1 - 2 / 11) for old in before]
    assert all(torch.allclose(new, old) for new, old in zip(average, expected, strict=True))
    with one.training():
        assert same(weights(one), raw)
    assert same(weights(one), average)
    with one.using():
        assert same(weights(one), average)


def test_without_an_average_they_are_the_same(tmp_path: Path) -> None:
    _, raw, shown = stepped(trained(tmp_path, decay=0.0))
    assert same(raw, shown)


def test_training_within_training_is_one(tmp_path: Path) -> None:
    one = trained(tmp_path)
    _, raw, average = stepped(one)
    with one.training():
        with one.training():
            assert same(weights(one), raw)
        assert same(weights(one), raw)  # the inner one does not end it
        step(one)
    assert not same(weights(one), average)
    with one.training():
        assert same(weights(one), [w + 1 for w in raw])


def test_it_holds_the_average_again_after_an_error(tmp_path: Path) -> None:
    one = trained(tmp_path)
    _, raw, average = stepped(one)
    with pytest.raises(RuntimeError, match="reward"), one.training():
        assert same(weights(one), raw)
        raise RuntimeError("the reward is down")
    assert same(weights(one), average)
    with one.training():
        assert same(weights(one), raw)


def test_a_snapshot_is_looked_at_and_left(tmp_path: Path) -> None:
    one = trained(tmp_path)
    with one.training():
        old = weights(one)
        snapshot = one.snapshot()
        step(one)
        new = weights(one)
        pointers = [p.data_ptr() for group in one.parameters.values() for p in group]
        with one.at(snapshot):
            assert same(weights(one), old)
        assert same(weights(one), new) and not same(old, new)
        assert [p.data_ptr() for group in one.parameters.values() for p in group] == pointers
        with pytest.raises(RuntimeError, match="within"), one.at(snapshot):
            raise RuntimeError("within")
        assert same(weights(one), new)
        step(one)
        with one.at(snapshot):
            assert same(weights(one), old)  # a copy, which no step moves


def test_a_checkpoint_holds_the_weights_and_what_is_saved_the_average(tmp_path: Path) -> None:
    one = trained(tmp_path)
    _, raw, average = stepped(one)
    sections = one.state()
    adapter = [sections["trained"][name] for name in one.adapter.trained()]
    assert same([*adapter, sections["noise"]["log_scale"]], raw)
    one.save(tmp_path)
    other = trained(tmp_path)
    other.adapter.load(tmp_path)
    other.noise.load(tmp_path)
    assert same(weights(other), average)
    again = trained(tmp_path)
    again.restore(sections)
    assert same(weights(again), average)
    with again.training():
        assert same(weights(again), raw)
        step(again)
    with one.training():
        step(one)
    assert same(weights(again), weights(one))


def test_the_reference_has_neither_adapter_nor_noise(tmp_path: Path) -> None:
    one = trained(tmp_path)
    network, x = one.adapter.model, torch.ones(1, 4, 4, 4)

    @torch.no_grad()
    def output() -> tuple[Tensor, Tensor]:
        return network.predict(x, torch.tensor([3]), network.encode(["a"])), one.noise(TIMES[:1])

    before = output()
    stepped(one)
    moved = output()
    assert not torch.equal(moved[0], before[0]) and moved[1] > before[1] == 1
    with one.reference():
        assert same(output(), before)
    with one.sampling("reference"):
        assert same(output(), before)
    with one.sampling("policy"):
        assert same(output(), moved)
