"""What a run file can get wrong between its sections, when each by itself is sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dagsdk.config.components import Specs
from dagsdk.errors import DagsdkError
from dagsdk.objectives.protocol import Needs


def contradictions(run: Mapping[str, Any], sound: Mapping[str, Any], registry: Specs) -> Iterator[str]:
    """One line a contradiction, beginning with the path of a key.

    run: the run file's tables, which may hold other mistakes.
    sound: those sections of a `RunConfig` that could be structured.
    """
    rewards = run.get("rewards")
    entries = rewards if isinstance(rewards, (list, tuple)) else ()
    tables = [(i, table) for i, table in enumerate(entries) if isinstance(table, Mapping)]
    named = [(i, t["name"]) for i, t in tables if isinstance(t.get("name"), str)]
    trained = [(i, name) for i, name in named if not _is_zero(entries[i].get("weight", 1.0))]
    yield from _needs(run.get("objective"), trained or named, registry)
    yield from _repeated(named)
    if tables and all(_is_zero(table.get("weight", 1.0)) for _, table in tables):
        yield "rewards: every weight is 0, so nothing is trained for; give one reward a weight other than 0"
    if rollout := sound.get("rollout"):
        if rollout.last_step == "drop" and rollout.steps < 2:
            yield (
                f'rollout.last_step: "drop" leaves no transition of {rollout.steps}; '
                'set rollout.steps >= 2 or last_step = "keep"'
            )
        elif train := sound.get("train"):
            yield from _updates(train, rollout)


def _needs(objective: Any, rewards: list[tuple[int, str]], registry: Specs) -> Iterator[str]:
    name = objective.get("name") if isinstance(objective, Mapping) else None
    spec = _found(registry, "objectives", name)
    if spec is None:
        return
    if Needs.FORWARD_LOOKING in spec.needs and Needs.FLOW not in spec.needs:
        yield (
            f"objective.name: objective {name!r} declares FORWARD_LOOKING without FLOW; it must declare "
            "both; choose another objective until its plugin is corrected"
        )
    if Needs.REWARD_GRADIENT in spec.needs:
        for _, reward in rewards:
            found = _found(registry, "rewards", reward)
            if found is not None and not found.differentiable:
                yield (
                    f"objective.name: objective {name!r} needs REWARD_GRADIENT; reward {reward!r} is not "
                    "differentiable; choose a differentiable reward or another objective"
                )


def _repeated(rewards: list[tuple[int, str]]) -> Iterator[str]:
    first: dict[str, int] = {}
    for i, name in rewards:
        if (earlier := first.setdefault(name, i)) != i:
            yield f"rewards[{i}].name: {name!r} is rewards[{earlier}] already; give each reward once"


def _updates(train: Any, rollout: Any) -> Iterator[str]:
    steps = rollout.steps - (rollout.last_step == "drop")
    trained = train.trajectories * steps
    made_of = f"train.trajectories {train.trajectories} x {steps} trained steps"
    if 0 < train.transitions < trained:
        trained, made_of = train.transitions, "train.transitions"
    if train.updates > trained:
        yield (
            f"train.updates: {train.updates} is too large; an epoch trains {trained} transitions "
            f"({made_of}), and each update needs one; set train.updates <= {trained}"
        )


def _found(registry: Specs, kind: str, name: object) -> Any:
    """The spec, or None where the name itself is a mistake that is reported as such."""
    try:
        return registry.get(kind, name) if isinstance(name, str) else None
    except DagsdkError:
        return None


def _is_zero(value: object) -> bool:
    return type(value) in (int, float) and value == 0
