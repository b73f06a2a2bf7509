from __future__ import annotations

from pathlib import Path

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import dagsdk_aesthetic
from dagsdk import BuildContext, Prompt
from dagsdk.errors import RewardError
from dagsdk.rewards.protocol import Reward
from dagsdk.rewards.weights import digest
from dagsdk.testing.samples import images
from dagsdk_aesthetic import AestheticOptions
from dagsdk_aesthetic.head import load_head

[SPEC] = dagsdk_aesthetic.dagsdk_rewards()
PROMPTS = [Prompt(text) for text in ("a cat", "", "two dogs", "x" * 500)]


def _reward(clip: Path | str, head: Path | str, precision: str = "no", **options: str) -> Reward:
    context = BuildContext(mixed_precision=precision)
    return SPEC.make(AestheticOptions(weights=str(clip), head=str(head), **options), context)


def _pictures() -> Tensor:
    return (images(side=32) * 255).round() / 255


def test_one_differentiable_reward_that_says_what_it_fetches() -> None:
    assert SPEC.name == "aesthetic" and SPEC.differentiable
    assert [weights.split(" (")[1] for weights in SPEC.weights] == ["1.7 GB)", "3.7 MB)"]


def test_the_folded_head_is_the_mlp(head: Path, mlp: nn.Sequential) -> None:
    embeddings = torch.randn(100, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = load_head(head)
    assert found.vector.dtype == found.bias.dtype == torch.float32
    with torch.no_grad():
        expected = mlp.double()(embeddings)[:, 0]
        mlp.float()
    assert torch.allclose(found(embeddings.float()).double(), expected, atol=1e-4)
    assert expected.std() > 1


def test_a_head_as_safetensors(head: Path, tmp_path: Path) -> None:
    save_file(torch.load(head, weights_only=True), tmp_path / "head.safetensors")
    found = load_head(tmp_path / "head.safetensors")
    assert torch.equal(found.vector, load_head(head).vector) and torch.equal(found.bias, load_head(head).bias)


def test_rewards_are_the_published_computation(clip: Path, head: Path, mlp: nn.Sequential) -> None:
    pictures = _pictures()
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{clip}")
    arrays = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
    with torch.no_grad():
        embedded = model.eval().encode_image(torch.stack([transform(Image.fromarray(np.array(a))) for a in arrays]))
        expected = mlp(embedded / embedded.norm(dim=1, keepdim=True))[:, 0]
    rewards = _reward(clip, head)(pictures, PROMPTS)
    assert torch.allclose(rewards, expected, atol=1e-4)
    assert expected.std() > 0.1


def test_prompts_do_not_count(clip: Path, head: Path) -> None:
    reward = _reward(clip, head)
    assert torch.equal(reward(_pictures(), PROMPTS), reward(_pictures(), PROMPTS[::-1]))


def test_following_the_gradient_raises_the_reward(clip: Path, head: Path) -> None:
    reward, pictures = _reward(clip, head), (_pictures() * 0.8 + 0.1).requires_grad_()
    before = reward(pictures, PROMPTS)
    [gradient] = torch.autograd.grad(before.sum(), pictures)
    step = 1e-3 * gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
    assert (reward(pictures + step, PROMPTS) > before).all()


def test_half_precision_is_close_and_its_head_is_float32(clip: Path, head: Path) -> None:
    full, half = (_reward(clip, head, precision)(_pictures(), PROMPTS) for precision in ("no", "bf16"))
    assert half.dtype == torch.float32
    assert ((full - half).abs() <= 0.02 * load_head(head).vector.norm()).all()


def test_the_encoder_is_that_of_clip_score(clip: Path, head: Path) -> None:
    from dagsdk_clip.encoder import load_encoder

    assert _reward(clip, head).encoder is load_encoder("", str(clip), BuildContext())  # type: ignore[attr-defined]


def _change(head: Path, to: Path, **changes: Tensor | None) -> Path:
    """The head's file with some tensors replaced or left out. In names, _ stands for a dot."""
    state = torch.load(head, weights_only=True)
    for name, value in changes.items():
        state.pop(name.replace("_", "."), None)
        if value is not None:
            state[name.replace("_", ".")] = value
    torch.save(state, to)
    return to


def test_heads_that_do_not_fit(head: Path, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "head.pth"
    for changes, says in (
        ({"layers_4_bias": None}, r"lacks layers\.4\.bias; it must have weight and bias of layers 0, 2, 4, 6, 7"),
        ({"layers_9_bias": torch.zeros(1)}, r"has unknown layers\.9\.bias"),
        ({"layers_7_weight": torch.zeros(2, 16)}, r"layers\.7 has a weight of shape \(2, 16\).*must be \(1, 16\)"),
        ({"layers_0_weight": torch.zeros(())}, r"layers\.0 has a weight of shape \(\)"),
        ({"layers_0_weight": torch.zeros(1024, 24)}, "takes embeddings of width 24, and the CLIP gives 16"),
    ):
        with pytest.raises(RewardError, match=says):
            _reward(clip, _change(head, path, **changes))


def test_files_that_are_missing_damaged_or_others(head: Path, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"head is .*; there is no file"):
        _reward(clip, tmp_path / "none.pth")
    (tmp_path / "broken.pth").write_bytes(head.read_bytes()[:1000])
    with pytest.raises(RewardError, match="cannot be read as weights"):
        _reward(clip, tmp_path / "broken.pth")
    with pytest.raises(RewardError, match=f"has the SHA-256 {digest(head)}; it must be 0000"):
        _reward(clip, head, sha256="0" * 64)
    _reward(clip, head, sha256=digest(head))


def test_offline_without_a_copy(head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RewardError, match=r"'aesthetic-model.pth' of 'trl-lib.* could not be fetched.*set 'head' to"):
        SPEC.make(AestheticOptions(), BuildContext())
    with pytest.raises(
        RewardError, match=r"'ViT-L-14' with weights 'openai' could not be loaded.*`weights` to the path"
    ):
        SPEC.make(AestheticOptions(head=str(head)), BuildContext())


def test_the_published_head_is_checked(head: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = tmp_path / "models--trl-lib--ddpo-aesthetic-predictor"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text("abc")
    (stored / "snapshots" / "abc").mkdir(parents=True)
    (stored / "snapshots" / "abc" / "aesthetic-model.pth").symlink_to(head)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RewardError, match=f"'aesthetic-model.pth' has the SHA-256 {digest(head)}; it must be 21dd590f"):
        _reward(clip, "")
    mine = _reward(clip, "", sha256=digest(head))(_pictures(), PROMPTS)
    assert torch.equal(mine, _reward(clip, head)(_pictures(), PROMPTS))


@pytest.mark.network
def test_published_weights_give_1_to_10_and_prefer_a_picture_to_noise() -> None:
    line = torch.linspace(0, 1, 256)
    sky = torch.stack([0.9 - 0.5 * line, 0.5 + 0.2 * line, 0.4 + 0.5 * line])[:, :, None].expand(3, 256, 256)
    noise = torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(0))
    smooth, rough = SPEC.make(AestheticOptions(), BuildContext())(torch.stack([sky, noise]), PROMPTS[:2])
    assert 1 < rough < smooth < 10
