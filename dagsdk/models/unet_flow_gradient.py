"""The flow gradient of image models: a small conditional UNet from state to state."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from dagsdk.models.unet_state_flow import groups_of
from dagsdk.process.conditioning import Conditioning


class UNetFlowGradient(nn.Module):
    """g_φ(x_t, t, c) of arXiv 2412.07775: diffusers' UNet with one layer per block. Its last layer starts at zero.

    channels: of the latents. embedding: width of the prompt embedding. widths: channels of the blocks.
    """

    def __init__(self, channels: int, embedding: int, widths: Sequence[int] = (64, 128, 256, 256)) -> None:
        super().__init__()
        outer = len(widths) - 1  # all but the innermost attend to the prompt
        self.unet = UNet2DConditionModel(
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(widths),
            down_block_types=("CrossAttnDownBlock2D",) * outer + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * outer,
            layers_per_block=1,
            norm_num_groups=groups_of(*widths),
            # diffusers takes this for the number of heads
            attention_head_dim=tuple(max(1, width // 32) for width in widths),
            cross_attention_dim=embedding,
        )
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)

    def forward(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """States (n, c, h, w), times (n,), prompt embedding (n, l, d) → (n, c, h, w), float32."""
        weight = self.unet.conv_out.weight
        embeds = conditioning["prompt_embeds"].to(weight.dtype)
        gradient: Tensor = self.unet(x_t.to(weight.dtype), t, embeds, return_dict=False)[0]
        return gradient.float()
