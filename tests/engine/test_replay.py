"""Replay: the best images of each prompt, which are kept, drawn from, trained on, and never left out."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from tiny_run import Versions, components, config
from torch import Tensor

from dagsdk import checkpoints
from dagsdk.config.schema import ReplayConfig
from dagsdk.engine.replay import KEPT, Replay
from dagsdk.engine.trainer import Trainer
from dagsdk.engine.trajectory import Trajectory, joined
from dagsdk.objectives.protocol import Loss, Needs, Signals
from dagsdk.objectives.stateless import Stateless
from dagsdk.prompts.protocol import Prompt
from dagsdk.rollouts.protocol import RolloutPlan

A, B, C = (Prompt(text) for text in "abc")


def added(replay: Replay, prompts: list[Prompt], scores: list[float], first: int = 0) -> None:
    """Images whose number is their only entry; clean ones are 1000 higher."""
    number = torch.arange(first, first + len(prompts)).float()[:, None]
    replay.add(prompts, number, number + 1000, torch.tensor(scores))


def numbers(replay: Replay, prompt: Prompt) -> list[int]:
    kept = replay.best[prompt.text]
    assert torch.equal(kept["clean"], kept["terminal"] + 1000)
    return kept["terminal"].flatten().int().tolist()


def drawn(replay: Replay, count: int, prompts: list[Prompt], seed: int = 0):
    group = torch.arange(len(prompts)) // 2
    return replay.draw(count, prompts, group, torch.Generator().manual_seed(seed))


# --- what is kept ---


def test_the_best_of_each_prompt_are_kept_by_hand() -> None:
    replay = Replay(2)
    added(replay, [A, B, A, A], [1.0, 9.0, 3.0, 2.0])
    assert (numbers(replay, A), numbers(replay, B)) == ([2, 3], [1])
    added(replay, [B, A, B], [-5.0, 2.5, 10.0], first=10)
    assert (numbers(replay, A), numbers(replay, B)) == ([2, 11], [12, 1])
    assert replay.best["a"]["scores"].tolist() == [3.0, 2.5]


def test_among_equal_scores_the_first_found_stay() -> None:
    replay = Replay(2)
    added(replay, [A, A, A], [1.0, 1.0, 1.0])
    added(replay, [A, A], [1.0, 1.0], first=10)
    assert numbers(replay, A) == [0, 1]


def test_a_prompt_is_its_text() -> None:
    replay = Replay(3)
    added(replay, [A, Prompt("a", {"kind": "letter"})], [1.0, 2.0])
    assert numbers(replay, A) == [1, 0]


def test_its_state_goes_through_a_checkpoint(tmp_path: Path) -> None:
    replay, again = Replay(2), Replay(2)
    added(replay, [A, B, A, Prompt("")], [1.0, 2.0, 3.0, 4.0])
    path = checkpoints.save(tmp_path, 1, {"replay": replay.state_dict()}, {}, lambda folder: None)
    again.load_state_dict(checkpoints.load(path)[1]["replay"], torch.device("cpu"))
    assert list(again.best) == ["a", "b", ""]
    for text, kept in replay.best.items():
        assert all(torch.equal(kept[name], again.best[text][name]) for name in KEPT)
    for one in (replay, again):
        added(one, [A, C], [2.0, 0.0], first=10)
    assert numbers(again, A) == numbers(replay, A) == [2, 10]


# --- what is drawn ---


def test_only_the_epochs_prompts_are_drawn_with_their_group() -> None:
    replay = Replay(4)
    added(replay, [C] * 4, [1.0] * 4)
    added(replay, [A, A, B, B], [1.0, 2.0, 3.0, 4.0], first=10)
    ends = drawn(replay, 40, [A, A, B, B])
    assert set(ends.prompts) == {A, B}
    owner = {10: A, 11: A, 12: B, 13: B}
    assert [owner[int(number)] for number in ends.terminal] == list(ends.prompts)
    assert torch.equal(ends.scores, ends.terminal.flatten() - 9) and torch.equal(ends.clean, ends.terminal + 1000)
    assert ends.group.tolist() == [0 if prompt == A else 1 for prompt in ends.prompts]
    assert ends.branch.tolist() == list(range(4, 44))  # no branch of the epoch's own, and none twice


def test_a_prompt_that_an_epoch_has_twice_has_the_group_of_its_first() -> None:
    replay = Replay(4)
    added(replay, [A, A, B, B, A, A], [1.0] * 6)
    ends = drawn(replay, 30, [A, A, B, B, A, A])
    assert {(p.text, g) for p, g in zip(ends.prompts, ends.group.tolist(), strict=True)} == {("a", 0), ("b", 1)}


def test_draws_are_even_over_images_and_follow_from_their_seed() -> None:
    replay = Replay(3)
    added(replay, [A, A, A, B], [1.0, 2.0, 3.0, 100.0])
    ends = drawn(replay, 4000, [A, B])
    counts = Counter(ends.terminal.flatten().int().tolist())
    assert counts.keys() == {0, 1, 2, 3}
    assert all(abs(n - 1000) < 4.5 * (4000 * 0.25 * 0.75) ** 0.5 for n in counts.values())
    assert torch.equal(drawn(replay, 4000, [A, B]).terminal, ends.terminal)
    assert not torch.equal(drawn(replay, 4000, [A, B], seed=1).terminal, ends.terminal)


# --- in a run ---


class Watching(Stateless):
    """Every trajectory has its number as its signal; keeps what `prepare` sees, and the signals that are trained."""

    needs: frozenset[Needs] = frozenset()

    def __init__(self) -> None:
        self.seen: list[Trajectory] = []
        self.trained: set[float] = set()

    def prepare(self, trajectories: Any, /) -> Signals:
        self.seen.append(trajectories)
        return Signals(values=torch.arange(len(trajectories.scores)).float())

    def loss(self, batch: Any, /) -> Loss:
        self.trained.update(batch.signal.tolist())
        return Loss(values=-batch.signal * batch.log_pf)


class Nothing:
    """Selects nothing of the last two steps; keeps how many it selected from."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def plan(self, epoch: int, epochs: int, num_steps: int, /) -> RolloutPlan:
        return RolloutPlan(images_per_prompt=2, window=(num_steps - 2, num_steps))

    def select(self, trajectories: Any, signals: Signals, /) -> Tensor:
        assert signals.values is not None
        self.seen += [len(trajectories.scores), len(signals.values), len(trajectories.prompts)]
        return torch.zeros_like(trajectories.scores, dtype=torch.bool)


