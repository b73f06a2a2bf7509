"""Global generators: a run has its own, and its host's are left as they were."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from dagsdk.engine.generators import GlobalGenerators, global_seed

Draw = tuple[float, float, float]


def draw() -> Draw:
    """A number of each library; numpy's normal one leaves half a pair behind."""
    return float(torch.rand(())), float(np.random.standard_normal()), random.random()


def drawn(generators: GlobalGenerators, count: int = 1) -> list[Draw]:
    with generators.in_use():
        return [draw() for _ in range(count)]


def reseed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def test_the_hosts_are_left_as_they_were() -> None:
    reseed(7)
    expected = [draw() for _ in range(4)]
    reseed(7)
    found = [draw()]
    generators = GlobalGenerators(0)
    found.append(draw())
    drawn(generators)
    found.append(draw())
    with global_seed(5):
        torch.rand(())
    found.append(draw())
    assert found == expected


def test_they_are_put_back_after_an_error() -> None:
    generators = GlobalGenerators(0)
    reseed(7)
    expected = draw()
    reseed(7)
    try:
        with generators.in_use():
            draw()
            raise RuntimeError
    except RuntimeError:
        pass
    assert draw() == expected
    assert drawn(generators) == drawn(GlobalGenerators(0), 2)[1:]  # and what was drawn is drawn


def test_a_run_draws_the_same_whatever_its_host_draws() -> None:
    one, other = GlobalGenerators(3), GlobalGenerators(3)
    expected = drawn(one, 5)
    found = []
    for seed in range(5):
        reseed(seed)
        found += drawn(other)
    assert found == expected
    assert len(set(expected)) == 5
    assert drawn(GlobalGenerators(4), 5) != expected


def test_their_state_comes_back() -> None:
    one, other = GlobalGenerators(3), GlobalGenerators(9)
    drawn(one)
    other.load_state_dict(one.state_dict())
    assert drawn(other, 3) == drawn(one, 3)


def test_two_threads_do_not_draw_from_each_other() -> None:
    """Each draws as it does alone, though they take turns; the second waits while the first is at it."""
    alone = {seed: drawn(GlobalGenerators(seed), 40) for seed in (1, 2)}
    barrier = threading.Barrier(2)

    def run(seed: int) -> list[Draw]:
        generators, found = GlobalGenerators(seed), []
        for _ in range(20):
            barrier.wait()
            with generators.in_use():
                found.append(draw())
                threading.Event().wait(0.002)  # long enough for the other thread to come in between
                found.append(draw())
        return found

    with ThreadPoolExecutor(2) as pool:
        found = dict(zip((1, 2), pool.map(run, (1, 2)), strict=True))
    assert found == alone


def test_a_global_seed_gives_layers_their_first_weights() -> None:
    def layer(seed: int) -> torch.Tensor:
        with global_seed(seed):
            return torch.nn.Linear(3, 3).weight.detach()

    assert torch.equal(layer(1), layer(1)) and not torch.equal(layer(1), layer(2))
