"""`dagsdk train RUN.toml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: objective.beta=50")
@click.option("--resume", is_flag=True, help="Continue the run in the output folder from its last checkpoint.")
def train(run: Path, overrides: tuple[str, ...], resume: bool) -> None:
    """Align a model as the run file RUN says."""
    from dagsdk.config.files import load_run, local_plugins, structure_run
    from dagsdk.plugins import discover
    from dagsdk.registry import Registry

    tables = load_run(run, overrides)
    registry = Registry(discover(files=local_plugins(tables)))
    config = structure_run(tables, registry, source=str(run))  # every mistake, before torch is loaded

    from dagsdk.cli.bars import Bars, silence_libraries
    from dagsdk.errors import DagsdkError
    from dagsdk.run.trainer import Trainer

    silence_libraries()
    with Bars(config.train.epochs) as bars:
        trainer = Trainer(config, registry, resume=resume, progress=bars.progress)
        main = trainer.processes.main
        for warning in trainer.warnings:
            bars.say(f"warning: {warning}")
        if main and trainer.epoch:
            bars.say(f"continuing after epoch {trainer.epoch}")
        last: dict[str, Any] | None = None
        try:
            for last in trainer:
                if main:
                    bars.epoch(last["epoch"])
                    bars.say(line(last, config.train.epochs))
        except DagsdkError as error:
            raise type(error)(*_with_next_step(error, trainer)) from error
    if main:
        bars.say(
            summary(last, str(config.output))
            if last
            else f"nothing to do: all {config.train.epochs} epochs of {config.output} are trained"
        )


def line(metrics: dict[str, Any], epochs: int) -> str:
    """One epoch in one line."""
    parts = [
        f"epoch {metrics['epoch']}/{epochs}",
        f"reward {metrics['reward/mean']:.4g} ± {metrics['reward/std']:.2g}",
        f"loss {metrics['loss']:.4g}",
    ]
    if "evaluate/mean" in metrics:
        parts.append(f"held-out {metrics['evaluate/mean']:.4g} ({_gain(metrics)})")
    return "  ".join([*parts, f"{metrics['seconds']:.1f} s"])


def summary(metrics: dict[str, Any], output: str) -> str:
    base, mean = metrics["evaluate/base"], metrics["evaluate/mean"]
    return (
        f"held-out reward {base:.4g} → {mean:.4g} ({_gain(metrics)})\n"
        f"before and after: {output}/evaluation/base.png, {output}/evaluation/epoch-{metrics['epoch']:04d}.png\n"
        f"curves: {output}/images/curves.png   adapter: {output}/checkpoints/epoch-{metrics['epoch']:04d}"
    )


def _gain(metrics: dict[str, Any]) -> str:
    gain, error = metrics["evaluate/gain"], metrics["evaluate/gain_stderr"]
    errors = f", {gain / error:+.1f} standard errors" if error else ""
    return f"{gain:+.4g} ± {error:.2g}{errors}"


def _with_next_step(error: Exception, trainer: Any) -> tuple[Any, ...]:
    from dagsdk.errors import ConfigError
    from dagsdk.run import checkpoints

    if isinstance(error, ConfigError):
        return (error.source, error.problems)
    done = checkpoints.found(trainer.folder.checkpoints())
    kept = f"the last checkpoint is {done[-1]}" if done else "no checkpoint was due yet"
    return (f"{error}\n(epoch {trainer.epoch + 1}; {kept}; once that is fixed, continue with --resume)",)
