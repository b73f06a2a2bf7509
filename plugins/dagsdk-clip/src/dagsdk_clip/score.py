"""Scores that are cosines of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen
from torch import Tensor

from dagsdk_clip.encoder import Encoder

if TYPE_CHECKING:
    from dagsdk import Prompt


@frozen(eq=False)
class CosineScore:
    """Reward: scale · cos(image, text). Images (b, 3, h, w) in [0, 1] → (b,), float32, with gradient.

    template: the text that is embedded for a prompt; {prompt} is where the prompt goes.
    Raises ValueError for images of another shape.
    """

    encoder: Encoder
    scale: float
    template: str = "{prompt}"

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        # not str.format: prompts and templates may have braces of their own
        texts = self.encoder.embed_texts([self.template.replace("{prompt}", prompt.text) for prompt in prompts])
        return self.scale * (self.encoder.embed_images(images) * texts).sum(dim=1)
