"""Imports run one way, `import dagsdk` is light, and files stay short."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = sorted((ROOT / "dagsdk").rglob("*.py"))
PLUGINS = sorted(ROOT.glob("plugins/*/src/**/*.py"))

# From the ground up. A file may import its own room and any room of a lower floor, and nothing else of dagsdk.
FLOORS = [
    {"errors"},
    {"contracts"},
    {"hooks", "config", "process"},
    {"objectives", "rollouts", "rewards", "prompts", "families"},
    {"engine"},
    {"checkpoints", "evaluation"},
    {"trainer"},
    {"testing", "scaffold"},
    {"cli"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

ROOM_OF = {
    # The package itself holds only names: `dagsdk.__version__` and `dagsdk.hookimpl` are for everyone.
    "dagsdk": "errors",
    "dagsdk.errors": "errors",
    "dagsdk.specs": "contracts",
    "dagsdk.prompts.texts": "contracts",  # plain data from end to end
    "dagsdk.hookspecs": "hooks",
    "dagsdk.hookcalls": "hooks",
    "dagsdk.plugins": "hooks",
    "dagsdk.registry": "hooks",
    "dagsdk.builtin": "hooks",
    "dagsdk.checkpoints": "checkpoints",
    "dagsdk.run_folder": "checkpoints",
    "dagsdk.__main__": "cli",
    # What drives the engine through a whole run saves, evaluates and loads: it lives above those rooms.
    "dagsdk.engine.trainer": "trainer",
    "dagsdk.engine.loading": "trainer",
    "dagsdk.engine.held_out": "trainer",
}
CONTRACTS = {"protocol", "options"}
TORCHLESS = {"errors", "contracts", "hooks", "config", "cli"}
HEAVY = {"torch", "numpy", "diffusers", "transformers", "peft", "accelerate", "matplotlib", "PIL", "rich"}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in CORE}


def room_of(module: str) -> str:
    if module in ROOM_OF:
        return ROOM_OF[module]
    if module.rpartition(".")[2] in CONTRACTS:
        return "contracts"
    return module.split(".")[1]


def imports(path: Path, *, lazy: bool = True) -> Iterator[str]:
    """Modules that a file imports when it runs; without `lazy`, when it is imported."""

    def walk(nodes: list[ast.stmt]) -> Iterator[str]:
        for node in nodes:
            match node:
                case ast.Import(names=names):
                    yield from (alias.name for alias in names)
                case ast.ImportFrom(module=module, level=level, names=names):
                    assert level == 0, f"{path}:{node.lineno}: a relative import; name the module in full"
                    whole = [f"{module}.{alias.name}" for alias in names]
                    yield from (name if name in MODULES else str(module) for name in whole)
                case ast.If(test=test, orelse=orelse) if "TYPE_CHECKING" in ast.unparse(test):
                    yield from walk(orelse)
                case ast.FunctionDef() | ast.AsyncFunctionDef() if not lazy:
                    pass
                case _:
                    for child in ast.iter_child_nodes(node):
                        if isinstance(child, ast.stmt):
                            yield from walk([child])
                        elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
                            yield from walk(child.body)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")).body)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CORE, ids=name)
def test_imports_run_one_way(path: Path) -> None:
    module = module_of(path)
    if path.name == "__init__.py" and module.count(".") == 1:
        mine = module.split(".")[1]  # a room's own front may show what is in the room
    else:
        mine = room_of(module)
    assert mine in FLOOR, f"{name(path)} is in no room; give it one in FLOORS and in architecture.md"
    # Built-ins come in through the hooks, as plugins do: they may build what is above them, when asked to.
    for target in imports(path, lazy=module != "dagsdk.builtin"):
        if target.split(".")[0] != "dagsdk":
            continue
        other = room_of(target)
        assert other == mine or FLOOR[other] < FLOOR[mine], (
            f"{name(path)} (room {mine!r}, floor {FLOOR[mine]}) imports {target} "
            f"(room {other!r}, floor {FLOOR[other]}); imports run downwards only"
        )


@pytest.mark.parametrize("path", PLUGINS, ids=name)
def test_plugins_stay_out_of_the_engine(path: Path) -> None:
    for target in imports(path):
        if target.split(".")[0] == "dagsdk":
            assert FLOOR[room_of(target)] < FLOOR["engine"], f"{name(path)} imports {target}"


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_imports_no_plugin(path: Path) -> None:
    packages = {plugin.relative_to(ROOT).parts[3] for plugin in PLUGINS}
    assert packages.isdisjoint(target.split(".")[0] for target in imports(path))


@pytest.mark.parametrize("path", [p for p in CORE if room_of(module_of(p)) in TORCHLESS], ids=name)
def test_light_rooms_load_torch_when_it_is_used(path: Path) -> None:
    loaded = {target.split(".")[0] for target in imports(path, lazy=False)}
    assert loaded.isdisjoint(HEAVY - {"rich"}), f"{name(path)} imports {loaded & HEAVY} at the top"


@pytest.mark.parametrize("path", [p for p in PLUGINS if p.name == "__init__.py"], ids=name)
def test_plugins_are_light_to_discover(path: Path) -> None:
    loaded = {target.split(".")[0] for target in imports(path, lazy=False)}
    assert loaded.isdisjoint(HEAVY), f"{name(path)} imports {loaded & HEAVY} at the top; do it in build"


@pytest.mark.parametrize(
    "statement",
    ["import dagsdk", "import dagsdk.cli.main", "import dagsdk.registry as r; r.load_registry()"],
)
def test_without_torch(statement: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    allowed = {"rich"} if "cli" in statement else set()
    assert (HEAVY - allowed).isdisjoint(done.stdout.split())


def test_files_stay_short() -> None:
    lengths = {name(p): len(p.read_text(encoding="utf-8").splitlines()) for p in [*CORE, *PLUGINS]}
    too_long = {file: length for file, length in lengths.items() if length > 400}
    assert not too_long, f"over 400 lines: {too_long}; what could be a file of its own?"
    assert statistics.median(lengths.values()) <= 120
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= 300


@pytest.mark.parametrize("path", [*CORE, *PLUGINS], ids=name)
def test_files_are_named_for_what_is_in_them(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "common", "misc", "manager"}
