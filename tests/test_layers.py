"""Imports run one way, `import dagsdk` is light, and files stay short."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dagsdk

ROOT = Path(__file__).parents[1]
CORE = sorted((ROOT / "dagsdk").rglob("*.py"))
PLUGINS = sorted(ROOT.glob("plugins/*/src/**/*.py"))

LAYERS = (
    "errors", "suggestions", "specs", "hookspecs", "hookcalls", "plugins", "registry", "config", "process", "prompts",
    "rewards", "models", "objectives", "rollouts", "builtin", "engine", "evaluation", "run", "testing", "scaffold",
    "cli", "api", "__main__",
)  # fmt: skip
"""Packages and modules of dagsdk. A file imports from its own and from those to the left, and from nothing else."""
FOR_PLUGINS = LAYERS[: LAYERS.index("builtin")]
TORCHLESS = {*LAYERS[: LAYERS.index("process")], "builtin", "cli", "__main__"}
CONTRACTS = {"protocol", "options"}
"""Files of any package that load no torch either, like those whose first lines say so."""
HEAVY = {"torch", "numpy", "diffusers", "transformers", "peft", "accelerate", "matplotlib", "PIL", "rich"}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in CORE}


def layer_of(module: str) -> str:
    """The package or module of dagsdk that a module belongs to; "" for dagsdk itself, which loads nothing."""
    return module.split(".")[1] if "." in module else ""


def light(path: Path) -> bool:
    module, says = module_of(path), ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return layer_of(module) in {"", *TORCHLESS} or path.stem in CONTRACTS or "no torch" in says.lower()


def imports(path: Path, *, lazy: bool = True) -> Iterator[str]:
    """Modules that a file imports when it runs; without `lazy`, when it is imported.

    A name that `dagsdk` only passes on counts as an import from where it is.
    """

    def walk(nodes: list[ast.stmt]) -> Iterator[str]:
        for node in nodes:
            match node:
                case ast.Import(names=names):
                    yield from (alias.name for alias in names)
                case ast.ImportFrom(module=module, level=level, names=names):
                    assert level == 0, f"{path}:{node.lineno}: a relative import; name the module in full"
                    homes = dagsdk._HOME if module == "dagsdk" else {}
                    for alias in names:
                        whole = f"{module}.{alias.name}"
                        yield whole if whole in MODULES else homes.get(alias.name, str(module))
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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import torch.nn", ["torch.nn"]),
        ("from dagsdk import specs, Loss, hookimpl", ["dagsdk.specs", "dagsdk.objectives.protocol", "dagsdk"]),
        ("from dagsdk.engine import update", ["dagsdk.engine.update"]),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import b", ["b"]),
        ("try:\n    import a\nexcept ImportError:\n    import b", ["a", "b"]),
        ("def f():\n    with x:\n        import a", ["a"]),
        ("match x:\n    case 1:\n        import a", ["a"]),
    ],
)
def test_every_import_that_runs_is_found(text: str, found: list[str], tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(text, encoding="utf-8")
    assert list(imports(tmp_path / "file.py")) == found
    assert list(imports(tmp_path / "file.py", lazy=False)) == ([] if "def f" in text else found)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_package_is_a_layer() -> None:
    assert {layer_of(module) for module in MODULES} == {"", *LAYERS}


@pytest.mark.parametrize("path", CORE, ids=name)
def test_imports_run_one_way(path: Path) -> None:
    mine = layer_of(module_of(path))
    below = LAYERS[: LAYERS.index(mine) + 1] if mine else ()
    for target in imports(path):
        if target.split(".")[0] == "dagsdk" and (other := layer_of(target)):
            assert other in below, f"{name(path)} imports {target}; {mine or 'dagsdk'} may import from {below}"


@pytest.mark.parametrize("path", PLUGINS, ids=name)
def test_plugins_stay_out_of_the_engine(path: Path) -> None:
    for target in imports(path):
        if target.split(".")[0] == "dagsdk" and (layer := layer_of(target)):
            assert layer in FOR_PLUGINS, f"{name(path)} imports {target}; plugins may import from {FOR_PLUGINS}"


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_imports_no_plugin(path: Path) -> None:
    packages = {plugin.relative_to(ROOT).parts[3] for plugin in PLUGINS}
    assert packages.isdisjoint(target.split(".")[0] for target in imports(path))


@pytest.mark.parametrize("path", [p for p in [*CORE, *PLUGINS] if light(p)], ids=name)
def test_light_files_load_torch_when_it_is_used(path: Path) -> None:
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
