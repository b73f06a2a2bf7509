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

from dagsdk.config.schema import ReplayConfig
from dagsdk.engine.processes import Processes
from dagsdk.engine.replay import Best, Replay
from dagsdk.objectives.protocol import Loss, Signals
from dagsdk.objectives.toolbox import Stateless
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.prompts.protocol import Prompt
from dagsdk.rollouts.protocol import RolloutPlan
from dagsdk.run import checkpoints
from dagsdk.run.trainer import Trainer

A, B, C = (Prompt(text) for text in "abc")


def added(best: Best, prompts: list[Prompt], rewards: list[float], first: int = 0) -> None:
    """Images whose number is their only entry; clean ones are 1000 higher, and raw rewards ten times as high."""
    number, found = torch.arange(first, first + len(prompts)).float()[:, None], torch.tensor(rewards)
    best.add(prompts, {"terminal": number, "clean": number + 1000, "rewards": found, "raw/one": 10 * found})


def numbers(best: Best, prompt: Prompt) -> list[int]:
    kept = best.rows[prompt.text]
    assert torch.equal(kept["clean"], kept["terminal"] + 1000)
    assert torch.equal(kept["raw/one"], 10 * kept["rewards"])
    return kept["terminal"].flatten().int().tolist()


def drawn(best: Best, count: int, prompts: list[Prompt], seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    return best.draw(count, prompts, torch.Generator().manual_seed(seed))


# --- what is kept ---


def test_the_best_of_each_prompt_are_kept_by_hand() -> None:
    best = Best(2)
    added(best, [A, B, A, A], [1.0, 9.0, 3.0, 2.0])
    assert (numbers(best, A), numbers(best, B)) == ([2, 3], [1])
    added(best, [B, A, B], [-5.0, 2.5, 10.0], first=10)
    assert (numbers(best, A), numbers(best, B)) == ([2, 11], [12, 1])
    assert best.rows["a"]["rewards"].tolist() == [3.0, 2.5]


def test_among_equal_rewards_the_first_found_stay() -> None:
    best = Best(2)
    added(best, [A, A, A], [1.0, 1.0, 1.0])
    added(best, [A, A], [1.0, 1.0], first=10)
    assert numbers(best, A) == [0, 1]


def test_a_prompt_is_its_text() -> None:
    best = Best(3)
    added(best, [A, Prompt("a", {"kind": "letter"})], [1.0, 2.0])
    assert numbers(best, A) == [1, 0]


def test_its_state_goes_through_a_checkpoint(tmp_path: Path) -> None:
    one, again = (Replay(ReplayConfig(trajectories=1, capacity=2), None, Processes(), 0) for _ in range(2))
    added(one.best, [A, B, A, Prompt("")], [1.0, 2.0, 3.0, 4.0])
    path = checkpoints.save(tmp_path, 1, {"replay": one.state_dict()}, {}, lambda folder: None)
    again.load_state_dict(checkpoints.load(path)[1]["replay"], torch.device("cpu"))
    assert list(again.best.rows) == ["a", "b", ""]
    for text, kept in one.best.rows.items():
        assert kept.keys() == again.best.rows[text].keys()
        assert all(torch.equal(tensor, again.best.rows[text][name]) for name, tensor in kept.items())
    for replay in (one, again):
        added(replay.best, [A, C], [2.0, 0.0], first=10)
    assert numbers(again.best, A) == numbers(one.best, A) == [2, 10]


# --- what is drawn ---


def test_only_the_epochs_prompts_are_drawn_each_with_the_row_of_its_first() -> None:
    best = Best(4)
    added(best, [C] * 4, [1.0] * 4)
    added(best, [A, A, B, B], [1.0, 2.0, 3.0, 4.0], first=10)
    rows, images = drawn(best, 40, [A, A, B, B, A, A])
    assert set(rows.tolist()) == {0, 2}  # of A, and of B
    row = {10: 0, 11: 0, 12: 2, 13: 2}
    assert [row[int(number)] for number in images["terminal"]] == rows.tolist()
    assert torch.equal(images["rewards"], images["terminal"].flatten() - 9)
    assert torch.equal(images["clean"], images["terminal"] + 1000)
    assert torch.equal(images["raw/one"], 10 * images["rewards"])


def test_draws_are_even_over_images_and_follow_from_their_seed() -> None:
    best = Best(3)
    added(best, [A, A, A, B], [1.0, 2.0, 3.0, 100.0])
    terminal = drawn(best, 4000, [A, B])[1]["terminal"]
    counts = Counter(terminal.flatten().int().tolist())
    assert counts.keys() == {0, 1, 2, 3}
    assert all(abs(n - 1000) < 4.5 * (4000 * 0.25 * 0.75) ** 0.5 for n in counts.values())
    assert torch.equal(drawn(best, 4000, [A, B])[1]["terminal"], terminal)
    assert not torch.equal(drawn(best, 4000, [A, B], seed=1)[1]["terminal"], terminal)


# --- in a run ---


class Watching(Stateless):
    """Every trajectory has its number as its signal; keeps what `prepare` sees, and the signals that are trained."""

    def __init__(self) -> None:
        self.seen: list[Trajectories] = []
        self.trained: set[float] = set()

    def prepare(self, trajectories: Any, /) -> Signals:
        self.seen.append(trajectories)
        return Signals(values=torch.arange(len(trajectories.rewards)).float())

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
        self.seen += [len(trajectories.rewards), len(signals.values), len(trajectories.prompts)]
        return torch.zeros_like(trajectories.rewards, dtype=torch.bool)


def trainer(folder: Path, epochs: int = 3, replay: ReplayConfig | None = None, **parts: Any) -> Trainer:
    made = config(folder, epochs=epochs)
    live = evolve(components(folder.parent / f"{folder.name}-model"), **parts)
    return Trainer(evolve(made, replay=replay) if replay else made, Versions(), components=live)


def bits(run: Trainer) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in run.engine.trained.adapter.state().items()}


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_prepare_sees_them_after_the_sampled_ones_with_the_rewards_they_had(tmp_path: Path) -> None:
    watching = Watching()
    run = trainer(tmp_path / "run", replay=ReplayConfig(trajectories=4, capacity=2), objective=watching)
    lines = list(run)
    found: dict[str, set[float]] = defaultdict(set)
    for seen, line in zip(watching.seen, lines, strict=True):
        group: dict[str, int] = {}
        for row, prompt in enumerate(seen.prompts[:6]):
            found[prompt.text].add(float(seen.rewards[row]))
            group.setdefault(prompt.text, int(seen.group[row]))
        again = list(zip(seen.prompts, seen.rewards.tolist(), strict=True))[6:]
        assert seen.replayed.tolist() == [False] * 6 + [True] * 4
        # each is one of the two best of its prompt so far
        assert all(reward in sorted(found[prompt.text])[-2:] for prompt, reward in again)
        assert line["replayed/mean"] == pytest.approx(sum(reward for _, reward in again) / 4)
        assert torch.equal(seen.raw_rewards["brightness"], seen.rewards)
        assert line["reward/mean"] == pytest.approx(float(seen.rewards[:6].mean()))  # of the sampled ones alone
        assert [group[prompt.text] for prompt, _ in again] == seen.group[6:].tolist()
        assert seen.branch.unique().numel() == len(seen) == 10
        assert line["kept"] == 6 and line["transitions"] == 10 * 4
    assert {text: sorted(kept["rewards"].tolist()) for text, kept in run.engine.replay.best.rows.items()} == {
        text: sorted(rewards)[-2:] for text, rewards in found.items()
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
        assert not run.engine.replay.best.rows
        runs[name] = bits(run), metrics(tmp_path / name)
    assert runs["none"] == runs["without"]


def test_the_same_seed_gives_the_same_bits_and_another_capacity_does_not(tmp_path: Path) -> None:
    runs = {}
    for name, capacity in (("a", 2), ("b", 2), ("c", 1)):
        run = trainer(tmp_path / name, replay=ReplayConfig(trajectories=4, capacity=capacity))
        list(run)
        runs[name] = bits(run)
    assert runs["a"] == runs["b"] != runs["c"]


# --- several processes ---


class OneOfTwo(Processes):
    """Process `index` of two. `others`: what the other one gathers, in turn."""

    count = 2

    def __init__(self, index: int, others: list[Any]) -> None:
        self.index, self.others = index, list(others)

    def gather_rows(self, rows: Tensor) -> Tensor:
        return torch.cat(self._both(rows))

    def objects(self, value: Any) -> list[Any]:
        return self._both(value)

    def _both(self, mine: Any) -> list[Any]:
        both = [mine, self.others.pop(0)]
        return both if self.index == 0 else both[::-1]


class Noting(Processes):
    """Writes down what it is given to gather."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def gather_rows(self, rows: Tensor) -> Tensor:
        self.given.append(rows)
        return rows

    def objects(self, value: Any) -> list[Any]:
        self.given.append(value)
        return [value]


SAME = ("rewards", "group", "branch", "replayed", "log_prior", "log_pf_old", "log_pb")


def test_two_processes_replay_what_one_would(tmp_path: Path) -> None:
    """Each retraces its part of the drawn images, by the noise that one process would draw."""
    run = trainer(tmp_path / "run", replay=ReplayConfig(trajectories=4, capacity=2))
    engine, config = run.engine, run.config.replay
    with engine.trained.training():
        plan = run.components.rollout.plan(0, 3, 4)
        sampled = engine.rewarder.reward_all(engine.sampler.sample(engine.prompts.draw(plan, 0), plan))
        whole = engine.replay.extend(sampled)
        assert whole.replayed.tolist() == [False] * 6 + [True] * 4
        for index in (0, 1):
            mine, other = (sampled.part(slice(3 * i, 3 * i + 3)) for i in (index, 1 - index))
            noting = Noting()
            Replay(config, engine.sampler, noting, run.config.seed).extend(other)
            replay = Replay(config, engine.sampler, OneOfTwo(index, noting.given), run.config.seed)
            assert replay.count == 2
            found = replay.extend(mine)
            assert found.prompts == (*mine.prompts, *whole.prompts[6 + 2 * index :][:2])
            again, expected = found.part(slice(3, 5)), whole.part(slice(6 + 2 * index, 8 + 2 * index))
            assert torch.equal(again.states, expected.states)
            for name in SAME:
                torch.testing.assert_close(getattr(again, name), getattr(expected, name), rtol=1e-5, atol=1e-5)
