"""The processes of a run: one by itself leaves accelerate alone, and what is gathered comes without latents."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor

from dagsdk.engine.processes import Processes, default_device, launched
from dagsdk.errors import TrainingError
from dagsdk.objectives.parts import Needs, ReferencePath
from dagsdk.objectives.trajectories import Latents, Trajectories
from dagsdk.prompts.protocol import Prompt


def trajectories(first: int) -> Trajectories:
    """Three, whose numbers begin with `first`."""
    number = first + torch.arange(3)
    path = number[:, None] + torch.arange(2) / 10
    return Trajectories(
        prompts=tuple(Prompt(f"prompt {i}") for i in number.tolist()),
        group=number // 2,
        branch=number,
        replayed=torch.tensor([False, False, True]),
        rewards=number.float(),
        raw_rewards={"one": 10.0 * number},
        log_prior=-number.float(),
        log_pf_old=path,
        log_pb=2 * path,
        epoch=2,
        epochs=9,
        parts={Needs.REFERENCE_PATH: ReferencePath(3 * path)},
        latents=Latents(conditioning={"prompt_embeds": torch.zeros(3, 2)}, clean=torch.zeros(3, 4)),
    )


class OneOfTwo(Processes):
    """Process 1 of two; `other` is what process 0 gathers, in turn."""

    index, count = 1, 2

    def __init__(self, other: list[Any]) -> None:
        self.other = other

    def gather_rows(self, rows: Tensor) -> Tensor:
        return torch.cat([self.other.pop(0), rows])

    def objects(self, value: Any) -> list[Any]:
        return [self.other.pop(0), value]


class Noting(Processes):
    def __init__(self) -> None:
        self.given: list[Any] = []

    def gather_rows(self, rows: Tensor) -> Tensor:
        self.given.append(rows)
        return rows

    def objects(self, value: Any) -> list[Any]:
        self.given.append(value)
        return [value]


def test_one_process_is_all_there_are() -> None:
    alone, value = Processes(), torch.arange(3)
    assert (alone.index, alone.count, alone.main) == (0, 1, True)
    assert alone.rows(5) == slice(0, 5)
    assert alone.gather_rows(value) is value and alone.sum(value) is value and alone.objects("x") == ["x"]
    alone.wait()


def test_what_is_gathered_has_no_latents() -> None:
    mine = trajectories(0)
    everyone = Processes().gather(mine)
    with pytest.raises(TrainingError, match="latents stay where they were sampled"):
        _ = everyone.latents
    assert mine.latents.clean.shape == (3, 4)  # these have them still
    assert everyone.prompts == mine.prompts and everyone.epoch == 2 and everyone.epochs == 9
    assert torch.equal(everyone.reference.log_pf, mine.reference.log_pf)


def test_rows_of_all_processes_are_gathered_by_process() -> None:
    first, second = trajectories(0), trajectories(3)
    noting = Noting()
    noting.gather(first)
    processes = OneOfTwo(noting.given)
    everyone = processes.gather(second)
    assert not processes.other
    assert [prompt.text for prompt in everyone.prompts] == [f"prompt {i}" for i in range(6)]
    assert everyone.rewards.tolist() == everyone.branch.tolist() == list(range(6))
    assert everyone.raw_rewards["one"].tolist() == [0, 10, 20, 30, 40, 50]
    assert everyone.replayed.tolist() == [False, False, True] * 2
    assert everyone.log_pb.shape == everyone.reference.log_pf.shape == (6, 2)
    mine = processes.rows(len(second))
    assert mine == slice(3, 6) and not processes.main
    own, part = evolve(second, latents=None), everyone.part(mine)
    for name in ("group", "rewards", "log_prior", "log_pf_old", "log_pb"):
        assert torch.equal(getattr(part, name), getattr(own, name))
    assert part.prompts == own.prompts


def test_prompts_travel_between_processes() -> None:
    """Other processes' prompts come pickled."""
    prompt = Prompt("a cat", {"answer": 3})
    found = pickle.loads(pickle.dumps(prompt))  # noqa: S301
    assert found == prompt and found.metadata["answer"] == 3
    with pytest.raises(TypeError):
        found.metadata["answer"] = 4  # still read-only


def test_a_program_without_a_launcher_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert type(launched()) is Processes
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert type(launched()) is Processes


UNTOUCHED = """
import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from dagsdk.engine.processes import default_device, launched
from dagsdk.run.trainer import Trainer

processes = launched()
assert type(processes).__name__ == "Processes", processes
default_device(processes)
assert PartialState._shared_state == {}, PartialState._shared_state
assert AcceleratorState._shared_state == {}, AcceleratorState._shared_state
"""


def test_accelerates_shared_state_is_left_to_the_host() -> None:
    """In a process of its own, since any other test may have filled it."""
    environment = {name: value for name, value in os.environ.items() if name != "WORLD_SIZE"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", UNTOUCHED], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_single_process_takes_the_accelerator_or_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert default_device(Processes()) == torch.device("cpu")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    assert default_device(Processes()) == torch.device("cuda")
