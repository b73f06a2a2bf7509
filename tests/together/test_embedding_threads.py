"""Two runs in one process give the bits that each gives alone; and a process that embeds one is left in peace."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from embedded import Restless, align, live, metrics, saved, weights

import dagsdk

RUNS: list[dict[str, Any]] = [{"seed": 0, "epochs": 3}, {"seed": 1, "epochs": 3, "objective": "dag-kl"}]


def made(number: int) -> dagsdk.Run:
    return align(live(), Restless(), **RUNS[number])


@pytest.fixture(scope="module")
def alone() -> list[dagsdk.Run]:
    return [made(number).finish() for number in range(2)]


def same(run: dagsdk.Run, expected: dagsdk.Run) -> bool:
    found, wanted = weights(run), weights(expected)
    return metrics(run) == metrics(expected) and all(torch.equal(found[name], wanted[name]) for name in wanted)


def in_threads(work: Callable[[int], Any]) -> list[Any]:
    results: list[Any] = [None, None]
    barrier = threading.Barrier(2)

    def entry(number: int) -> None:
        barrier.wait()
        results[number] = work(number)

    threads = [threading.Thread(target=entry, args=(number,)) for number in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    return results


def test_two_runs_at_once_give_the_bits_of_each_alone(alone: list[dagsdk.Run]) -> None:
    """With rewards that have dropout and draw from torch's, numpy's and Python's global generators."""
    together = in_threads(lambda number: made(number).finish())
    assert all(same(run, expected) for run, expected in zip(together, alone, strict=True))


def test_two_runs_epoch_by_epoch_give_the_bits_of_each_alone(alone: list[dagsdk.Run]) -> None:
    torch.manual_seed(123)
    runs = [made(number) for number in range(2)]
    for _ in zip(*runs, strict=True):
        torch.rand(3)
    assert all(same(run, expected) for run, expected in zip(runs, alone, strict=True))


def test_loading_in_two_threads_at_once_gives_the_bits_of_each_alone(tmp_path: Path) -> None:
    folder = saved(tmp_path / "tiny")
    expected = align(folder, Restless()).finish()
    assert all(same(run, expected) for run in in_threads(lambda number: align(folder, Restless()).finish()))


def test_pipelines_at_once_may_share_a_vae_and_a_text_encoder() -> None:
    first, second = live(), live()
    expected = align(live(), epochs=3).finish()
    shared = (first.vae, first.text_encoder)
    second.vae, second.text_encoder = (module.train() for module in shared)
    first.vae.decoder.requires_grad_(False)
    before = [(p.requires_grad, m.training) for module in shared for m in module.modules() for p in m.parameters()]
    runs = in_threads(lambda number: align((first, second)[number], epochs=3).finish())
    assert all(same(run, expected) for run in runs)
    assert before == [
        (p.requires_grad, m.training) for module in shared for m in module.modules() for p in m.parameters()
    ]


PROGRAM = """
    import os, signal, sys
    from pathlib import Path

    opened = []
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def audit(event, arguments):
        written = event == "open" and isinstance(arguments[2], int) and arguments[2] & writing
        if (written or event in ("os.mkdir", "os.rename")) and not isinstance(arguments[0], int):
            opened.append(os.fsdecode(arguments[0]))

    import dagsdk
    import torch, diffusers, transformers, peft, accelerate, matplotlib.figure, PIL.Image  # what they write is theirs
    from diffusers import StableDiffusionPipeline
    from torch.utils.tensorboard import SummaryWriter

    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    bars = diffusers.utils.logging.is_progress_bar_enabled(), transformers.utils.logging.is_progress_bar_enabled()
    sys.addaudithook(audit)
    for output in (None, sys.argv[2]):
        run = dagsdk.align(
            sys.argv[1],
            prompts=["a cat", "a newt"],
            reward=lambda images, prompts: [float(image.mean()) for image in images],
            epochs=2, trajectories=4, rollout={"steps": 2}, samples=2, state_flow={"widths": [8, 8]},
            trackers=["tensorboard"], checkpoint={"every": 1}, output=output,
        )
        for epoch in run:
            run.sample("a cat")
        run.close()
        assert bool(output) == bool(opened)
    assert handlers == [signal.getsignal(number) for number in signal.valid_signals()]
    assert all(bars), "the host's own progress bars are as they were"
    now = diffusers.utils.logging.is_progress_bar_enabled(), transformers.utils.logging.is_progress_bar_enabled()
    assert bars == now
    outside = [name for name in opened if name != "/dev/null" and not name.startswith(sys.argv[2])]
    assert not outside, outside
"""


def test_a_program_that_embeds_a_run_is_left_in_peace(tmp_path: Path) -> None:
    """No print, also not of the libraries while loading; no signal handler; no file but in the output."""
    folder, home = saved(tmp_path / "tiny"), tmp_path / "home"
    home.mkdir()
    words = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(folder), str(home / "run")]
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, cwd=home, env=environ, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in home.iterdir()] == ["run"]
