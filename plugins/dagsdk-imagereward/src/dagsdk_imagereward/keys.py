"""From the names of weights in the published checkpoint to those of the network here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dagsdk.errors import RewardError

if TYPE_CHECKING:
    from torch import Tensor

RENAMED = (
    ("vision.embeddings.class_embedding", "blip.visual_encoder.cls_token"),
    ("vision.embeddings.position_embedding", "blip.visual_encoder.pos_embed"),
    ("vision.embeddings.patch_embedding.", "blip.visual_encoder.patch_embed.proj."),
    ("vision.encoder.layers.", "blip.visual_encoder.blocks."),
    ("vision.post_layernorm.", "blip.visual_encoder.norm."),
    (".self_attn.qkv.", ".attn.qkv."),
    (".self_attn.projection.", ".attn.proj."),
    (".layer_norm1.", ".norm1."),
    (".layer_norm2.", ".norm2."),
    ("text.", "blip.text_encoder."),
    ("head.", "mlp.layers."),
)
"""(ours, theirs): the beginning of a name or, with a dot in front, a part of a name of the image encoder."""

UNUSED = frozenset(
    {
        "blip.text_encoder.embeddings.position_ids",  # 0, 1, 2, …: a buffer
        "blip.vision_proj.weight",  # BLIP's contrastive heads, which ImageReward's class has and never calls
        "blip.vision_proj.bias",
        "blip.text_proj.weight",
        "blip.text_proj.bias",
    }
)
"""What a published checkpoint may hold that the reward does not use."""


def published_name(name: str) -> str:
    """What the published checkpoint calls one of `Network.state_dict()`'s entries."""
    vision = name.startswith("vision.")
    for ours, theirs in RENAMED:
        if name.startswith(ours):
            name = theirs + name.removeprefix(ours)
        elif vision and ours.startswith("."):
            name = name.replace(ours, theirs)
    return name


def from_published(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The weights of a checkpoint under the names of `wanted`, a state dict with names and shapes.

    Raises RewardError if a weight is missing, has another shape, or is neither wanted nor `UNUSED`.
    """
    theirs = {published_name(name): name for name in wanted}
    missing = sorted(theirs.keys() - found.keys())
    extra = sorted(found.keys() - theirs.keys() - UNUSED)
    other = [
        f"{key} {tuple(found[key].shape)} and not {tuple(wanted[name].shape)}"
        for key, name in theirs.items()
        if key in found and found[key].shape != wanted[name].shape
    ]
    problems = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in (("missing", missing), ("unknown", extra), ("of another shape", other))
        if names
    ]
    if problems:
        raise RewardError(
            f"reward 'imagereward': the checkpoint {source!r} holds other weights than the model: "
            f"{'; '.join(problems)}; give ImageReward.pt, or in `config` the sizes of this checkpoint's model"
        )
    return {name: found[key] for key, name in theirs.items()}
