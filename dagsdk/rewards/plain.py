"""Plain functions as rewards: what a program that embeds dagsdk already has."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from attrs import field, frozen
from attrs.validators import in_, instance_of

from dagsdk.errors import RewardError

if TYPE_CHECKING:
    from torch import Tensor

    from dagsdk.prompts.protocol import Prompt

F = TypeVar("F", bound=Callable[..., Any])
Takes = Literal["tensor", "pil"]
Prompts = Literal["text", "prompt"]
_MARK = "__dagsdk_reward__"


@frozen(kw_only=True)
class Marks:
    """How a plain function wants to be called: the keywords of `reward`."""

    takes: Takes = field(default="tensor", validator=in_(("tensor", "pil")))
    prompts: Prompts = field(default="text", validator=in_(("text", "prompt")))
    differentiable: bool = field(default=False, validator=instance_of(bool))

    @differentiable.validator
    def _tensors_only(self, attribute: Any, value: bool) -> None:
        if value and self.takes == "pil":
            raise ValueError('no gradient flows through PIL images; a differentiable reward needs takes="tensor"')


@overload
def reward(
    function: F, /, *, takes: Takes = "tensor", prompts: Prompts = "text", differentiable: bool = False
) -> F: ...
@overload
def reward(
    function: None = None, /, *, takes: Takes = "tensor", prompts: Prompts = "text", differentiable: bool = False
) -> Callable[[F], F]: ...


def reward(
    function: Any = None, /, *, takes: Takes = "tensor", prompts: Prompts = "text", differentiable: bool = False
) -> Any:
    """Marks a plain function as a reward: ``@dagsdk.reward(takes="pil")``.

    Without it, the annotations of the function's parameters decide: ``images: list[Image.Image]`` takes PIL images, and
    ``prompts: Sequence[dagsdk.Prompt]`` takes prompts with metadata. Otherwise images are a tensor, and prompts texts.

    takes: images as a "tensor" of shape (b, 3, h, w), float32 in [0, 1], or as a list of b PIL images ("pil").
    prompts: as texts ("text"), or as `dagsdk.Prompt` with metadata ("prompt").
    differentiable: may gradients flow from the reward to the image? Only with takes="tensor".

    Raises ValueError for a mark that means nothing.
    """
    checked = Marks(takes=takes, prompts=prompts, differentiable=differentiable)

    def marked(function: Any) -> Any:
        try:
            setattr(function, _MARK, checked)
        except AttributeError:  # of a bound method, say; then a function that calls it
            inner = function

            @functools.wraps(inner)
            def function(images: Any, prompts: Any) -> Any:
                return inner(images, prompts)

            setattr(function, _MARK, checked)
        return function

    return marked if function is None else marked(function)


def marks_of(function: Callable[..., Any]) -> Marks:
    """What the function was marked with, or what its annotations say."""
    marks = getattr(function, _MARK, None) or getattr(getattr(function, "func", None), _MARK, None)
    if isinstance(marks, Marks):
        return marks
    images, prompts = (*_annotations(function), "", "")[:2]
    return Marks(
        takes="pil" if "Image" in images and "Tensor" not in images else "tensor",
        prompts="prompt" if "Prompt" in prompts else "text",
    )


class PlainReward:
    """A plain function under the contract of rewards (`dagsdk.Reward`).

    It may return b numbers in any form: a list, an array, a tensor; for a single image also a number.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function, self.name, self.marks = function, name, marks_of(function)

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        texts = [prompt.text for prompt in prompts] if self.marks.prompts == "text" else list(prompts)
        return self._tensor(self.function(self._images(images), texts), len(images))

    def metrics(self) -> dict[str, float]:
        """What the function has counted, if it has a method `metrics`."""
        return dict(getattr(self.function, "metrics", dict)())

    def _images(self, images: Tensor) -> Any:
        if self.marks.takes == "tensor":
            return images.clone()  # the function may change them; other rewards must not see that
        from PIL import Image

        from dagsdk.rewards.images import to_uint8

        return [Image.fromarray(array) for array in to_uint8(images).cpu().numpy()]

    def _tensor(self, found: Any, count: int) -> Tensor:
        import torch

        try:
            if isinstance(found, list | tuple) and any(isinstance(value, torch.Tensor) for value in found):
                values = torch.stack([torch.as_tensor(value) for value in found])
            else:
                values = torch.as_tensor(found)
            values = values if values.is_complex() else values.float()
        except (TypeError, ValueError, RuntimeError) as error:
            raise RewardError(
                f"reward {self.name!r} returned {_shown(found)}; it must return {count} numbers, one per image: a "
                "list, an array or a tensor"
            ) from error
        return values.reshape(1) if values.ndim == 0 and count == 1 else values


def _annotations(function: Callable[..., Any]) -> list[str]:
    """The annotations of the positional parameters, as text; "" where there is none."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception:  # names that only a type checker knows; the text will do
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [p for p in signature.parameters.values() if p.kind in positional]
    return ["" if p.annotation is p.empty else str(p.annotation) for p in parameters]


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
