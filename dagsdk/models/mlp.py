"""Networks for vectors: a residual MLP, as a denoiser, as a state flow and as a flow gradient."""

from __future__ import annotations

from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn

from dagsdk.process.conditioning import Conditioning


class MLP(nn.Module):
    """Vectors (n, d) and times (n,) → (n, outputs): a residual MLP with a time embedding.

    zero: whether the last layer starts at zero.
    """

    def __init__(self, dimension: int, outputs: int, width: int, depth: int = 3, zero: bool = False) -> None:
        super().__init__()
        self.input = nn.Linear(dimension, width)
        self.time_projection = Timesteps(64, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(64, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.output = nn.Linear(width, outputs)
        if zero:
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h: Tensor = self.input(x) + self.time_embedding(self.time_projection(t).to(x.dtype))
        for layer in self.hidden:
            h = h + layer(nn.functional.silu(h))
        y: Tensor = self.output(nn.functional.silu(h))
        return y


class MLPStateFlow(nn.Module):
    """log F̃ of vectors: (x_t, t, conditioning) → (n,), zero at first. It sees no conditioning."""

    def __init__(self, dimension: int, width: int) -> None:
        super().__init__()
        self.network = MLP(dimension, 1, width, zero=True)

    def forward(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        y: Tensor = self.network(x_t, t)
        return y.squeeze(-1)


class MLPFlowGradient(nn.Module):
    """g_φ of vectors: (x_t, t, conditioning) → x_t's shape, zero at first. It sees no conditioning."""

    def __init__(self, dimension: int, width: int) -> None:
        super().__init__()
        self.network = MLP(dimension, dimension, width, zero=True)

    def forward(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        y: Tensor = self.network(x_t, t)
        return y
