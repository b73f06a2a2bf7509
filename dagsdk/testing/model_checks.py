"""The contract of models (`dagsdk.models.protocol.Model`): their texts, images and trajectories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import torch
from torch import Tensor, nn

from dagsdk.config.schema import RolloutConfig
from dagsdk.engine.drawing import Drawn
from dagsdk.engine.policy import make_policy
from dagsdk.engine.precision import Precision
from dagsdk.engine.sampler import Sampler, decoded
from dagsdk.engine.schedule import schedule
from dagsdk.models.protocol import Model
from dagsdk.process.prediction import Prediction
from dagsdk.prompts.protocol import Prompt
from dagsdk.rollouts.protocol import RolloutPlan
from dagsdk.testing import samples
from dagsdk.testing.adapter_checks import ADAPTER_CHECKS
from dagsdk.testing.auxiliary_checks import AUXILIARY_CHECKS
from dagsdk.testing.check import ContractError, require
from dagsdk.testing.component_checks import COMPONENT_CHECKS
from dagsdk.testing.model_case import ModelCase, among_others, require_finite, require_gradient
from dagsdk.testing.network_checks import NETWORK_CHECKS
from dagsdk.testing.path_checks import PATH_CHECKS

__all__ = ["MODEL_CHECKS", "ModelCase"]


def check_it_is_a_model(case: ModelCase) -> None:
    """It has every attribute and method of a model."""
    model = case.built
    attributes = [*Model.__annotations__, *(name for name in vars(Model) if not name.startswith("_"))]
    missing = [name for name in attributes if not hasattr(model, name)]
    require(
        not missing,
        f"{case.name} has no {', '.join(missing)}; a model must have all of dagsdk.Model: derive from dagsdk.BaseModel",
    )
    known = get_args(Prediction)
    shape, targets = model.latent_shape, model.lora_targets
    for holds, name, rule in (
        (model.prediction in known, "prediction", f"it must be one of {', '.join(known)}"),
        (isinstance(model.network, nn.Module), "network", "it must be a torch.nn.Module"),
        (
            isinstance(shape, tuple) and shape and all(type(side) is int and side >= 1 for side in shape),
            "latent_shape",
            "it must be a tuple of positive integers, such as (4, 64, 64)",
        ),
        (
            isinstance(targets, tuple) and all(isinstance(target, str) for target in targets),
            "lora_targets",
            "it must be a tuple of module names",
        ),
        (isinstance(model.source, str) and model.source, "source", "it must say what the model was loaded from"),
    ):
        require(holds, f"{case.name}: {name} is {getattr(model, name)!r:.80}; {rule}")


def check_one_conditioning_per_text(case: ModelCase) -> None:
    """n texts are encoded as tensors whose first axis is n."""
    found: object = case.conditioning
    require(
        isinstance(found, Mapping) and found,
        f"{case.name}: encode returned {type(found).__name__}; it must be a mapping of names to tensors",
    )
    for name, part in case.conditioning.items():
        require(
            isinstance(part, Tensor) and part.ndim > 0 and len(part) == len(case.texts),
            f"{case.name}: encode returned {name!r} of shape {tuple(getattr(part, 'shape', ()))} for "
            f"{len(case.texts)} texts; each must be a tensor whose first axis is the text",
        )


def check_any_text_is_encoded(case: ModelCase) -> None:
    """A text may be empty, long, or beyond ASCII, and the only one."""
    for prompt in samples.PROMPTS:
        try:
            found = case.built.encode([prompt.text])
        except Exception as error:
            raise ContractError(
                f"{case.name}: encode raised {type(error).__name__} for the text {prompt.text[:40]!r}: {error}; any "
                "text must be encoded: cut long ones"
            ) from error
        for name, part in found.items():
            require_finite(case, f"{name!r} of the text {prompt.text[:40]!r}", part, "see what its encoder gives")


def check_texts_are_encoded_to_one_shape(case: ModelCase) -> None:
    """The empty text alone is encoded in the shape of all others, since guidance joins them."""
    alone = case.built.encode([""])

    def shapes(parts: Mapping[str, Tensor]) -> dict[str, tuple[object, ...]]:
        return {name: (*part.shape[1:], part.dtype) for name, part in parts.items()}

    require(
        shapes(alone) == shapes(case.conditioning),
        f"{case.name}: encode gives the empty text {shapes(alone)}, but others {shapes(case.conditioning)}; names, "
        "shapes and dtypes of a row must not depend on the texts: pad to one length",
    )


def check_a_row_depends_on_its_text_only(case: ModelCase) -> None:
    """Row i of the conditioning depends on text i only."""
    for row, index in among_others(case):
        found = case.built.encode([case.texts[i] for i in index.tolist()])
        for name, part in found.items():
            require(
                case.close(part[row], case.conditioning[name][row]),
                f"{case.name}: encode gives text {row} another {name!r} among other texts; row i must depend on text "
                "i only: pad to one length, and mask the padding",
            )


def check_encoding_twice_gives_the_same(case: ModelCase) -> None:
    """The same texts twice give the same bits."""
    again = case.built.encode(list(case.texts))
    require(
        all(torch.equal(again[name], part) for name, part in case.conditioning.items()),
        f"{case.name}: encode returns other bits for the same texts when it is called again; switch dropout off with "
        "`.eval()`",
    )


def check_conditioning_has_no_gradient(case: ModelCase) -> None:
    """Conditioning has no gradient."""
    for name, part in case.conditioning.items():
        require(
            not part.requires_grad,
            f"{case.name}: {name!r} of encode has a gradient; encode under `@torch.no_grad()`",
        )


def check_images_have_their_shape(case: ModelCase) -> None:
    """n latents are decoded to images (n, 3, h, w) or vectors (n, d), float32; a single latent as well."""
    for count in (len(case.states), 1):
        found = case.decode(case.states[:count].clone())
        shape = tuple(found.shape)
        require(
            shape[:1] == (count,) and (len(shape) == 2 or (len(shape) == 4 and shape[1] == 3)),
            f"{case.name}: decode returned shape {shape} for {count} latents; it must be ({count}, 3, h, w), or "
            f"({count}, d) for vectors",
        )
        require(
            found.dtype == torch.float32,
            f"{case.name}: decode returned {found.dtype}; rewards take torch.float32: cast with `.float()`",
        )


def check_images_are_in_range(case: ModelCase) -> None:
    """Images are in [0, 1], and vectors finite, also for latents far from any image."""
    with torch.no_grad():
        for scale in (1, 0, 10):
            found = case.decode(scale * case.states)
            require_finite(case, f"decode of {scale} times normal latents", found, "clamp before the result")
            low, high = float(found.min()), float(found.max())
            require(
                found.ndim != 4 or (low >= 0 and high <= 1),
                f"{case.name}: decode of {scale} times normal latents has values from {low:.6g} to {high:.6g}; "
                "images must be in [0, 1]: rescale, and `.clamp(0, 1)`",
            )


def check_latents_are_decoded_row_by_row(case: ModelCase) -> None:
    """The image of a latent does not depend on the other latents of its batch."""
    with torch.no_grad():
        for row, index in among_others(case):
            require(
                case.close(case.decode(case.states[index])[row], case.images[row]),
                f"{case.name}: decode gives latent {row} another image among other latents; row i must depend on row "
                "i only: `.eval()`, and no statistics over the batch",
            )


def check_decoding_has_a_gradient(case: ModelCase) -> None:
    """A gradient flows from images to latents."""
    latents = case.states.clone().requires_grad_()
    hint = "do not detach, round or leave torch on the way, and decode without `no_grad`"
    require_gradient(case, "decode", case.decode(latents), [latents], hint)


def check_results_stay_on_the_device(case: ModelCase) -> None:
    """Conditioning, predictions and images are on the device of the context."""
    results = {**case.conditioning, "predict": case.output, "decode": case.images}
    for name, found in results.items():
        require(
            found.device == case.device,
            f"{case.name}: {name!r} is on {found.device}; it must be on the device of the context, {case.device}",
        )


def check_trajectories_are_finite(case: ModelCase) -> None:
    """States, log-densities and images of a trajectory are finite, with guidance and without."""
    # The floor allows chains that end without noise, as a run file may.
    chain = schedule(case.built, RolloutConfig(steps=case.steps, std_floor=0.01), case.device)
    prompts, plan = [Prompt(text) for text in case.texts], RolloutPlan(window=(0, chain.steps))
    for guidance in (1.0, 3.0):
        policy = make_policy(case.built, chain, guidance, Precision(case.context.mixed_precision, case.device))
        sampler = Sampler(policy=policy, device=case.device, batch=len(prompts))
        sampled = sampler.sample(Drawn(prompts=prompts, seeds=range(len(prompts))), plan)
        for what, found in (
            ("states", sampled.states),
            ("log-densities", sampled.log_pf_old),
            ("images", decoded(policy, sampled.latents.clean, len(prompts))),
        ):
            which = f"a trajectory of {case.steps} steps with guidance {guidance:g}: one of its {what}"
            require_finite(case, which, found, "see that prediction, path and times belong together")


MODEL_CHECKS = (
    *COMPONENT_CHECKS,
    check_it_is_a_model,
    *PATH_CHECKS,
    check_one_conditioning_per_text,
    check_any_text_is_encoded,
    check_texts_are_encoded_to_one_shape,
    check_a_row_depends_on_its_text_only,
    check_encoding_twice_gives_the_same,
    check_conditioning_has_no_gradient,
    *NETWORK_CHECKS,
    *ADAPTER_CHECKS,
    *AUXILIARY_CHECKS,
    check_images_have_their_shape,
    check_images_are_in_range,
    check_latents_are_decoded_row_by_row,
    check_decoding_has_a_gradient,
    check_results_stay_on_the_device,
    check_trajectories_are_finite,
)
