"""What a check is given: a component's record, its options, and what it is tried with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from attrs import Factory, define

from dagsdk.config.components import structure_options
from dagsdk.specs import BuildContext, Spec


@define(eq=False, kw_only=True)
class Case:
    """A component under test. Each kind has a case of its own, with what its components are tried with.

    spec: the record that its hook yields.
    options: as a run file gives them beside `name`; needed where an option has no default.
    context: what `build` gets.
    """

    spec: Spec
    options: Mapping[str, Any] = Factory(dict)
    context: BuildContext = Factory(BuildContext)

    @property
    def name(self) -> str:
        return f"{type(self.spec).__name__.removesuffix('Spec').lower()} {self.spec.name!r}"

    @cached_property
    def structured(self) -> Any:
        """The options as `build` gets them. Raises ConfigError with every mistake in them."""
        return structure_options(self.spec.options, self.options, source=self.name)

    def build(self) -> Any:
        """The component, built anew."""
        return self.spec.build(self.structured, self.context)

    @cached_property
    def built(self) -> Any:
        """The component, built once and shared by the checks."""
        return self.build()
