"""Questions about an image with their answers, as the metadata that question-answering rewards read."""

from __future__ import annotations

from typing import Any


def questions(*pairs: tuple[str, str]) -> dict[str, Any]:
    """``{"questions": [{"question": ..., "answer": ...}, ...]}`` of (question, answer) pairs."""
    return {"questions": [{"question": question, "answer": answer} for question, answer in pairs]}
