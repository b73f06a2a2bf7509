"""LAION's aesthetic predictor as a reward. Torch and open_clip are loaded when the reward is built."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen
from attrs.validators import instance_of, matches_re, min_len

from dagsdk import RewardSpec, hookimpl


@frozen(kw_only=True)
class AestheticOptions:
    """Options of `aesthetic`.

    head: the path of the head's weights (.pth or .safetensors); empty means the published head, from the Hub.
    sha256: of the head's file; empty means that of the published file, or no check for a file of your own.
    architecture: of the CLIP, as in `clip-score`.
    weights: of the CLIP, as in `clip-score`: a tag, a file, a folder, or "hf-hub:owner/name".
    """

    head: str = field(default="", validator=instance_of(str))
    sha256: str = field(default="", validator=matches_re(r"|[0-9a-f]{64}"))
    architecture: str = field(default="ViT-L-14", validator=[instance_of(str), min_len(1)])
    weights: str = field(default="openai", validator=[instance_of(str), min_len(1)])


@hookimpl
def dagsdk_rewards() -> Iterable[RewardSpec[AestheticOptions]]:
    yield RewardSpec(
        name="aesthetic",
        summary="How much people like the look of an image, about 1 to 10 (LAION's predictor, version 2)",
        build="dagsdk_aesthetic.predictor:build",
        options=AestheticOptions,
        differentiable=True,
        weights=(
            "timm/vit_large_patch14_clip_224.openai (1.7 GB)",
            "trl-lib/ddpo-aesthetic-predictor: aesthetic-model.pth (3.7 MB)",
        ),
    )
