"""Which transitions are drawn: the last step always, and one of each stratum of those before."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from dagsdk.engine.pairs import Pairs, stratified


def drawn(count: int, window: tuple[int, int], strata: int, seed: int = 0) -> Pairs:
    return stratified(torch.ones(count, dtype=torch.bool), window, strata, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("window", "strata", "parts"),
    [
        ((0, 50), 5, [(0, 9), (9, 19), (19, 29), (29, 39), (39, 49)]),
        ((0, 11), 5, [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]),
        ((4, 15), 2, [(4, 9), (9, 14)]),
        ((0, 4), 5, [(0, 1), (1, 2), (2, 3)]),
        ((7, 9), 3, [(7, 8)]),
        ((3, 4), 5, []),
    ],
    ids=str,
)
def test_each_part_is_met_once_and_the_last_step_always(
    window: tuple[int, int], strata: int, parts: list[tuple[int, int]]
) -> None:
    chosen = drawn(40, window, strata)
    assert chosen.sample.tolist() == [i for i in range(40) for _ in range(len(parts) + 1)]
    steps = chosen.step.view(40, len(parts) + 1)
    assert (steps[:, -1] == window[1] - 1).all()
    for column, (first, end) in zip(steps.T, parts, strict=False):
        assert ((first <= column) & (column < end)).all()
    if window == (0, 4):  # every step is a part, so that nothing is left to chance
        assert steps.tolist() == [[0, 1, 2, 3]] * 40


def test_steps_of_a_part_are_equally_likely() -> None:
    count = 20_000
    steps = drawn(count, (2, 13), 3).step.view(count, 4)
    for column, part in zip(steps.T[:3], (range(2, 5), range(5, 8), range(8, 12)), strict=True):
        found = Counter(column.tolist())
        assert found.keys() == set(part)
        expected = count / len(part)
        # five standard deviations of a binomial count
        assert all(abs(n - expected) < 5 * (expected * (1 - 1 / len(part))) ** 0.5 for n in found.values())
    # parts are drawn by themselves
    together = torch.corrcoef(steps[:, :3].T.double()) - torch.eye(3)
    assert together.abs().max() < 5 / count**0.5


def test_only_selected_trajectories_are_drawn_and_equal_seeds_draw_the_same() -> None:
    selected = torch.tensor([False, True, False, True, True])
    one, same, other = (stratified(selected, (0, 30), 4, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert one.sample.unique().tolist() == [1, 3, 4]
    assert torch.equal(one.step, same.step) and not torch.equal(one.step, other.step)
    assert len(stratified(torch.zeros(5, dtype=torch.bool), (0, 30), 4, torch.Generator())) == 0


def test_a_draw_that_rounds_up_to_one_stays_in_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 has 1 - 2⁻²⁴ as its largest draw; times a width it may round to the width itself."""
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.ones(*shape))
    assert drawn(1, (0, 11), 5).step.tolist() == [1, 3, 5, 7, 9, 10]


def test_shares_differ_by_one_row_and_keep_the_order() -> None:
    chosen = Pairs(torch.arange(7), torch.arange(7) + 10)
    shares = chosen.shares(3)
    assert [share.sample.tolist() for share in shares] == [[0, 1], [2, 3], [4, 5, 6]]
    assert torch.equal(Pairs.joined(shares).step, chosen.step)
    assert [len(part) for part in chosen.split(3)] == [3, 3, 1] and chosen.shares(9)[0].split(3) == []
