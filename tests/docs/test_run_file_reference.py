"""`docs/reference/run-file.md` has every key of the schema, with its default and its range."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import attrs
import pytest
from fences import ROOT, tables

from dagsdk import builtin
from dagsdk.config import schema

PAGE = ROOT / "docs/reference/run-file.md"

SECTIONS: dict[str, type] = {
    "The top of the file": schema.RunConfig,
    "`[model]`": schema.ModelConfig,
    "A folder or a Hub id": schema.FolderOptions,
    "`[model.lora]`": schema.LoraConfig,
    "`[prompts]`": schema.PromptsConfig,
    "`[[rewards]]`": schema.RewardConfig,
    "`[objective]`": schema.ObjectiveConfig,
    "`[rollout]`": schema.RolloutConfig,
    "`[forward_looking]`": schema.ForwardLookingConfig,
    "`[state_flow]`": schema.StateFlowConfig,
    "`[flow_gradient]`": schema.FlowGradientConfig,
    "`[replay]`": schema.ReplayConfig,
    "`[train]`": schema.TrainConfig,
    "`[evaluate]`": schema.EvaluateConfig,
    "`[checkpoint]`": schema.CheckpointConfig,
    **{f"Objective `{spec.name}`": spec.options for spec in builtin.dagsdk_objectives()},
    **{f"Rollout `{spec.name}`": spec.options for spec in builtin.dagsdk_rollouts()},
    **{f"Prompts `{spec.name}`": spec.options for spec in builtin.dagsdk_prompts()},
    **{f"Model `{spec.name}`": spec.options for spec in builtin.dagsdk_models()},
}


TABLES = tables(PAGE)
KEYS = [
    pytest.param(section, attribute, id=f"{section.strip('`')} {attribute.name}")
    for section, cls in SECTIONS.items()
    for attribute in attrs.fields(cls)
    if attribute.name != "options"  # stands for the options next to a name
]


def default(attribute: Any) -> Any:
    value = attribute.default
    return value.factory() if isinstance(value, attrs.Factory) else value  # type: ignore[arg-type]


def accepts(attribute: Any, value: Any) -> bool:
    holder = attrs.make_class("Holder", {attribute.name: attrs.field(validator=attribute.validator)})
    try:
        holder(value)
    except ValueError:
        return False
    return True


def test_every_section_of_the_schema_is_a_section_of_the_page() -> None:
    assert TABLES.keys() == SECTIONS.keys()
    classes = {cls for _, cls in vars(schema).items() if attrs.has(cls) and cls.__module__ == schema.__name__}
    assert classes - {schema.Component} <= set(SECTIONS.values())


@pytest.mark.parametrize("section", SECTIONS)
def test_no_row_is_left_over(section: str) -> None:
    assert TABLES[section].keys() == {a.name for a in attrs.fields(SECTIONS[section])} - {"options"}


@pytest.mark.parametrize(("section", "attribute"), KEYS)
def test_the_default_is_the_schemas(section: str, attribute: Any) -> None:
    said, value = TABLES[section][attribute.name]["default"], default(attribute)
    if value is attrs.NOTHING:
        assert said == "required"
    elif value is None:
        assert said == "unset"
    elif attrs.has(type(value)):
        assert said == "its defaults"
    else:
        written = tomllib.loads(f"value = {said.strip('`')}")["value"]
        assert written == (list(value) if isinstance(value, tuple) else value)
        assert isinstance(written, bool) == isinstance(value, bool)


@pytest.mark.parametrize(("section", "attribute"), KEYS)
def test_the_range_is_the_schemas(section: str, attribute: Any) -> None:
    """The bound itself, and a value just beyond it, are judged as the page says."""
    said = TABLES[section][attribute.name]["range"]
    assert bool(said) == (attribute.validator is not None)
    for sign, written in re.findall(r"([≥>≤<]) ([\d.]+)", said):
        bound = int(written) if written.isdigit() else float(written)
        step = 1 if "integer" in TABLES[section][attribute.name]["type"] else 1e-6
        below, above = bound - step, bound + step

        def shaped(value: float) -> Any:
            return (value,) * 2 if "each" in said else value

        match sign:
            case "≥":
                assert accepts(attribute, shaped(bound))
                assert not accepts(attribute, shaped(below))
            case ">":
                assert accepts(attribute, shaped(above))
                assert not accepts(attribute, shaped(bound))
            case "≤":
                assert accepts(attribute, shaped(bound))
                assert not accepts(attribute, shaped(above))
            case "<":
                assert accepts(attribute, shaped(below))
                assert not accepts(attribute, shaped(bound))
    if "not empty" in said:
        assert not accepts(attribute, "" if TABLES[section][attribute.name]["type"] == "string" else ())


@pytest.mark.parametrize(("section", "attribute"), KEYS)
def test_choices_are_the_schemas(section: str, attribute: Any) -> None:
    choices = re.findall(r'"(\w+)"', str(attribute.type)) or re.findall(
        r"'(\w+)'", str(attribute.type) if "Literal" in str(attribute.type) else ""
    )
    assert re.findall(r'`"(\w+)"`', TABLES[section][attribute.name]["type"]) == choices
