"""What the shared steps of branches save: rows through the network, counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import registry_with_rewards, structured, tables, without_pictures

from dagsdk.run.trainer import Trainer

T, FIRST, LAST, STAGES = 20, 14, 20, 100
"""The paper's numbers (arXiv 2503.11240): b2 trains the last 14 of 20 steps at first, and all in the end."""


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)


def trainer(folder: Path, rollout: dict[str, Any], guidance: float = 1.0, trajectories: int = 20) -> Trainer:
    folder.mkdir(exist_ok=True)
    registry = registry_with_rewards(folder)
    sections = {
        "rollout": {"steps": T, "guidance_scale": guidance, **rollout},
        "train": {"trajectories": trajectories, "sample_batch": 7, "epochs": STAGES},
        "objective": {"variant": "weighted"},
    }
    name = rollout["name"]
    run = tables(registry, "ddpo", name, "vector", sections)
    return Trainer(structured(registry, run, folder / f"{name}-{guidance}"), registry)


def counted(run: Trainer, stage: int) -> tuple[Counter[str], dict[str, Any]]:
    """Rows through the network in an epoch that is this stage, and the epoch's metrics."""
    rows: Counter[str] = Counter()

    def count(module: Any, given: tuple[torch.Tensor, ...]) -> None:
        rows["update" if torch.is_grad_enabled() else "sampling"] += len(given[0])

    run.epoch = stage
    hook = run.components.model.network.register_forward_pre_hook(count)
    with run.engine.trained.training():
        metrics = run._train_epoch()
    hook.remove()
    return rows, metrics


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize(("stage", "branch_step"), [(0, 6), (14, 6), (15, 5), (99, 0)])
def test_branches_share_the_calls_before_they_part(
    tmp_path: Path, stage: int, branch_step: int, guidance: float
) -> None:
    images, branches = 20, 5
    passes = 1 if guidance == 1 else 2  # with and without the prompt
    b2 = trainer(tmp_path, {"name": "b2", "first": FIRST, "last": LAST, "branches": branches}, guidance)
    rows, metrics = counted(b2, stage)
    assert rows["sampling"] == passes * (images // branches * branch_step + images * (T - branch_step))
    assert rows["update"] == passes * metrics["transitions"] == passes * metrics["kept"] * (T - branch_step)

    alone = trainer(tmp_path, {"name": "independent", "images_per_prompt": branches}, guidance)
    rows_alone, metrics_alone = counted(alone, stage)
    assert rows_alone["sampling"] == passes * images * T
    assert rows_alone["sampling"] - rows["sampling"] == passes * branch_step * (images - images // branches)
    assert metrics_alone["transitions"] == images * T


@pytest.mark.parametrize("stage", [0, 15])
def test_branches_are_equal_to_the_bit_before_they_part_and_differ_after(tmp_path: Path, stage: int) -> None:
    run = trainer(tmp_path, {"name": "b2", "first": FIRST, "last": LAST, "branches": 5, "images_per_prompt": 2})
    plan = run.components.rollout.plan(stage, STAGES, T)
    sampled = run.engine.sampler.sample(run.engine.prompts.draw(plan, stage), plan)
    parted = plan.branch_step
    assert parted == plan.window[0] > 0
    siblings = sampled.states.unflatten(0, (-1, 5))
    assert torch.equal(siblings[:, :, : parted + 1], siblings[:, :1, : parted + 1].expand(-1, 5, -1, -1))
    for one in range(5):
        for other in range(one):
            assert (siblings[:, one, parted + 1 :] != siblings[:, other, parted + 1 :]).any(-1).all()
    for density in (sampled.log_pf_old, sampled.log_pb):
        first = density.unflatten(0, (-1, 5))[:, :, :parted]
        assert torch.equal(first, first[:, :1].expand_as(first))
