"""Run files are read with their overrides, and written back to the same run."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagsdk.config.files import (
    differences,
    dump_toml,
    fingerprint,
    load_run,
    local_plugins,
    read_run,
    resolved,
    structure_run,
)
from dagsdk.config.overrides import overridden
from dagsdk.config.schema import FolderOptions
from dagsdk.errors import ConfigError

RUN = """
output = "runs/x"
plugins = ["./mine.py", "/opt/other.py"]
[model]
name = "shapes"
[prompts]
name = "shapes"
[[rewards]]
name = "jpeg"
quality = 50
[objective]
name = "dag-db"
beta = 5
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "run.toml"
    file.write_text(RUN, encoding="utf-8")
    return file


def _refused(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_run(path, overrides)
    return str(caught.value)


def test_options_become_the_class_of_the_component(path: Path, registry: Any) -> None:
    config = read_run(path, registry)
    assert config.rewards[0].options == registry.get("rewards", "jpeg").options(quality=50)
    assert isinstance(config.objective.options.beta, float)


def test_plugins_are_relative_to_the_run_file_and_output_is_not(path: Path, registry: Any) -> None:
    assert local_plugins(load_run(path)) == (path.parent / "mine.py", Path("/opt/other.py"))
    assert read_run(path, registry).output == "runs/x"


def test_overrides_hold_toml_or_bare_words_and_reach_everywhere(path: Path, registry: Any) -> None:
    config = read_run(
        path,
        registry,
        ["output=runs/y", "rewards.0.weight=2", "train.epochs = 3", "rewards.0.words=['a', 'b']", "seed=1",
         "seed=2", "objective.beta=1e-3", 'prompts.name="shapes"', "model.lora.rank=8",
         "rewards.0.folder=a=b"],
    )  # fmt: skip
    reward = config.rewards[0]
    assert (config.output, config.train.epochs, config.seed) == ("runs/y", 3, 2)
    assert (reward.weight, reward.options.words, reward.options.folder) == (2.0, ("a", "b"), Path("a=b"))
    assert (config.objective.options.beta, config.model.lora.rank) == (1e-3, 8)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seed", "no '='"),
        ("=3", "not a path"),
        ("train..epochs=3", "not a path"),
        ("seed.x=3", "seed is 0, which has no keys"),
        ("rewards.1.weight=3", "rewards is an array, and '1' is not an index of it; the only index is 0"),
        ("rewards.-1.weight=3", "'-1' is not an index"),
        ("rewards.name=x", "'name' is not an index"),
        ("plugins.2=x", "'2' is not an index of it; give an index from 0 to 1"),
        ("trackers.0=x", "'0' is not an index of it; it is empty"),
        ("trackers=[1,", "not valid TOML"),
    ],
)
def test_an_override_that_fits_nowhere_is_refused(override: str, says: str, path: Path) -> None:
    path.write_text("seed = 0\ntrackers = []\n" + RUN, encoding="utf-8")
    message = _refused(path, override)
    assert f"--set {override}: " in message and says in message


def test_an_override_cannot_smuggle_in_a_second_key(path: Path) -> None:
    run = load_run(path, ["output=1\nseed=5"])
    assert run["output"] == "1\nseed=5" and "seed" not in run


def test_overrides_leave_the_tables_they_are_given_alone() -> None:
    run = tomllib.loads(RUN)
    changed, _ = overridden(run, ["rewards.0.quality=1"])
    assert changed["rewards"][0]["quality"] == 1 and run == tomllib.loads(RUN)


def test_bad_overrides_are_reported_together(path: Path) -> None:
    assert "2 problems" in _refused(path, "seed", "rewards.7=1", "train.epochs=1")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "no such file" in _refused(tmp_path / "none.toml")
    assert "is a folder" in _refused(tmp_path)
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b'output = "\xff"')
    assert "not UTF-8" in _refused(bad) and "0xff" in _refused(bad)
    bad.write_text("seed = 1\nseed 2")
    assert "line 2, column 6" in _refused(bad)


