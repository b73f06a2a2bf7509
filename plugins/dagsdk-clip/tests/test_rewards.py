from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch import Tensor

import dagsdk_clip
from dagsdk import BuildContext, Prompt
from dagsdk.rewards.protocol import Reward
from dagsdk.testing.samples import images
from dagsdk_clip.encoder import load_encoder
from dagsdk_clip.options import ClipScoreOptions, HpsOptions, PickScoreOptions

SPECS = {spec.name: spec for spec in dagsdk_clip.dagsdk_rewards()}
TEXTS = ["a photo of a cat", "", "{prompt} and {more} braces", "two dogs"]
PROMPTS = [Prompt(text) for text in TEXTS]


def _reward(name: str, context: BuildContext | None = None, **options: object) -> Reward:
    spec = SPECS[name]
    return spec.make(spec.options(**options), context or BuildContext())


def _cosines(folder: Path, pictures: Tensor, texts: list[str]) -> Tensor:
    """As open_clip's users compute them."""
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    arrays = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
    with torch.no_grad():
        image = model.eval().encode_image(torch.stack([transform(Image.fromarray(np.array(a))) for a in arrays]))
        text = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(texts))
    return torch.cosine_similarity(image, text)


def test_three_differentiable_rewards_that_say_what_they_fetch() -> None:
    assert list(SPECS) == ["clip-score", "pickscore", "hpsv2"]
    for spec in SPECS.values():
        assert spec.differentiable
        assert all("GB)" in weights for weights in spec.weights)


@pytest.mark.parametrize(("scale", "template"), [(1.0, "{prompt}"), (100.0, "{prompt}"), (1.0, "a {x} of {prompt}")])
def test_clip_score_is_the_scaled_cosine(folder: Path, scale: float, template: str) -> None:
    pictures = (images(side=32) * 255).round() / 255  # of the model's size: nothing is resized
    rewards = _reward("clip-score", weights=str(folder), scale=scale, template=template)(pictures, PROMPTS)
    expected = scale * _cosines(folder, pictures, [template.replace("{prompt}", text) for text in TEXTS])
    assert torch.allclose(rewards, expected, atol=1e-5 * scale)
    assert expected.std() > 0.05 * scale


def test_hpsv2_is_the_cosine_of_its_checkpoint(architecture: str, checkpoint: Path, folder: Path) -> None:
    rewards = _reward("hpsv2", weights=str(checkpoint), architecture=architecture)(images(side=32), PROMPTS)
    encoder = load_encoder(architecture, str(checkpoint), BuildContext())
    expected = torch.cosine_similarity(encoder.embed_images(images(side=32)), encoder.embed_texts(TEXTS))
    assert torch.allclose(rewards, expected, atol=1e-6)
    assert torch.equal(rewards, _reward("hpsv2", weights=str(checkpoint), architecture=architecture)(images(), PROMPTS))


def test_rewards_with_the_same_weights_share_them(folder: Path) -> None:
    first, second = (_reward("clip-score", weights=str(folder), scale=scale) for scale in (1.0, 100.0))
    assert first.encoder is second.encoder  # type: ignore[attr-defined]
    assert torch.allclose(100 * first(images(), PROMPTS), second(images(), PROMPTS))


@pytest.mark.parametrize("name", ["clip-score", "pickscore", "hpsv2"])
def test_half_precision_is_within_two_hundredths_of_the_scale(
    name: str, folder: Path, clip_model: Path, architecture: str, checkpoint: Path
) -> None:
    options = {
        "clip-score": {"weights": str(folder)},
        "pickscore": {"model": str(clip_model)},
        "hpsv2": {"weights": str(checkpoint), "architecture": architecture},
    }[name]
    full, half = (_reward(name, BuildContext(mixed_precision=p), **options)(images(), PROMPTS) for p in ("no", "bf16"))
    scale = torch.tensor(3.0).exp() if name == "pickscore" else 1.0
    assert half.dtype == torch.float32
    assert ((half - full).abs() <= 0.02 * scale).all()
    assert full.std() > 0.05 * scale


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (ClipScoreOptions, {"scale": 0.0}),
        (ClipScoreOptions, {"scale": -1.0}),
        (ClipScoreOptions, {"template": "no place"}),
        (ClipScoreOptions, {"weights": ""}),
        (ClipScoreOptions, {"sha256": "abc"}),
        (PickScoreOptions, {"model": ""}),
        (HpsOptions, {"sha256": "A" * 64}),
    ],
)
def test_options_outside_their_range_are_refused(options: type, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        options(**wrong)


@pytest.mark.network
def test_published_weights_prefer_the_colour_that_the_prompt_names() -> None:
    red = torch.tensor([0.9, 0.05, 0.05])[None, :, None, None].expand(1, 3, 256, 256)
    pictures = torch.cat([red, red.flip(1)])  # red, blue
    for name, low, high in (("clip-score", 0.1, 0.45), ("pickscore", 12.0, 26.0), ("hpsv2", 0.1, 0.45)):
        reward = _reward(name)
        right, wrong = reward(pictures, [Prompt("a plain red image")] * 2)
        assert low < wrong < right < high, name
