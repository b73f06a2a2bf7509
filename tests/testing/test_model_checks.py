"""Each rule of the contract of models is caught by its own check, and by no other, in a model that breaks just it.

Rules about networks are in test_network_checks.py.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from sound_model import OPTIONS, Sound, decoding, encoding, failing, predicting, spec
from tiny import tiny_pipeline

from dagsdk import ModelSpec
from dagsdk.builtin import dagsdk_models
from dagsdk.models.protocol import Model
from dagsdk.models.stable_diffusion import StableDiffusion
from dagsdk.models.vector import Vector
from dagsdk.testing.adapter_checks import ADAPTER_CHECKS
from dagsdk.testing.auxiliary_checks import AUXILIARY_CHECKS
from dagsdk.testing.check import name_of, outcomes
from dagsdk.testing.component_checks import COMPONENT_CHECKS
from dagsdk.testing.model_case import ModelCase
from dagsdk.testing.model_checks import MODEL_CHECKS
from dagsdk.testing.network_checks import NETWORK_CHECKS


class Nameless(Sound):
    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        del self.source


class Listing(Sound):
    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        self.latent_shape = list(self.latent_shape)


class Growing(Sound):
    """The same ratio of signal to noise, but both grow."""

    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        inner = self.path

        class Path:
            def alpha(self, t):
                return inner.alpha(t) * 10 ** (t / 250)

            def sigma(self, t):
                return inner.sigma(t) * 10 ** (t / 250)

            def time_at(self, share):
                return inner.time_at(share)

        self.path = Path()


class Flat(Sound):
    """A path whose time does not move."""

    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        self.path.time_at = lambda share: torch.full(share.shape, 500)


class Reversed(Sound):
    """A path from noisy to clean."""

    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        time_at = self.path.time_at
        self.path.time_at = lambda share: time_at(1 - share).clamp(max=999)


class EndingInNoise(Sound):
    """Nothing is known of the noisiest time."""

    def predict(self, x_t, t, conditioning):
        output = super().predict(x_t, t, conditioning)
        return output.masked_fill((t == 998)[:, None], torch.nan)

    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        time_at = self.path.time_at
        self.path.time_at = lambda share: time_at(share).clamp(max=998)  # which no chain of the checks has


class Remembering(Sound):
    """Returns the times that it returned first."""

    known = None

    def times(self, steps):
        if self.known is None:
            self.known = super().times(steps)
        return self.known


def ascii_alone(letters, texts):
    if len(texts) == 1:
        texts[0].encode("ascii")
    return letters


BROKEN: list[tuple[str, type[Vector], str]] = [
    ("it_is_a_model", Nameless, "has no source"),
    ("it_is_a_model", Listing, "latent_shape is [2]; it must be a tuple"),
    ("noise_grows_with_time", Growing, "alpha must fall and sigma must rise with time"),
    ("times_span_the_path", Flat, "times must rise with the share"),
    ("times_span_the_path", Reversed, "times must rise with the share, from clean to noisy"),
    ("times_span_the_path", EndingInNoise, "has [nan]"),
    ("times_fall", Remembering, "they must be a tensor of shape (6,) on the CPU"),
    (
        "one_conditioning_per_text",
        encoding(lambda letters, texts: torch.cat([letters, letters[1:2]])),
        "'letters' of shape (5, 2) for 4 texts",
    ),
    ("any_text_is_encoded", encoding(ascii_alone), "UnicodeEncodeError for the text 'ein großer Bär"),
    (
        "texts_are_encoded_to_one_shape",
        encoding(lambda letters, texts: letters[:, :1] if [*texts] == [""] else letters),
        "pad to one length",
    ),
    (
        "a_row_depends_on_its_text_only",
        encoding(lambda letters, texts: letters - letters.mean(0)),
        "encode gives text 0 another 'letters' among other texts",
    ),
    (
        "encoding_twice_gives_the_same",
        encoding(lambda letters, texts: letters + 1e-5 * torch.rand(2)),
        "switch dropout off",
    ),
    (
        "conditioning_has_no_gradient",
        encoding(lambda letters, texts: letters.requires_grad_()),
        "encode under `@torch.no_grad()`",
    ),
    ("images_have_their_shape", decoding(lambda images: images[:, :1]), "(4, 1, 2, 2) for 4 latents"),
    ("images_have_their_shape", decoding(lambda images: images.squeeze(0)), "(3, 2, 2) for 1 latents"),
    ("images_have_their_shape", decoding(lambda images: images.double()), "torch.float64"),
    ("images_are_in_range", decoding(lambda images: 2 * images - 1), "images must be in [0, 1]"),
    (
        "images_are_in_range",
        decoding(lambda vectors: vectors / vectors.norm(dim=1, keepdim=True), Vector),
        "decode of 0 times normal latents has [nan]",
    ),
    (
        "latents_are_decoded_row_by_row",
        decoding(lambda images: (images - images.mean(0)).sigmoid()),
        "decode gives latent 0 another image",
    ),
    ("decoding_has_a_gradient", decoding(lambda images: images.detach()), "decode has no gradient"),
    ("decoding_has_a_gradient", decoding(lambda images: images.round() + 0 * images), "is zero or not finite"),
    ("trajectories_are_finite", predicting(lambda output, t: 1e25 * output), "guidance 1: one of its states"),
]
ALSO = {
    # Guidance joins the conditioning of the empty text with the others.
    "texts_are_encoded_to_one_shape": {"trajectories_are_finite"},
}


def test_a_sound_model_passes() -> None:
    assert not failing(spec(Sound))


@pytest.mark.parametrize(("name", "model", "message"), BROKEN)
def test_a_broken_model_fails_the_check_of_its_rule_only(name: str, model: type[Vector], message: str) -> None:
    found = failing(spec(model))
    assert message in found[name]
    assert set(found) - ALSO.get(name, set()) == {name}


def test_results_on_another_device_are_caught() -> None:
    found = failing(spec(decoding(lambda images: images.to("meta"))))
    assert "'decode' is on meta" in found["results_stay_on_the_device"]


def test_times_that_rise_are_caught() -> None:
    class Backwards(Sound):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            self.times = lambda steps: Vector.times(self, steps).flip(0)

    assert "they must fall" in failing(spec(Backwards))["times_fall"]


def test_the_checks_leave_the_shared_model_as_it_was() -> None:
    case = ModelCase(spec=spec(Sound))
    before = {name: weight.clone() for name, weight in case.built.network.state_dict().items()}
    assert all(outcome.status != "failed" for outcome in outcomes(MODEL_CHECKS, case, {}))
    after = case.built.network.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert all(weight.requires_grad for weight in case.built.network.parameters())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_stable_diffusion_passes(tmp_path: Path, prediction: str) -> None:
    def build(options, context):
        return StableDiffusion(tiny_pipeline(tmp_path, prediction))

    assert not failing(ModelSpec(name="tiny", summary="Tiny Stable Diffusion", build=build))


def test_vectors_pass() -> None:
    (vector,) = dagsdk_models()
    assert not failing(vector, options={"pretrain": 0, "width": 16})


def test_any_object_with_the_members_of_a_model_passes() -> None:
    members = [*Model.__annotations__, *(name for name in vars(Model) if not name.startswith("_"))]

    def build(options, context):
        model = Sound.build(OPTIONS, context)
        return SimpleNamespace(**{name: getattr(model, name) for name in members})

    assert not failing(ModelSpec(name="plain", summary="No subclass of BaseModel", build=build))


def test_every_check_is_tested() -> None:
    # Those of all components are tested in test_reward_checks.py, those of networks in test_network_checks.py.
    elsewhere = (*COMPONENT_CHECKS, *NETWORK_CHECKS, *ADAPTER_CHECKS, *AUXILIARY_CHECKS)
    assert set(elsewhere) <= set(MODEL_CHECKS)
    tested = {name for name, *_ in BROKEN} | {"results_stay_on_the_device"}
    assert {name_of(check) for check in MODEL_CHECKS if check not in elsewhere} == tested
