"""What the comparison and the measurement of proportionality share: results that are kept, fixed draws, tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from dagsdk.config.schema import EvaluateConfig
from dagsdk.engine.progress import Counter
from dagsdk.evaluation.held_out import Evaluated, HeldOut
from dagsdk.prompts.protocol import Prompt
from dagsdk.run.folder import write_whole
from dagsdk.run.trainer import Trainer


def known(path: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The object in the file; where there is none, what `work` returns, kept there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(work(), indent=1))
        print(path, flush=True)
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def drawn(trainer: Trainer, prompts: Sequence[Prompt], first_seed: int) -> Evaluated:
    """A picture of each prompt by the weights to use, with its rewards; picture i has the seed first_seed + i."""
    config = EvaluateConfig(samples=len(prompts), seed=first_seed)
    fixed = HeldOut(config=config, prompts=prompts, reward=trainer.components.reward)
    with trainer.engine.trained.using():
        return fixed.evaluate(trainer.engine.plain_sampler, Counter(lambda stage, done, total: None))


def markdown(rows: Iterable[Sequence[str]]) -> str:
    """A table, its head first."""
    head, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rest)) + "\n"
