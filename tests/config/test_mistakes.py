"""Every mistake in a run file is found, at once, and each line begins with the path of its key."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from attrs import frozen

from dagsdk.config.files import structure_run
from dagsdk.errors import ConfigError
from dagsdk.specs import RewardSpec

SOUND = """
output = "runs/x"
[model]
name = "shapes"
[prompts]
name = "shapes"
[[rewards]]
name = "jpeg"
[objective]
name = "dag-db"
[rollout]
[train]
[evaluate]
"""


def _run(**replaced: str) -> dict[str, Any]:
    """The sound run with whole top-level values replaced by TOML text; "" leaves one out."""
    run = tomllib.loads(SOUND)
    for key, text in replaced.items():
        run.pop(key)
        run.update(tomllib.loads(f"{key} = {text}") if text else {})
    return run


def _problems(run: dict[str, Any], registry: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        structure_run(run, registry)
    return list(caught.value.problems)


def test_the_run_that_the_mistakes_are_made_in_is_sound(registry: Any) -> None:
    config = structure_run(_run(), registry)
    assert config.rollout.options is not None and config.objective.options.beta == 100.0


MISTAKES = [
    ("train", "{epochs = 0}", "train.epochs: 0 is too small; it must be >= 1"),
    ("train", '{epochs = "3"}', "train.epochs: '3' is a string; it must be an integer; write"),
    ("train", '{epochs = "many"}', "train.epochs: 'many' is a string; it must be an integer"),
    ("train", "{epochs = true}", "train.epochs: true is a boolean; it must be an integer"),
    ("train", "{epochs = 3.0}", "train.epochs: 3.0 is a number; it must be an integer"),
    ("train", "{learning_rate = nan}", "train.learning_rate: nan is not finite"),
    ("train", "{learning_rate = inf}", "train.learning_rate: inf is not finite"),
    ("train", "{learning_rate = false}", "train.learning_rate: false is a boolean; it must be a number"),
    ("train", "{ema = 1.0}", "train.ema: 1.0 is too large; it must be < 1"),
    ("train", "{betas = [0.9]}", "train.betas: [0.9] has 1 values; it must have 2"),
    ("train", '{betas = [0.9, "x"]}', "train.betas[1]: 'x' is a string; it must be a number"),
    ("train", "{betas = [0.9, 1.5]}", "train.betas: "),
    ("train", '{mixed_precision = "bf17"}',
     "train.mixed_precision: 'bf17' is not one of 'no', 'bf16', 'fp16'; did you mean 'bf16'?"),
    ("train", "{epoch = 3}", "train.epoch: unknown key; did you mean 'epochs'?"),
    ("train", "3", "train: 3 is an integer; it must be a table"),
    ("train", "{trajectories = 2, updates = 101}", "train.updates: 101 is too large; an epoch trains on 100"),
    ("train", "{transitions = 3, updates = 4}", "train.updates: 4 is too large; an epoch trains on 3"),
    ("output", "", "output: missing; give output = a string"),
    ("output", "1979-05-27", "output: 1979-05-27 is a date; it must be a string; write it in quotes"),
    ("output", '""', "output: '' is too short; its length must be >= 1"),
    ("model", "", "model: missing; add a [model] table"),
    ("model", '{name = "shape"}',
     ("model.name: 'shape' is neither an installed model, nor a folder, nor a Hub id (owner/name); "
      "did you mean 'shapes'?")),
    ("model", '{name = "./nowhere/at-all"}', "model.name: there is no folder './nowhere/at-all'"),
    ("model", '{name = "a/b/c"}', "model.name: 'a/b/c' is neither"),
    ("model", '{name = "owner/name", revisio = "main"}',
     "model.revisio: unknown key; did you mean 'revision'?"),
    ("model", '{name = "shapes", revision = "main"}', "model.revision: unknown key; the keys here are"),
    ("model", '{name = "shapes", lora = {rank = 0}}', "model.lora.rank: 0 is too small"),
    ("prompts", '{name = "file"}', "prompts.path: missing; give path = a string"),
    ("rewards", "", "rewards: missing; add a [[rewards]] table"),
    ("rewards", "[]", "rewards: [] is too short"),
    ("rewards", '{name = "jpeg"}', "rewards: {...} is a table; it must be an array"),
    ("rewards", '[{name = "smooth"}, {namee = "jpeg"}]', "rewards[1].name: missing; give name ="),
    ("rewards", '[{name = "smooth"}, {namee = "jpeg"}]', "rewards[1].namee: unknown key; did you mean"),
    ("rewards", '[{name = "jpeg"}, {name = "jpeg"}]', "rewards[1].name: 'jpeg' is rewards[0] already"),
    ("rewards", '[{name = "jpeg", weight = 0}]', "rewards: every weight is 0"),
    ("rewards", '[{name = "jpge"}]', "rewards[0].name: no rewards called 'jpge'; did you mean 'jpeg'?"),
    ("rewards", '[{name = "broken"}]', "rewards[0].name: plugin 'broken' of dagsdk-broken 1.0 failed"),
    ("rewards", '[{name = "clashing"}]', "rewards[0].name: 'clashing' has an option 'weight'"),
    ("rewards", '[{name = "jpeg", qualty = 3}]', "rewards[0].qualty: unknown key; did you mean 'quality'?"),
    ("rewards", '[{name = "jpeg", weightt = 3}]', "rewards[0].weightt: unknown key; did you mean 'weight'?"),
    ("rewards", '[{name = "jpeg", options = {}}]', "rewards[0].options: unknown key"),
    ("rewards", '[{name = "jpeg", quality = 101}]', "rewards[0].quality: 101 is too large"),
    ("rewards", '[{name = "jpeg", side = "lft"}]',
     "rewards[0].side: 'lft' is not one of 'left', 'right'; did you mean 'left'?"),
    ("rewards", '[{name = "jpeg", tone = "cool"}]',
     "rewards[0].tone: 'cool' is not one of 'warm', 'cold'; did you mean 'cold'?"),
    ("rewards", '[{name = "jpeg", limit = "x"}]',
     "rewards[0].limit: 'x' is a string; it must be an integer or a number"),
    ("rewards", '[{name = "jpeg", words = "ab"}]', "rewards[0].words: 'ab' is a string; it must be an array"),
    ("rewards", '[{name = "jpeg", corners = [[1, 2], [3]]}]', "rewards[0].corners[1]: [3] has 1 values"),
    ("rewards", '[{name = "jpeg", table = {a = 1, b = "x"}}]', "rewards[0].table.b: 'x' is a string"),
    ("rewards", '[{name = "jpeg", band = {low = 2, high = 1}}]', "rewards[0].band.high: 'high' must be >="),
    ("rewards", '[{name = "jpeg", anything = [nan]}]', "rewards[0].anything: nan is not finite"),
    ("objective", '{name = "dag-db", beta = 0}', "objective.beta: 0 is too small; it must be > 0"),
    ("objective", '{name = "dag-db", anneal = 1}', "objective.anneal: 1 is not one of 'none', 'linear'"),
    ("objective", "{}", "objective.name: missing"),
    ("objective", '{name = ""}', "objective.name: '' is too short"),
    ("objective", '{name = "nabla-db"}',
     ("objective.name: objective 'nabla-db' needs REWARD_GRADIENT; reward 'jpeg' is not differentiable; "
      "choose a differentiable reward or another objective")),
    ("objective", '{name = "confused"}',
     "objective.name: objective 'confused' declares FORWARD_LOOKING without STATE_FLOW; it must declare both"),
    ("objective", '{name = "pathless"}',
     "objective.name: objective 'pathless' declares STATE_FLOW_PATH without STATE_FLOW"),
    ("objective", '{name = "comparing"}',
     ("objective.name: objective 'comparing' with these options compares the images of a prompt; rollout 'independent' "
      "takes one of each; set rollout.images_per_prompt >= 2")),
    ("rewards", '[{name = "jpeg", normalise = "prompt"}]', 'rewards[0].normalise: "prompt" compares the images'),
    ("train", "{denoisings = 0}", "train.denoisings: 0 is too small; it must be >= 1"),
    ("rollout", "{images_per_prompt = 5}", "train.trajectories: 64 is not a multiple of 5, the images that rollout"),
    ("rollout", "{eta = 0}",
     ("rollout.eta: 0 is deterministic sampling, whose transitions have no density; objective 'dag-db' trains on "
      "densities; set rollout.eta > 0")),
    ("rollout", "{eta = -0.1}", "rollout.eta: -0.1 is too small; it must be >= 0"),
    ("rollout", '{steps = 1, last_step = "drop"}', 'rollout.last_step: "drop" leaves no transition of 1'),
    ("evaluate", '{prompts = {name = "file", path = 3}}', "evaluate.prompts.path: 3 is an integer; it must"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "text", "begins"), MISTAKES)
def test_a_mistake_is_named_by_its_path(key: str, text: str, begins: str, registry: Any) -> None:
    found = _problems(_run(**{key: text}), registry)
    assert any(problem.startswith(begins) for problem in found), found
    assert all("\n" not in problem for problem in found)
    expected = sum(1 for other, same, _ in MISTAKES if (other, same) == (key, text))
    assert len(found) == expected, found  # nothing else is made up


def test_a_dropped_last_step_is_not_trained(registry: Any) -> None:
    run = _run(rollout='{steps = 3, last_step = "drop"}', train="{trajectories = 2, updates = 5}")
    assert _problems(run, registry)[0].startswith("train.updates: 5 is too large; an epoch trains on 4")
    run["train"]["updates"] = 4
    structure_run(run, registry)


def test_what_options_decide_is_decided_by_them(registry: Any) -> None:
    run = _run(objective='{name = "comparing", tracked = true}')
    structure_run(run, registry)
    run["objective"] = {"name": "comparing"}
    run["rollout"] = {"images_per_prompt": 2}
    structure_run(run, registry)
    run["objective"] = {"name": "comparing", "smooth": True}
    assert [p[:60] for p in _problems(run, registry)] == [
        "objective.name: objective 'comparing' needs REWARD_GRADIENT; rewa"[:60]
    ]
    run["objective"] = {"name": "comparing", "smooth": "yes"}  # options that hold mistakes decide nothing
    assert [p.partition(":")[0] for p in _problems(run, registry)] == ["objective.smooth"]


def test_replay_is_for_off_policy_objectives_and_plain_rewards(registry: Any) -> None:
    run = _run() | {"replay": {"trajectories": 4}}
    structure_run(run, registry)
    run["rewards"] = [{"name": "jpeg", "normalise": "running"}]
    assert _problems(run, registry)[0].startswith("rewards[0].normalise: 'running' changes the scale")
    run["objective"] = {"name": "comparing", "tracked": True}
    assert any(p.startswith("replay.trajectories: 4 is not possible with") for p in _problems(run, registry))


def test_ten_mistakes_are_reported_at_once(registry: Any) -> None:
    run = tomllib.loads("""
        outputt = "runs/x"
        seed = -1
        [model]
        name = "shapes"
        lora = { rnak = 4 }
        [prompts]
        name = "shapess"
        [[rewards]]
        name = "jpeg"
        weight = 0
        quality = 0
        side = "up"
        [[rewards]]
        name = "jpeg"
        weight = 0.0
        [objective]
        name = "nabla-db"
        [train]
        updates = 9999
        learning_rate = "fast"
        betas = [2.0, 0.5]
        [rollout]
        last_step = "keep"
    """)
    begins = [
        "output: missing", "outputt: unknown key; did you mean 'output'?", "seed: -1",
        "model.lora.rnak: unknown",
        "prompts.name:", "rewards[0].quality:", "rewards[0].side:", "rewards[1].name: 'jpeg'",
        "rewards: every weight", "objective.name:", "train.learning_rate:", "train.betas:",
    ]  # fmt: skip
    found = _problems(run, registry)
    for start in begins:
        assert any(problem.startswith(start) for problem in found), (start, found)
    # `nabla-db` is refused for both entries, and updates wait for a sound [train].
    assert len(found) == len(begins) + 1


def _never(options: Any, context: Any) -> Any:
    raise AssertionError("reading a run file builds nothing")


def test_a_plugin_whose_options_no_run_file_can_hold_is_named(registry: Any) -> None:
    odd = frozen(type("OddOptions", (), {"__annotations__": {"x": "NoSuchType"}}))

    class Odd:
        def names(self, kind: str, /) -> list[str]:
            return ["odd"]

        def get(self, kind: str, name: str, /) -> Any:
            if name != "odd":
                return registry.get(kind, name)
            return RewardSpec(name="odd", summary="s", build=_never, options=odd)

    found = _problems(_run(rewards='[{name = "odd", x = 1}]'), Odd())
    assert len(found) == 1 and found[0].startswith("rewards[0].name: 'odd' has options OddOptions")


def test_the_message_counts_the_problems_and_names_the_source(registry: Any) -> None:
    with pytest.raises(ConfigError, match=r"(?s)^mine\.toml: 1 problem\n  train: 3 is an integer"):
        structure_run(_run(train="3"), registry, source="mine.toml")
