"""A run as a program sees it: metrics per epoch, a folder, checkpoints, and errors that lose nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from attrs import evolve
from tiny_run import PROMPTS, Versions, brightness, components, config, trainer

from dagsdk.errors import ConfigError, RewardError, RunFolderError, TrainingError
from dagsdk.objectives.protocol import Loss, Signals
from dagsdk.rewards.mixture import RewardMixture
from dagsdk.rollouts.protocol import RolloutPlan
from dagsdk.run import checkpoints
from dagsdk.run.trainer import Trainer


@pytest.mark.parametrize("objective", ["dag-db", "dag-kl"])
def test_a_run_leaves_what_the_reference_says(tmp_path: Path, objective: str) -> None:
    run = trainer(tmp_path / "run", objective)
    reports = list(run)
    assert [r["epoch"] for r in reports] == [1, 2, 3, 4]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines == reports
    for line in lines:
        assert {"epoch", "reward/mean", "reward/std", "loss", "trajectories", "seconds"} <= set(line)
    assert [line["trajectories"] for line in lines] == [6, 12, 18, 24]
    assert "evaluate/gain" in lines[1] and "evaluate/gain" in lines[3] and "evaluate/gain" not in lines[0]
    last = tmp_path / "run" / "checkpoints" / "epoch-0004"
    assert {p.name for p in last.iterdir()} == {
        "pytorch_lora_weights.safetensors",
        "trained.safetensors",
        "state_flow.safetensors",
        "README.md",
        "ema.safetensors",
        "optimizer.safetensors",
        "generators.safetensors",
        "state.json",
    }
    state = json.loads((last / "state.json").read_text())
    assert state["provenance"]["library torch"] and state["provenance"]["dagsdk"]
    assert all((tmp_path / "run" / p).is_file() for p in ("images/epoch-0004.png", "images/curves.png"))
    assert (tmp_path / "run" / "evaluation" / "base.png").is_file()


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path: Path) -> None:
    runs = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        made = evolve(config(tmp_path / name, epochs=2), seed=seed)
        run = Trainer(made, Versions(), components=components(tmp_path / f"{name}-model"))
        list(run)
        runs[name] = run.engine.trained.adapter.state()
    assert all(torch.equal(runs["a"][k], runs["b"][k]) for k in runs["a"])
    assert not all(torch.equal(runs["a"][k], runs["c"][k]) for k in runs["a"])


def test_gradients_accumulate_to_the_same_step(tmp_path: Path) -> None:
    # DB sums over transitions, so the size of a micro-batch does not change what is learnt.
    states = []
    for size in (3, 24):
        made = config(tmp_path / str(size), epochs=2, micro_batch=size, updates=1, learning_rate=1e-3)
        run = Trainer(made, Versions(), components=components(tmp_path / f"{size}-model"))
        list(run)
        states.append(run.engine.trained.adapter.state())
    assert all(torch.allclose(states[0][k], states[1][k], atol=1e-4) for k in states[0])


def test_base_weights_stay_as_they_are(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run")
    trained = run.engine.trained.adapter.trained()
    network = run.components.model.network
    frozen = {n: p.detach().clone() for n, p in network.named_parameters() if n not in trained}
    before = run.engine.trained.adapter.state()
    list(run)
    now = dict(network.named_parameters())
    assert frozen and all(torch.equal(now[n], p) for n, p in frozen.items())
    assert not any(torch.equal(before[n], run.engine.trained.adapter.state()[n]) for n in before if "lora_B" in n)


def test_bf16_trains(tmp_path: Path) -> None:
    made = config(tmp_path / "run", epochs=2, mixed_precision="bf16")
    reports = list(Trainer(made, Versions(), components=components(tmp_path / "model")))
    assert all(torch.isfinite(torch.tensor(r["loss"])) for r in reports)


def test_a_resumed_finished_run_does_nothing(tmp_path: Path) -> None:
    list(trainer(tmp_path / "run"))
    assert list(trainer(tmp_path / "run", resume=True)) == []


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    list(trainer(tmp_path / "run"))
    with pytest.raises(RunFolderError, match="--resume"):
        trainer(tmp_path / "run")


def test_a_changed_configuration_is_refused_by_its_path(tmp_path: Path) -> None:
    list(trainer(tmp_path / "run"))
    changed = config(tmp_path / "run", learning_rate=0.5)
    with pytest.raises(RunFolderError, match=r"train\.learning_rate: 0\.01 → 0\.5"):
        Trainer(changed, Versions(), resume=True, components=components(tmp_path / "model"))


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    with pytest.raises(RunFolderError, match="not empty"):
        trainer(tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_file_as_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with pytest.raises(RunFolderError, match="is a file"):
        trainer(tmp_path / "run")


def failing(kind: str):
    """A reward that is good for two epochs and their evaluation, then is not."""
    calls = 0

    def reward(images: torch.Tensor, prompts: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        rewards = brightness(images, prompts)
        if reward.on:
            if kind == "raises":
                raise ConnectionError("the rewarder is down")
            return rewards * float("nan") if kind == "nan" else rewards[:, None]
        return rewards

    reward.on = False
    return reward


@pytest.mark.parametrize(("kind", "says"), [("nan", "finite"), ("shape", "shape"), ("raises", "the rewarder is down")])
def test_a_reward_that_fails_in_epoch_three_loses_nothing(tmp_path: Path, kind: str, says: str) -> None:
    undisturbed = trainer(tmp_path / "undisturbed")
    list(undisturbed)
    reward = failing(kind)
    live = components(tmp_path / "model", reward=reward)
    run = Trainer(config(tmp_path / "run"), Versions(), components=live)
    with pytest.raises(RewardError, match=says):
        for report in run:
            reward.on = report["epoch"] == 2
    assert [p.name for p in checkpoints.found(tmp_path / "run" / "checkpoints")] == ["epoch-0002"]
    resumed = trainer(tmp_path / "run", resume=True)
    list(resumed)
    ours, theirs = resumed.engine.trained.adapter.state(), undisturbed.engine.trained.adapter.state()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


class Fixed:
    """An objective whose loss is given."""

    def __init__(self, loss) -> None:
        self._loss = loss

    def prepare(self, trajectories, /) -> Signals:
        return Signals(values=trajectories.rewards)

    def loss(self, batch, /) -> Loss:
        return Loss(values=self._loss(batch))

    def state_dict(self) -> dict:
        return {"seen": 3, "table": torch.arange(3.0), "nested": [{"a": None}, "text"]}

    def load_state_dict(self, state, /) -> None:
        self.restored = state


def test_a_loss_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    live = components(tmp_path / "model", objective="dag-db")
    live = evolve(live, objective=Fixed(lambda batch: batch.log_pf * float("inf")))
    with pytest.raises(TrainingError, match="finite"):
        list(Trainer(config(tmp_path / "run"), Versions(), components=live))


def test_a_loss_of_the_wrong_shape_is_an_error(tmp_path: Path) -> None:
    live = evolve(components(tmp_path / "model"), objective=Fixed(lambda batch: batch.log_pf.mean()))
    with pytest.raises(TrainingError, match="one loss per row"):
        list(Trainer(config(tmp_path / "run"), Versions(), components=live))


def test_signals_come_back_with_their_trajectory_and_state_is_restored(tmp_path: Path) -> None:
    seen: dict[float, set[int]] = {}

    def loss(batch):
        for signal, reward in zip(batch.signal.tolist(), batch.log_reward.tolist(), strict=True):
            seen.setdefault(signal, set()).add(reward)
        return -batch.signal * batch.log_pf

    live = evolve(components(tmp_path / "model"), objective=Fixed(loss))
    list(Trainer(config(tmp_path / "run"), Versions(), components=live))
    assert all(rewards == {signal} for signal, rewards in seen.items())  # β = 1: log reward is the reward
    objective = Fixed(loss)
    live = evolve(components(tmp_path / "model"), objective=objective)
    Trainer(config(tmp_path / "run"), Versions(), resume=True, components=live)
    assert objective.restored["seen"] == 3
    assert torch.equal(objective.restored["table"], torch.arange(3.0))
    assert objective.restored["nested"] == [{"a": None}, "text"]


class Windowed:
    """A rollout that branches, trains the last two steps and keeps the better of two."""

    def plan(self, epoch: int, epochs: int, num_steps: int, /) -> RolloutPlan:
        return RolloutPlan(branches=2, branch_step=num_steps - 2, window=(num_steps - 2, num_steps))

    def select(self, trajectories, signals, /) -> torch.Tensor:
        pairs = trajectories.rewards.view(-1, 2)
        return (pairs == pairs.max(1, keepdim=True).values).flatten()


def test_windows_branches_and_selection_are_obeyed(tmp_path: Path) -> None:
    steps: set[int] = set()

    def loss(batch):
        steps.update(batch.step.tolist())
        return batch.log_pf

    live = evolve(components(tmp_path / "model"), rollout=Windowed(), objective=Fixed(loss))
    first = next(iter(Trainer(config(tmp_path / "run"), Versions(), components=live)))
    assert steps == {2, 3}
    assert first["kept"] == 3
    assert first["transitions"] == 6


class Nothing(Windowed):
    def select(self, trajectories, signals, /) -> torch.Tensor:
        return torch.zeros_like(trajectories.rewards, dtype=torch.bool)


def test_an_empty_selection_is_survived(tmp_path: Path) -> None:
    live = evolve(components(tmp_path / "model"), rollout=Nothing())
    run = Trainer(config(tmp_path / "run", epochs=2), Versions(), components=live)
    before = run.engine.trained.adapter.state()
    reports = list(run)
    assert [r["kept"] for r in reports] == [0, 0]
    assert all(torch.equal(before[k], run.engine.trained.adapter.state()[k]) for k in before)


def test_only_as_many_transitions_as_asked_for(tmp_path: Path) -> None:
    made = config(tmp_path / "run", epochs=1, transitions=7)
    report = next(iter(Trainer(made, Versions(), components=components(tmp_path / "model"))))
    assert report["transitions"] == 7


def test_trajectories_that_cannot_be_divided_are_refused(tmp_path: Path) -> None:
    made = config(tmp_path / "run", trajectories=7)
    with pytest.raises(ConfigError, match=r"train\.trajectories: 7"):
        list(Trainer(made, Versions(), components=components(tmp_path / "model")))


def test_several_rewards_are_summed_and_reported_by_name(tmp_path: Path) -> None:
    mixture = RewardMixture([("brightness", 2.0, brightness), ("darkness", 1.0, lambda x, p: -brightness(x, p))])
    live = evolve(components(tmp_path / "model"), reward=mixture)
    report = next(iter(Trainer(config(tmp_path / "run", epochs=1), Versions(), components=live)))
    assert report["reward/darkness/mean"] == pytest.approx(-report["reward/brightness/mean"])
    assert report["reward/mean"] == pytest.approx(report["reward/brightness/mean"], rel=1e-5)


def test_progress_is_reported(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    run = trainer(tmp_path / "run", progress=lambda *call: calls.append(call))
    next(iter(run))
    assert {stage for stage, _, _ in calls} == {"sampling", "update", "evaluation"}
    assert max(done for stage, done, _ in calls if stage == "update") == 6 * 4
    assert all(0 < done <= total for _, done, total in calls)


def test_prompts_are_those_of_the_set(tmp_path: Path) -> None:
    texts: list[str] = []
    live = components(tmp_path / "model", reward=lambda x, p: (texts.extend(q.text for q in p), brightness(x, p))[1])
    next(iter(Trainer(config(tmp_path / "run", epochs=1), Versions(), components=live)))
    assert set(texts) <= {p.text for p in PROMPTS}
