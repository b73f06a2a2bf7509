"""CLIP's image and text encoders, frozen, with gradients to the images. Other plugins may use them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from dagsdk import BuildContext
from dagsdk.errors import RewardError, brief
from dagsdk.rewards.shared import shared
from dagsdk.rewards.vision import CLIP_MEAN, CLIP_STD, encoder_input
from dagsdk.rewards.weights import find_weights
from dagsdk.suggestions import did_you_mean

CACHED_TEXTS = 16_384
"""Texts whose embeddings an encoder keeps: 64 MiB of width 1024."""


@frozen
class Preprocessing:
    """What an encoder takes: side × side pixels, standardised by colour.

    resize: "shortest": the shorter edge becomes `side`, and the middle is cut out; "squash": both edges become `side`.
    """

    side: int
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: Literal["shortest", "squash"] = "shortest"

    def __call__(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) in [0, 1] → (b, 3, side, side); raises ValueError for other shapes."""
        if self.resize == "squash" and images.ndim == 4:
            # first the width, then the height, clamped each time, as Pillow and `encoder_input` do
            for size in ((images.shape[2], self.side), (self.side, self.side)):
                if images.shape[2:] != size:
                    images = F.interpolate(images, size, mode=self.interpolation, antialias=True).clamp(0, 1)
        return encoder_input(images, self.side, self.mean, self.std, self.interpolation)


class Encoder:
    """Embeds images and texts in one space. It is frozen, so that rewards can share it.

    network: a CLIP with a parameter `logit_scale`; it is moved to the context's device and dtype.
    image: preprocessed images (b, 3, side, side) in the context's dtype → (b, d), by the network.
    text: one text → (1, d), by the network.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        image: Callable[[Tensor], Tensor],
        text: Callable[[str], Tensor],
        context: BuildContext,
    ) -> None:
        self.logit_scale = network.get_parameter("logit_scale").detach().float().exp().item()
        """What the network was trained to multiply cosines by."""
        self.preprocessing = preprocessing
        self._network = network.eval().requires_grad_(False).to(context.device, context.dtype)
        self._image, self._text, self._dtype = image, text, context.dtype
        self._known: OrderedDict[str, Tensor] = OrderedDict()

    def embed_images(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) in [0, 1] → (b, d), float32 of length 1, with the gradient to the images.

        Raises ValueError for images of another shape.
        """
        return F.normalize(self._image(self.preprocessing(images).to(self._dtype)).float(), dim=1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """b texts → (b, d), float32 of length 1, without gradient. Embeddings are kept on the device."""
        found = {text: self._embed_text(text) for text in dict.fromkeys(texts)}
        return torch.stack([found[text] for text in texts])

    @torch.no_grad()
    def _embed_text(self, text: str) -> Tensor:
        """Shape (d,)."""
        known = self._known.pop(text, None)
        if known is None:
            # one at a time: in a batch, rounding would depend on the other texts
            known = F.normalize(self._text(text).float(), dim=1)[0]
        self._known[text] = known
        if len(self._known) > CACHED_TEXTS:
            self._known.popitem(last=False)
        return known


def load_encoder(architecture: str, weights: str, context: BuildContext, *, sha256: str = "") -> Encoder:
    """A CLIP of open_clip. While it is in use, the same arguments give the same object.

    architecture: a model of open_clip, such as "ViT-L-14"; without effect where `weights` is a folder or a Hub id.
    weights: one of open_clip's tags for the architecture, such as "openai"; the path of a weights file; the path of a
        folder (also as "local-dir:PATH") with open_clip_config.json and weights; "hf-hub:owner/name".
    sha256: of the weights file, where `weights` is one; empty means not checked.

    Raises RewardError for names that open_clip does not know, files that are missing, damaged or do not fit, and
    weights that cannot be fetched.
    """
    name, arguments = _source(architecture, weights, sha256)
    key = ("open_clip", name, *sorted(arguments.items()), context.device, context.dtype)
    return shared(key, lambda: _load(name, arguments, context))


def _source(architecture: str, weights: str, sha256: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments with which open_clip creates the model."""
    import open_clip

    folder = Path(weights.removeprefix("local-dir:"))
    if open_clip.is_pretrained_cfg(architecture, weights):
        # where a tag was trained with another activation than the architecture's, open_clip only warns
        quick = bool(open_clip.get_pretrained_cfg(architecture, weights).get("quick_gelu"))
        found: tuple[str, dict[str, Any]] = architecture, {"pretrained": weights, "force_quick_gelu": quick}
    elif weights.startswith("hf-hub:"):
        found = weights, {}
    elif folder.is_dir():
        found = f"local-dir:{folder.resolve()}", {}
    elif architecture not in (models := open_clip.list_models()):
        raise RewardError(
            f"architecture is {architecture!r}; it must be a model of open_clip{_hint(architecture, models)} "
            "(open_clip.list_models() lists them): correct it, or set `weights` to a folder or a Hub id"
        )
    elif Path(weights).is_file() or Path(weights).suffix or "/" in weights:
        return architecture, {"pretrained": str(find_weights(weights, option="weights", sha256=sha256).resolve())}
    else:
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        raise RewardError(
            f"weights is {weights!r}; it must be a tag of open_clip for {architecture!r}{_hint(weights, tags)} "
            f"(there are: {', '.join(tags) or 'none'}), a path, or 'hf-hub:owner/name': correct it"
        )
    if sha256:
        raise RewardError(
            f"sha256 is set, and weights is {weights!r}, which is not a file; set `weights` to the path of a file, or "
            "leave `sha256` out"
        )
    return found


def _load(name: str, arguments: Mapping[str, Any], context: BuildContext) -> Encoder:
    import open_clip

    try:
        model = open_clip.create_model(name, require_pretrained=True, weights_only=True, **arguments)
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # of open_clip, the Hub, torch and safetensors; a damaged file can raise anything
        tag = f" with weights {arguments['pretrained']!r}" if arguments else ""
        raise RewardError(
            f"the CLIP {name!r}{tag} could not be loaded ({brief(error)}); fetch it where there is a network, or set "
            "`weights` to the path of a whole weights file that fits the architecture, or of a folder with "
            "open_clip_config.json and weights"
        ) from error
    return Encoder(
        model,
        _preprocessing(name, open_clip.get_model_preprocess_cfg(model)),
        model.encode_image,
        lambda text: model.encode_text(tokenizer([text]).to(context.device)),
        context,
    )


def _preprocessing(name: str, found: Mapping[str, Any]) -> Preprocessing:
    size, resize = found["size"], found["resize_mode"]
    height, width = (size, size) if isinstance(size, int) else size
    if height != width or resize not in ("shortest", "squash"):
        raise RewardError(
            f"CLIP {name!r} takes images of {height} × {width} by resize_mode {resize!r}; only square ones, by "
            "'shortest' or 'squash', are supported: choose another model"
        )
    return Preprocessing(height, tuple(found["mean"]), tuple(found["std"]), found["interpolation"], resize)


def _hint(value: str, known: Sequence[str]) -> str:
    hint = did_you_mean(value, known)
    return f"; {hint}" if hint else ""
