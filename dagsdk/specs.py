"""The records that hooks return: what a component is called, how it is built, what it may do. No torch here."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from attrs import field, frozen
from attrs.validators import in_

from dagsdk.errors import PluginError

if TYPE_CHECKING:
    import torch

    from dagsdk.objectives.parts import Needs

OptionsT = TypeVar("OptionsT")

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_IMPORT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@frozen
class NoOptions:
    """For a component without options: any key next to `name` is a mistake."""


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


def _buildable(spec: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, str) and _IMPORT.fullmatch(value):
        return
    if not callable(value):
        raise PluginError(
            f"{type(spec).__name__} {spec.name!r}: build is {value!r}; it must be a function of (options, context), or "
            'an import string such as "my_package.module:MyClass"'
        )


def _set_of_needs(spec: Any, attribute: Any, value: Any) -> None:
    if not callable(value) and not isinstance(value, frozenset):
        raise PluginError(
            f"{type(spec).__name__} {spec.name!r}: needs is {value!r}; it must be a frozenset of `dagsdk.Needs`, or a "
            "function of the options that returns one"
        )


def _attrs_class(spec: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, type) or not hasattr(value, "__attrs_attrs__"):
        raise PluginError(
            f"{type(spec).__name__} {spec.name!r}: options is {value!r}; it must be a frozen attrs class "
            "(decorate it with `@attrs.frozen`)"
        )


@frozen(kw_only=True)
class ComponentSpec(Generic[OptionsT]):
    """What the records of every kind share.

    name: lower-case, ``[a-z0-9-]``; what a run file calls it.
    summary: one line, shown by `dagsdk plugins`.
    build: makes the component: a function of (options, context), or of options alone; heavy imports belong in here.
        Or an import string, ``"my_package.module:MyClass"``, of such a function or class, imported when it is built.
    options: a frozen attrs class, structured strictly from the keys next to `name` in the run file.
    weights: what `build` fetches from elsewhere; () means that it works offline.
    """

    name: str = field(validator=_valid_name)
    summary: str = field(validator=_one_line)
    build: Callable[..., Any] | str = field(validator=_buildable)
    options: type[OptionsT] = field(default=NoOptions, validator=_attrs_class)  # type: ignore[assignment]
    weights: tuple[str, ...] = ()

    def make(self, options: OptionsT, context: BuildContext) -> Any:
        """The component, built with these options. Raises PluginError for an import string that leads nowhere."""
        build = self._imported(self.build) if isinstance(self.build, str) else self.build
        return build(options, context) if _takes_context(build) else build(options)

    def _imported(self, target: str) -> Any:
        module, _, path = target.partition(":")
        try:
            found: Any = import_module(module)
            for attribute in path.split("."):
                found = getattr(found, attribute)
        except (ModuleNotFoundError, AttributeError) as error:
            missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else module
            if isinstance(missing, str) and not (module + ".").startswith(missing + "."):
                raise  # a library that the module needs is missing, not the module
            raise PluginError(
                f"{type(self).__name__} {self.name!r}: build is {target!r}, which cannot be imported: {error}; name a "
                "module and a class or function in it"
            ) from error
        if not callable(found):
            kind = type(found).__name__
            raise PluginError(
                f"{type(self).__name__} {self.name!r}: build is {target!r}, a {kind}; name a class or a function"
            )
        return found


@frozen(kw_only=True)
class RewardSpec(ComponentSpec[OptionsT]):
    """A reward: rates images. `build` returns a `dagsdk.rewards.protocol.Reward`.

    differentiable: may gradients flow from the reward to the image?
    """

    differentiable: bool = False


@frozen(kw_only=True)
class PromptSpec(ComponentSpec[OptionsT]):
    """A set of prompts. `build` returns a sequence of `dagsdk.Prompt` that never changes."""


@frozen(kw_only=True)
class ObjectiveSpec(ComponentSpec[OptionsT]):
    """A training objective. `build` returns a `dagsdk.Objective`.

    needs: what the engine must compute for it: a frozenset of `dagsdk.Needs`, or a function of the options that returns
        one. It is said here only, and known before anything is built, so that a run file with an impossible pair is
        refused when it is read.
    batches: what `loss` is given: "transitions" of sampled trajectories, or "denoisings" of images that are noised
        afresh (the forward process).
    samples: which model draws the images: the "policy" in training, or the "reference", the model before training.
    compares_images: does it compare images of the same prompt? True, False, or a function of the options.
    off_policy: may it be trained on trajectories that the policy did not sample ([replay])?
    """

    needs: frozenset[Needs] | Callable[[OptionsT], frozenset[Needs]] = field(
        default=frozenset(), validator=_set_of_needs
    )
    batches: Literal["transitions", "denoisings"] = field(
        default="transitions", validator=in_(("transitions", "denoisings"))
    )
    samples: Literal["policy", "reference"] = field(default="policy", validator=in_(("policy", "reference")))
    compares_images: bool | Callable[[OptionsT], bool] = False
    off_policy: bool = False

    def needs_of(self, options: OptionsT) -> frozenset[Needs]:
        """What an objective with these options needs."""
        return self.needs(options) if callable(self.needs) else self.needs

    def compares(self, options: OptionsT) -> bool:
        """Whether an objective with these options compares images of the same prompt."""
        return self.compares_images(options) if callable(self.compares_images) else self.compares_images


@frozen(kw_only=True)
class RolloutSpec(ComponentSpec[OptionsT]):
    """A way of sampling trajectories. `build` returns a `dagsdk.Rollout`.

    images: how many images a prompt has per epoch (images_per_prompt · branches of every plan), by the options, so
        that a run that wants more of them is refused when the run file is read; None: not known before the plan.
    """

    images: Callable[[OptionsT], int] | None = None


@frozen(kw_only=True)
class ModelSpec(ComponentSpec[OptionsT]):
    """A model to align. `build` returns a `dagsdk.Model`."""


def _takes_context(build: Callable[..., Any]) -> bool:
    """Whether its second parameter is the context: one without a default, or one of that name."""
    try:
        parameters = list(inspect.signature(build).parameters.values())
    except ValueError:  # one without a signature that Python can read
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return True
    return len(positional) > 1 and (positional[1].default is inspect.Parameter.empty or positional[1].name == "context")


Spec = RewardSpec[Any] | PromptSpec[Any] | ObjectiveSpec[Any] | RolloutSpec[Any] | ModelSpec[Any]

KINDS: dict[str, type] = {
    "rewards": RewardSpec,
    "prompts": PromptSpec,
    "objectives": ObjectiveSpec,
    "rollouts": RolloutSpec,
    "models": ModelSpec,
}
"""Kind of component, as `dagsdk plugins --json` names it, to the record that declares one."""
