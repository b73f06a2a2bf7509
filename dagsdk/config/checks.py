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
    yield from _images(sound, registry)
    yield from _replay(sound, registry)


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


def _images(sound: Mapping[str, Any], registry: Specs) -> Iterator[str]:
    """How many images a prompt has, against those who count on it."""
    objective, rollout, train = (sound.get(section) for section in ("objective", "rollout", "train"))
    spec = _found(registry, "rollouts", rollout.name) if rollout else None
    if rollout is None or spec is None or spec.images is None:
        return
    images = spec.images(rollout.options)
    if train and train.trajectories % images:
        yield (
            f"train.trajectories: {train.trajectories} cannot be divided into prompts of {images} images, which "
            f"rollout {rollout.name!r} takes of each; set a multiple of {images}"
        )
    if images > 1:
        return
    for i, reward in enumerate(sound.get("rewards") or ()):
        if reward.normalise == "prompt":
            yield (
                f'rewards[{i}].normalise: "prompt" compares the images of a prompt; rollout {rollout.name!r} takes '
                'one of each; set rollout.images_per_prompt >= 2, or normalise = "running"'
            )
    compared = _found(registry, "objectives", objective.name) if objective else None
    if objective is None or compared is None:
        return
    if Needs.GROUPS in compared.needs - compared.unneeded(objective.options):
        yield (
            f"objective.name: objective {objective.name!r} needs GROUPS with these options, since it compares the "
            f"images of a prompt; rollout {rollout.name!r} takes one of each; set rollout.images_per_prompt >= 2"
        )


def _replay(sound: Mapping[str, Any], registry: Specs) -> Iterator[str]:
    replay, objective = sound.get("replay"), sound.get("objective")
    if replay is None or not replay.trajectories:
        return
    spec = _found(registry, "objectives", objective.name) if objective else None
    if objective and spec and not spec.off_policy:
        yield (
            f"replay.trajectories: {replay.trajectories} is not possible with objective {objective.name!r}, which "
            "learns from trajectories of its own policy only; set 0, or choose an objective that is off-policy, such "
            "as dag-db"
        )
    for i, reward in enumerate(sound.get("rewards") or ()):
        if reward.normalise != "none":
            yield (
                f"rewards[{i}].normalise: {reward.normalise!r} changes the scale of scores from epoch to epoch, which "
                'those that are kept for replay do not follow; set "none", or replay.trajectories = 0'
            )


def _repeated(rewards: list[tuple[int, str]]) -> Iterator[str]:
    first: dict[str, int] = {}
    for i, name in rewards:
        if (earlier := first.setdefault(name, i)) != i:
            yield f"rewards[{i}].name: {name!r} is rewards[{earlier}] already; give each reward once"


def _updates(train: Any, rollout: Any) -> Iterator[str]:
    steps = rollout.steps - (rollout.last_step == "drop")
    if train.strata:
        steps = min(steps, train.strata + 1)
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