def trainer(folder: Path, epochs: int = 3, replay: ReplayConfig | None = None, **parts: Any) -> Trainer:
    made = config(folder, epochs=epochs)
    live = evolve(components(folder.parent / f"{folder.name}-model"), **parts)
    return Trainer(evolve(made, replay=replay) if replay else made, Versions(), components=live)


def bits(run: Trainer) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in run.adapter.state().items()}


def figures(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_prepare_sees_them_after_the_sampled_ones_with_the_scores_they_had(tmp_path: Path) -> None:
    watching = Watching()
    run = trainer(tmp_path / "run", replay=ReplayConfig(trajectories=4, capacity=2), objective=watching)
    lines = list(run)
    found: dict[str, set[float]] = defaultdict(set)
    for seen, line in zip(watching.seen, lines, strict=True):
        group: dict[str, int] = {}
        for row, prompt in enumerate(seen.prompts[:6]):
            found[prompt.text].add(float(seen.scores[row]))
            group.setdefault(prompt.text, int(seen.group[row]))
        again = list(zip(seen.prompts, seen.scores.tolist(), strict=True))[6:]
        # each is one of the two best of its prompt so far
        assert all(score in sorted(found[prompt.text])[-2:] for prompt, score in again)
        assert line["replayed/mean"] == pytest.approx(sum(score for _, score in again) / 4)
        assert [group[prompt.text] for prompt, _ in again] == seen.group[6:].tolist()
        assert seen.branch.unique().numel() == len(seen) == 10
        assert line["kept"] == 6 and line["transitions"] == 10 * 4
    assert {text: sorted(kept["scores"].tolist()) for text, kept in run.replay.best.items()} == {
        text: sorted(scores)[-2:] for text, scores in found.items()
    }


def test_a_rollout_that_selects_nothing_does_not_see_them_and_leaves_them(tmp_path: Path) -> None:
    watching, nothing = Watching(), Nothing()
    replay = ReplayConfig(trajectories=3)
    (line,) = trainer(tmp_path / "run", 1, replay, objective=watching, rollout=nothing)
    assert nothing.seen == [6, 6, 6]
    assert line["kept"] == 0 and line["transitions"] == 3 * 2
    assert watching.trained == {6.0, 7.0, 8.0}  # each by its own signal


def test_none_is_the_same_to_the_bit_as_no_section(tmp_path: Path) -> None:
    runs = {}
    for name, replay in (("without", None), ("none", ReplayConfig(trajectories=0, capacity=3))):
        run = trainer(tmp_path / name, replay=replay)
        list(run)
        assert not run.replay.best
        runs[name] = bits(run), figures(tmp_path / name)
    assert runs["none"] == runs["without"]


def test_the_same_seed_gives_the_same_bits_and_another_capacity_does_not(tmp_path: Path) -> None:
    runs = {}
    for name, capacity in (("a", 2), ("b", 2), ("c", 1)):
        run = trainer(tmp_path / name, replay=ReplayConfig(trajectories=4, capacity=capacity))
        list(run)
        runs[name] = bits(run)
    assert runs["a"] == runs["b"] != runs["c"]


# --- several processes ---


class OneOfTwo:
    """Stands for accelerate in process `rank` of two. `others`: what the other one gathers, in turn."""

    num_processes = 2

    def __init__(self, rank: int, others: list[Tensor]) -> None:
        self.process_index, self.others = rank, list(others)

    def gather(self, mine: Tensor) -> Tensor:
        both = mine, self.others.pop(0)
        return torch.cat(both if self.process_index == 0 else both[::-1])


GATHERED = ("scores", "group", "branch", "log_prior", "log_pf_old", "log_pb")


def test_two_processes_gather_the_order_of_one(tmp_path: Path) -> None:
    """Sampled ones of all processes come first, then the replayed ones of all, in the order that they were drawn."""
    run = trainer(tmp_path / "run", replay=ReplayConfig(trajectories=4, capacity=2))
    plan = run.components.rollout.plan(0, 3, 4)
    everyone, prompts, seeds, _ = run._draw(plan)
    sampled = run._score(run.sampler.sample(prompts, seeds, plan), slice(0, 6))[0]
    replayed, ends, numbers = run._replay(sampled, everyone, run.sampler)
    assert numbers.tolist() == [0, 1, 2, 3]
    everything = run._seen_by_all(joined([sampled, replayed]), 6, ())
    halves = [
        (sampled.part(slice(3)), replayed.part(slice(2))),
        (sampled.part(slice(3, 6)), replayed.part(slice(2, 4))),
    ]
    for rank in (0, 1):
        mine, other = halves[rank], halves[1 - rank]
        others = [other[0].states[:, -1], other[0].clean, other[0].scores, other[0].group]
        others += [getattr(part, name) for name in GATHERED for part in other]
        run.accelerator = OneOfTwo(rank, others)  # type: ignore[assignment]
        run.replay.best.clear()
        again, drawn, numbers = run._replay(mine[0], everyone, run.sampler)
        assert numbers.tolist() == [2 * rank, 2 * rank + 1]
        assert drawn.prompts == ends.prompts and torch.equal(drawn.scores, ends.scores)
        assert torch.equal(again.states, mine[1].states)  # by the noise that one process would draw
        seen = run._seen_by_all(joined([mine[0], again]), 3, (*everyone, *drawn.prompts))
        assert seen.prompts == (*everyone, *ends.prompts)
        for name in GATHERED:
            torch.testing.assert_close(getattr(seen, name), getattr(everything, name), rtol=1e-5, atol=1e-5)
