"""LAION's aesthetic score as a reward. Torch and open_clip are loaded in `build` only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import instance_of, matches_re, min_len

from dagsdk import BuildContext, RewardSpec, hookimpl

if TYPE_CHECKING:
    from dagsdk.rewards.protocol import Reward

REPOSITORY, FILE, REVISION = "trl-lib/ddpo-aesthetic-predictor", "aesthetic-model.pth", "main"
SHA256 = "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0"
"""Of sac+logos+ava1-l14-linearMSE.pth (3 714 759 bytes), under whichever name; several repositories show the same."""


@frozen(kw_only=True)
class AestheticOptions:
    """Options of `aesthetic`.

    head: the path of the head's weights (.pth or .safetensors); empty: the published head from the Hub.
    sha256: of the head's file; empty: the published one's, and none for a file of your own.
    architecture: of the CLIP, as dagsdk-clip takes it.
    weights: of the CLIP, as dagsdk-clip takes them: a tag, a file, a folder, or "hf-hub:owner/name".
    """

    head: str = field(default="", validator=instance_of(str))
    sha256: str = field(default="", validator=matches_re(r"|[0-9a-f]{64}"))
    architecture: str = field(default="ViT-L-14", validator=[instance_of(str), min_len(1)])
    weights: str = field(default="openai", validator=[instance_of(str), min_len(1)])


def build_aesthetic(options: AestheticOptions, context: BuildContext) -> Reward:
    from dagsdk_aesthetic.score import AestheticScore, read_head
    from dagsdk_clip.encoder import load_encoder
    from dagsdk_clip.files import fetched, local

    path, sha256 = options.head, options.sha256
    if not path:
        path, sha256 = str(fetched(REPOSITORY, FILE, REVISION, option="head")), sha256 or SHA256
    head = read_head(local(path, option="head", sha256=sha256))  # before the encoder, which takes longer
    return AestheticScore(load_encoder(options.architecture, options.weights, context), head.to(context.device))


@hookimpl
def dagsdk_rewards() -> Iterable[RewardSpec[AestheticOptions]]:
    yield RewardSpec(
        name="aesthetic",
        summary="How much people like the look of an image, about 1 to 10 (LAION's predictor, version 2)",
        build=build_aesthetic,
        options=AestheticOptions,
        differentiable=True,
        weights=(
            "timm/vit_large_patch14_clip_224.openai (1.7 GB)",
            "trl-lib/ddpo-aesthetic-predictor: aesthetic-model.pth (3.7 MB)",
        ),
    )
