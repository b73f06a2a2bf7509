"""The pages for plugin authors say what the code says of hooks, records, protocols and rules."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import pytest
from fences import PAGES, ROOT, Block, blocks, tables

import dagsdk
from dagsdk import hookspecs, testing
from dagsdk.cli.plugins import as_record
from dagsdk.config.components import KIND_OF
from dagsdk.errors import PluginError
from dagsdk.hookcalls import HOOKS
from dagsdk.models.protocol import Model
from dagsdk.objectives import toolbox
from dagsdk.objectives.parts import Needs, Parted
from dagsdk.objectives.protocol import Denoisings, Loss, Objective, Signals, Transitions
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.plugins import Plugin, load_file
from dagsdk.prompts.protocol import Prompt
from dagsdk.rewards.protocol import Reward
from dagsdk.rollouts.protocol import Rollout, RolloutPlan
from dagsdk.specs import KINDS, BuildContext
from dagsdk.testing import pytest_plugin
from dagsdk.testing.check import Check, name_of, outcomes, rule_of
from dagsdk.testing.component_checks import COMPONENT_CHECKS
from dagsdk.testing.kinds import CONTRACTS
from dagsdk.testing.plugin_checks import PLUGIN_CHECKS
from dagsdk.testing.records import PARTS, TRAINED, filled_by, tensors
from dagsdk.testing.trajectories import denoisings, trajectories, transitions

HOOK_PAGES = ROOT / "docs/reference/hooks"
INDEX = HOOK_PAGES / "README.md"
KIT = ROOT / "docs/reference/testing.md"
PLUGINS_PAGE = ROOT / "docs/explanation/plugins.md"

BUILT: dict[str, type | None] = {  # kind to the protocol of what `build` returns; a prompt set is any sequence
    "rewards": Reward,
    "prompts": None,
    "objectives": Objective,
    "rollouts": Rollout,
    "models": Model,
}
CLASSES = {  # page and heading to the class whose fields the table there has
    **{(kind, "The record"): KINDS[kind] for kind in KINDS},
    ("README", "The context"): BuildContext,
    ("prompts", "What `build` returns"): Prompt,
    ("objectives", "Transitions"): Transitions,
    ("objectives", "Denoisings"): Denoisings,
    ("objectives", "Trajectories"): Trajectories,
    ("objectives", "Signals"): Signals,
    ("objectives", "Loss"): Loss,
    ("rollouts", "RolloutPlan"): RolloutPlan,
}
OPTIONAL = {"rollouts": {"state_dict", "load_state_dict"}}
"""Members that a component of this kind may have, though its protocol does not require them."""
HOOK = "import dagsdk\n@dagsdk.hookimpl\ndef dagsdk_rewards(): "
FAILURES = {  # row of the page to a plugin that fails so
    "an exception in a hook": f"{HOOK}{{}}['x']",
    "a misspelt hook": "def dagsdk_reward(): return []",
    "a hook without its mark": "def dagsdk_rewards(): return []",
    "no hook at all": "",
    "a hook with arguments": HOOK.replace("()", "(config)") + "return []",
    "a hook that returns nothing": f"{HOOK}pass",
    "a record of another hook": f"{HOOK}yield dagsdk.PromptSpec(name='pairs', summary='X', build=print)",
    "a name with capitals or spaces": f"{HOOK}yield dagsdk.RewardSpec(name='My Reward', summary='X', build=print)",
}
PLUGINS = [block for page in PAGES for block in blocks(page) if block.file and "@dagsdk.hookimpl" in block.text]


def page(kind: str) -> Path:
    return HOOK_PAGES / f"{kind}.md"


def rules(checks: Iterable[Check]) -> dict[str, dict[str, str]]:
    return {name_of(check): {"check": f"`{name_of(check)}`", "rule": rule_of(check)} for check in checks}


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_page_with_its_signature(hook: str) -> None:
    signature = next(line for line in inspect.getsource(getattr(hookspecs, hook)).splitlines() if line[:4] == "def ")
    assert blocks(page(HOOKS[hook]))[0].text == f"{signature.removesuffix(':')}\n"
    row = tables(INDEX)["The hooks"][f"[`{hook}`]({HOOKS[hook]}.md)"]
    assert row["yields"] == f"`{KINDS[HOOKS[hook]].__name__}`"


@pytest.mark.parametrize("kind", KINDS)
def test_the_pages_plugin_keeps_its_contract(kind: str, tmp_path: Path) -> None:
    found = [block for block in PLUGINS if block.page == page(kind)]
    assert found
    case, checks = CONTRACTS[kind]
    for block in found:
        block.write(tmp_path)
        provides = load_file(tmp_path / str(block.file)).provides
        assert list(provides) == [kind]
        [spec] = provides[kind]
        broken = [o.message for o in outcomes(checks, case(spec=spec), {}, strict=True) if o.status == "failed"]
        assert not broken


@pytest.mark.parametrize("block", PLUGINS, ids=lambda block: block.where)
def test_plugins_on_pages_load(block: Block, tmp_path: Path) -> None:
    block.write(tmp_path)
    assert load_file(tmp_path / str(block.file)).status == "ok"


@pytest.mark.parametrize(("where", "cls"), CLASSES.items(), ids=lambda value: str(value))
def test_every_field_is_a_row(where: tuple[str, str], cls: Any) -> None:
    rows, fields = tables(page(where[0]))[where[1]], {field.alias: field for field in attrs.fields(cls)}
    assert rows.keys() == fields.keys()
    for name, row in rows.items():
        if "default" in row:
            assert row["default"].strip("`") == default(fields[name])


def default(field: Any) -> str:
    if field.default is attrs.NOTHING:
        return "required"
    value = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
    return json.dumps(value) if isinstance(value, str) else getattr(value, "__name__", repr(value))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if BUILT[kind]])
def test_every_member_of_the_protocol_is_a_row(kind: str) -> None:
    functions = {name for name, value in vars(BUILT[kind]).items() if inspect.isfunction(value)}
    members = {name for name in functions if name[0] != "_" or name == "__call__"}
    members |= inspect.get_annotations(BUILT[kind]).keys() | OPTIONAL.get(kind, set())
    assert tables(page(kind))["What `build` returns"].keys() == members


@pytest.mark.parametrize("cls", [Transitions, Denoisings, Trajectories])
def test_every_field_of_a_part_is_a_row(cls: type[Parted]) -> None:
    rows = tables(page("objectives"))[f"Parts of {cls.__name__.lower()}"]
    assert {name: row["need"].strip("`") for name, row in rows.items()} == {
        name: need.name for need in PARTS[cls] for name in filled_by(cls, need)
    }
    made = {Transitions: transitions, Denoisings: denoisings, Trajectories: lambda needs: trajectories(needs=needs)}
    filled = tensors(made[cls](tuple(Needs)))
    for name, row in rows.items():
        assert row["gradient"] == ("yes" if name in TRAINED.get(cls, ()) else "no"), name
        axes = 2 if "T" in row["shape"] else 1
        assert (filled[name].ndim > axes) == ("latent" in row["shape"]), name


def test_every_function_of_the_toolbox_is_a_row() -> None:
    rows = {name.partition("(")[0] for name in tables(page("objectives"))["The toolbox"]}
    own = {name for name, value in vars(toolbox).items() if getattr(value, "__module__", "") == toolbox.__name__}
    assert rows == own


def test_every_need_is_a_row() -> None:
    assert tables(page("objectives"))["Needs"].keys() == Needs.__members__.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_options_may_not_have(kind: str) -> None:
    [section] = [section for section in KIND_OF if KIND_OF[section] == kind]
    [sentence] = re.findall(r"^Options may not be called (.*?):", page(kind).read_text(encoding="utf-8"), re.M | re.S)
    assert set(re.findall(r"`(\w+)`", sentence)) == {a.name for a in attrs.fields(section)} - {"options"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_check_is_a_row(kind: str) -> None:
    own, shared = tables(page(kind))["The rules"], tables(INDEX)["Rules for every component"]
    assert shared == rules(COMPONENT_CHECKS)
    assert shared | own == rules(CONTRACTS[kind][1])


@pytest.mark.parametrize("kind", KINDS)
def test_mistakes_name_checks_that_exist(kind: str) -> None:
    text = "\n".join(row["what happens"] for row in tables(page(kind))["Common mistakes"].values())
    named = re.findall(r"`([a-z]\w+)`(?= (?:may )?fails?\b| or)", text)
    assert named
    assert set(named) <= {name_of(check) for check in (*CONTRACTS[kind][1], *PLUGIN_CHECKS)}


def test_the_kit_is_described_completely() -> None:
    found = tables(KIT)
    assert found["The rules of a plugin"] == rules(PLUGIN_CHECKS)
    text = KIT.read_text(encoding="utf-8")
    assert not [name for name in testing.__all__ if f"`{name}" not in text]
    fixtures = {name for name in vars(pytest_plugin) if name.startswith(("dagsdk_", "isolated_"))}
    assert found["Fixtures"].keys() == fixtures
    contracts = {name for name in testing.__all__ if name.endswith("Contract")}
    assert contracts <= found["In a test suite"].keys()


def test_json_has_the_shape_on_the_page() -> None:
    [shown] = [json.loads(block.text) for block in blocks(PLUGINS_PAGE) if block.language == "json"]
    [plugin], record = shown["plugins"], as_record(Plugin(name="x"))
    assert list(plugin) == list(record)
    assert list(plugin["provides"]) == list(record["provides"])
    keys = ", ".join(tables(PLUGINS_PAGE)["`dagsdk plugins --json`"]).replace("`", "")
    assert keys.split(", ") == list(record)


@pytest.mark.parametrize("what", FAILURES)
def test_failures_read_as_on_the_page(what: str, tmp_path: Path) -> None:
    parts = tables(PLUGINS_PAGE)["When something fails"][what]["what is recorded"].strip("` ").split("...")
    (tmp_path / "mine.py").write_text(FAILURES[what], encoding="utf-8")
    with pytest.raises(PluginError) as caught:
        load_file(tmp_path / "mine.py")
    assert all(part.strip("; ") in str(caught.value) for part in parts)


def test_public_names_that_pages_use_exist() -> None:
    pages = [INDEX, *map(page, KINDS), KIT, *(ROOT / "docs/explanation").glob("*.md")]
    used = {name for path in pages for name in re.findall(r"\bdagsdk\.([A-Z]\w+)", path.read_text(encoding="utf-8"))}
    assert used <= set(dagsdk.__all__)
