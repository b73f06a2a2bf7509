"""Where the time of a run goes: transitions per second, memory, and the share outside the networks.

python tests/benchmarks/speed.py [--run docs/examples/quickstart.toml] [--epochs 5] [--set KEY=VALUE ...]

Prints one JSON object. Times are those of this machine, over all epochs but the first, which warms up, and the last,
which evaluates.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from attrs import evolve

from dagsdk.config.files import load_run, local_plugins, structure_run
from dagsdk.engine.processes import default_device, launched
from dagsdk.engine.sampler import Sampler
from dagsdk.engine.update import Updater
from dagsdk.plugins import discover
from dagsdk.registry import Registry
from dagsdk.run.components import Components, build_components
from dagsdk.run.trainer import Trainer
from dagsdk.specs import BuildContext


class Clock:
    """Adds up the time spent in what it wraps, by name; nested calls count once, for the outermost."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inside = False

    def wrap(self, owner: Any, method: str, name: str) -> None:
        setattr(owner, method, self.timed(getattr(owner, method), name))

    def timed(self, inner: Callable[..., Any], name: str) -> Callable[..., Any]:
        def outer(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return inner(*args, **kwargs)
            self._inside = True
            started = now()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds[name] += now() - started
                self._inside = False

        return outer


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@contextmanager
def clocked(components: Components) -> Iterator[tuple[Clock, Clock]]:
    """Within it, times by kind of work and by stage are taken of a run that is made of these components."""
    kinds, stages, model = Clock(), Clock(), components.model
    for method, kind in (("predict", "network"), ("encode", "network"), ("decode", "decoder")):
        kinds.wrap(model, method, kind)
    rewards = components.reward.rewards
    components.reward.rewards = tuple((name, weight, kinds.timed(r, "reward")) for name, weight, r in rewards)
    with (
        patch.object(torch.Tensor, "backward", kinds.timed(torch.Tensor.backward, "network")),
        patch.object(torch.autograd, "grad", kinds.timed(torch.autograd.grad, "network")),
        patch.object(torch.optim.AdamW, "step", kinds.timed(torch.optim.AdamW.step, "optimiser")),
        patch.object(Sampler, "sample", stages.timed(Sampler.sample, "sampling")),
        patch.object(Updater, "update", stages.timed(Updater.update, "update")),
    ):
        yield kinds, stages


def measure(run: Path, epochs: int, overrides: Sequence[str]) -> dict[str, Any]:
    """epochs: at least 3."""
    tables = load_run(run, [*overrides, f"train.epochs={epochs}", "evaluate.samples=2", "evaluate.every=0"])
    registry = Registry(discover(files=local_plugins(tables)))
    config = structure_run({**tables, "trackers": []}, registry)
    device, train = default_device(launched()), config.train
    context = BuildContext(device=str(device), seed=config.seed, mixed_precision=train.mixed_precision)
    components, sampled, trained = build_components(config, registry, context), 0, 0
    with tempfile.TemporaryDirectory() as folder, clocked(components) as (kinds, stages):
        trainer = Trainer(evolve(config, output=str(Path(folder) / "run")), registry, components=components)
        for network in trainer.engine.updater.networks.values():
            kinds.wrap(network, "forward", "network")
        for metrics in trainer:
            if metrics["epoch"] == 1:
                kinds.seconds.clear()
                stages.seconds.clear()
                started = now()
            elif metrics["epoch"] < epochs:
                total = now() - started
                sampled += train.trajectories * trainer.engine.steps
                trained += metrics["transitions"]
                by_kind, by_stage = dict(kinds.seconds), dict(stages.seconds)
    scale = 1 if sys.platform == "darwin" else 1024
    result = {
        "torch": torch.__version__,
        "device": str(trainer.device),
        "threads": torch.get_num_threads(),
        "seconds per epoch": total / (epochs - 2),
        "sampled transitions per second": sampled / by_stage["sampling"],
        "trained transitions per second": trained / by_stage["update"],
        "share by kind": {name: seconds / total for name, seconds in sorted(by_kind.items())},
        "share outside network, decoder and reward": 1
        - sum(by_kind.get(name, 0.0) for name in ("network", "decoder", "reward")) / total,
        "peak memory GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**30,
    }
    if torch.cuda.is_available():
        result["peak device memory GiB"] = torch.cuda.max_memory_allocated() / 2**30
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--run", type=Path, default=Path("docs/examples/quickstart.toml"), help="(default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=5, help="at least 3: the first and the last are not counted")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    print(json.dumps(measure(given.run, max(3, given.epochs), given.overrides), indent=1))


if __name__ == "__main__":
    main()
