"""The error for prompts that are read from files and datasets."""

from __future__ import annotations

from dagsdk.errors import DagsdkError


class PromptsError(DagsdkError):
    """A file or dataset that is missing, unreadable, without prompts, or changed during a run."""
