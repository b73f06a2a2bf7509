"""What can go wrong with prompts from elsewhere."""

from __future__ import annotations

from dagsdk.errors import DagsdkError


class PromptsError(DagsdkError):
    """A file or dataset that is missing, unreadable, without prompts, or changed during a run."""
