"""Several rewards in a run: scales, watched rewards, metrics of each, what rewards count; and resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from tiny_run import Versions, brightness, components, config

from dagsdk.config.schema import RewardConfig, RunConfig
from dagsdk.errors import ConfigError
from dagsdk.rewards.mixture import RewardMixture
from dagsdk.rollouts.independent import Independent
from dagsdk.run.trainer import Trainer


class Contrast:
    """Standard deviation of the pixels, times 1000; counts its images."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: torch.Tensor, prompts: object) -> torch.Tensor:
        self.seen += len(images)
        return 1000 * images.flatten(1).std(dim=1)

    def metrics(self) -> dict[str, float]:
        seen, self.seen = self.seen, 0
        return {"images": seen}


def run(folder: Path, modes: tuple[str, str], weights: tuple[float, float] = (1.0, 1.0), **train: Any) -> RunConfig:
    names = ("brightness", "contrast")
    rewards = tuple(RewardConfig(name=n, weight=w, normalise=m) for n, w, m in zip(names, weights, modes, strict=True))
    return evolve(config(folder, **train), rewards=rewards)


def trainer(folder: Path, modes: tuple[str, str] = ("none", "none"), resume: bool = False, **options: Any) -> Trainer:
    settings = run(folder, modes, **options)
    rewards = (("brightness", brightness), ("contrast", Contrast()))
    mixture = RewardMixture((n, r.weight, f) for (n, f), r in zip(rewards, settings.rewards, strict=True))
    live = evolve(components(folder.parent / f"{folder.name}-model"), reward=mixture)
    return Trainer(settings, Versions(), components=live, resume=resume)


@pytest.mark.parametrize("modes", [("prompt", "prompt"), ("running", "running"), ("none", "prompt")])
def test_every_mode_trains_and_reports_each_reward(tmp_path: Path, modes: tuple[str, str]) -> None:
    metrics = list(trainer(tmp_path / "run", modes, epochs=2))
    for line in metrics:
        mean = line["reward/brightness/mean"] + line["reward/contrast/mean"]
        assert line["reward/mean"] == pytest.approx(mean, rel=1e-5)
        assert line["reward/contrast/std"] > 0
        assert line["reward/contrast/images"] >= 6
    last = metrics[-1]
    if modes[0] != "none":
        assert last["evaluate/base"] == pytest.approx(0, abs=1e-9)
    assert last["evaluate/contrast/gain"] == pytest.approx(
        last["evaluate/contrast/mean"] - last["evaluate/contrast/base"], abs=1e-6
    )


def test_normalised_rewards_do_not_care_about_their_scale(tmp_path: Path) -> None:
    """Multiplying a reward by a constant leaves training as it was."""
    trained = []
    for name, factor in (("one", 1.0), ("thousand", 1024.0)):  # a power of two, so that rounding is the same
        settings = run(tmp_path / name, ("prompt", "running"), epochs=2)
        rewards = [("brightness", 1.0, lambda i, p, f=factor: f * brightness(i, p)), ("contrast", 1.0, Contrast())]
        live = evolve(components(tmp_path / f"{name}-model"), reward=RewardMixture(rewards))
        made = Trainer(settings, Versions(), components=live)
        list(made)
        trained.append(made.engine.trained.adapter.state())
    assert all(torch.allclose(trained[0][key], trained[1][key], atol=1e-6) for key in trained[0])


def test_a_reward_of_weight_0_is_watched_and_changes_nothing(tmp_path: Path) -> None:
    made = [trainer(tmp_path / "with", weights=(1.0, 0.0), epochs=2)]
    settings = evolve(run(tmp_path / "without", ("none", "none"), epochs=2))
    settings = evolve(settings, rewards=settings.rewards[:1])
    live = components(tmp_path / "without-model")
    made.append(Trainer(settings, Versions(), components=live))
    lines = [list(each) for each in made]
    states = [each.engine.trained.adapter.state() for each in made]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert "reward/contrast/mean" in lines[0][0]
    # the epoch's images, and no state before their end; the first epoch also counts the evaluation before it
    assert [line["reward/contrast/images"] for line in lines[0]] == [6 + 4, 6]


def test_running_scales_are_in_the_checkpoint(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", ("running", "running"), epochs=4)
    list(whole)
    begun = trainer(tmp_path / "begun", ("running", "running"), epochs=4)
    for line in begun:
        if line["epoch"] == 2:
            break
    resumed = trainer(tmp_path / "begun", ("running", "running"), epochs=4, resume=True)
    assert resumed.epoch == 2
    list(resumed)
    ours, theirs = (run.engine.trained.adapter.state() for run in (resumed, whole))
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())


def test_prompts_with_one_image_cannot_be_compared(tmp_path: Path) -> None:
    settings = run(tmp_path / "run", ("prompt", "none"))
    mixture = RewardMixture([("brightness", 1.0, brightness), ("contrast", 1.0, Contrast())])
    live = evolve(components(tmp_path / "model", rollout=Independent()), reward=mixture)
    with pytest.raises(ConfigError, match=r"images_per_prompt >= 2"):
        list(Trainer(settings, Versions(), components=live))
