"""[prompts] is one table or several."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from dagsdk.config.files import dump_toml, structure_run
from dagsdk.errors import ConfigError

RUN = """
output = "runs/x"
[model]
name = "shapes"
[[rewards]]
name = "jpeg"
[objective]
name = "dag-db"
[prompts]
name = "shapes"
"""
SEVERAL = """
[[prompts]]
name = "shapes"
weight = 3.0
[[prompts]]
name = "file"
path = "x.txt"
"""


def several(text: str = SEVERAL) -> dict[str, Any]:
    return tomllib.loads(RUN.partition("[prompts]")[0] + text)


def test_a_table_is_a_single_set_and_is_written_as_a_table(registry: Any) -> None:
    config = structure_run(tomllib.loads(RUN), registry)
    assert [prompts.name for prompts in config.prompts] == ["shapes"]
    assert tomllib.loads(dump_toml(config))["prompts"] == {"name": "shapes", "weight": 1.0}


def test_several_sets_have_weights_and_options_and_come_back(registry: Any) -> None:
    config = structure_run(several(), registry)
    assert [(p.name, p.weight) for p in config.prompts] == [("shapes", 3.0), ("file", 1.0)]
    assert structure_run(tomllib.loads(dump_toml(config)), registry) == config


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[prompts]\nname = "shaps"', "prompts.name:"),
        ("[prompts]\nname = 1", "prompts.name:"),
        (SEVERAL.replace("3.0", "0.0"), "prompts[0].weight: 0.0 is too small; it must be > 0"),
        (SEVERAL.replace("path", "pth"), "prompts[1].pth: unknown key; did you mean 'path'?"),
        ("prompts = []", "prompts:"),
        ("prompts = 3", "prompts:"),
    ],
)
def test_mistakes_have_the_path_as_it_was_written(text: str, problem: str, registry: Any) -> None:
    run = several(text) if text.startswith(("[", "\n[")) else {**several(""), **tomllib.loads(text)}
    with pytest.raises(ConfigError) as caught:
        structure_run(run, registry)
    assert any(line.startswith(problem) for line in caught.value.problems), caught.value.problems


def test_held_out_prompts_may_be_several_too(registry: Any) -> None:
    run = tomllib.loads(RUN) | {"evaluate": {"prompts": [{"name": "shapes"}, {"name": "shapes", "weight": 2.0}]}}
    assert [p.weight for p in structure_run(run, registry).evaluate.prompts] == [1.0, 2.0]
