"""One call of `Updater.update`, read to its end: a dozen functions of the engine in four files.

Counted are functions of more than one statement that the call visits. What they call by contract (the model, the
objective, the equations of `process/`) is read as one line each.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tiny_run import trainer

import dagsdk.engine

ENGINE = Path(dagsdk.engine.__file__).parent


def statements(file: str, line: int) -> int:
    """How many statements the function that begins on this line has, its docstring not among them."""
    for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and line in (node.lineno, *(d.lineno for d in node.decorator_list)):
            return sum(isinstance(n, ast.stmt) for n in ast.walk(node)) - 1 - bool(ast.get_docstring(node))
    return 0


@pytest.mark.parametrize("objective", ["dag-db", "dag-kl"])
def test_an_update_is_read_in_a_dozen_functions(tmp_path: Path, objective: str) -> None:
    run = trainer(tmp_path / "run", objective)
    visited: set[tuple[str, int]] = set()
    update = run.engine.updater.update

    def watch(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and Path(code.co_filename).parent == ENGINE and not code.co_name.startswith("<"):
            visited.add((code.co_filename, code.co_firstlineno))

    def watched(*given: Any, **named: Any) -> Any:
        sys.setprofile(watch)
        try:
            return update(*given, **named)
        finally:
            sys.setprofile(None)

    run.engine.updater.update = watched
    next(iter(run))
    read = {(file, line) for file, line in visited if statements(file, line) > 1}
    assert len(read) <= 12, sorted(read)
    assert {Path(file).name for file, _ in read} <= {"update.py", "transitions.py", "parts.py", "policy.py"}
    assert len(visited) > len(read)  # the trace saw the call
