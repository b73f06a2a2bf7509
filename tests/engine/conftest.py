"""A bench: a tiny model and its policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*args: object, **options: object) -> Bench:
        made.append(Bench(tmp_path / "tokenizer", *args, **options))
        return made[-1]

    yield make
    for one in reversed(made):
        one.in_use.__exit__(None, None, None)
