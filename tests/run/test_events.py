"""What a run reports, in which order; and loops that end early: by break, by stop, by an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from tiny_run import PROMPTS, Versions, brightness, components, config, trainer

from dagsdk.errors import RewardError
from dagsdk.run.events import (
    CheckpointEvent,
    EpochEvent,
    EvaluationEvent,
    Event,
    FinishedEvent,
    ImagesEvent,
    WarningEvent,
)
from dagsdk.run.trainer import Trainer


def names(events: list[Event]) -> list[tuple[str, int]]:
    return [(type(event).__name__.removesuffix("Event"), event.epoch) for event in events]  # type: ignore[union-attr]


def saved(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def bits(run: Trainer) -> dict[str, torch.Tensor]:
    return run.engine.trained.adapter.state()


ORDER = [
    ("Evaluation", 0),
    *[("Images", 1), ("Epoch", 1)],
    *[("Images", 2), ("Evaluation", 2), ("Epoch", 2), ("Checkpoint", 2)],
    *[("Images", 3), ("Epoch", 3)],
    *[("Images", 4), ("Evaluation", 4), ("Epoch", 4), ("Checkpoint", 4)],
    ("Finished", 4),
]


def test_events_come_in_the_order_in_which_things_happen(tmp_path: Path) -> None:
    """And when they have happened: with an epoch's event its line is written, with a checkpoint's it is there."""
    events = []
    for event in trainer(tmp_path / "run").events():
        events.append(event)
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        if isinstance(event, EpochEvent):
            assert json.loads(lines[-1]) == event.metrics and len(lines) == event.epoch == event.metrics["epoch"]
        if isinstance(event, CheckpointEvent):
            assert event.path == tmp_path / "run" / "checkpoints" / f"epoch-{event.epoch:04d}"
            assert (event.path / "state.json").is_file()
    assert names(events) == ORDER
    assert not events[-1].stopped


def test_what_events_hold(tmp_path: Path) -> None:
    events = list(trainer(tmp_path / "run").events())
    metrics = {event.epoch: event.metrics for event in events if isinstance(event, EpochEvent)}
    texts = {prompt.text for prompt in PROMPTS}
    for event in events:
        if isinstance(event, ImagesEvent | EvaluationEvent):
            count = 6 if isinstance(event, ImagesEvent) else 4
            assert event.images.shape == (count, 3, 8, 8) and event.images.dtype == torch.float32
            assert event.images.min() >= 0 and event.images.max() <= 1 and event.images.device.type == "cpu"
            assert len(event.prompts) == count and set(event.prompts) <= texts
            assert event.rewards["brightness"] == pytest.approx(brightness(event.images, None).tolist(), rel=1e-5)
        if isinstance(event, ImagesEvent):
            mean = sum(event.rewards["brightness"]) / 6
            assert metrics[event.epoch]["reward/mean"] == pytest.approx(mean, rel=1e-5)
        if isinstance(event, EvaluationEvent):
            assert event.prompts == [prompt.text for prompt in (*PROMPTS[:2], *PROMPTS[:2])]
            assert (event.epoch == 0) == (event.metrics == {})
            assert event.metrics.items() <= metrics.get(event.epoch, {}).items()


def test_at_most_32_images_are_shown(tmp_path: Path) -> None:
    made = evolve(config(tmp_path / "run", epochs=1, trajectories=34, transitions=1), rollout=ONE_STEP)
    run = Trainer(made, Versions(), components=components(tmp_path / "model"))
    [images] = [event for event in run.events() if isinstance(event, ImagesEvent)]
    assert len(images.images) == len(images.prompts) == len(images.rewards["brightness"]) == 32


ONE_STEP = evolve(config(Path("unused")).rollout, steps=2)


def test_without_an_output_there_are_no_checkpoints_and_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = components(tmp_path / "model")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = Trainer(evolve(config(Path("unused")), output=None), Versions(), components=live)
    assert names(list(run.events())) == [event for event in ORDER if event[0] != "Checkpoint"]
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize("epoch", [2, 3])
def test_a_break_saves_a_checkpoint_and_another_loop_continues(tmp_path: Path, epoch: int) -> None:
    whole = trainer(tmp_path / "whole")
    list(whole)
    run = trainer(tmp_path / "run")
    for event in run.events():
        if isinstance(event, EpochEvent) and event.epoch == epoch:
            break
    last = f"epoch-{epoch:04d}"
    assert saved(tmp_path / "run") == sorted({"epoch-0002", last})
    written = (tmp_path / "run" / "checkpoints" / last / "state.json").stat().st_mtime_ns
    rest = names(list(run.events()))
    # what the first loop did not take comes first
    assert rest == [("Checkpoint", epoch), *ORDER[ORDER.index(("Images", epoch + 1)) :]]
    assert (tmp_path / "run" / "checkpoints" / last / "state.json").stat().st_mtime_ns == written  # saved once
    assert all(torch.equal(value, bits(run)[name]) for name, value in bits(whole).items())


def test_a_break_in_the_middle_of_an_epochs_events_loses_none(tmp_path: Path) -> None:
    run, taken = trainer(tmp_path / "run"), []
    while not taken or taken[-1][0] != "Finished":
        for event in run.events():
            taken += names([event])
            break
    assert [event for event in taken if event[0] != "Checkpoint"] == [e for e in ORDER if e[0] != "Checkpoint"]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]


def with_reward(folder: Path, reward: Any, evaluations: int = 0) -> Trainer:
    """A run with this reward; evaluations: epochs between them."""
    made = config(folder)
    made = evolve(made, evaluate=evolve(made.evaluate, every=evaluations))
    return Trainer(made, Versions(), components=components(folder.parent / "model", reward=reward))


TRAINING = [event for event in ORDER if event != ("Evaluation", 2)]


def test_stop_ends_after_the_epoch_in_training(tmp_path: Path) -> None:
    """Also from the reward itself, in the middle of the third epoch."""
    calls = 0

    def reward(images: torch.Tensor, prompts: Any) -> torch.Tensor:
        nonlocal calls
        if run.epoch == 2 and calls == 0:
            calls += 1
            run.stop()
        return brightness(images, prompts)

    run = with_reward(tmp_path / "run", reward)
    events = list(run.events())
    assert names(events) == [*TRAINING[: TRAINING.index(("Images", 4))], ("Checkpoint", 3), ("Finished", 3)]
    assert isinstance(events[-1], FinishedEvent) and events[-1].stopped
    assert saved(tmp_path / "run") == ["epoch-0002", "epoch-0003"]
    rest = list(run.events())  # the request is over
    assert names(rest) == ORDER[ORDER.index(("Images", 4)) :] and not rest[-1].stopped


def test_stopped_before_it_begins_it_trains_nothing(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run")
    run.stop()
    [event] = run.events()
    assert isinstance(event, FinishedEvent) and (event.epoch, event.stopped) == (0, True)
    assert saved(tmp_path / "run") == []


@pytest.mark.parametrize("then", ["close", "continue"])
def test_an_error_in_an_epoch_leaves_no_events_of_it_and_no_checkpoint(tmp_path: Path, then: str) -> None:
    """Here after its images were reported: the first two calls reward them, the third a state before their end."""
    calls = 0

    def reward(images: torch.Tensor, prompts: Any) -> torch.Tensor:
        nonlocal calls
        calls += run.epoch == 3
        if calls == 3:
            raise ConnectionError("the reward is down")
        return brightness(images, prompts)

    run = with_reward(tmp_path / "run", reward)
    events = []
    with pytest.raises(RewardError, match="down"):
        for event in run.events():
            events.append(event)
    assert names(events) == TRAINING[: TRAINING.index(("Images", 4))] and calls == 3
    if then == "close":
        run.close()
        assert saved(tmp_path / "run") == ["epoch-0002"]  # the fourth epoch may have moved the weights already
    else:
        assert names(list(run.events())) == TRAINING[TRAINING.index(("Images", 4)) :]


def test_an_error_in_an_evaluation_loses_no_epoch(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    list(whole)
    failures = 0

    def reward(images: torch.Tensor, prompts: Any) -> torch.Tensor:
        nonlocal failures
        if run.epoch == 2 and failures == 0:
            failures += 1
            raise ConnectionError("the reward is down")
        return brightness(images, prompts)

    run, events = with_reward(tmp_path / "run", reward, evaluations=2), []
    with pytest.raises(RewardError, match="down"):
        for event in run.events():
            events.append(event)
    assert names(events) == ORDER[: ORDER.index(("Images", 2))]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    rest = names(list(run.events()))
    assert rest[:2] == [("Images", 2), ("Epoch", 2)] and rest[2:] == ORDER[ORDER.index(("Images", 3)) :]
    assert all(torch.equal(value, bits(run)[name]) for name, value in bits(whole).items())


def test_what_differs_from_the_checkpoint_is_a_warning_and_the_first_event(tmp_path: Path) -> None:
    for event in trainer(tmp_path / "run").events():
        if isinstance(event, EpochEvent) and event.epoch == 2:
            break
    state = tmp_path / "run" / "checkpoints" / "epoch-0002" / "state.json"
    content = json.loads(state.read_text())
    now = content["provenance"]["library torch"]
    content["provenance"]["library torch"] = "1.0"
    state.write_text(json.dumps(content))
    resumed = trainer(tmp_path / "run", resume=True)
    message = f"library torch was 1.0 and is {now}; the run may not end in the same bits"
    assert resumed.warnings == (message,)
    first = next(iter(resumed.events()))
    assert isinstance(first, WarningEvent) and first.message == message
