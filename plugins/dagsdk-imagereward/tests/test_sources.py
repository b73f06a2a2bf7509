"""Where files come from, and the errors for those that are missing or wrong."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from dagsdk import BuildContext
from dagsdk.errors import ConfigError, RewardError
from dagsdk.testing import offline
from dagsdk.testing.samples import images, prompts
from dagsdk_imagereward import PUBLISHED_SHA256, ImageRewardOptions
from dagsdk_imagereward.reward import ImageReward, build


def built(small: Any, **changes: Any) -> ImageReward:
    return build(ImageRewardOptions(**{**small.options, **changes}), BuildContext())


def rewards_of(small: Any, **changes: Any) -> torch.Tensor:
    return built(small, **changes)(images(), prompts(4))


def test_local_files_ask_no_network(small: Any) -> None:
    with offline() as asked:
        rewards_of(small)
    assert not asked


def test_file_folder_and_safetensors_are_the_same(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rewards_of(small)
    assert torch.equal(rewards_of(small, checkpoint=str(small.folder)), expected)
    save_file(small.plain.state_dict(), small.folder / "model.safetensors")
    assert torch.equal(rewards_of(small, checkpoint=str(small.folder), file="model.safetensors"), expected)
    torch.save(small.plain.state_dict(), small.folder / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(rewards_of(small, checkpoint=str(small.folder / "old.pt")), expected)
    monkeypatch.chdir(small.folder)
    relative = {"checkpoint": "ImageReward.pt", "tokenizer": "vocab.txt", "config": "sizes.json"}
    assert torch.equal(rewards_of(small, **relative), expected)


def test_repositories_are_asked_for_their_files(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repo_id: str, filename: str, *, revision: str | None = None) -> str:
        asked.append((repo_id, filename, revision))
        return str(small.folder / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    defaults = ImageRewardOptions()
    build(ImageRewardOptions(config=small.options["config"], sha256=""), BuildContext())
    assert asked == [
        (defaults.tokenizer, "vocab.txt", None),
        (defaults.checkpoint, "ImageReward.pt", "main"),
    ]
    assert defaults.sha256 == PUBLISHED_SHA256


def test_the_digest(small: Any) -> None:
    right = hashlib.sha256((small.folder / "ImageReward.pt").read_bytes()).hexdigest()
    assert rewards_of(small, sha256=right).isfinite().all()
    with pytest.raises(RewardError, match=f"has the SHA-256 {right}; it must be {PUBLISHED_SHA256}"):
        built(small, sha256=PUBLISHED_SHA256)
    for wrong in ("abc", right.upper(), right + "0"):
        with pytest.raises(ValueError, match="sha256"):
            ImageRewardOptions(sha256=wrong)


def test_missing_files(small: Any, tmp_path: Path) -> None:
    with offline() as asked, pytest.raises(RewardError, match=r"checkpoint is 'nowhere\.pt'; there is no file"):
        built(small, checkpoint="nowhere.pt")
    assert not asked
    with pytest.raises(RewardError, match=r"tokenizer is .*; there is no file .*vocab.txt'"):
        built(small, tokenizer=str(tmp_path))


@pytest.mark.parametrize(("option", "file"), [("checkpoint", "ImageReward.pt"), ("tokenizer", "vocab.txt")])
def test_a_repository_out_of_reach(small: Any, monkeypatch: pytest.MonkeyPatch, option: str, file: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # or it tries again for half a minute
    with (
        offline(),
        pytest.raises(RewardError, match=rf"'{file}' of 'some/where' on the Hub could not .* set '{option}'"),
    ):
        built(small, **{option: "some/where"})


def test_files_that_are_no_checkpoint(small: Any, tmp_path: Path) -> None:
    (tmp_path / "cut.pt").write_bytes((small.folder / "ImageReward.pt").read_bytes()[:5000])
    with pytest.raises(RewardError, match=r"cut\.pt' cannot be read as weights"):
        built(small, checkpoint=str(tmp_path / "cut.pt"))
    torch.save({"model": small.plain.state_dict()}, tmp_path / "nested.pt")
    with pytest.raises(RewardError, match=r"nested\.pt' holds a dict of OrderedDict; it must be tensors by name"):
        built(small, checkpoint=str(tmp_path / "nested.pt"))


def test_a_checkpoint_of_other_sizes(small: Any, tmp_path: Path) -> None:
    sizes = json.loads((small.folder / "sizes.json").read_text())
    sizes["vision"]["num_hidden_layers"] = 2
    (tmp_path / "fewer.json").write_text(json.dumps(sizes))
    with pytest.raises(RewardError, match=r"12 unknown \(blip.visual_encoder.blocks.2"):
        built(small, config=str(tmp_path / "fewer.json"))


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        (None, RewardError, "cannot be read as JSON"),
        ("{", RewardError, "cannot be read as JSON"),
        ("[]", RewardError, "it holds a list, not an object"),
        ('{"vision": {"hidden": 3}}', ConfigError, r"vision.hidden: unknown key"),
        ('{"vision": {"num_attention_heads": 5}}', ConfigError, "5 does not divide hidden_size 1024"),
        ('{"vision": {"patch_size": 15}}', ConfigError, "15 does not divide image_size 224"),
        ('{"text": {"max_position_embeddings": 34}}', ConfigError, "text.max_position_embeddings: 34 is too small"),
        ('{"text": {"vocab_size": "many"}}', ConfigError, "text.vocab_size"),
    ],
)
def test_wrong_sizes(small: Any, tmp_path: Path, text: str | None, error: type[Exception], says: str) -> None:
    path = tmp_path / "sizes.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=says):
        built(small, config=str(path))


@pytest.mark.parametrize("option", ["checkpoint", "file", "revision", "tokenizer"])
def test_options_may_not_be_empty(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        ImageRewardOptions(**{option: ""})
