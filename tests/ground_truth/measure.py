"""Trains on targets that are known, and measures how far the samples are from them, before and after.

    python tests/ground_truth/measure.py --objective tb --target ring
    python tests/ground_truth/measure.py --all

The target of a relative objective is p_ref exp(r), so that the reward of those is the log-ratio of the target to the
density that the model was pretrained on; the reward of the others is the target's log-density.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from report import result_file, write_report
from settings import OBJECTIVES, VARIANTS, run_tables
from target import TARGETS, Target, sampled_masses, total_variation
from torch import Tensor

from dagsdk.config.files import structure_run
from dagsdk.config.schema import RunConfig
from dagsdk.engine.drawing import Drawn
from dagsdk.engine.noise_scale import NoiseScale
from dagsdk.engine.policy import make_policy
from dagsdk.engine.sampler import Sampler
from dagsdk.engine.schedule import schedule
from dagsdk.models.protocol import Model
from dagsdk.models.vector import Vector
from dagsdk.prompts.protocol import Prompt
from dagsdk.registry import load_registry
from dagsdk.rollouts.protocol import RolloutPlan
from dagsdk.run.trainer import Trainer

SAMPLES, AIM_SAMPLES = 20_000, 80_000


def metrics(target: Target, samples: Tensor, counts: Tensor | None = None) -> dict[str, Any]:
    """total_variation: to the target's masses. weights: of its parts. masses: of the bins, row by row."""
    masses = sampled_masses(samples, counts)
    return {
        "total_variation": total_variation(masses, target.exact_masses()),
        "weights": target.weights(samples, counts).tolist(),
        "masses": [round(mass, 7) for mass in masses.tolist()],
    }


def sampled(model: Model, run: RunConfig, count: int, noise: Path | None = None, seed: int = 10**6) -> Tensor:
    """What the model draws by the run's own rollout: shape (count, 2).

    noise: the checkpoint whose factors of the noise it has, where the run trained them.
    """
    chain, scale = schedule(model, run.rollout, "cpu"), None
    if noise is not None and run.rollout.variance == "learned":
        scale = NoiseScale(chain.times)
        scale.load(noise)
    policy = make_policy(model, chain, run.rollout.guidance_scale, noise=scale)
    plan = RolloutPlan(window=(0, run.rollout.steps))
    sampler = Sampler(policy=policy, device=torch.device("cpu"), batch=2000, keeps_path=False)
    drawn = Drawn(prompts=[Prompt("")] * count, seeds=range(seed, seed + count))
    return sampler.sample(drawn, plan).latents.clean


def measure(target: Target, tables: dict[str, Any], every: int = 0, samples: int = 0) -> dict[str, Any]:
    """Trains, and gives the `metrics` of the model "before" and "after" (the averaged weights, where there are some).

    Under "aim" are those of what a relative objective aims at, p_ref exp(r): points before, each counted exp(r) times.

    every: epochs between two lines of metrics; 0 prints none.
    samples: how many of the model; 0 means SAMPLES.
    """
    samples, aimed = samples or SAMPLES, samples or AIM_SAMPLES
    registry = load_registry(tables["plugins"])
    run = structure_run(tables, registry)
    started = time.perf_counter()
    trainer = Trainer(run, registry)
    relative = run.rewards[0].options.relative
    points = sampled(trainer.components.model, run, aimed if relative else samples)
    measured = {"before": metrics(target, points[:samples])}
    if relative:
        measured["aim"] = metrics(target, points, target.log_ratio(points).exp())
    for line in trainer:
        if every and line["epoch"] % every == 0:
            print(line["epoch"], {key: round(line[key], 3) for key in ("reward/mean", "loss")}, flush=True)
    checkpoint = Path(run.output) / "checkpoints" / f"epoch-{run.train.epochs:04d}"
    measured["after"] = metrics(target, sampled(Vector.load(checkpoint), run, samples, noise=checkpoint))
    return measured | {"seconds": round(time.perf_counter() - started)}


def shown(measured: dict[str, Any]) -> str:
    """A line for each of the metrics."""
    lines = [
        f"{when:8}TV {of['total_variation']:.3f}   parts {' '.join(f'{share:.3f}' for share in of['weights'])}"
        for when, of in measured.items()
        if isinstance(of, dict) and "masses" in of
    ]
    return "\n".join([*lines, f"{measured['seconds']} s"])


def measured_once(
    results: Path, name: str, objective: str, settings: Sequence[str] = (), every: int = 0, samples: int = 0
) -> dict[str, Any]:
    """From its file in `results`, where the same run was measured already, by as many samples."""
    target, file = TARGETS[name], result_file(results, name, objective, settings)
    with tempfile.TemporaryDirectory() as folder:
        tables = run_tables(objective, name, Path(folder) / "run", settings)
        run = {key: table for key, table in tables.items() if key not in ("output", "plugins")}
        if file.is_file():
            known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            if (known["run"], known.get("samples", SAMPLES)) == (run, samples or SAMPLES):
                return known
        exact = metrics(target, target.exact_samples(samples or SAMPLES, seed=0))
        measured = {
            "run": run,
            "samples": samples or SAMPLES,
            "exact": exact,
            **measure(target, tables, every, samples),
        }
    results.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(measured), encoding="utf-8")
    return measured


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measures objectives on targets whose density is known.")
    parser.add_argument("--objective", choices=OBJECTIVES, default="tb", help="by name (default: %(default)s)")
    parser.add_argument("--target", choices=TARGETS, default="nine-modes", help="(default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="every run of settings.py, and then the report")
    parser.add_argument("--report", action="store_true", help="only writes table and picture of what is measured")
    parser.add_argument("--results", type=Path, default=Path("runs/ground-truth"), help="(default: %(default)s)")
    parser.add_argument("--every", type=int, default=0, help="epochs between two lines of metrics; 0: none")
    parser.add_argument("--samples", type=int, default=0, help=f"drawn of each model (default: {SAMPLES})")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="train.learning_rate=1e-4")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    runs: Sequence[tuple[str, str, Sequence[str]]] = [(given.target, given.objective, given.set)]
    if given.all:
        runs = [*((target, objective, []) for target in TARGETS for objective in OBJECTIVES), *VARIANTS]
    for name, objective, settings in [] if given.report else runs:
        print(" ".join([f"{objective} on {name}", *settings]), flush=True)
        print(shown(measured_once(given.results, name, objective, settings, given.every, given.samples)), flush=True)
    if given.all or given.report:
        print(write_report(given.results))


if __name__ == "__main__":
    main()
