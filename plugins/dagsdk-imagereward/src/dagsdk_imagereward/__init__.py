"""ImageReward (arXiv 2304.05977) as a reward. Torch and transformers are loaded when the reward is built."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen
from attrs.validators import and_, instance_of, matches_re, min_len

from dagsdk import RewardSpec, hookimpl

PUBLISHED_SHA256 = "d71dc8d4912bc633c06ab8ef1ef6a81e8199d4369f14b47b29baf1d19de561f6"
"""Of ImageReward.pt, as its page on the Hub states it."""

_text = and_(instance_of(str), min_len(1))


@frozen(kw_only=True)
class ImageRewardOptions:
    """Options of `imagereward`. Relative paths start at the working directory.

    checkpoint: the weights: a Hub repository (owner/name), a file, or a folder.
    file: name of the weights in that repository or folder; safetensors, or a .pt that holds only tensors.
    revision: branch, tag or commit of the repository.
    sha256: the digest that the weights must have, 64 hexadecimal digits; "" for weights of your own, which are not
        checked.
    tokenizer: where BERT's vocab.txt is: a Hub repository, a file, or a folder.
    config: a JSON file with the sizes of a model of your own; "" for the published sizes.
    """

    checkpoint: str = field(default="zai-org/ImageReward", validator=_text)
    file: str = field(default="ImageReward.pt", validator=_text)
    revision: str = field(default="main", validator=_text)
    sha256: str = field(default=PUBLISHED_SHA256, validator=matches_re(r"([0-9a-f]{64})?"))
    tokenizer: str = field(default="google-bert/bert-base-uncased", validator=_text)
    config: str = field(default="", validator=instance_of(str))


@hookimpl
def dagsdk_rewards() -> Iterable[RewardSpec[ImageRewardOptions]]:
    yield RewardSpec(
        name="imagereward",
        summary="ImageReward: how well people would like the image for its prompt (about -2 to 2)",
        build="dagsdk_imagereward.reward:build",
        options=ImageRewardOptions,
        differentiable=True,
        weights=("zai-org/ImageReward (1.8 GB)", "google-bert/bert-base-uncased (vocabulary only, 0.2 MB)"),
    )
