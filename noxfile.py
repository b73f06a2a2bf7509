"""Every check of the project. `nox` runs the default ones, `nox -l` lists them all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = False

ROOT = Path(__file__).parent
PLUGINS = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))
GROUPS = nox.project.load_toml(ROOT / "pyproject.toml")

# No session fetches an interpreter, and none reaches for a model hub.
os.environ["UV_PYTHON_DOWNLOADS"] = "never"
os.environ["HF_HUB_OFFLINE"] = "1"
# The networks of the tests are so small that a second thread only costs time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Without it every process that a test starts would compile all libraries again, which takes longer than the test.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# pyenv hides all but one interpreter behind its shims, unless PYENV_VERSION names them.
if (pyenv := Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions").is_dir():
    this = ".".join(map(str, sys.version_info[:3]))
    others = sorted(version.name for version in pyenv.glob("3.*") if version.name != this)
    os.environ.setdefault("PYENV_VERSION", ":".join([this, *others] if (pyenv / this).is_dir() else others))


def _runs(version: str) -> bool:
    """Whether this machine has that Python, and it starts (a shim may be there without one)."""
    if version == ".".join(map(str, sys.version_info[:2])):
        return True
    found = shutil.which(f"python{version}")
    return found is not None and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0


SUPPORTED = ["3.11", "3.12", "3.13"]
HERE = [version for version in SUPPORTED if _runs(version)] or SUPPORTED[:1]
EDGES = sorted({HERE[0], HERE[-1]}, key=SUPPORTED.index)  # the oldest and the newest of this machine

nox.options.sessions = [
    "lint",
    "types",
    *(f"core-{version}" for version in EDGES),
    "plugin",
    *(f"together-{version}" for version in EDGES),
    "minimums",
    "wheel",
    "by-hand",
    "scaffold",
]

# The tests of a session are shared out among the cores.
PARALLEL = ["-n", "auto"]

# A run small enough for a check: one epoch of four trajectories with four steps each.
SMALL = {
    "train.epochs": 1,
    "train.trajectories": 4,
    "train.updates": 1,
    "train.transitions": 0,
    "rollout.steps": 4,
    "evaluate.samples": 2,
}


def _group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(GROUPS, name))


def _editable(*folders: str) -> list[str]:
    return [argument for folder in folders for argument in ("-e", folder)]


def _with_siblings(name: str) -> list[str]:
    """Folders of a plugin and of those in plugins/ that it requires."""
    required = nox.project.load_toml(ROOT / "plugins" / name / "pyproject.toml")["project"]["dependencies"]
    names = [re.match(r"[\w-]+", line)[0] for line in required]
    return [f"plugins/{name}", *(folder for other in names if other in PLUGINS for folder in _with_siblings(other))]


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting and spelling of everything (ruff, codespell)."""
    session.install(*_group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """Types of the core and of every plugin (mypy --strict)."""
    session.install(*_group("types"), *_group("test"), *_editable(".", *(f"plugins/{name}" for name in PLUGINS)))
    session.run("mypy")


@nox.session(python=SUPPORTED)
def core(session: nox.Session) -> None:
    """The core and its tests, without any plugin installed."""
    session.install(*_editable("."), *_group("test"))
    session.run("pytest", *PARALLEL, "-m", "not network", *session.posargs)


@nox.session
@nox.parametrize("name", [nox.param(name, id=name.removeprefix("dagsdk-")) for name in PLUGINS])
def plugin(session: nox.Session, name: str) -> None:
    """The core and one plugin alone (with those that it requires), and that plugin's tests."""
    session.install(*_editable(".", *_with_siblings(name)), *_group("test"))
    session.run("pytest", *PARALLEL, "-m", "not network", f"plugins/{name}/tests", *session.posargs)


@nox.session(python=SUPPORTED)
def together(session: nox.Session) -> None:
    """The core and all plugins: no conflict between them, whole runs; on the newest Python all that the docs say."""
    session.install(*_editable(".", *(f"plugins/{name}" for name in PLUGINS)), *_group("test"), "uv")
    session.run("uv", "pip", "check")
    more = ["tests/docs", "tests/ground_truth", "tests/benchmarks"] if session.python == HERE[-1] else []
    session.run("pytest", *PARALLEL, "-m", "not network", "tests/together", *more, *session.posargs)


@nox.session(python=HERE[0])
def minimums(session: nox.Session) -> None:
    """The core's tests with the oldest version of every dependency that pyproject.toml allows."""
    session.install("--resolution=lowest-direct", *_editable("."), *_group("test"))
    session.run("pytest", *PARALLEL, "-m", "not network", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Builds the core and every plugin, installs the wheels into a clean environment and trains there."""
    outside = Path(session.create_tmp()).resolve()
    dist = outside / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for folder in (".", *(f"plugins/{name}" for name in PLUGINS)):
        session.run("uv", "build", "--quiet", "--no-sources", "--out-dir", str(dist), str(ROOT / folder))
    session.install(*map(str, sorted(dist.glob("*.whl"))))
    session.run("uv", "pip", "check")
    session.chdir(outside)  # where `import dagsdk` cannot mean the source tree
    shutil.rmtree("run", ignore_errors=True)
    small = [argument for key, value in SMALL.items() for argument in ("--set", f"{key}={value}")]
    session.run("dagsdk", "--version")
    session.run("dagsdk", "plugins", "--json", env={"DAGSDK_STRICT_PLUGINS": "1"})
    session.run("dagsdk", "train", str(ROOT / "docs/examples/quickstart.toml"), "--set", 'output="run"', *small)
    session.run("dagsdk", "sample", "run", "--prompt", "a red circle", "--out", "samples")


@nox.session(name="by-hand")
def by_hand(session: nox.Session) -> None:
    """A plugin written to the docs alone, as a wheel next to the core's wheel only: found, checked, used by name."""
    outside = Path(session.create_tmp()).resolve()
    shutil.rmtree(outside)
    outside.mkdir()
    dist = str(outside / "dist")
    session.run("uv", "build", "--quiet", "--wheel", "--no-sources", "--out-dir", dist, str(ROOT))
    session.install(*map(str, outside.glob("dist/*.whl")))
    session.chdir(outside)
    session.run("python", str(ROOT / "tests/fences.py"), str(ROOT / "docs/how-to/plugin-by-hand.md"))
    session.run("uv", "build", "--quiet", "--wheel", "--out-dir", dist, "dagsdk-ring")
    session.install("--no-deps", *map(str, outside.glob("dist/dagsdk_ring-*.whl")))
    session.run("uv", "pip", "check")
    strict = {"DAGSDK_STRICT_PLUGINS": "1"}
    session.run("dagsdk", "plugins", "show", "ring", env=strict)
    session.run("dagsdk", "plugins", "check", "ring", env=strict)
    session.run("dagsdk", "train", "ring.toml", env=strict)


@nox.session
def scaffold(session: nox.Session) -> None:
    """One generated plugin of each kind: lint, types, contract, training; and a new user's ten minutes."""
    groups = [*_group("test"), *_group("lint"), *_group("types")]
    session.install(*_editable(".", *(f"plugins/{name}" for name in PLUGINS)), *groups, "uv")
    session.run("pytest", *PARALLEL, "--dist", "loadfile", "tests/scaffold", *session.posargs)  # a file shares projects
