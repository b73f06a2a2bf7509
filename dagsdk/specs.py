"""The records that hooks return: what a component is called, how it is built, what it may do. No torch here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import field, frozen

from dagsdk.errors import PluginError

if TYPE_CHECKING:
    import torch

    from dagsdk.families.protocol import Family
    from dagsdk.objectives.protocol import Needs, Objective
    from dagsdk.prompts.protocol import PromptSet
    from dagsdk.rewards.protocol import Reward
    from dagsdk.rollouts.protocol import Rollout

OptionsT = TypeVar("OptionsT")

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@frozen
class NoOptions:
    """For a component without options: any key beside `name` is a mistake."""


@frozen(kw_only=True)
class BuildContext:
    """What a component may know of the run it is built for.

    device: where tensors live, such as ``"cpu"`` or ``"cuda:0"``.
    dtype: what frozen networks compute in (``torch.float32``, or half precision under bf16/fp16).
    seed: the run's seed; a component that draws random numbers seeds a generator of its own from it.
    """

    device: str = "cpu"
    seed: int = 0
    mixed_precision: str = "no"

    @property
    def dtype(self) -> torch.dtype:
        import torch

        return {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.mixed_precision]


def _valid_name(spec: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise PluginError(
            f"{type(spec).__name__}: name is {value!r}; it must be lower-case letters, digits and single hyphens; "
            "rename the component"
        )


def _one_line(spec: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, str) or not value.strip() or "\n" in value:
        raise PluginError(
            f"{type(spec).__name__} {spec.name!r}: summary is {value!r}; it must be one non-empty line, since "
            "`dagsdk plugins` shows it; write one"
        )


def _callable(spec: Any, attribute: Any, value: Any) -> None:
    if not callable(value):
        raise PluginError(
            f"{type(spec).__name__} {spec.name!r}: {attribute.name} is {value!r}; it must be a function "
            f"of {'(options)' if attribute.name == 'unneeded' else '(options, context)'}"
        )


def _nothing(options: object) -> frozenset[Needs]:
    return frozenset()


def _attrs_class(spec: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, type) or not hasattr(value, "__attrs_attrs__"):
        raise PluginError(
            f"{type(spec).__name__} {spec.name!r}: options is {value!r}; it must be a frozen attrs class "
            "(decorate it with `@attrs.frozen`)"
        )


@frozen(kw_only=True)
class RewardSpec(Generic[OptionsT]):
    """A reward: scores images. `build` returns a `dagsdk.rewards.protocol.Reward`.

    name: lower-case, ``[a-z0-9-]``; what a run file calls it.
    summary: one line, shown by `dagsdk plugins`.
    build: makes the component from its options; heavy imports belong in here.
    options: a frozen attrs class, structured strictly from the keys beside `name` in the run file.
    differentiable: may gradients flow from the score to the image?
    weights: what `build` fetches from elsewhere; () means that it works offline.
    """

    name: str = field(validator=_valid_name)
    summary: str = field(validator=_one_line)
    build: Callable[[OptionsT, BuildContext], Reward] = field(validator=_callable)
    options: type[OptionsT] = field(default=NoOptions, validator=_attrs_class)  # type: ignore[assignment]
    differentiable: bool = False
    weights: tuple[str, ...] = ()


@frozen(kw_only=True)
class PromptSpec(Generic[OptionsT]):
    """A set of prompts. `build` returns a sequence of `dagsdk.Prompt` that never changes."""

    name: str = field(validator=_valid_name)
    summary: str = field(validator=_one_line)
    build: Callable[[OptionsT, BuildContext], PromptSet] = field(validator=_callable)
    options: type[OptionsT] = field(default=NoOptions, validator=_attrs_class)  # type: ignore[assignment]
    weights: tuple[str, ...] = ()


@frozen(kw_only=True)
class ObjectiveSpec(Generic[OptionsT]):
    """A training objective. `build` returns a `dagsdk.objectives.protocol.Objective`.

    needs: what the engine must compute for it, known before anything is built, so that impossible pairs are
        refused when the run file is read. The built objective's `needs` must be the same set or a part of it.
    unneeded: which of these an objective with these options does without.
    off_policy: may it be trained on trajectories that the policy did not sample ([replay])?
    """

    name: str = field(validator=_valid_name)
    summary: str = field(validator=_one_line)
    build: Callable[[OptionsT, BuildContext], Objective] = field(validator=_callable)
    options: type[OptionsT] = field(default=NoOptions, validator=_attrs_class)  # type: ignore[assignment]
    needs: frozenset[Needs] = frozenset()
    unneeded: Callable[[OptionsT], frozenset[Needs]] = field(default=_nothing, validator=_callable)
    off_policy: bool = False
    weights: tuple[str, ...] = ()


@frozen(kw_only=True)
class RolloutSpec(Generic[OptionsT]):
    """A way of sampling trajectories. `build` returns a `dagsdk.rollouts.protocol.Rollout`.

    images: how many images a prompt has in an epoch (images_per_prompt · branches of every plan), by the options, so
        that a run that wants more of them is refused when the run file is read; None is not known before the plan.
    """

    name: str = field(validator=_valid_name)
    summary: str = field(validator=_one_line)
    build: Callable[[OptionsT, BuildContext], Rollout] = field(validator=_callable)
    options: type[OptionsT] = field(default=NoOptions, validator=_attrs_class)  # type: ignore[assignment]
    images: Callable[[OptionsT], int] | None = None
    weights: tuple[str, ...] = ()


@frozen(kw_only=True)
class ModelSpec(Generic[OptionsT]):
    """A model to align. `build` returns a `dagsdk.families.protocol.Family`."""

    name: str = field(validator=_valid_name)
    summary: str = field(validator=_one_line)
    build: Callable[[OptionsT, BuildContext], Family] = field(validator=_callable)
    options: type[OptionsT] = field(default=NoOptions, validator=_attrs_class)  # type: ignore[assignment]
    weights: tuple[str, ...] = ()


Spec = RewardSpec[Any] | PromptSpec[Any] | ObjectiveSpec[Any] | RolloutSpec[Any] | ModelSpec[Any]

KINDS: dict[str, type] = {
    "rewards": RewardSpec,
    "prompts": PromptSpec,
    "objectives": ObjectiveSpec,
    "rollouts": RolloutSpec,
    "models": ModelSpec,
}
"""Kind of component, as `dagsdk plugins --json` names it, to the record that declares one."""
