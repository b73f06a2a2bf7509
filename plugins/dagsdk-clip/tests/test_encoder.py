from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor

from dagsdk import BuildContext
from dagsdk.errors import RewardError
from dagsdk_clip import encoder as module
from dagsdk_clip.encoder import Encoder, Preprocessing, load_encoder

CONTEXT = BuildContext()
TEXTS = ["a photo of a cat", "", "ein großer Bär malt 北京", "words " * 200]


def _images(height: int = 40, width: int = 40, count: int = 3) -> Tensor:
    """Smooth pictures with some noise, in whole 255ths."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noise = 0.1 * torch.rand(smooth.shape, generator=generator)
    return ((smooth * 0.9 + noise) * 255).round() / 255


def _pictures(images: Tensor) -> list[Image.Image]:
    return [Image.fromarray(image) for image in (images * 255).byte().permute(0, 2, 3, 1).numpy()]


@pytest.fixture
def encoder(folder: Path) -> Encoder:
    return load_encoder("", str(folder), CONTEXT)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize", ["shortest", "squash"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 64), (20, 20), (50, 70), (70, 45)])
def test_preprocessing_is_open_clips(height: int, width: int, resize: str, interpolation: str) -> None:
    images, mean, std = _images(height, width), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    theirs = image_transform_v2(PreprocessCfg(32, "RGB", mean, std, interpolation, resize), is_train=False)
    expected = torch.stack([theirs(picture) for picture in _pictures(images)])
    ours = Preprocessing(32, mean, std, interpolation, resize)(images)  # type: ignore[arg-type]
    # Pillow rounds to bytes after each of its two passes
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() <= 1.5 / 255 / min(std)
    assert (ours - expected).abs().mean() <= 0.5 / 255 / min(std)


def test_size_mean_std_and_interpolation_are_the_models(make_folder: Callable[..., Path]) -> None:
    folder = make_folder(mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 3.0], interpolation="bilinear", resize_mode="squash")
    found = load_encoder("", str(folder), CONTEXT).preprocessing
    assert found == Preprocessing(32, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), "bilinear", "squash")


def test_images_are_embedded_as_open_clip_embeds_pictures(encoder: Encoder, folder: Path) -> None:
    images = _images(50, 70)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.no_grad():
        theirs = model.eval().encode_image(torch.stack([transform(p) for p in _pictures(images)]), normalize=True)
    ours = encoder.embed_images(images)
    assert ours.dtype == torch.float32
    assert (ours * theirs).sum(1) == pytest.approx(1, abs=1e-3)
    assert (ours[0] @ ours[1]) < 0.999  # or the last line would say nothing


def test_texts_are_embedded_as_open_clip_embeds_them(encoder: Encoder, folder: Path) -> None:
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    with torch.no_grad():
        theirs = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS), normalize=True)
    assert torch.allclose(encoder.embed_texts(TEXTS), theirs, atol=1e-6)
    assert (theirs[0] @ theirs[1]) < 0.999


def test_embeddings_have_length_1_and_only_images_have_gradients(encoder: Encoder) -> None:
    images = _images().requires_grad_()
    embedded = encoder.embed_images(images)
    assert embedded.detach().norm(dim=1) == pytest.approx(1, abs=1e-6)
    [gradient] = torch.autograd.grad((embedded @ torch.arange(16.0)).sum(), images)
    assert gradient.isfinite().all() and (gradient.flatten(1).norm(dim=1) > 0).all()
    texts = encoder.embed_texts(TEXTS)
    assert texts.norm(dim=1) == pytest.approx(1, abs=1e-6)
    assert texts.dtype == torch.float32 and not texts.requires_grad


def test_the_gradient_is_the_slope(encoder: Encoder) -> None:
    images, direction = _images(count=1), torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    target = torch.nn.functional.normalize(torch.arange(16.0), dim=0)
    images = images * 0.8 + 0.1  # clear of the clamps
    [gradient] = torch.autograd.grad((encoder.embed_images(images.requires_grad_()) @ target).sum(), images)
    with torch.no_grad():
        ahead, behind = (encoder.embed_images(images + h * direction) @ target for h in (2e-4, -2e-4))
    assert ((ahead - behind) / 4e-4).item() == pytest.approx((gradient * direction).sum().item(), rel=0.02, abs=2e-3)


def test_a_text_is_computed_once(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    compute = encoder._text
    monkeypatch.setattr(encoder, "_text", lambda text: (asked.append(text), compute(text))[1])
    new = [f"{number} cats" for number in range(3)]
    first = encoder.embed_texts([*new, *new])
    assert asked == new
    assert torch.equal(encoder.embed_texts(new[::-1]), first[:3].flip(0))
    assert asked == new


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHED_TEXTS", 2)
    encoder._known.clear()
    expected = encoder.embed_texts(["a", "b"])
    encoder.embed_texts(["a", "c"])
    assert list(encoder._known) == ["a", "c"]
    # more than are kept, in one go: the same bits again
    assert torch.equal(encoder.embed_texts(["a", "b", "c", "d"])[:2], expected)
    assert len(encoder._known) == 2


def test_the_network_is_frozen(encoder: Encoder) -> None:
    assert not encoder._network.training
    assert not any(parameter.requires_grad for parameter in encoder._network.parameters())


def test_the_same_encoder_is_loaded_once_and_dropped_when_nobody_has_it(make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    first = load_encoder("", str(folder), CONTEXT)
    assert load_encoder("ViT-H-14", f"local-dir:{folder}", CONTEXT) is first
    assert load_encoder("", str(folder), BuildContext(mixed_precision="bf16")) is not first
    dropped = weakref.ref(first)
    del first
    gc.collect()
    assert dropped() is None


def test_half_precision_is_close_and_its_results_are_float32(encoder: Encoder, folder: Path) -> None:
    half = load_encoder("", str(folder), BuildContext(mixed_precision="bf16"))
    assert {parameter.dtype for parameter in half._network.parameters()} == {torch.bfloat16}
    images = _images().requires_grad_()
    for ours, theirs in (
        (half.embed_images(images), encoder.embed_images(images)),
        (half.embed_texts(TEXTS), encoder.embed_texts(TEXTS)),
    ):
        assert ours.dtype == torch.float32
        assert ours.detach().norm(dim=1) == pytest.approx(1, abs=1e-6)
        assert (ours * theirs).sum(1).detach() == pytest.approx(1, abs=2e-3)
    assert half.logit_scale == encoder.logit_scale == pytest.approx(torch.tensor(3.0).exp().item())
    [gradient] = torch.autograd.grad(half.embed_images(images)[:, 0].sum(), images)
    assert gradient.dtype == torch.float32 and gradient.isfinite().all() and gradient.any()


def test_a_weights_file_fits_an_architecture(architecture: str, checkpoint: Path, folder: Path) -> None:
    texts = load_encoder("", str(folder), CONTEXT).embed_texts(TEXTS)
    for path in (checkpoint, folder / "open_clip_model.safetensors"):
        assert torch.equal(load_encoder(architecture, str(path), CONTEXT).embed_texts(TEXTS), texts)


def test_relative_paths_begin_at_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absolute = load_encoder("", str(folder), CONTEXT)
    monkeypatch.chdir(folder.parent)
    assert load_encoder("", folder.name, CONTEXT) is absolute


@pytest.mark.parametrize("quick", [False, True])
def test_a_tag_brings_its_activation(
    architecture: str, folder: Path, quick: bool, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    file = folder / "open_clip_model.safetensors"
    tag = {"file": str(file), "quick_gelu": quick, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, architecture, {"openai": tag})
    found = load_encoder(architecture, "openai", CONTEXT)
    assert not recwarn.list
    model = open_clip.create_model(architecture, str(file), force_quick_gelu=quick).eval()
    with torch.no_grad():
        theirs = model.encode_image(found.preprocessing(_images()), normalize=True)
    assert torch.allclose(found.embed_images(_images()), theirs, atol=1e-6)
    plain = load_encoder("", str(folder), CONTEXT).embed_images(_images())
    assert torch.allclose(plain, theirs, atol=1e-6) is not quick


def test_the_published_openai_weights_have_their_activation() -> None:
    # open_clip's ViT-L-14 has GELU, OpenAI's weights were trained with QuickGELU
    assert module._source("ViT-L-14", "openai", "") == (
        "ViT-L-14",
        {"pretrained": "openai", "force_quick_gelu": True},
    )


def test_the_hub_by_its_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = tmp_path / "models--me--mine"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text("abc")
    (stored / "snapshots").mkdir()
    (stored / "snapshots" / "abc").symlink_to(folder)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    texts = load_encoder("", "hf-hub:me/mine", CONTEXT).embed_texts(TEXTS)
    assert torch.equal(texts, load_encoder("", str(folder), CONTEXT).embed_texts(TEXTS))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 1, 8, 8), (5, 2)])
def test_anything_but_a_batch_of_rgb_images_is_refused(encoder: Encoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(b, 3, h, w\)"):
        encoder.embed_images(torch.zeros(shape))


def test_a_model_that_pads_images_is_refused(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(RewardError, match=r"resize_mode 'longest'.*choose another model"):
        load_encoder("", str(make_folder(resize_mode="longest")), CONTEXT)
