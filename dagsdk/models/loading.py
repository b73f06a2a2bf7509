"""Which class of model a diffusers pipeline becomes."""

from __future__ import annotations

from typing import Any

from dagsdk.errors import ModelError
from dagsdk.models.protocol import Model


def from_pipeline(pipeline: Any) -> Model:
    """A live diffusers pipeline as a model. The pipeline is not changed.

    Raises ModelError for an object that is no pipeline, or one of another class.
    """
    from diffusers import StableDiffusionPipeline

    from dagsdk.models.stable_diffusion import StableDiffusion

    if isinstance(pipeline, StableDiffusionPipeline):
        return StableDiffusion(pipeline)
    kind = f"{type(pipeline).__module__}.{type(pipeline).__qualname__}"
    members = [name for name in {**Model.__annotations__, **vars(Model)} if not name.startswith("_")]
    missing = [name for name in members if not hasattr(pipeline, name)]
    if len(missing) < len(members) / 2:  # it was meant as one
        raise ModelError(
            f"model is a {kind}; it lacks {', '.join(missing)} of the protocol dagsdk.Model; add them, or derive it "
            "from dagsdk.BaseModel, which has defaults for most"
        )
    raise ModelError(
        f"model is a {kind}; a live model must be a "
        "StableDiffusionPipeline or have the protocol dagsdk.Model; load a Stable Diffusion 1.x or 2.x pipeline, or "
        "give a folder, a Hub id or the name of a registered model"
    )
