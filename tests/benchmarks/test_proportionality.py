"""The arithmetic of the measurement of proportionality, and that its runs can be built."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("dagsdk_shapes")
sys.path.insert(0, str(Path(__file__).parent))

import torch
from proportionality import (
    PARTS,
    REWARDS,
    RUNS,
    Measured,
    divergence,
    least_divergence,
    nats,
    run_tables,
    table,
    targets,
    tilted,
    total_variation,
)

from dagsdk.config.files import structure_run
from dagsdk.registry import load_registry

EVEN = torch.full((9,), 1 / 9, dtype=torch.float64)


def test_tilting_multiplies_odds_by_the_reward() -> None:
    target = tilted(EVEN, 2.0)
    assert target.sum() == pytest.approx(1)
    red, green, blue = target[:3].tolist()
    assert red / green == pytest.approx(torch.tensor(2.0).exp())
    assert blue / green == pytest.approx(torch.tensor(1.0).exp())
    torch.testing.assert_close(tilted(target, 0.0), target)


def test_tilting_by_much_leaves_the_best_alone() -> None:
    assert tilted(EVEN, 1000.0).tolist() == pytest.approx([1, *[0] * 8])


def test_without_a_prior_all_colours_are_alike_and_a_picture_without_one_has_no_share() -> None:
    target = targets(EVEN, 2.0)["exp(β r)"]
    assert target[-1] == 0
    assert target[1] == target[3]


def test_divergences_of_two_coins() -> None:
    p, q = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([0.25, 0.75], dtype=torch.float64)
    assert total_variation(p, q) == pytest.approx(0.25)
    assert divergence(p, q) == pytest.approx(0.5 * torch.tensor(4 / 3).log())
    assert divergence(p, p) == 0


def test_a_divergence_is_of_the_outcomes_that_the_target_allows() -> None:
    p, q = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64), torch.tensor([0.25, 0.75, 0.0], dtype=torch.float64)
    assert divergence(p, q) == pytest.approx(0.5 * torch.tensor(4 / 3).log())


def test_the_least_cost_of_a_mean_reward_is_that_of_tilting() -> None:
    rewards = torch.tensor(REWARDS, dtype=torch.float64)
    for beta in (-1.0, 0.0, 2.0, 8.0):
        target = tilted(EVEN, beta)
        assert least_divergence(EVEN, float(target @ rewards)) == pytest.approx(divergence(target, EVEN), abs=1e-9)


def test_a_run_at_its_target_has_nothing_left() -> None:
    before, name = EVEN, "relative-tb 2"
    after = tilted(before, 2.0)
    reward = float(after @ torch.tensor(REWARDS, dtype=torch.float64))
    log_z = float((before.log() + 2.0 * torch.tensor(REWARDS, dtype=torch.float64)).logsumexp(0))
    found = {name: {"before": before.tolist(), "after": after.tolist(), "reward/mean": reward, "log_z": log_z}}
    assert "→ 0.000 |" in table(found).splitlines()[-1]
    cells = [float(cell) for cell in nats(found).splitlines()[-1].strip("| ").split(" | ")]
    spent = cells[3]
    assert cells[4] == pytest.approx(spent, abs=2e-3)  # no more than tilting costs
    assert cells[6] == 0


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_every_run_can_be_built(run: Measured, tmp_path: Path) -> None:
    registry = load_registry([str(PARTS)])
    config = structure_run({**run_tables(run, epochs=2), "output": str(tmp_path)}, registry)
    assert config.rollout.reduction == "sum"
    assert getattr(config.objective.options, "beta", None) == run.beta
