"""What holds for components of every kind: their options, and building them."""

from __future__ import annotations

import tomllib
from typing import Any

import attrs
import tomli_w

from dagsdk.config.components import plain_options, structure_options
from dagsdk.config.docs import option_docs
from dagsdk.testing.case import Case
from dagsdk.testing.check import ContractError, NotApplicable, require
from dagsdk.testing.isolation import offline


def check_options_are_frozen(case: Case) -> None:
    """Options cannot be changed once they are made."""
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
    fields = attrs.fields(attrs.resolve_types(case.spec.options))  # annotations may be texts
    loose = [field.name for field in fields if field.init and field.type in (None, Any, object)]
    require(
        not loose,
        f"{case.name}: options {', '.join(loose)} of {case.spec.options.__name__} take anything; annotate them with "
        "the type that a run file must give",
    )


def check_options_survive_a_run_file(case: Case) -> None:
    """Options written to a run file and read back are the same."""
    text = tomli_w.dumps(plain_options(case.structured))
    again = structure_options(case.spec.options, tomllib.loads(text), source=case.name)
    require(
        again == case.structured,
        f"{case.name}: its options are {case.structured!r}, and {again!r} once written as TOML and read back; use "
        "fields that a run file can hold, without converters that change them",
    )


def check_options_are_documented(case: Case) -> None:
    """Every option has a line `name: what it does` in its class's docstring."""
    told = option_docs(case.spec.options)
    missing = [field.name for field in attrs.fields(case.spec.options) if field.init and field.name not in told]
    require(
        not missing,
        f"{case.name}: options {', '.join(missing)} have no line `name: ...` in the docstring of "
        f"{case.spec.options.__name__}; `dagsdk plugins show` prints it",
    )


def check_works_offline(case: Case) -> None:
    """Building needs no network unless `weights` says what is fetched."""
    if case.spec.weights:
        raise NotApplicable(f"it fetches {', '.join(case.spec.weights)}")
    with offline() as asked:
        try:
            case.build()
        except Exception as error:
            if not asked:
                raise
            raise ContractError(_fetches(case, asked)) from error
    require(not asked, _fetches(case, asked))


def _fetches(case: Case, asked: list[str]) -> str:
    return f"{case.name}: build asked the network for {asked[0] if asked else ''}; declare what it fetches in `weights`"


COMPONENT_CHECKS = (
    check_options_are_frozen,
    check_options_have_types,
    check_options_survive_a_run_file,
    check_options_are_documented,
    check_works_offline,
)
