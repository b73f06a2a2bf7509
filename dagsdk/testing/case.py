"""The argument of a check: a component's record, its options, and the inputs that it is tested with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from attrs import Factory, define

from dagsdk.config.components import structure_options
from dagsdk.specs import BuildContext, Spec


@define(eq=False, kw_only=True)
class Case:
    """A component under test. Each kind has its own case, with inputs for its components.

    spec: the record that its hook yields.
    options: as in a run file, without `name`; required where an option has no default.
    context: the second argument of `build`.
    """

    spec: Spec
    options: Mapping[str, Any] = Factory(dict)
    context: BuildContext = Factory(BuildContext)

    @property
    def name(self) -> str:
        return f"{type(self.spec).__name__.removesuffix('Spec').lower()} {self.spec.name!r}"

    @cached_property
    def structured(self) -> Any:
        """The options as `build` receives them. Raises ConfigError with every mistake in them."""
        return structure_options(self.spec.options, self.options, source=self.name)

    def build(self) -> Any:
        """A new component."""
        return self.spec.make(self.structured, self.context)

    @cached_property
    def built(self) -> Any:
        """A component that is built once and shared by the checks."""
        return self.build()
