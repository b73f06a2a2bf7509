"""Components in a run file: the options next to a `name` are structured by the class that its spec declares."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import attrs
from cattrs import ClassValidationError, Converter
from cattrs.errors import StructureHandlerNotFoundError
from cattrs.gen import make_dict_unstructure_fn, override

from dagsdk.config.convert import Hook, attrs_class, plain, strict_converter
from dagsdk.config.mistakes import Mistake, did_you_mean, noted, problems, unknown_key, wrong_type
from dagsdk.config.schema import (
    Component,
    FolderOptions,
    ModelConfig,
    ObjectiveConfig,
    PromptsConfig,
    RewardConfig,
    RolloutConfig,
)
from dagsdk.errors import ConfigError, DagsdkError, UnknownComponentError

KIND_OF: dict[type[Component], str] = {
    ModelConfig: "models",
    PromptsConfig: "prompts",
    RewardConfig: "rewards",
    ObjectiveConfig: "objectives",
    RolloutConfig: "rollouts",
}
"""Section of a run file, to the kind of component that its `name` chooses."""

PromptSets = tuple[PromptsConfig, ...]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class Specs(Protocol):
    """What this package uses of `dagsdk.registry.Registry`."""

    def get(self, kind: str, name: str, /) -> Any:
        """The spec called `name`; raises `UnknownComponentError` or `PluginError`."""

    def names(self, kind: str, /) -> Any:
        """The names of that kind, iterable."""


def run_converter(registry: Specs) -> Converter:
    """The strict converter, which looks components up in `registry`."""
    converter = strict_converter()
    converter.register_structure_hook_factory(
        lambda cl: cl in KIND_OF,
        lambda cl, converter: _component(cl, converter, registry),
    )
    converter.register_structure_hook_factory(lambda kind: kind == PromptSets, _one_or_several)
    return converter


@cache
def writing_converter() -> Converter:
    """Turns a `RunConfig` back into tables, with the options next to `name`."""
    converter = strict_converter()

    def factory(cl: type[Component], converter: Converter) -> Any:
        own = make_dict_unstructure_fn(cl, converter, options=override(omit=True))
        return lambda component: {**own(component), **converter.unstructure(component.options)}

    converter.register_unstructure_hook_factory(lambda cl: cl in KIND_OF, factory)
    return converter


def structure_options(options: type[Any], table: Mapping[str, Any], source: str) -> Any:
    """Options of one component from the keys next to its `name`. Raises ConfigError with every mistake in them."""
    converter = strict_converter()
    try:
        return _strictly(converter, options, table, [])
    except (ClassValidationError, Mistake) as error:
        raise ConfigError(source, [*problems(error)]) from error
    except (StructureHandlerNotFoundError, NameError) as error:
        problem = f"options {options.__name__} have a type that a run file cannot write: {_line(error)}"
        raise ConfigError(source, [problem]) from error


def plain_options(options: Any) -> dict[str, Any]:
    """Options as tables, from which `structure_options` makes the same options again."""
    tables: dict[str, Any] = plain(writing_converter().unstructure(options))
    return tables


def options_class(registry: Specs, kind: str, name: str) -> type[Any]:
    """The class of a component's options. Raises `Mistake` for a name that no plugin provides."""
    try:
        options: type[Any] = registry.get(kind, name).options
        return options
    except UnknownComponentError as error:
        if kind != "models":
            raise Mistake(_line(error)) from error
        return _folder_or_hub_id(name, registry, error)
    except DagsdkError as error:  # a plugin that failed to load would have provided it
        raise Mistake(_line(error)) from error


def _folder_or_hub_id(name: str, registry: Specs, unknown: UnknownComponentError) -> type[FolderOptions]:
    if Path(name).expanduser().is_dir():
        return FolderOptions
    if name.startswith((".", "/", "~")):
        raise Mistake(f"there is no folder {name!r}; give an existing folder, an installed model or a Hub id")
    if not _HUB_ID.fullmatch(name):
        installed = sorted(registry.names("models"))
        listed = f"; installed: {', '.join(map(repr, installed))}" if installed else ""
        raise Mistake(
            f"{name!r} is neither an installed model, nor a folder, nor a Hub id (owner/name)"
            f"{did_you_mean(name, installed) or listed}"
        )
    return FolderOptions


def _one_or_several(kind: Any, converter: Converter) -> Hook:
    """[prompts] stands for a single [[prompts]]."""
    several = converter.get_structure_hook(Sequence[PromptsConfig])

    def hook(value: Any, _: Any) -> Any:
        if isinstance(value, Mapping):
            return (converter.structure(value, PromptsConfig),)
        return several(value, Sequence[PromptsConfig])

    return hook


def _component(cl: type[Component], converter: Converter, registry: Specs) -> Hook:
    structure_own = attrs_class(cl, converter, options=override(omit=True))
    fields = {a.name: a for a in attrs.fields(cl) if a.name != "options"}

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise wrong_type(value, dict)
        errors: list[Exception] = []
        section: Component | None = None
        options = None
        try:
            section = structure_own({key: value[key] for key in value if key in fields}, cl)
        except ClassValidationError as group:
            errors.extend(group.exceptions)
        rest = {key: value[key] for key in value if key not in fields}
        name = value.get("name", fields["name"].default)
        if isinstance(name, str) and name:
            try:
                options = _structure_options(converter, registry, KIND_OF[cl], name, rest, list(fields))
            except ClassValidationError as group:
                errors.extend(group.exceptions)
            except Mistake as mistake:
                errors.append(noted(mistake, "name"))
        else:  # the component is unknown and so are its options, but a misspelt key of the section itself shows
            misspelt = (key for key in rest if did_you_mean(key, fields))
            errors.extend(noted(Mistake(unknown_key(key, fields)), key) for key in misspelt)
        if errors or section is None:
            raise ClassValidationError(f"While structuring {cl.__name__}", errors, cl)
        return attrs.evolve(section, options=options)

    return hook


def _structure_options(
    converter: Converter, registry: Specs, kind: str, name: str, rest: Mapping[str, Any], taken: list[str]
) -> Any:
    cl = options_class(registry, kind, name)
    known = [a.name for a in attrs.fields(cl)]
    if clash := [key for key in known if key in taken]:
        raise Mistake(
            f"{name!r} has an option {clash[0]!r}, which is a key of the section itself; its plugin must rename it"
        )
    try:
        return _strictly(converter, cl, rest, taken)
    except (StructureHandlerNotFoundError, NameError) as error:
        raise Mistake(
            f"{name!r} has options {cl.__name__} of a type that a run file cannot write: {_line(error)}; its "
            "plugin must change it"
        ) from error


def _strictly(converter: Converter, cl: type[Any], table: Mapping[str, Any], taken: list[str]) -> Any:
    """`cl` from a table in which every other key is a mistake.

    taken: keys that the section owns, for suggestions.
    """
    known = [a.name for a in attrs.fields(cl)]
    errors: list[Exception] = [
        noted(Mistake(unknown_key(key, [*taken, *known])), key) for key in table if key not in known
    ]
    options = None
    try:
        options = converter.structure({key: table[key] for key in table if key in known}, cl)
    except ClassValidationError as group:
        errors.extend(group.exceptions)
    if errors:
        raise ClassValidationError(f"While structuring {cl.__name__}", errors, cl)
    return options


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
