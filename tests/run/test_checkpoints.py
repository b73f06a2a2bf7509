"""Checkpoints and run folders: whole or not at all, no pickle, and errors that name what is wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from dagsdk.engine.generators import GlobalGenerators
from dagsdk.errors import RunFolderError
from dagsdk.run import checkpoints
from dagsdk.run.folder import RunFolder

TREE = {
    "number": 0.1,
    "text": "ünïcode",
    "nothing": None,
    "flag": True,
    "list": [1, (2.5, "x"), {"deep": torch.arange(3, dtype=torch.int64)}],
    7: torch.tensor(float("-inf")),
    "view": torch.arange(12.0).view(3, 4).t(),
}


def write(folder: Path, epoch: int = 3, tree: object = TREE, also=lambda folder: None) -> Path:
    return checkpoints.save(folder, epoch, {"part": tree, "plain": {"a": 1}}, {"torch": "x"}, also)


def test_every_kind_of_state_comes_back(tmp_path: Path) -> None:
    path = write(tmp_path, also=lambda folder: (folder / "extra.txt").write_text("x"))
    assert path.name == "epoch-0003"
    epoch, sections, provenance = checkpoints.load(path)
    part = sections["part"]
    assert (epoch, provenance, sections["plain"]) == (3, {"torch": "x"}, {"a": 1})
    assert part["number"] == 0.1 and part["text"] == "ünïcode" and part["nothing"] is None and part["flag"] is True
    assert part["list"][:2] == [1, [2.5, "x"]]
    assert torch.equal(part["list"][2]["deep"], torch.arange(3))
    assert part[7].item() == float("-inf")
    assert torch.equal(part["view"], torch.arange(12.0).view(3, 4).t())
    assert (path / "extra.txt").read_text() == "x"


def test_an_optimiser_comes_back_to_the_bit(tmp_path: Path) -> None:
    def steps(count: int, start: dict | None = None) -> tuple[torch.Tensor, dict]:
        weight = torch.nn.Parameter(torch.ones(3) if start is None else start["weight"].clone())
        optimiser = torch.optim.AdamW([weight], lr=0.1)
        if start is not None:
            optimiser.load_state_dict(start["optimiser"])
        for _ in range(count):
            optimiser.zero_grad()
            (weight**3).sum().backward()
            optimiser.step()
        return weight.detach(), {"weight": weight.detach(), "optimiser": optimiser.state_dict()}

    straight, _ = steps(4)
    _, half = steps(2)
    _, sections, _ = checkpoints.load(write(tmp_path, tree=half))
    resumed, _ = steps(2, sections["part"])
    assert torch.equal(straight, resumed)


def test_generators_come_back(tmp_path: Path) -> None:
    def draw() -> tuple[float, float, float]:
        with generators.in_use():
            return torch.rand(()).item(), float(np.random.standard_normal()), random.random()

    generators = GlobalGenerators(3)
    draw()  # leaves half a pair of normal numbers behind
    _, sections, _ = checkpoints.load(write(tmp_path, tree=generators.state_dict()))
    expected = draw()
    assert draw() != expected
    generators.load_state_dict(sections["part"])
    assert draw() == expected


def test_what_a_checkpoint_cannot_hold_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"part\.a\.0 is a object"):
        write(tmp_path, tree={"a": [object()]})
    assert checkpoints.found(tmp_path) == []


def test_a_failure_in_the_middle_leaves_the_older_one(tmp_path: Path) -> None:
    write(tmp_path, 1)

    def broken(folder: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, 2, also=broken)
    assert [p.name for p in checkpoints.found(tmp_path)] == ["epoch-0001"]
    write(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-0001", "epoch-0002"]


def test_found_is_in_order_and_prune_keeps_the_newest(tmp_path: Path) -> None:
    for epoch in (2, 10, 9, 10000):
        write(tmp_path, epoch)
    assert [p.name for p in checkpoints.found(tmp_path)] == ["epoch-0002", "epoch-0009", "epoch-0010", "epoch-10000"]
    checkpoints.prune(tmp_path, 0)
    assert len(checkpoints.found(tmp_path)) == 4
    checkpoints.prune(tmp_path, 2)
    assert [p.name for p in checkpoints.found(tmp_path)] == ["epoch-0010", "epoch-10000"]


@pytest.mark.parametrize("damage", ["truncated", "json", "missing", "format"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path)
    match damage:
        case "truncated":
            file = path / "part.safetensors"
            file.write_bytes(file.read_bytes()[:-10])
        case "json":
            (path / "state.json").write_text("{")
        case "missing":
            (path / "part.safetensors").unlink()
        case "format":
            state = json.loads((path / "state.json").read_text())
            (path / "state.json").write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(RunFolderError, match="epoch-0003"):
        checkpoints.load(path)


def test_metrics_survive_a_cut_line_and_a_step_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for epoch in (1, 2, 3):
        folder.append_metrics({"epoch": epoch, "loss": 0.1 * epoch})
    with folder.metrics.open("a") as file:
        file.write('{"epoch": 4, "lo')
    assert [line["epoch"] for line in folder.read_metrics()] == [1, 2, 3]
    folder.begin("seed = 1\n", 2)
    assert folder.metrics.read_text() == '{"epoch": 1, "loss": 0.1}\n{"epoch": 2, "loss": 0.2}\n'


@pytest.mark.parametrize(
    ("change", "refused"),
    [("seed = 2", "seed: 1 → 2"), ("seed = 1\n[checkpoint]\nevery = 5", None), ("seed = 1\ntrackers = []", None)],
)
def test_what_may_change_on_resume(tmp_path: Path, change: str, refused: str | None) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.claim("seed = 1\n", resume=False) is None
    if refused is None:
        folder.claim(change, resume=True)
    else:
        with pytest.raises(RunFolderError, match=refused):
            folder.claim(change, resume=True)


def test_claiming_gives_the_last_checkpoint_and_beginning_clears_what_was_unfinished(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    done = folder.path / "checkpoints"
    assert folder.checkpoints() == done
    folder.claim("seed = 1\n", resume=True)
    write(done, 2)
    (done / ".unfinished-epoch-0003").mkdir()
    assert folder.claim("seed = 1\n", resume=True) == done / "epoch-0002"
    assert len(list(done.iterdir())) == 2  # claimed only, to read from: nothing is changed yet
    folder.begin("seed = 1\n", 2)
    assert [p.name for p in done.iterdir()] == ["epoch-0002"]
