"""What can go wrong, as exceptions. Each message names the thing, its value, the rule and the next step."""

from __future__ import annotations

from collections.abc import Sequence


class DagsdkError(Exception):
    """Base of every error that dagsdk raises on purpose. The command line prints it without a traceback."""


class ConfigError(DagsdkError):
    """One or more mistakes in a run file, all found at once.

    `problems` has one line for each, beginning with the path of the key, such as ``train.epochs``.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        noun = "problem" if len(self.problems) == 1 else "problems"
        super().__init__("\n".join([f"{source}: {len(self.problems)} {noun}", *(f"  {p}" for p in self.problems)]))


class PluginError(DagsdkError):
    """A plugin could not be loaded, or breaks the contract of a hook."""


class UnknownComponentError(DagsdkError):
    """A name that no installed plugin provides."""


class ModelError(DagsdkError):
    """A model that is missing, cannot be read, or is of a kind that is not supported."""


class RewardError(DagsdkError):
    """A reward that raised, or returned something other than finite float rewards of shape (b,)."""


class RunFolderError(DagsdkError):
    """A run folder that cannot be written, belongs to another run, or cannot be resumed."""


class DensityError(DagsdkError, ValueError):
    """A Gaussian without a density: its variance is zero, negative or not a number."""


class TrainingError(DagsdkError):
    """Training cannot continue: a loss or gradient is not finite, or an objective breaks its contract."""


def brief(error: BaseException, most: int = 300) -> str:
    """Type and message of an exception, in one line of at most so many characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= most else f"{text[: most - 3]}..."
