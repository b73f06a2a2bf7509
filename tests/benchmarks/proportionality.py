"""Whether sampled colours are proportional to their reward, on pictures: before, target, after.

    python tests/benchmarks/proportionality.py --output runs/proportionality

One caption leaves the colour free; the reward is 1 for red, 0.5 for blue and 0 for anything else. Log-densities are
summed, so that β is that of the target: p_ref(x) exp(β r(x)) of `relative-tb` has the colours in the proportions
p_ref(colour) exp(β r). The objectives whose target is exp(β r(x)) alone are compared with exp(β r), all eight colours
being equal at r = 0. What is done is not done again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from attrs import frozen
from measuring import drawn, known, markdown
from proportionality_parts import REWARDS, colours
from torch import Tensor

from dagsdk.config.files import structure_run
from dagsdk.registry import load_registry
from dagsdk.run.trainer import Trainer
from dagsdk_shapes.attributes import COLOURS

PARTS: Final = Path(__file__).parent / "proportionality_parts.py"
PROMPT: Final = "a large circle"
FIRST_SEED: Final = 10**6
LAST: Final = 20
"""Epochs over whose trajectories the estimate of log Z is averaged."""

PRIOR, UNIFORM = "p_ref exp(β r)", "exp(β r)"


@frozen
class Measured:
    """One run. beta: None for an objective that maximises. target: what its samples are compared with."""

    objective: str
    beta: float | None
    target: str

    @property
    def name(self) -> str:
        return self.objective if self.beta is None else f"{self.objective} {self.beta:g}"


RUNS: Final = (
    Measured("relative-tb", 2.0, PRIOR),
    Measured("relative-tb", 10.0, PRIOR),
    Measured("relative-tb", 20.0, PRIOR),
    Measured("tb", 2.0, UNIFORM),
    Measured("dag-db", 2.0, UNIFORM),
    Measured("dag-kl", 2.0, UNIFORM),
    Measured("dag-db", 1000.0, UNIFORM),
    Measured("ddpo", None, PRIOR),
)
_BALANCE = {"beta_warmup": 0.0, "regulariser": 0.0, "next_gradient": 0.5}
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "relative-tb": {"group": "epoch"},
    "tb": {"group": "epoch"},
    "dag-db": _BALANCE,
    "dag-kl": _BALANCE,
    "ddpo": {},
}
"""Options of each objective other than β."""


def run_tables(run: Measured, epochs: int) -> dict[str, Any]:
    """A run on one caption, with one update per epoch, so that one Z holds for all trajectories."""
    beta = {} if run.beta is None else {"beta": run.beta}
    return {
        "trackers": [],
        "plugins": [str(PARTS)],
        "model": {"name": "shapes-trailing", "lora": {"rank": 8}},
        "prompts": {"name": "texts", "texts": [PROMPT]},
        "rewards": [{"name": "colour"}],
        "objective": {"name": run.objective, **SETTINGS[run.objective], **beta},
        "rollout": {
            "images_per_prompt": 128, "steps": 4, "guidance_scale": 1.0, "last_step": "drop", "std_floor": 0.6,
            "reduction": "sum",
        },
        "state_flow": {"widths": [32, 64]},
        "train": {
            "epochs": epochs, "trajectories": 128, "updates": 1, "learning_rate": 4e-3, "auxiliary_learning_rate": 5e-3,
            "decay": "cosine", "ema": 0.9, "max_grad_norm": 0.0, "sample_batch": 128, "micro_batch": 128,
        },
        "evaluate": {"samples": 1},
        "checkpoint": {"every": epochs},
    }  # fmt: skip


def frequencies(trainer: Trainer, count: int) -> Tensor:
    """Of each colour, and last of none, among `count` pictures of the model as it is now: shape (9,), float64."""
    pictures = drawn(trainer, [trainer.components.prompts[0]] * count, FIRST_SEED)
    return torch.bincount(colours(pictures.images), minlength=len(REWARDS)).double() / count


def tilted(weights: Tensor, beta: float) -> Tensor:
    """Proportional to weights · exp(β r), with sum 1: shape (9,)."""
    return (weights.log() + beta * torch.tensor(REWARDS, dtype=torch.float64)).softmax(0)


def targets(before: Tensor, beta: float) -> dict[str, Tensor]:
    """What each kind of objective aims at, from the frequencies before: by name, of shape (9,)."""
    alike = torch.tensor([1.0] * len(COLOURS) + [0.0], dtype=torch.float64)
    return {PRIOR: tilted(before, beta), UNIFORM: tilted(alike, beta)}


def total_variation(p: Tensor, q: Tensor) -> float:
    """Half the sum of absolute differences."""
    return float((p - q).abs().sum() / 2)


def divergence(p: Tensor, q: Tensor) -> float:
    """KL(p ‖ q) in nats, of the outcomes that q allows: p is conditioned on them."""
    p = torch.where(q > 0, p, 0)
    p = p / p.sum()
    return float((torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum())


def measure(run: Measured, epochs: int, samples: int) -> dict[str, Any]:
    """Trains, and gives frequencies before and after, and the last epochs' mean reward and estimate of log Z."""
    tables, started = run_tables(run, epochs), time.perf_counter()
    registry = load_registry(tables["plugins"])
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(structure_run({**tables, "output": str(Path(folder) / "run")}, registry), registry)
        before = frequencies(trainer, samples)
        lines = [dict(metrics) for metrics in trainer]
        after = frequencies(trainer, samples)
    last = {
        key: sum(line[key] for line in lines[-LAST:]) / len(lines[-LAST:])
        for key in ("reward/mean", "log_z")
        if key in lines[-1]
    }
    return {
        "epochs": epochs,
        "samples": samples,
        "before": before.tolist(),
        "after": after.tolist(),
        **last,
        "seconds": time.perf_counter() - started,
    }


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown: of each run the shares of red, blue, the other colours and none, with those of its target."""
    head = ["", "red", "blue", "others", "none", "total variation", "KL, nats"]
    rows = [head]
    for run in RUNS:
        if run.name not in found:
            continue
        before, after = (torch.tensor(found[run.name][key], dtype=torch.float64) for key in ("before", "after"))
        if len(rows) == 1:
            rows.append(["before", *_shares(before), "", ""])
        if run.beta is not None:
            target = targets(before, run.beta)[run.target]
            was, now = ([f(p, target) for p in (before, after)] for f in (total_variation, divergence))
            rows.append([f"target: {run.target}, β = {run.beta:g}", *_shares(target), "", ""])
            away = [f"{was[0]:.3f} → {was[1]:.3f}", f"{now[0]:.3f} → {now[1]:.3f}"]
        else:
            away = ["", ""]
        rows.append([f"`{run.name}`", *_shares(after), *away])
    return markdown(rows)


def nats(found: dict[str, dict[str, Any]]) -> str:
    """Markdown, of the runs relative to p_ref: what whole trajectories cost and lack.

    log Z of the target is Σ p_ref(colour) exp(β r). β E[r] - log_z is KL(p ‖ p_ref) over trajectories, and
    log Z - log_z is KL(p ‖ target); the least cost of the same E[r] is that of tilting p_ref.
    """
    head = ["β", "log Z", "E[r]", "KL to p_ref", "least KL for that E[r]", "KL to the target before", "after"]
    rows = [head]
    rewards = torch.tensor(REWARDS, dtype=torch.float64)
    for run in RUNS:
        if run.objective != "relative-tb" or run.beta is None or run.name not in found:
            continue
        own, before = found[run.name], torch.tensor(found[run.name]["before"], dtype=torch.float64)
        log_z = float((before.log() + run.beta * rewards).logsumexp(0))
        reward, beta = own["reward/mean"], run.beta
        values = [
            log_z, reward, beta * reward - own["log_z"], least_divergence(before, reward),
            log_z - beta * float((before * rewards).sum()), log_z - own["log_z"],
        ]  # fmt: skip
        rows.append([f"{beta:g}", *(f"{value:.3f}" for value in values)])
    return markdown(rows)


def least_divergence(weights: Tensor, reward: float) -> float:
    """The least KL(p ‖ weights) of all p over colours with that mean reward, which a tilted p has; by bisection."""
    rewards = torch.tensor(REWARDS, dtype=torch.float64)
    low, high = -100.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(tilted(weights, middle) @ rewards) < reward else (low, middle)
    return divergence(tilted(weights, low), weights)


def _shares(p: Tensor) -> list[str]:
    red, blue = COLOURS.index("red"), COLOURS.index("blue")
    others = [i for i in range(len(COLOURS)) if i not in (red, blue)]
    parts = (p[red], p[blue], p[others].sum(), p[-1])
    return [f"{float(part):.3f}" for part in parts]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/proportionality"), help="(default: %(default)s)")
    parser.add_argument("--runs", nargs="+", choices=[run.name for run in RUNS], metavar="NAME", help="(default: all)")
    parser.add_argument("--epochs", type=int, default=160, help="batches of 128 (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=4096, help="measured before and after (default: %(default)s)")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = {
        run.name: known(given.output / f"{run.name}.json", lambda run=run: measure(run, given.epochs, given.samples))
        for run in RUNS
        if run.name in (given.runs or [run.name])
    }
    print(table(found))
    print(nats(found))


if __name__ == "__main__":
    main()
