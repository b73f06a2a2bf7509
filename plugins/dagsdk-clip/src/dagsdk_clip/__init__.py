"""Rewards by CLIP: how well an image fits its prompt, by CLIP itself or after tuning on people's choices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dagsdk import RewardSpec, hookimpl
from dagsdk_clip.options import ClipScoreOptions, HpsOptions, PickScoreOptions


@hookimpl
def dagsdk_rewards() -> Iterable[RewardSpec[Any]]:
    yield RewardSpec(
        name="clip-score",
        summary="Cosine of the embeddings of image and prompt by a CLIP of your choice",
        build="dagsdk_clip.cosine:clip_score",
        options=ClipScoreOptions,
        differentiable=True,
        weights=("laion/CLIP-ViT-H-14-laion2B-s32B-b79K (3.9 GB)",),
    )
    yield RewardSpec(
        name="pickscore",
        summary="PickScore: which image people would choose for the prompt",
        build="dagsdk_clip.pickscore:pickscore",
        options=PickScoreOptions,
        differentiable=True,
        weights=("yuvalkirstain/PickScore_v1 (3.9 GB)",),
    )
    yield RewardSpec(
        name="hpsv2",
        summary="HPS v2.1: which image people would prefer for the prompt",
        build="dagsdk_clip.cosine:hpsv2",
        options=HpsOptions,
        differentiable=True,
        weights=("xswu/HPSv2: HPS_v2.1_compressed.pt (2.0 GB)",),
    )
