"""PickScore (arXiv 2305.01569): a CLIP in the format of transformers."""

from __future__ import annotations

from open_clip import SimpleTokenizer
from transformers import CLIPModel

from dagsdk import BuildContext
from dagsdk.errors import RewardError, brief
from dagsdk.rewards.shared import shared
from dagsdk_clip.cosine import CosineReward
from dagsdk_clip.encoder import Encoder, Preprocessing
from dagsdk_clip.options import PickScoreOptions


def pickscore(options: PickScoreOptions, context: BuildContext) -> CosineReward:
    """Raises RewardError like `load_clip_model`."""
    encoder = load_clip_model(options.model, options.revision, context)
    return CosineReward(encoder, encoder.logit_scale)


def load_clip_model(model: str, revision: str, context: BuildContext) -> Encoder:
    """A CLIPModel of transformers from a folder or the Hub, in .safetensors; shared while it is in use.

    Raises RewardError for one that is missing, cannot be fetched, is damaged, or lacks weights.
    """
    key = ("transformers-clip", model, revision, context.device, context.dtype)
    return shared(key, lambda: _load(model, revision, context))


def _load(model: str, revision: str, context: BuildContext) -> Encoder:
    try:
        network, found = CLIPModel.from_pretrained(
            model, revision=revision or None, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # of the Hub, safetensors and transformers; a damaged file can raise anything
        raise RewardError(
            f"model is {model!r}, which could not be loaded ({brief(error)}); fetch it where there is a network, or "
            "set `model` to a folder with config.json and model.safetensors of a CLIPModel"
        ) from error
    # checkpoints by older versions of transformers also hold position numbers, which are not weights
    extra = [key for key in found["unexpected_keys"] if not key.endswith("position_ids")]
    for what, keys in (("lacks", found["missing_keys"]), ("has unknown", extra)):
        if keys:
            raise RewardError(
                f"model is {model!r}, which {what} {len(keys)} weights, such as {min(keys)}; it must have those of its "
                "config.json: fetch it again"
            )
    # the same tokens as the published tokenizer gives (up to HTML entities), without another download
    tokenizer = SimpleTokenizer(context_length=network.config.text_config.max_position_embeddings)
    return Encoder(
        network,
        Preprocessing(network.config.vision_config.image_size),
        lambda images: network.visual_projection(network.vision_model(pixel_values=images).pooler_output),
        lambda text: network.text_projection(network.text_model(tokenizer([text]).to(context.device)).pooler_output),
        context,
    )