def test_a_folder_or_hub_id_has_options_of_its_own(tmp_path: Path, registry: Any) -> None:
    run = {**tomllib.loads(RUN), "model": {"name": str(tmp_path), "variant": "fp16"}}
    assert structure_run(run, registry).model.options == FolderOptions(variant="fp16")
    run["model"] = {"name": "owner/name"}
    assert structure_run(run, registry).model.options == FolderOptions()


def test_the_resolved_run_spells_out_defaults_and_leaves_out_none(path: Path, registry: Any) -> None:
    tables = resolved(read_run(path, registry))
    assert tables["train"]["epochs"] == 100 and tables["rewards"][0]["tone"] == "warm"
    assert tables["rollout"]["name"] == "independent"
    assert tables["evaluate"]["prompts"] == [] and "limit" not in tables["rewards"][0]


def test_only_python_can_ask_for_no_output(path: Path, registry: Any) -> None:
    run = load_run(path)
    config = structure_run({**run, "output": None}, registry)
    assert config.output is None and "output" not in resolved(config)
    assert structure_run({**resolved(config), "output": None}, registry) == config
    with pytest.raises(ConfigError, match="output: missing; give output = a string"):
        structure_run(resolved(config), registry)


def test_the_tables_handed_in_stay_as_they_are(registry: Any) -> None:
    run = tomllib.loads(RUN)
    structure_run(run, registry)
    assert run == tomllib.loads(RUN)


def test_differences_and_fingerprint(path: Path, registry: Any) -> None:
    old, new = read_run(path, registry), read_run(path, registry, ["rewards.0.weight=2", "rewards.0.limit=1"])
    assert differences(resolved(old), resolved(new)) == ["rewards[0].weight", "rewards[0].limit"]
    assert differences(resolved(old), tomllib.loads(dump_toml(old))) == []
    assert fingerprint(old) == fingerprint(read_run(path, registry)) != fingerprint(new)


numbers = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
jpeg = st.fixed_dictionaries(
    {"name": st.just("jpeg"), "weight": st.floats(0.1, 10)},
    optional={
        "quality": st.integers(1, 100),
        "side": st.sampled_from(["left", "right"]),
        "limit": st.integers() | numbers,
        "words": st.lists(st.text(), max_size=3),
        "corners": st.lists(st.lists(st.integers(), min_size=2, max_size=2), max_size=2),
        "tags": st.lists(st.text(), max_size=3),
        "table": st.dictionaries(st.text(), numbers | st.integers(-9, 9), max_size=3),
        "folder": st.text(),
        "band": st.fixed_dictionaries({"low": st.floats(-9, 0), "high": st.integers(0, 9)}),
        "anything": plain,
    },
)
runs = st.fixed_dictionaries(
    {
        "output": st.text(min_size=1),
        "model": st.sampled_from([{"name": "shapes"}, {"name": "o/n", "revision": "main", "lora": {"rank": 2}}]),
        "prompts": st.just({"name": "file", "path": 'a "b"\n'}),
        "rewards": st.lists(jpeg, min_size=1, max_size=1),
        "objective": st.fixed_dictionaries({"name": st.just("dag-db")}, optional={"beta": st.floats(1e-9, 1e9)}),
    },
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "trackers": st.lists(st.text()),
        "rollout": st.fixed_dictionaries({}, optional={"steps": st.integers(2, 99), "eta": st.floats(1e-9, 1)}),
        "state_flow": st.fixed_dictionaries({}, optional={"widths": st.lists(st.integers(2, 64), min_size=1)}),
        "train": st.fixed_dictionaries({}, optional={"denoisings": st.integers(1, 99), "strata": st.integers(0, 9)}),
        "evaluate": st.just({"prompts": {"name": "shapes"}}),
    },
)


@settings(max_examples=150, deadline=None)
@given(run=runs)
def test_a_dumped_run_is_the_same_run(run: dict[str, Any], registry: Any) -> None:
    config = structure_run(run, registry)
    again = structure_run(tomllib.loads(dump_toml(config)), registry)
    assert again == config
    assert dump_toml(again) == dump_toml(config)
