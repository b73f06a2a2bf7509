"""Rules for components of every kind: their options, and how they are built."""

from __future__ import annotations

import tomllib
from typing import Any

import attrs
import tomli_w

from dagsdk.config.components import plain_options, structure_options
from dagsdk.config.docs import option_docs
from dagsdk.testing.case import Case
from dagsdk.testing.check import ContractError, NotApplicable, recommended, require
from dagsdk.testing.isolation import offline


def check_options_are_frozen(case: Case) -> None:
    """Options cannot be changed after they are made."""
    fields = [field.name for field in attrs.fields(type(case.structured))]
    if not fields:
        raise NotApplicable("there are no options")
    try:
        setattr(case.structured, fields[0], getattr(case.structured, fields[0]))
    except attrs.exceptions.FrozenInstanceError:
        return
    raise ContractError(
        f"{case.name}: its options {case.spec.options.__name__} can be changed; decorate the class with `@attrs.frozen`"
    )


def check_options_have_types(case: Case) -> None:
    """Every option has a type, so that a wrong value in a run file is refused."""
    fields = attrs.fields(attrs.resolve_types(case.spec.options))  # annotations may be strings
    loose = [field.name for field in fields if field.init and field.type in (None, Any, object)]
    require(
        not loose,
        f"{case.name}: options {', '.join(loose)} of {case.spec.options.__name__} accept any value; annotate them "
        "with the type that a run file must give",
    )


def check_options_survive_a_run_file(case: Case) -> None:
    """Options written to a run file and read back are the same."""
    text = tomli_w.dumps(plain_options(case.structured))
    again = structure_options(case.spec.options, tomllib.loads(text), source=case.name)
    require(
        again == case.structured,
        f"{case.name}: its options are {case.structured!r}, but {again!r} after being written as TOML and read back; "
        "use fields that a run file can hold, without converters that change them",
    )


@recommended
def check_options_are_documented(case: Case) -> None:
    """Every option has a line `name: what it does` in the docstring of its class."""
    documented = option_docs(case.spec.options)
    missing = [field.name for field in attrs.fields(case.spec.options) if field.init and field.name not in documented]
    require(
        not missing,
        f"{case.name}: options {', '.join(missing)} have no line `name: ...` in the docstring of "
        f"{case.spec.options.__name__}; add it, since `dagsdk plugins show` prints it",
    )


def check_works_offline(case: Case) -> None:
    """Building needs no network, unless `weights` names what is downloaded."""
    if case.spec.weights:
        raise NotApplicable(f"it downloads {', '.join(case.spec.weights)}")
    with offline() as asked:
        try:
            case.build()
        except Exception as error:
            if not asked:
                raise
            raise ContractError(_downloads(case, asked)) from error
    require(not asked, _downloads(case, asked))


def _downloads(case: Case, asked: list[str]) -> str:
    address = asked[0] if asked else ""
    return f"{case.name}: build tried to connect to {address}; name what it downloads in `weights` of its record"


COMPONENT_CHECKS = (
    check_options_are_frozen,
    check_options_have_types,
    check_options_survive_a_run_file,
    check_options_are_documented,
    check_works_offline,
)
