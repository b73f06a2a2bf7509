"""A small model that keeps every rule of its contract, and ways to break it one rule at a time."""

from __future__ import annotations

from typing import Any

import torch

from dagsdk import ModelSpec
from dagsdk.models.options import VectorOptions
from dagsdk.models.vector import Vector
from dagsdk.testing.check import outcomes
from dagsdk.testing.model_case import ModelCase
from dagsdk.testing.model_checks import MODEL_CHECKS

OPTIONS = VectorOptions(pretrain=0, width=16)


class Sound(Vector):
    """Vectors whose conditioning differs from text to text, and images instead of vectors."""

    @torch.no_grad()
    def encode(self, texts):
        return {"letters": torch.tensor([[len(text), sum(map(ord, text)) / 1e3] for text in texts])}

    def decode(self, latents):
        return super().decode(latents)[:, :1, None, None].expand(-1, 3, 2, 2).sigmoid()


def spec(model: type[Vector]) -> ModelSpec[Any]:
    return ModelSpec(name="tried", summary="Tried", build=lambda none, context: model.build(OPTIONS, context))


def failing(tried: ModelSpec[Any], **case: Any) -> dict[str, str]:
    found = outcomes(MODEL_CHECKS, ModelCase(spec=tried, **case), {})
    return {outcome.check: outcome.message for outcome in found if outcome.status == "failed"}


def encoding(change: Any) -> type[Sound]:
    class Changed(Sound):
        def encode(self, texts):
            return {"letters": change(super().encode(texts)["letters"], texts)}

    return Changed


def predicting(change: Any) -> type[Sound]:
    class Changed(Sound):
        def predict(self, x_t, t, conditioning):
            return change(super().predict(x_t, t, conditioning), t)

    return Changed


def decoding(change: Any, base: type[Vector] = Sound) -> type[Vector]:
    class Changed(base):  # type: ignore[misc, valid-type]
        def decode(self, latents):
            return change(super().decode(latents))

    return Changed
