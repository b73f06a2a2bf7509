"""The policy's trained noise: nothing at first, off for the reference, in the checkpoint, used when sampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from tiny_run import Versions, components, config
from torch import Tensor

from dagsdk.config.schema import RolloutConfig
from dagsdk.engine.drawing import Drawn
from dagsdk.engine.noise_scale import NoiseScale
from dagsdk.errors import ModelError
from dagsdk.run.trainer import Trainer

TIMES = torch.tensor([900, 600, 300, 0])


def trainer(folder: Path, variance: str = "learned", resume: bool = False, **train: Any) -> Trainer:
    settings = config(folder, **train)
    rollout: RolloutConfig = evolve(settings.rollout, variance=variance)
    live = components(folder.parent / "model")
    return Trainer(evolve(settings, rollout=rollout), Versions(), components=live, resume=resume)


def test_each_step_has_its_factor_and_the_reference_has_none() -> None:
    noise = NoiseScale(TIMES)
    noise.log_scale.data = torch.tensor([0.0, 1.0, -1.0])
    t = torch.tensor([300, 900, 600, 300])
    assert torch.allclose(noise(t), torch.tensor([-1.0, 0.0, 1.0, -1.0]).exp())
    with noise.off():
        assert torch.equal(noise(t), torch.ones(4))
    assert noise(t).requires_grad


def test_before_training_it_changes_nothing(tmp_path: Path) -> None:
    plain, learned = (next(iter(trainer(tmp_path / v, v, epochs=1))) for v in ("posterior", "learned"))
    assert plain["reward/mean"] == learned["reward/mean"]
    assert plain["evaluate/base"] == learned["evaluate/base"]


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_it_is_trained_and_a_resumed_run_ends_in_the_same_bits(tmp_path: Path, ema: float) -> None:
    whole = trainer(tmp_path / "whole", ema=ema)
    list(whole)
    noise = whole.engine.trained.noise
    assert noise is not None and noise.log_scale.abs().min() > 0
    begun = trainer(tmp_path / "begun", ema=ema)
    for line in begun:
        if line["epoch"] == 2:
            break
    resumed = trainer(tmp_path / "begun", ema=ema, resume=True)
    assert resumed.epoch == 2
    list(resumed)
    assert torch.equal(resumed.engine.trained.noise.log_scale, noise.log_scale)  # type: ignore[union-attr]
    ours, theirs = (run.engine.trained.adapter.state() for run in (resumed, whole))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_the_reference_is_the_policy_before_training(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run")
    sampler = evolve(run.engine.sampler, keeps_outputs=False, keeps_denoised=False)
    plan = run.components.rollout.plan(0, 1, run.engine.steps)
    drawn = Drawn(prompts=[run.components.prompts[0]] * 2, seeds=[1, 2])

    def states() -> Tensor:
        return sampler.sample(drawn, plan).states

    with run.engine.trained.using():
        before = states()
    list(run)
    with run.engine.trained.using():
        assert not torch.equal(states(), before)
        with run.engine.trained.reference():
            assert torch.equal(states(), before)


def test_what_sampling_needs_is_saved_and_a_wrong_one_refused(tmp_path: Path) -> None:
    noise = NoiseScale(TIMES)
    noise.log_scale.data += torch.tensor([0.1, 0.2, 0.3])
    noise.save(tmp_path)
    again = NoiseScale(TIMES)
    again.load(tmp_path)
    assert torch.equal(again.log_scale, noise.log_scale)
    with pytest.raises(ModelError, match="has 3 steps; the chain has 2"):
        NoiseScale(TIMES[1:]).load(tmp_path)
    with pytest.raises(ModelError, match=r"has no noise_scale\.safetensors"):
        again.load(tmp_path / "elsewhere")
