"""Files that are missing, damaged, or not what was expected: one error each, which says what to do."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dagsdk import BuildContext
from dagsdk.errors import RewardError
from dagsdk.rewards.weights import digest
from dagsdk_clip.cosine import clip_score, hpsv2
from dagsdk_clip.encoder import load_encoder
from dagsdk_clip.options import ClipScoreOptions, HpsOptions


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run by unpickling",)


def _fails(architecture: str, weights: object, says: str, sha256: str = "") -> None:
    with pytest.raises(RewardError, match=says) as caught:
        load_encoder(architecture, str(weights), BuildContext(), sha256=sha256)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_missing_file(architecture: str, tmp_path: Path) -> None:
    _fails(architecture, tmp_path / "none.safetensors", "there is no file.*give an existing file")
    _fails(architecture, "./none/here", "there is no file.*relative paths begin at")


def test_the_sha256(architecture: str, checkpoint: Path) -> None:
    load_encoder(architecture, str(checkpoint), BuildContext(), sha256=digest(checkpoint))
    _fails(architecture, checkpoint, f"has the SHA-256 {digest(checkpoint)}; it must be 0000.*fetch it again", "0" * 64)


def test_the_sha256_of_something_else_than_a_file(architecture: str, folder: Path) -> None:
    _fails(architecture, folder, "sha256 is set, and weights is .*, which is not a file", "0" * 64)


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pt", "empty.pt"])
def test_a_damaged_file(architecture: str, tmp_path: Path, checkpoint: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"" if name.startswith("empty") else checkpoint.read_bytes()[:1000])
    _fails(architecture, path, r"could not be loaded \(.*set `weights` to the path of a whole weights file")


def test_nothing_is_unpickled_but_tensors(architecture: str, tmp_path: Path, capsys) -> None:
    torch.save({"state_dict": Evil()}, tmp_path / "evil.pt")
    _fails(architecture, tmp_path / "evil.pt", "could not be loaded")
    assert "run by" not in capsys.readouterr().out


def test_missing_and_extra_keys(architecture: str, tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file({k: v for k, v in state.items() if k != "ln_final.bias"}, tmp_path / "less.safetensors")
    _fails(architecture, tmp_path / "less.safetensors", "Missing key.*ln_final.bias")
    save_file({**state, "another.weight": torch.zeros(1)}, tmp_path / "more.safetensors")
    _fails(architecture, tmp_path / "more.safetensors", "Unexpected key.*another.weight")


def test_a_folder_without_weights_or_configuration(folder: Path, tmp_path: Path) -> None:
    _fails("", tmp_path, "could not be loaded.*config file missing")
    (tmp_path / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    _fails("", tmp_path, "could not be loaded.*Required pretrained weights")


def test_unknown_names() -> None:
    _fails("ViT-H14", "laion2b_s32b_b79k", "architecture is 'ViT-H14'.*did you mean 'ViT-H-14'")
    _fails("ViT-H-14", "laion2b_s32b_b79", "weights is 'laion2b_s32b_b79'.*did you mean 'laion2b_s32b_b79k'")
    _fails("ViT-H-14", "zzz", r"must be a tag of open_clip for 'ViT-H-14' \(there are: laion2b_s32b_b79k, ")


@pytest.fixture
def no_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("no_copies")
def test_offline_without_a_copy() -> None:
    with pytest.raises(RewardError, match=r"'ViT-H-14' with weights 'laion2b_s32b_b79k' could not be loaded.*path"):
        clip_score(ClipScoreOptions(), BuildContext())
    with pytest.raises(RewardError, match=r"'hf-hub:me/mine' could not be loaded.*path"):
        clip_score(ClipScoreOptions(weights="hf-hub:me/mine"), BuildContext())
    says = "'HPS_v2.1_compressed.pt' of 'xswu/HPSv2' on the Hub could not be fetched.*set 'weights' to the path"
    with pytest.raises(RewardError, match=says):
        hpsv2(HpsOptions(), BuildContext())


def test_the_published_checkpoint_is_checked(
    architecture: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tmp_path / "models--xswu--HPSv2/snapshots/697403c78157020a1ae59d23f111aa58ced35b0a"
    stored.mkdir(parents=True)
    (stored / "HPS_v2.1_compressed.pt").symlink_to(checkpoint)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RewardError, match=f"has the SHA-256 {digest(checkpoint)}; it must be c57a38fb"):
        hpsv2(HpsOptions(architecture=architecture), BuildContext())
    hpsv2(HpsOptions(architecture=architecture, sha256=digest(checkpoint)), BuildContext())
