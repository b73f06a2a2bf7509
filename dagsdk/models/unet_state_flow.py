"""The state flow of image models: the encoder half of a conditional UNet, down to one number."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.unets.unet_2d_blocks import CrossAttnDownBlock2D, DownBlock2D
from torch import Tensor, nn

from dagsdk.process.conditioning import Conditioning


class UNetStateFlow(nn.Module):
    """log F̃_φ(x_t, t, c) of arXiv 2406.00633, from diffusers' own blocks.

    One layer per block, cross-attention to the prompt embedding in all but the innermost, a time embedding, average
    pooling and a linear layer. Any latent size and batch size. The last layer starts at zero, so log F̃ does too.

    channels: of the latents. embedding: width of the prompt embedding. widths: channels of the blocks.
    """

    def __init__(self, channels: int, embedding: int, widths: Sequence[int] = (64, 128, 256, 256)) -> None:
        super().__init__()
        time_width = 4 * widths[0]
        self.time_projection = Timesteps(widths[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(widths[0], time_width)
        self.conv_in = nn.Conv2d(channels, widths[0], kernel_size=3, padding=1)
        self.blocks = nn.ModuleList()
        for level, (inner, outer) in enumerate(pairwise((widths[0], *widths))):
            innermost = level == len(widths) - 1
            common = {
                "in_channels": inner,
                "out_channels": outer,
                "temb_channels": time_width,
                "num_layers": 1,
                "resnet_groups": groups_of(inner, outer),
                "add_downsample": not innermost,
            }
            self.blocks.append(
                DownBlock2D(**common)
                if innermost
                else CrossAttnDownBlock2D(
                    **common, num_attention_heads=max(1, outer // 32), cross_attention_dim=embedding
                )
            )
        self.norm = nn.GroupNorm(groups_of(widths[-1]), widths[-1])
        self.head = nn.Linear(widths[-1], 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """States (n, c, h, w), times (n,), prompt embedding (n, l, d) → log F̃, shape (n,), float32."""
        embeds = conditioning["prompt_embeds"].to(self.head.weight.dtype)
        time = self.time_embedding(self.time_projection(t).to(self.head.weight.dtype))
        x = self.conv_in(x_t)
        for block in self.blocks:
            x = block(x, time, embeds)[0] if isinstance(block, CrossAttnDownBlock2D) else block(x, time)[0]
        x = nn.functional.silu(self.norm(x)).mean((-2, -1))
        log_flow: Tensor = self.head(x)
        return log_flow.squeeze(-1).float()


def groups_of(*channels: int) -> int:
    """The most groups, up to 32, that divide all of these and leave each at least two channels.

    A group of one channel would have nothing to normalise in a batch of one whose latents have shrunk to 1 × 1.
    """
    return max((g for g in (1, 2, 4, 8, 16, 32) if all(c % g == 0 and c // g >= 2 for c in channels)), default=1)
