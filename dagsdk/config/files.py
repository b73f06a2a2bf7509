"""Run files: from TOML to a `RunConfig` and back."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import tomli_w
from cattrs import ClassValidationError, Converter

from dagsdk.config.checks import contradictions
from dagsdk.config.components import Specs, run_converter, writing_converter
from dagsdk.config.convert import plain
from dagsdk.config.mistakes import problems
from dagsdk.config.overrides import overridden
from dagsdk.config.schema import RunConfig
from dagsdk.errors import ConfigError


def read_run(path: str | Path, registry: Specs, overrides: Sequence[str] = ()) -> RunConfig:
    """The run that a file describes. Raises `ConfigError` with every mistake in it.

    Local plugins that the file names must be in `registry` already: see `load_run` and `local_plugins`.
    """
    return structure_run(load_run(path, overrides), registry, source=str(path))


def load_run(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The tables of a run file, not checked yet, with overrides applied and the paths in `plugins` made absolute.

    overrides: ``a.b=VALUE``, with values as in TOML; a bare word is a string.
    Raises `ConfigError` for a file that cannot be read or is not TOML, and for an override that cannot be applied.
    """
    run, mistakes = overridden(_parsed(Path(path)), overrides)
    if mistakes:
        raise ConfigError(str(path), mistakes)
    if isinstance(run.get("plugins"), list):
        folder = Path(path).absolute().parent
        run["plugins"] = [_absolute(entry, folder) if isinstance(entry, str) else entry for entry in run["plugins"]]
    return run


def local_plugins(run: Mapping[str, Any]) -> tuple[Path, ...]:
    """The plugin files that a loaded run names. They must be loaded before the run is structured."""
    plugins = run.get("plugins")
    return tuple(Path(p) for p in plugins if isinstance(p, str)) if isinstance(plugins, (list, tuple)) else ()


def structure_run(run: Mapping[str, Any], registry: Specs, source: str = "run") -> RunConfig:
    """The `RunConfig` of these tables. Raises `ConfigError` with every mistake in them.

    source: what the error calls them, such as the name of the file.
    """
    run = {"rollout": {}, **run}  # its default also names a component, whose options the registry knows
    converter = run_converter(registry)
    mistakes: list[str] = []
    config = None
    try:
        config = converter.structure(run, RunConfig)
    except ClassValidationError as group:
        mistakes.extend(problems(group))
    mistakes.extend(contradictions(run, _sound_sections(run, converter), registry))
    if mistakes or config is None:
        raise ConfigError(source, mistakes)
    return config


def resolved(config: RunConfig) -> dict[str, Any]:
    """Tables with every default spelled out, and options next to `name`. `structure_run` makes the same run of them.

    What is None is left out, so that a run without an output folder needs ``output=None`` again.
    """
    tables: dict[str, Any] = plain(writing_converter().unstructure(config))
    for section in (tables, tables["evaluate"]):
        if len(section["prompts"]) == 1:
            section["prompts"] = section["prompts"][0]
    return tables


def dump_toml(config: RunConfig) -> str:
    """The run file that `resolved` describes."""
    return tomli_w.dumps(resolved(config))


def fingerprint(config: RunConfig) -> str:
    """64 hexadecimal digits, the same for the same run, whichever file it came from."""
    return hashlib.sha256(dump_toml(config).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Paths such as ``rewards[0].weight`` whose values differ, between two results of `resolved`."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return [key for key in {**before, **after} if before.get(key, _ABSENT) != after.get(key, _ABSENT)]


_ABSENT = object()


def _parsed(path: Path) -> dict[str, Any]:
    cause: Exception
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError as error:
        problem, cause = "there is no such file; check the path", error
    except IsADirectoryError as error:
        problem, cause = "this is a folder; give the run file in it, such as run.toml", error
    except UnicodeDecodeError as error:
        problem, cause = (
            f"not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}; save it as UTF-8",
            error,
        )
    except tomllib.TOMLDecodeError as error:
        problem, cause = f"not valid TOML: {error}; correct it there", error
    except OSError as error:
        problem, cause = f"cannot be read: {error.strerror}; check its permissions", error
    raise ConfigError(str(path), [problem]) from cause


def _absolute(entry: str, folder: Path) -> str:
    return str(folder / Path(entry).expanduser())


def _sound_sections(run: Mapping[str, Any], converter: Converter) -> dict[str, Any]:
    sound = {}
    for section in attrs.fields(RunConfig):
        if section.name not in run:
            sound[section.name] = section.default
            continue
        try:
            sound[section.name] = converter.structure(run[section.name], section.type or Any)
        except Exception:  # reported already, with its path
            continue
    return {name: value for name, value in sound.items() if value is not attrs.NOTHING}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and (value or not path):
        for key, member in value.items():
            yield from _leaves(member, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(member, Mapping) for member in value):
        for i, member in enumerate(value):
            yield from _leaves(member, f"{path}[{i}]")
    else:
        yield path, value
