"""Files that are missing, damaged, or not what was expected: one error each, which says what to do."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dagsdk.errors import RewardError
from dagsdk.rewards.weights import digest, find_weights, load_weights, read_weights
from dagsdk.testing import offline

STATE = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run by unpickling",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(STATE, tmp_path / "plain.safetensors")
    torch.save(STATE, tmp_path / "new.pt")
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    return tmp_path


def _same(found: dict[str, Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("name", ["plain.safetensors", "new.pt", "old.pth"])
def test_every_format_gives_the_same_tensors_and_asks_no_network(folder: Path, name: str) -> None:
    with offline() as asked:
        assert _same(load_weights(folder / name, option="head"))
        assert _same(load_weights(folder, option="head", file=name))
        assert _same(load_weights(str(folder / name), option="head", file="another", sha256=digest(folder / name)))
    assert not asked


def test_relative_paths_and_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    assert find_weights("new.pt", option="head") == Path("new.pt")
    assert find_weights("~/new.pt", option="head") == folder / "new.pt"


@pytest.mark.parametrize(
    "place", ["nowhere.pt", "./nowhere", "/nowhere/at/all", "a/b/c", "models/nowhere.safetensors", "weights/mine.pth"]
)
def test_a_missing_file_is_reported_without_asking_the_hub(place: str) -> None:
    says = r"head is '.*'; there is no file .*relative paths begin at .*a folder that holds 'mine.pt', or a Hub"
    with offline() as asked, pytest.raises(RewardError, match=says):
        find_weights(place, option="head", file="mine.pt")
    assert not asked


def test_a_folder_without_the_file(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"there is no file .*mine\.pt'"):
        find_weights(tmp_path, option="head", file="mine.pt")
    with pytest.raises(RewardError, match=r"give an existing file$"):
        find_weights(tmp_path, option="head")


def test_the_digest(folder: Path) -> None:
    right = hashlib.sha256((folder / "new.pt").read_bytes()).hexdigest()
    assert digest(folder / "new.pt") == right
    assert find_weights(folder / "new.pt", option="head", sha256=right) == folder / "new.pt"
    says = rf"head is '.*', where 'new\.pt' has the SHA-256 {right}; it must be 0000.*fetch it again"
    with pytest.raises(RewardError, match=says):
        find_weights(folder / "new.pt", option="head", sha256="0" * 64)


def test_a_repository_is_asked_for_its_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repo_id: str, filename: str, *, revision: str | None = None) -> str:
        asked.append((repo_id, filename, revision))
        return str(folder / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert _same(load_weights("owner/name", option="head", file="new.pt", revision="v1"))
    assert asked == [("owner/name", "new.pt", "v1")]
    with pytest.raises(RewardError, match=r"head is 'owner/name', where 'new\.pt' has the SHA-256"):
        find_weights("owner/name", option="head", file="new.pt", sha256="0" * 64)


def test_the_cache_of_the_hub_is_enough(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = tmp_path / "cache/models--owner--name"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs/main").write_text("abc")
    (stored / "snapshots/abc").mkdir(parents=True)
    (stored / "snapshots/abc/new.pt").symlink_to(folder / "new.pt")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert _same(load_weights("owner/name", option="head", file="new.pt"))


def test_a_repository_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    says = r"'mine' of 'some/where' on the Hub could not be fetched \(.*set 'head' to the path"
    with pytest.raises(RewardError, match=says) as caught:
        find_weights("some/where", option="head", file="mine")
    assert "\n" not in str(caught.value) and caught.value.__cause__ is not None


def test_damaged_files_and_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weights": Evil()}, folder / "evil.pt")
    (folder / "pickle.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    (folder / "empty.pt").write_bytes(b"")
    (folder / "page.safetensors").write_text("<html>not found</html>")
    (folder / "cut.pt").write_bytes((folder / "new.pt").read_bytes()[:500])
    for name in ("evil.pt", "pickle.pt", "empty.pt", "page.safetensors", "cut.pt"):
        with pytest.raises(RewardError, match=rf"{name}' cannot be read as weights \(.*fetch it again") as caught:
            read_weights(folder / name)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert "run by" not in capsys.readouterr().out


def test_what_is_no_table_of_tensors(folder: Path) -> None:
    torch.save([torch.zeros(2)], folder / "list.pt")
    torch.save({"model": STATE, "epoch": 3}, folder / "nested.pt")
    with pytest.raises(RewardError, match=r"list\.pt' holds list; it must be tensors by name"):
        read_weights(folder / "list.pt")
    with pytest.raises(RewardError, match=r"nested\.pt' holds a dict of dict, int; it must be tensors by name"):
        read_weights(folder / "nested.pt")
