from __future__ import annotations

import json
import subprocess
import sys
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagsdk.errors import ConfigError, RunFolderError
from dagsdk.prompts.protocol import Prompt
from dagsdk.prompts.sampling import PromptSampler, shard


def _prompts(size: int) -> list[Prompt]:
    return [Prompt(str(i)) for i in range(size)]


@given(size=st.integers(1, 12), passes=st.integers(1, 4), seed=st.integers(0, 2**63 - 1))
def test_every_pass_has_every_prompt_once(size: int, passes: int, seed: int) -> None:
    row = PromptSampler(_prompts(size), seed).take(size * passes)
    for turn in range(passes):
        assert sorted(row[turn * size : (turn + 1) * size]) == list(range(size))


@given(st.lists(st.integers(0, 9), max_size=8))
def test_what_is_drawn_does_not_depend_on_the_sizes_of_the_takes(counts: list[int]) -> None:
    piecewise, whole = PromptSampler(_prompts(7), seed=3), PromptSampler(_prompts(7), seed=3)
    assert [index for count in counts for index in piecewise.take(count)] == whole.take(sum(counts))


def test_passes_and_seeds_differ_in_their_order() -> None:
    row, other = PromptSampler(_prompts(50), 0).take(100), PromptSampler(_prompts(50), 1).take(50)
    assert row[:50] != row[50:]
    assert row[:50] != other
    assert row[:50] != list(range(50))


def test_every_prompt_comes_first_about_equally_often() -> None:
    firsts = [PromptSampler(_prompts(4), seed).take(1)[0] for seed in range(400)]
    assert all(70 < firsts.count(index) < 130 for index in range(4))


@given(st.integers(0, 30), st.integers(0, 30))
def test_a_resumed_sampler_continues_where_it_stopped(before: int, after: int) -> None:
    original, resumed = PromptSampler(_prompts(7), seed=5), PromptSampler(_prompts(7), seed=5)
    original.take(before)
    resumed.load_state_dict(json.loads(json.dumps(original.state_dict())))
    assert original.take(after) == resumed.take(after)


@pytest.mark.parametrize(("size", "seed", "key"), [(8, 5, "size 7"), (7, 6, "seed 5")])
def test_a_state_of_another_run_is_refused(size: int, seed: int, key: str) -> None:
    state = PromptSampler(_prompts(7), seed=5).state_dict()
    with pytest.raises(RunFolderError, match=f"saved prompt order has {key}"):
        PromptSampler(_prompts(size), seed).load_state_dict(state)


def test_a_damaged_position_is_refused() -> None:
    sampler = PromptSampler(_prompts(7), seed=5)
    with pytest.raises(RunFolderError, match="position is -1"):
        sampler.load_state_dict({**sampler.state_dict(), "position": -1})


@given(st.lists(st.integers(), max_size=20), st.integers(1, 6))
def test_shards_joined_by_rank_are_the_whole_and_as_even_as_can_be(indices: list[int], world: int) -> None:
    shards = [shard(indices, rank, world) for rank in range(world)]
    assert list(chain.from_iterable(shards)) == indices
    lengths = [len(part) for part in shards]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(("rank", "world"), [(2, 2), (-1, 2), (0, 0)])
def test_a_rank_outside_its_world_is_refused(rank: int, world: int) -> None:
    with pytest.raises(ValueError, match="rank"):
        shard([1, 2, 3], rank, world)


def test_an_empty_set_and_items_that_are_no_prompts_are_refused() -> None:
    with pytest.raises(ConfigError, match="the set is empty"):
        PromptSampler([], seed=0)
    with pytest.raises(ConfigError, match=r"item 1 is 'a dog'; each must be a dagsdk\.Prompt"):
        PromptSampler([Prompt("a cat"), "a dog"], seed=0)  # type: ignore[list-item]


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="seed is -1"):
        PromptSampler(_prompts(1), seed=-1)
    with pytest.raises(ValueError, match="count is -1"):
        PromptSampler(_prompts(1), seed=0).take(-1)


def test_the_order_is_the_same_from_release_to_release() -> None:
    # frozen when first written: raw PCG64 numbers, which NumPy keeps (NEP 19), so runs resume across releases
    row = PromptSampler(_prompts(8), seed=0).take(16)
    assert row == [3, 2, 1, 6, 0, 7, 4, 5, 7, 4, 5, 1, 6, 2, 0, 3]


def test_sampling_loads_no_torch() -> None:
    code = "import sys, dagsdk.prompts.sampling; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
