"""A registry of a few components with every sort of option, for the tests of run files."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from attrs import field, frozen
from attrs.validators import and_, ge, gt, in_, le

from dagsdk.errors import PluginError, UnknownComponentError
from dagsdk.objectives.parts import Needs
from dagsdk.rollouts.options import IndependentOptions
from dagsdk.specs import ModelSpec, ObjectiveSpec, PromptSpec, RewardSpec, RolloutSpec


class Side(Enum):
    LEFT = "left"
    RIGHT = "right"


@frozen(kw_only=True)
class Band:
    low: float = 0.0
    high: float = field(default=1.0)

    @high.validator
    def _above_low(self, attribute: Any, value: float) -> None:
        if value < self.low:
            raise ValueError(f"'high' must be >= low ({self.low}): {value}")


@frozen(kw_only=True)
class JpegOptions:
    quality: int = field(default=95, validator=and_(ge(1), le(100)))
    side: Side = Side.LEFT
    tone: str = field(default="warm", validator=in_(["warm", "cold"]))
    limit: int | float | None = None
    words: tuple[str, ...] = ()
    corners: tuple[tuple[int, int], ...] = ()
    tags: frozenset[str] = frozenset()
    table: Mapping[str, float] = field(factory=dict)
    folder: Path = Path("cache")
    band: Band = Band()
    anything: Any = None


@frozen(kw_only=True)
class DagOptions:
    beta: float = field(default=100.0, validator=gt(0))
    anneal: Literal["none", "linear"] = "none"


@frozen(kw_only=True)
class ComparingOptions:
    tracked: bool = False
    smooth: bool = False


@frozen(kw_only=True)
class WindowOptions:
    first: int = 0
    branches: int = 1


@frozen(kw_only=True)
class FileOptions:
    path: str


@frozen(kw_only=True)
class ClashingOptions:
    weight: float = 2.0


class Window:
    """A rollout that trains the steps from `first` on, of trajectories that branch."""

    def __init__(self, options: WindowOptions) -> None:
        self.options = options

    def plan(self, epoch: int, epochs: int, num_steps: int) -> Any:
        return SimpleNamespace(window=(self.options.first, num_steps), branches=self.options.branches)


def _build(options: Any, context: Any) -> Any:
    raise AssertionError("reading a run file builds nothing")


def _objective(name: str, *needs: Needs, **more: Any) -> ObjectiveSpec[Any]:
    return ObjectiveSpec(name=name, summary="s", build=_build, needs=frozenset(needs), **more)


_SPECS: dict[str, list[Any]] = {
    "rewards": [
        RewardSpec(name="jpeg", summary="s", build=_build, options=JpegOptions),
        RewardSpec(name="smooth", summary="s", build=_build, differentiable=True),
        RewardSpec(name="clashing", summary="s", build=_build, options=ClashingOptions),
    ],
    "prompts": [
        PromptSpec(name="shapes", summary="s", build=_build),
        PromptSpec(name="file", summary="s", build=_build, options=FileOptions),
    ],
    "objectives": [
        ObjectiveSpec(name="dag-db", summary="s", build=_build, options=DagOptions, off_policy=True),
        _objective("nabla-db", Needs.STATE_FLOW, Needs.REWARD_GRADIENT),
        _objective("confused", Needs.FORWARD_LOOKING),
        _objective("pathless", Needs.STATE_FLOW_PATH),
        ObjectiveSpec(
            name="comparing",
            summary="s",
            build=_build,
            options=ComparingOptions,
            needs=lambda options: frozenset({Needs.REWARD_GRADIENT} if options.smooth else ()),
            compares_images=lambda options: not options.tracked,
        ),
        _objective("rwr", Needs.REFERENCE, Needs.OLD_OUTPUT, batches="denoisings", samples="reference"),
        _objective("astray", Needs.OLD, Needs.REFERENCE, batches="denoisings"),
    ],
    "rollouts": [
        RolloutSpec(
            name="independent",
            summary="s",
            build=lambda options, context: Window(WindowOptions()),
            options=IndependentOptions,
            images=lambda options: options.images_per_prompt,
        ),
        RolloutSpec(name="window", summary="s", build=Window, options=WindowOptions),
        RolloutSpec(name="unbuildable", summary="s", build=_build),
    ],
    "models": [ModelSpec(name="shapes", summary="s", build=_build)],
}


class StandIn:
    """Answers like `dagsdk.registry.Registry`."""

    def names(self, kind: str, /) -> list[str]:
        return [spec.name for spec in _SPECS[kind]]

    def get(self, kind: str, name: str, /) -> Any:
        if name == "broken":
            raise PluginError("plugin 'broken' of dagsdk-broken 1.0 failed:\nImportError: no such thing")
        for spec in _SPECS[kind]:
            if spec.name == name:
                return spec
        raise UnknownComponentError(f"no {kind} called {name!r}; did you mean {_SPECS[kind][0].name!r}?")


@pytest.fixture(scope="session")
def registry() -> StandIn:
    return StandIn()
