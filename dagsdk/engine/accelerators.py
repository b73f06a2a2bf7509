"""The accelerate object of a run: device, precision, processes, trackers."""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import ProjectConfiguration

from dagsdk.config.schema import RunConfig
from dagsdk.errors import ConfigError


def accelerator_for(config: RunConfig, *, tracked: bool) -> Accelerator:
    """tracked: whether figures go to the run's trackers. Raises ConfigError for what this machine has not."""
    # accelerate keeps one precision a process; a program may run one model after another
    AcceleratorState._reset_state()
    try:
        return Accelerator(
            mixed_precision=config.train.mixed_precision,
            log_with=list(config.trackers) if tracked and config.trackers else None,
            project_config=ProjectConfiguration(
                project_dir=config.output, logging_dir=str(Path(config.output) / "tensorboard")
            ),
        )
    except (ValueError, RuntimeError, ImportError) as error:
        problem = f"train.mixed_precision, trackers: {error}; choose what this machine has"
        raise ConfigError("run", [problem]) from error
