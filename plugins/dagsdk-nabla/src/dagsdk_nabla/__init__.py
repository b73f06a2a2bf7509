"""Detailed balance in gradients, for rewards that have one. Torch loads in `build`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dagsdk import BuildContext, ObjectiveSpec, hookimpl
from dagsdk_nabla.options import NEEDS, NablaDBOptions, unneeded

if TYPE_CHECKING:
    from dagsdk.objectives.protocol import Objective


def build(options: NablaDBOptions, context: BuildContext) -> Objective:
    from dagsdk_nabla.nabla_db import NablaDB

    return NablaDB(options)


@hookimpl
def dagsdk_objectives() -> Iterable[ObjectiveSpec[Any]]:
    yield ObjectiveSpec(
        name="nabla-db",
        summary="Residual ∇-DB, from the reward's gradient: samples p(x) ∝ p_ref(x) exp(β r(x))",
        build=build,
        options=NablaDBOptions,
        needs=NEEDS,
        unneeded=unneeded,
        off_policy=True,
    )
