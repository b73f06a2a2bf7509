"""Rewards by CLIP: how well an image fits its prompt, plain or tuned on people's choices. Light to import."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from attrs.validators import gt, instance_of, matches_re, min_len

from dagsdk import BuildContext, RewardSpec, hookimpl

if TYPE_CHECKING:
    from dagsdk.rewards.protocol import Reward

SHA256 = matches_re(r"|[0-9a-f]{64}")
"""A validator: empty, or 64 hexadecimal digits in lower case."""

HPS_REPOSITORY, HPS_FILE = "xswu/HPSv2", "HPS_v2.1_compressed.pt"
HPS_REVISION = "697403c78157020a1ae59d23f111aa58ced35b0a"
HPS_SHA256 = "c57a38fb4a2f7e7c15bf00da2ea377cdf165448b4dd1052a484c215a998c9837"
"""As the Hub shows them for the commit that added the file (1 972 490 005 bytes)."""


def _has_prompt(options: Any, attribute: Any, value: str) -> None:
    if not isinstance(value, str) or "{prompt}" not in value:
        raise ValueError(f"template is {value!r}; it must contain '{{prompt}}', where the prompt goes")


@frozen(kw_only=True)
class ClipScoreOptions:
    """Options of `clip-score`.

    architecture: a model of open_clip, such as "ViT-B-32"; a folder or a Hub id as `weights` brings its own.
    weights: a tag of open_clip such as "laion2b_s32b_b79k", the path of a weights file (.safetensors, .bin, .pt) or of
        a folder with open_clip_config.json and weights, or "hf-hub:owner/name".
    sha256: of the weights file, where `weights` is the path of one; empty: not checked.
    scale: what the cosine is multiplied by, above 0: 1 for the cosine itself, 100 for per cent.
    template: the text that stands for a prompt; {prompt} is where the prompt goes.
    """

    architecture: str = field(default="ViT-H-14", validator=[instance_of(str), min_len(1)])
    weights: str = field(default="laion2b_s32b_b79k", validator=[instance_of(str), min_len(1)])
    sha256: str = field(default="", validator=SHA256)
    scale: float = field(default=1.0, validator=gt(0))
    template: str = field(default="{prompt}", validator=_has_prompt)


@frozen(kw_only=True)
class PickScoreOptions:
    """Options of `pickscore`.

    model: a folder with a transformers CLIPModel (config.json, model.safetensors), or a Hub id.
    revision: of a Hub id: a commit, branch or tag; the default is the published model's last known commit.
    """

    model: str = field(default="yuvalkirstain/PickScore_v1", validator=[instance_of(str), min_len(1)])
    revision: str = field(default="a4e4367c6dfa7288a00c550414478f865b875800", validator=instance_of(str))


@frozen(kw_only=True)
class HpsOptions:
    """Options of `hpsv2`.

    weights: the path of the checkpoint, or of a folder with open_clip_config.json and weights; empty: HPS v2.1 from the
        Hub.
    sha256: of the checkpoint; empty: the published one's, and none for a file of your own.
    architecture: the model of open_clip that the checkpoint fits; a folder as `weights` brings its own.
    """

    weights: str = field(default="", validator=instance_of(str))
    sha256: str = field(default="", validator=SHA256)
    architecture: str = field(default="ViT-H-14", validator=[instance_of(str), min_len(1)])


def build_clip_score(options: ClipScoreOptions, context: BuildContext) -> Reward:
    from dagsdk_clip.encoder import load_encoder
    from dagsdk_clip.score import CosineScore

    encoder = load_encoder(options.architecture, options.weights, context, sha256=options.sha256)
    return CosineScore(encoder, options.scale, options.template)


def build_pickscore(options: PickScoreOptions, context: BuildContext) -> Reward:
    from dagsdk_clip.pickscore import load_clip_model
    from dagsdk_clip.score import CosineScore

    encoder = load_clip_model(options.model, options.revision, context)
    return CosineScore(encoder, encoder.logit_scale)


def build_hpsv2(options: HpsOptions, context: BuildContext) -> Reward:
    from dagsdk_clip.encoder import load_encoder
    from dagsdk_clip.files import fetched
    from dagsdk_clip.score import CosineScore

    weights, sha256 = options.weights, options.sha256
    if not weights:
        weights = str(fetched(HPS_REPOSITORY, HPS_FILE, HPS_REVISION, option="weights"))
        sha256 = sha256 or HPS_SHA256
    return CosineScore(load_encoder(options.architecture, weights, context, sha256=sha256), scale=1.0)


@hookimpl
def dagsdk_rewards() -> Iterable[RewardSpec[Any]]:
    yield RewardSpec(
        name="clip-score",
        summary="Cosine of the embeddings of image and prompt by a CLIP of your choice",
        build=build_clip_score,
        options=ClipScoreOptions,
        differentiable=True,
        weights=("laion/CLIP-ViT-H-14-laion2B-s32B-b79K (3.9 GB)",),
    )
    yield RewardSpec(
        name="pickscore",
        summary="PickScore: which image people would choose for the prompt",
        build=build_pickscore,
        options=PickScoreOptions,
        differentiable=True,
        weights=("yuvalkirstain/PickScore_v1 (3.9 GB)",),
    )
    yield RewardSpec(
        name="hpsv2",
        summary="HPS v2.1: which image people would prefer for the prompt",
        build=build_hpsv2,
        options=HpsOptions,
        differentiable=True,
        weights=("xswu/HPSv2: HPS_v2.1_compressed.pt (2.0 GB)",),
    )
