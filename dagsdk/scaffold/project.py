"""A plugin project from templates: installable, tested and publishable as it is. Loads no torch, needs no network.

A project is the templates in `templates/common` and those in the folder of its kind. Their paths end in `.tmpl`; MODULE
in a path stands for the package's name, NAME for the component's. `string.Template` fills in the texts.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from datetime import date
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template

from attrs import frozen
from packaging.version import Version

from dagsdk import __version__
from dagsdk.errors import DagsdkError
from dagsdk.registry import Registry

PREFIX = "dagsdk-"
LONGEST = 40
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@frozen(kw_only=True)
class Kind:
    """A kind of project.

    registered: the kind as the registry and `dagsdk plugins --json` call it.
    words: what a sentence calls the kind.
    start: the file of the package to open first.
    tested_with: what the project's tests and its run file need, apart from pytest.
    """

    registered: str
    words: str
    start: str
    tested_with: tuple[str, ...] = ("dagsdk-shapes>=0.1,<1",)


KINDS = {
    "reward": Kind(registered="rewards", words="reward", start="reward.py"),
    "prompts": Kind(registered="prompts", words="prompt set", start="prompts.py"),
    "objective": Kind(registered="objectives", words="objective", start="objective.py"),
    "rollout": Kind(registered="rollouts", words="rollout", start="rollout.py"),
    "model": Kind(registered="models", words="model", start="model.py", tested_with=()),
}


def module_of(name: str) -> str:
    """The package of a project: "sharp-edges" → "dagsdk_sharp_edges"."""
    return f"dagsdk_{name.replace('-', '_')}"


def write_project(
    kind: str, name: str, registry: Registry, *, folder: Path | None = None, author: str | None = None
) -> Path:
    """Writes the project, whole or not at all, and returns its folder: `folder`, or ./dagsdk-NAME.

    kind: a key of `KINDS`.
    name: of the component and of its entry point; the distribution is dagsdk-NAME.
    registry: what is installed, whose names are taken.
    author: for the licence and the metadata.

    Raises DagsdkError for a name that is not allowed or is taken, and for a folder that is not empty.
    """
    _check_name(kind, name, registry)
    if author is not None and (not author.strip() or not author.isprintable()):
        raise DagsdkError(f"author is {author!r}; it must be one non-empty line; give a name, as in --author 'A. Name'")
    values = placeholders(kind, name, author.strip() if author else f"The {PREFIX}{name} authors")
    target = Path(f"{PREFIX}{name}") if folder is None else folder
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise DagsdkError(
                f"{str(target)!r} exists and is not an empty folder; a project needs a new one: choose another with "
                "--folder, or move this one away"
            )
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        # Renamed when it is complete, so that nobody finds half a project.
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.absolute().parent) as unfinished:
            for path, text in rendered(kind, values).items():
                file = Path(unfinished) / "project" / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8", newline="\n")
            if target.is_dir():
                target.rmdir()
            (Path(unfinished) / "project").rename(target)
    except OSError as error:
        raise DagsdkError(
            f"{str(target)!r} cannot be written ({error.strerror}); choose a folder that you may write to with --folder"
        ) from error
    return target


def placeholders(kind: str, name: str, author: str) -> dict[str, str]:
    """The values of the templates' placeholders."""
    return {
        "kind": kind,
        "words": KINDS[kind].words,
        "name": name,
        "module": module_of(name),
        "author": author,
        "author_quoted": _quoted(author),
        "year": str(date.today().year),
        "core": core_range(__version__),
        "tested_with": "".join(f", {_quoted(requirement)}" for requirement in KINDS[kind].tested_with),
    }


def core_range(version: str) -> str:
    """The versions of the core with the same contracts as this one: "0.1.3" → ">=0.1,<0.2", "2.1" → ">=2.1,<3"."""
    parsed = Version(version)
    oldest = f"{parsed.major}.{parsed.minor}{'.dev0' if parsed.is_prerelease else ''}"
    return f">={oldest},<{parsed.major + 1}" if parsed.major else f">={oldest},<0.{parsed.minor + 1}"


def rendered(kind: str, values: Mapping[str, str]) -> dict[PurePosixPath, str]:
    """The files of a project: path to text."""
    names = {"MODULE": values["module"], "NAME": values["name"].replace("-", "_")}
    templates = files("dagsdk.scaffold") / "templates"
    texts = {}
    for part in ("common", kind):
        for path, template in _walk(templates / part, PurePosixPath()):
            named = re.sub("MODULE|NAME", lambda found: names[found[0]], str(path)).removesuffix(".tmpl")
            texts[PurePosixPath(named)] = Template(template.read_text(encoding="utf-8")).substitute(values)
    return texts


def _walk(folder: Traversable, path: PurePosixPath) -> Iterator[tuple[PurePosixPath, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, path / entry.name)
        elif entry.name.endswith(".tmpl"):
            yield path / entry.name, entry


def _quoted(text: str) -> str:
    """As a TOML string, which for printable text is a JSON string."""
    return json.dumps(text, ensure_ascii=False)


def _check_name(kind: str, name: str, registry: Registry) -> None:
    if kind not in KINDS:
        raise DagsdkError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    if not _NAME.fullmatch(name) or len(name) > LONGEST:
        raise DagsdkError(
            f"name is {name!r}; it must be lower-case letters, digits and single hyphens, {LONGEST} characters at "
            f"most: `dagsdk new {kind} sharp-edges`"
        )
    if name.startswith(PREFIX):
        bare = name.removeprefix(PREFIX)
        raise DagsdkError(f"name is {name!r}; the prefix is added to it: `dagsdk new {kind} {bare}`")
    registered = KINDS[kind].registered
    if name in registry.names(registered):
        taken = f"{KINDS[kind].words} {name!r} is provided by {registry.provider(registered, name).label}"
    elif owner := next((plugin for plugin in registry.plugins if plugin.name == name), None):
        taken = f"the name {name!r} is that of {owner.label}"
    else:
        return
    raise DagsdkError(f"{taken}, and a name can be taken only once; choose another, or uninstall that plugin")
