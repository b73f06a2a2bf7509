"""Detailed balance in gradients, for differentiable rewards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dagsdk import ObjectiveSpec, hookimpl
from dagsdk_nabla.options import NablaDBOptions, nabla_db_needs


@hookimpl
def dagsdk_objectives() -> Iterable[ObjectiveSpec[Any]]:
    yield ObjectiveSpec(
        name="nabla-db",
        summary="Residual ∇-DB, from the reward's gradient: samples p(x) ∝ p_ref(x) exp(β r(x))",
        build="dagsdk_nabla.nabla_db:NablaDB",
        options=NablaDBOptions,
        needs=nabla_db_needs,
        off_policy=True,
    )
