"""Options of the rewards. No torch here."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen
from attrs.validators import gt, instance_of, matches_re, min_len

SHA256 = matches_re(r"|[0-9a-f]{64}")
"""A validator: empty, or 64 hexadecimal digits in lower case."""


def _has_prompt(options: Any, attribute: Any, value: str) -> None:
    if not isinstance(value, str) or "{prompt}" not in value:
        raise ValueError(f"template is {value!r}; it must contain '{{prompt}}', where the prompt goes")


@frozen(kw_only=True)
class ClipScoreOptions:
    """Options of `clip-score`.

    architecture: a model of open_clip, such as "ViT-B-32"; without effect where `weights` is a folder or a Hub id,
        which has its own.
    weights: a tag of open_clip such as "laion2b_s32b_b79k", the path of a weights file (.safetensors, .bin, .pt) or of
        a folder with open_clip_config.json and weights, or "hf-hub:owner/name".
    sha256: of the weights file, where `weights` is the path of one; empty means not checked.
    scale: the cosine is multiplied by it; above 0.
    template: the text that is embedded for a prompt; {prompt} is where the prompt goes.
    """

    architecture: str = field(default="ViT-H-14", validator=[instance_of(str), min_len(1)])
    weights: str = field(default="laion2b_s32b_b79k", validator=[instance_of(str), min_len(1)])
    sha256: str = field(default="", validator=SHA256)
    scale: float = field(default=1.0, validator=gt(0))
    template: str = field(default="{prompt}", validator=_has_prompt)


@frozen(kw_only=True)
class PickScoreOptions:
    """Options of `pickscore`.

    model: a folder with a CLIPModel of transformers (config.json, model.safetensors), or a Hub id.
    revision: of a Hub id: a commit, branch or tag; the default is the last known commit of the published model.
    """

    model: str = field(default="yuvalkirstain/PickScore_v1", validator=[instance_of(str), min_len(1)])
    revision: str = field(default="a4e4367c6dfa7288a00c550414478f865b875800", validator=instance_of(str))


@frozen(kw_only=True)
class HpsOptions:
    """Options of `hpsv2`.

    weights: the path of the checkpoint, or of a folder with open_clip_config.json and weights; empty means HPS v2.1
        from the Hub.
    sha256: of the checkpoint; empty means that of the published file, or no check for a file of your own.
    architecture: the model of open_clip that the checkpoint fits; without effect where `weights` is a folder.
    """

    weights: str = field(default="", validator=instance_of(str))
    sha256: str = field(default="", validator=SHA256)
    architecture: str = field(default="ViT-H-14", validator=[instance_of(str), min_len(1)])
