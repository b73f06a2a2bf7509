"""Trains on the nine-mode target and tells how far the samples are from it, before and after.

    python tests/ground_truth/measure.py --objective tb --epochs 1500

The target of a relative objective is p_ref exp(r), so that the reward of those is the log-ratio of the nine modes to
the density that the model was pretrained on; the reward of the others is the log-density of the nine modes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from target import exact_masses, exact_samples, log_ratio, mode_weights, sampled_masses, total_variation
from torch import Tensor

from dagsdk.config.files import structure_run
from dagsdk.config.schema import RunConfig
from dagsdk.engine.noise_scale import NoiseScale
from dagsdk.engine.policy import make_policy
from dagsdk.engine.sampler import Sampler
from dagsdk.engine.schedule import schedule
from dagsdk.engine.trainer import Trainer
from dagsdk.families.protocol import Family
from dagsdk.families.vector import Vector
from dagsdk.prompts.protocol import Prompt
from dagsdk.registry import load_registry
from dagsdk.rollouts.protocol import RolloutPlan

HERE = Path(__file__).parent
SAMPLES = 20_000


@frozen(eq=False)
class Measured:
    """total_variation: to the exact masses of the bins. modes: the share of samples near each, shape (9,)."""

    total_variation: float
    modes: Tensor

    @classmethod
    def of(cls, samples: Tensor, weights: Tensor | None = None) -> Measured:
        masses = sampled_masses(samples, weights)
        return cls(total_variation(masses, exact_masses()), mode_weights(samples, weights))

    def __str__(self) -> str:
        return f"TV {self.total_variation:.3f}   modes {' '.join(f'{share:.3f}' for share in self.modes.tolist())}"


def run_tables(objective: str, epochs: int, output: Path, settings: Sequence[str] = ()) -> dict[str, Any]:
    """A run that trains the whole network, by one update an epoch, on densities that are not averaged.

    settings: such as 'train.learning_rate=1e-3', the value in TOML.
    """
    tables: dict[str, Any] = {
        "output": str(output / "run"),
        "plugins": [str(HERE / "target_rewards.py")],
        "trackers": [],
        "model": {"name": "vector", "train": "full"},
        "prompts": {"name": "texts", "texts": [""]},
        "rewards": [{"name": "target-ratio" if objective.startswith("relative") else "target-density"}],
        "objective": {"name": objective, "beta": 1.0},
        "rollout": {"steps": 24, "guidance_scale": 1.0, "reduction": "sum", "variance": "geometric"},
        "train": {
            "epochs": epochs, "trajectories": 128, "sample_batch": 128, "updates": 1, "micro_batch": 4096,
            "learning_rate": 1e-3, "max_grad_norm": 0.0, "weight_decay": 0.0, "ema": 0.99,
        },
        "evaluate": {"samples": 1},
        "checkpoint": {"every": epochs},
    }  # fmt: skip
    if objective in ("tb", "relative-tb"):
        tables["objective"]["group"] = "epoch"
    if objective in ("dag-db", "dag-kl"):
        # A log-density is not bounded, so that the reward at x̂_0 would say little about a noisy state.
        tables["objective"] |= {"beta_warmup": 0.0, "regulariser": 0.0, "forward_looking": False}
        tables["rollout"]["variance"] = "learned"
        tables["flow"] = {"widths": [192]}
        tables["train"]["flow_learning_rate"] = 3e-3
    for setting in settings:
        key, _, value = setting.partition("=")
        section, _, name = key.partition(".")
        tables[section][name] = tomllib.loads(f"value = {value}")["value"]
    return tables


def sampled(
    family: Family, run: RunConfig, checkpoint: Path | None = None, count: int = SAMPLES, seed: int = 10**6
) -> Tensor:
    """What the model draws by the run's own rollout: shape (count, 2).

    checkpoint: whose noise it has, where the run trained that.
    """
    chain, noise = schedule(family, run.rollout, "cpu"), None
    if checkpoint is not None and run.rollout.variance == "learned":
        noise = NoiseScale(chain.times)
        noise.load(checkpoint)
    policy = make_policy(family, chain, run.rollout.guidance_scale, noise=noise)
    plan = RolloutPlan(window=(0, run.rollout.steps))
    sampler = Sampler(policy, torch.device("cpu"), batch=2000)
    return sampler.sample([Prompt("")] * count, range(seed, seed + count), plan).clean


def measure(tables: dict[str, Any], every: int = 0) -> tuple[Measured, Measured, Measured]:
    """Trains, and measures the model before and after (the averaged weights, where there are some).

    The third is what a relative objective aims at, p_ref exp(r): the points before, each weighted by exp(r).

    every: epochs between two lines of figures; 0 prints none.
    """
    registry = load_registry(tables["plugins"])
    run = structure_run(tables, registry)
    trainer = Trainer(run, registry)
    points = sampled(trainer.components.family, run)
    before, aim = Measured.of(points), Measured.of(points, log_ratio(points).exp())
    for figures in trainer:
        if every and figures["epoch"] % every == 0:
            told = {k: round(v, 3) for k, v in figures.items() if k in ("reward/mean", "log_z", "residual_variance")}
            print(figures["epoch"], told, flush=True)
    checkpoint = Path(run.output) / "checkpoints" / f"epoch-{run.train.epochs:04d}"
    return before, Measured.of(sampled(Vector.load(checkpoint), run, checkpoint)), aim


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measures an objective on a target whose density is known.")
    parser.add_argument("--objective", default="tb", help="by name (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=1500, help="batches of 128 (default: %(default)s)")
    parser.add_argument("--every", type=int, default=0, help="epochs between two lines of figures; 0: none")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="train.learning_rate=1e-4")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        before, after, aim = measure(run_tables(given.objective, given.epochs, Path(folder), given.set), given.every)
    print(f"exact   {Measured.of(exact_samples(SAMPLES, seed=0))}")
    if given.objective.startswith("relative"):
        print(f"aim     {aim}")
    print(f"before  {before}")
    print(f"after   {after}")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
