"""A vision-language model of transformers, from a folder or the Hub."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from transformers import AutoModelForImageTextToText, AutoProcessor

from dagsdk import BuildContext
from dagsdk.errors import RewardError, brief
from dagsdk.rewards.shared import shared
from dagsdk_vqa.options import LocalOptions


@frozen(eq=False)
class Loaded:
    """A frozen model, and the processor that makes its inputs. Texts are padded on the left."""

    model: Any
    processor: Any


def load(options: LocalOptions, context: BuildContext) -> Loaded:
    """The model in `context.dtype` on `context.device`, loaded once per process.

    Raises RewardError for one that cannot be loaded, lacks weights, or has no chat template.
    """
    key = ("dagsdk-vqa", options.model, options.revision, options.tiles, context.device, context.dtype)
    return shared(key, lambda: _load(options.model, options.revision, options.tiles, context))


def _load(name: str, revision: str, tiles: bool, context: BuildContext) -> Loaded:
    try:
        processor = AutoProcessor.from_pretrained(name, revision=revision)
        model, found = AutoModelForImageTextToText.from_pretrained(
            name, revision=revision, dtype=context.dtype, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # a missing folder, no network, another kind of model: each has a type of its own
        raise RewardError(
            f"model {name!r} (revision {revision!r}) cannot be loaded: {brief(error)}; it must be a folder or Hub id "
            "of an image-text-to-text model of transformers in safetensors: check `model` and `revision`"
        ) from error
    wrong = {kind: sorted(map(str, keys)) for kind, keys in found.items() if kind.endswith("_keys") and keys}
    if wrong:
        shown = "; ".join(f"{kind.replace('_', ' ')}: {', '.join(keys[:3])}" for kind, keys in wrong.items())
        raise RewardError(f"model {name!r}: its weights do not fit its configuration ({shown}); fetch it again")
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or not (getattr(processor, "chat_template", None) or tokenizer.chat_template):
        raise RewardError(
            f"model {name!r} has no chat template, which questions need; choose a model tuned for conversation, such "
            "as 'HuggingFaceTB/SmolVLM-256M-Instruct'"
        )
    if hasattr(processor.image_processor, "do_image_splitting"):
        processor.image_processor.do_image_splitting = tiles
    tokenizer.padding_side = "left"  # the answer begins where the question ends
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Loaded(model.to(context.device).eval().requires_grad_(False), processor)
