"""What a run reports and when; stopping it; leaving a loop early, failing, and continuing to the same bits."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedded import PROMPTS, align, brightness, live, metrics, picture, saved, weights

import dagsdk
from dagsdk.cli.main import main
from dagsdk.errors import ConfigError, RewardError, RunFolderError
from dagsdk.run import checkpoints

REGISTERED: dict[str, Any] = {"prompts": {"name": "texts", "texts": PROMPTS}, "reward": "jpeg-compressibility"}
"""What a run folder can name, so that `dagsdk.load` finds it again."""
EVERY: dict[str, Any] = {"evaluate": {"every": 2}, "checkpoint": {"every": 2}}


def kinds(events: Iterable[Any]) -> list[str]:
    return [type(event).__name__.removesuffix("Event").lower() for event in events]


def saved_epochs(run: dagsdk.Run) -> list[str]:
    return [path.name for path in checkpoints.found(Path(run.config.output) / "checkpoints")]


def test_events_come_in_the_order_in_which_things_happen(tmp_path: Path) -> None:
    events = list(align(live(), output=tmp_path / "run", epochs=3, **EVERY).events())
    second = ["images", "evaluation", "epoch", "checkpoint"]
    assert kinds(events) == ["evaluation", "images", "epoch", *second, *second, "finished"]
    assert [event.epoch for event in events] == [0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3]
    assert not events[-1].stopped
    base, images, epoch = events[:3]
    assert base.images.shape == (2, 3, 8, 8) and base.prompts == PROMPTS and not base.metrics
    assert images.images.shape == (4, 3, 8, 8) and images.images.dtype == torch.float32 and len(images.prompts) == 4
    assert images.rewards.keys() == {"brightness"} and len(images.rewards["brightness"]) == 4
    assert np.mean(images.rewards["brightness"]) == pytest.approx(epoch.metrics["reward/mean"], rel=1e-5)
    assert events[4].metrics["evaluate/mean"] == events[5].metrics["evaluate/mean"]
    paths = [event.path.name for event in events if isinstance(event, dagsdk.CheckpointEvent)]
    assert paths == ["epoch-0002", "epoch-0003"]


def test_an_evaluation_is_reported_before_the_first_epoch_is_trained() -> None:
    run = align(live())
    events = run.events()
    assert kinds([next(events)]) == ["evaluation"] and run.epoch == 0


def test_events_that_a_loop_did_not_take_are_the_first_of_the_next_one() -> None:
    run, seen = align(live(), **EVERY), []
    while not seen or not isinstance(seen[-1], dagsdk.FinishedEvent):
        for event in run.events():
            seen.append(event)
            break
    assert kinds(seen) == ["evaluation", "images", "epoch", "images", "evaluation", "epoch", "finished"]
    assert [line["epoch"] for line in run.history] == [1, 2]


def test_another_version_of_a_component_is_a_warning(tmp_path: Path) -> None:
    folder = saved(tmp_path / "tiny")
    for _ in align(folder, **REGISTERED, output=tmp_path / "run"):
        break
    state = tmp_path / "run/checkpoints/epoch-0001/state.json"
    text = state.read_text(encoding="utf-8")
    version = f'"dagsdk": "{dagsdk.__version__}"'
    assert version in text
    state.write_text(text.replace(version, '"dagsdk": "0.0.9"'), encoding="utf-8")
    events = list(dagsdk.load(tmp_path / "run").events())
    assert kinds(events)[0] == "warning" and "dagsdk was 0.0.9" in events[0].message


# --- stopping ---


def test_stop_from_the_reward_ends_the_run_after_that_epoch() -> None:
    def reward(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        if run.epoch == 1:
            run.stop()
        return brightness(images, prompts)

    run = align(live(), reward, epochs=9)
    events = list(run.events())
    assert run.epoch == 2 and events[-1].stopped and len(run.history) == 2
    assert "evaluate/gain" not in run.history[-1]
    run.finish()
    assert run.epoch == 9, "a run that was stopped can be iterated again"


def test_stop_from_another_thread() -> None:
    run, trained = align(live(), epochs=10**6), threading.Event()

    def train() -> None:
        for _ in run:
            trained.set()

    thread = threading.Thread(target=train)
    thread.start()
    assert trained.wait(60)
    run.stop()
    thread.join(60)
    assert not thread.is_alive() and 0 < run.epoch < 10**6


def test_stop_before_the_first_epoch_trains_none() -> None:
    run = align(live())
    run.stop()
    assert kinds(run.events()) == ["finished"] and run.epoch == 0
    assert run.finish().epoch == 2


# --- leaving, failing, continuing ---


def test_a_loop_that_is_left_leaves_a_checkpoint_that_load_continues_from(tmp_path: Path) -> None:
    folder = saved(tmp_path / "tiny")
    keys = {**REGISTERED, "epochs": 4, "ema": 0.5}
    whole = align(folder, **keys, output=tmp_path / "whole").finish()
    with align(folder, **keys, output=tmp_path / "run") as run:
        for epoch in run:
            if epoch["epoch"] == 2:
                break
        assert saved_epochs(run) == ["epoch-0002"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    again = dagsdk.load(tmp_path / "run")
    assert again.epoch == 2 and metrics(again) == metrics(whole)[:2]
    np.testing.assert_array_equal(picture(again.pipeline), picture(run.pipeline))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    again.finish()
    assert metrics(again) == metrics(whole)
    found, expected = weights(again), weights(whole)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_a_program_resumes_with_the_same_objects(tmp_path: Path) -> None:
    whole = align(live(), epochs=3).finish()
    for _ in align(live(), epochs=3, output=tmp_path / "run"):
        break
    with pytest.raises(RunFolderError, match="resume=True"):
        align(live(), epochs=3, output=tmp_path / "run")
    with pytest.raises(ConfigError, match="resume=True"):
        dagsdk.load(tmp_path / "run")
    again = align(live(), epochs=3, output=tmp_path / "run", resume=True)
    assert again.epoch == 1 and metrics(again.finish()) == metrics(whole)


def test_a_run_that_was_given_functions_can_be_sampled_but_not_trained(tmp_path: Path) -> None:
    run = align(saved(tmp_path / "tiny"), epochs=2, output=tmp_path / "run")
    for _ in run:
        break
    again = dagsdk.load(tmp_path / "run")
    np.testing.assert_array_equal(np.asarray(again.sample("a cat")[0]), np.asarray(run.sample("a cat")[0]))
    words = ["sample", str(tmp_path / "run"), "--prompt", "a cat", "--out", str(tmp_path / "images")]
    assert main(words) == 0
    with pytest.raises(RewardError, match="resume=True"):
        again.finish()


def test_closing_a_run_whose_loop_is_still_held_saves_it(tmp_path: Path) -> None:
    run = align(live(), output=tmp_path / "run")
    loop = iter(run)
    next(loop)
    run.close()
    assert saved_epochs(run) == ["epoch-0001"]
    assert list(loop) == [], "a closed run trains no further"


@pytest.mark.parametrize("error", [ValueError("no more"), SystemExit(3), KeyboardInterrupt()])
def test_a_reward_that_raises_ends_the_loop_and_the_run_can_be_taken_up_again(error: Any, tmp_path: Path) -> None:
    """Also one that calls sys.exit(), which does not end the program. Ctrl-C is the host's."""
    failing = []

    def reward(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        if failing:
            raise error
        return brightness(images, prompts)

    run, epochs = align(live(), reward, epochs=3, output=tmp_path / "run"), []
    raised = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else RewardError
    with pytest.raises(raised) as caught:
        for epoch in run:
            epochs.append(epoch)
            failing.append(True)
    if raised is RewardError:
        assert "'reward'" in str(caught.value) and type(error).__name__ in str(caught.value)
        assert caught.value.__cause__ is error
    assert len(epochs) == run.epoch == 1 and not saved_epochs(run), "what an epoch left half done is not saved"
    failing.clear()
    assert run.finish().epoch == 3 and saved_epochs(run) == ["epoch-0003"]


def test_what_an_error_left_half_done_is_not_saved(tmp_path: Path) -> None:
    def reward(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        assert run.epoch == 0, "in the second epoch"
        return brightness(images, prompts)

    run = align(live(), reward, output=tmp_path / "run")
    with pytest.raises(RewardError, match="in the second epoch"), run:
        run.finish()
    assert run.epoch == 1 and not saved_epochs(run)


def test_an_exception_in_the_hosts_loop_leaves_a_checkpoint(tmp_path: Path) -> None:
    run = align(live(), output=tmp_path / "run")
    with pytest.raises(ZeroDivisionError), run:
        for _ in run:
            _ = 1 / 0
    assert saved_epochs(run) == ["epoch-0001"]


def test_an_epoch_that_cannot_be_evaluated_is_trained_all_the_same() -> None:
    evaluations = []

    def reward(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        evaluations.append(len(images) == 2)
        if evaluations[-1] and evaluations.count(True) == 2:
            raise ValueError("only once")
        return brightness(images, prompts)

    run = align(live(), reward, evaluate={"every": 1})
    with pytest.raises(RewardError, match="only once"):
        run.finish()
    assert run.epoch == 1 and len(run.history) == 1
    assert [line["epoch"] for line in run] == [1, 2] and len(run.history) == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("progress", [False, True])
def test_progress_is_shown_only_when_asked_for(progress: bool, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run = align(live()).finish(progress=progress)
    assert ("epoch" in terminal.getvalue()) == progress and sys.stderr is terminal
    shown = terminal.getvalue()
    run.sample("a cat"), run.evaluate()
    assert terminal.getvalue() == shown and capfd.readouterr() == ("", "")
