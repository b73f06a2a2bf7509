"""Where the time of a run goes: transitions a second, memory, and the share outside the networks.

python tests/benchmarks/speed.py [--run docs/examples/quickstart.toml] [--epochs 3] [--set KEY=VALUE ...]

Prints one JSON object. Times are of all epochs after the first (which also warms up), of this machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dagsdk.config.files import load_run, local_plugins, structure_run
from dagsdk.engine.trainer import Trainer
from dagsdk.plugins import discover
from dagsdk.registry import Registry


class Clock:
    """Adds up the time spent in what it wraps, by name; nested calls count once, for the outermost."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inside = False

    def wrap(self, owner: Any, method: str, name: str) -> None:
        inner = getattr(owner, method)
        setattr(owner, method, self.timed(inner, name))

    def timed(self, inner: Callable[..., Any], name: str) -> Callable[..., Any]:
        def outer(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return inner(*args, **kwargs)
            self._inside = True
            started = _now()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds[name] += _now() - started
                self._inside = False

        return outer


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(run: Path, epochs: int, overrides: list[str]) -> dict[str, Any]:
    tables = load_run(run, [*overrides, f"train.epochs={epochs}", "evaluate.samples=2", "trackers=[]"])
    registry = Registry(discover(files=local_plugins(tables)))
    with tempfile.TemporaryDirectory() as folder:
        config = structure_run({**tables, "output": str(Path(folder) / "run")}, registry)
        clock, stages = Clock(), Counter[str]()
        trainer = Trainer(config, registry)
        clock.wrap(trainer.components.family, "predict", "network")
        clock.wrap(trainer.components.family, "decode", "decoder")
        clock.wrap(trainer.components.family, "encode", "network")
        clock.wrap(trainer.accelerator, "backward", "network")
        clock.wrap(trainer.optimiser, "step", "optimiser")
        mixture = trainer.components.reward
        object.__setattr__(mixture, "rewards", tuple((n, w, clock.timed(r, "reward")) for n, w, r in mixture.rewards))
        if trainer.flow is not None:
            trainer.flow.forward = clock.timed(trainer.flow.forward, "network")
        update, sample = trainer._update, trainer.sampler.__class__.sample

        def timed_update(*args: Any) -> Any:
            started = _now()
            try:
                return update(*args)
            finally:
                stages["update"] += _now() - started

        def timed_sample(self: Any, *args: Any, **kwargs: Any) -> Any:
            started = _now()
            try:
                return sample(self, *args, **kwargs)
            finally:
                stages["sampling"] += _now() - started

        trainer._update = timed_update
        type(trainer.sampler).sample = timed_sample
        sampled = trained = 0
        total = 0.0
        try:
            for report in trainer:
                if report["epoch"] == 1:
                    clock.seconds.clear()
                    stages.clear()
                    started = _now()
                elif report["epoch"] < epochs:
                    total = _now() - started
                    sampled += config.train.trajectories * trainer.schedule.steps
                    trained += report["transitions"]
                    split, parts = dict(clock.seconds), dict(stages)
        finally:
            type(trainer.sampler).sample = sample
    scale = 1 if sys.platform == "darwin" else 1024
    result = {
        "torch": torch.__version__,
        "device": str(trainer.device),
        "threads": torch.get_num_threads(),
        "seconds an epoch": total / (epochs - 2),
        "sampled transitions a second": sampled / parts["sampling"],
        "trained transitions a second": trained / parts["update"],
        "share by kind": {name: seconds / total for name, seconds in sorted(split.items())},
        "share outside network, decoder and reward": 1
        - sum(split.get(name, 0.0) for name in ("network", "decoder", "reward")) / total,
        "peak memory GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**30,
    }
    if torch.cuda.is_available():
        result["peak device memory GiB"] = torch.cuda.max_memory_allocated() / 2**30
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("docs/examples/quickstart.toml"))
    parser.add_argument("--epochs", type=int, default=5, help="at least 3: the first and the last are not counted")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    print(json.dumps(measure(options.run, max(3, options.epochs), options.overrides), indent=1))
