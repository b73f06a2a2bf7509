"""Mistakes that only show when sections of a run file are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dagsdk.config.components import Specs
from dagsdk.config.forward_process import misfits
from dagsdk.errors import DagsdkError


def contradictions(run: Mapping[str, Any], sound: Mapping[str, Any], registry: Specs) -> Iterator[str]:
    """One line per contradiction, beginning with the path of a key.

    run: the run file's tables, which may hold other mistakes.
    sound: those sections of a `RunConfig` that could be structured; what compares others is not checked.
    """
    rewards = run.get("rewards")
    entries = rewards if isinstance(rewards, (list, tuple)) else ()
    tables = [(i, table) for i, table in enumerate(entries) if isinstance(table, Mapping)]
    named = [(i, t["name"]) for i, t in tables if isinstance(t.get("name"), str)]
    trained = [name for i, name in named if not _is_zero(entries[i].get("weight", 1.0))]
    yield from _repeated(named)
    if tables and all(_is_zero(table.get("weight", 1.0)) for _, table in tables):
        yield "rewards: every weight is 0, so there is nothing to train for; give one reward a weight other than 0"
    objective, rollout = sound.get("objective"), sound.get("rollout")
    spec = _found(registry, "objectives", objective.name) if objective else None
    if rollout:
        yield from _steps(rollout, sound.get("train"), spec)
        yield from _images(rollout, _found(registry, "rollouts", rollout.name), sound, spec)
    if objective and spec:
        yield from _needs(spec, objective.options, trained or [name for _, name in named], registry)
        yield from _replay(spec, sound)
        if spec.batches == "denoisings":
            yield from misfits(spec, objective.options, rollout, sound.get("train"), registry)
        elif rollout and rollout.eta == 0:
            yield (
                f"rollout.eta: 0 is deterministic sampling, whose transitions have no density; objective {spec.name!r} "
                "trains on densities; set rollout.eta > 0, or choose an objective on the forward process"
            )
    yield from _normalised_replay(sound)


def _needs(spec: Any, options: Any, rewards: list[str], registry: Specs) -> Iterator[str]:
    # by name: objectives and their needs stand above this package
    needs = {need.name for need in spec.needs_of(options)}
    for need in ("FORWARD_LOOKING", "STATE_FLOW_PATH"):
        if need in needs and "STATE_FLOW" not in needs:
            yield (
                f"objective.name: objective {spec.name!r} declares {need} without STATE_FLOW; it must declare both; "
                "choose another objective until its plugin is corrected"
            )
    if "REWARD_GRADIENT" in needs:
        for reward in rewards:
            found = _found(registry, "rewards", reward)
            if found is not None and not found.differentiable:
                yield (
                    f"objective.name: objective {spec.name!r} needs REWARD_GRADIENT; reward {reward!r} is not "
                    "differentiable; choose a differentiable reward or another objective"
                )


def _steps(rollout: Any, train: Any, objective: Any) -> Iterator[str]:
    if rollout.last_step == "drop" and rollout.steps < 2:
        yield (
            f'rollout.last_step: "drop" leaves no transition of {rollout.steps}; '
            'set rollout.steps >= 2 or last_step = "keep"'
        )
    elif train:
        yield from _updates(train, rollout, objective)


def _updates(train: Any, rollout: Any, objective: Any) -> Iterator[str]:
    """Whether each optimiser step has something to train on."""
    if objective and objective.batches == "denoisings":
        trained, what = train.trajectories * train.denoisings, "noised images"
        made_of = f"train.trajectories {train.trajectories} x train.denoisings {train.denoisings}"
    else:
        steps = rollout.steps - (rollout.last_step == "drop")
        if train.strata:
            steps = min(steps, train.strata + 1)
        trained, what = train.trajectories * steps, "transitions"
        made_of = f"train.trajectories {train.trajectories} x {steps} trained steps"
        if 0 < train.transitions < trained:
            trained, made_of = train.transitions, "train.transitions"
    if train.updates > trained:
        yield (
            f"train.updates: {train.updates} is too large; an epoch trains on {trained} {what} ({made_of}), and each "
            f"update needs one; set train.updates <= {trained}"
        )


def _images(rollout: Any, spec: Any, sound: Mapping[str, Any], objective: Any) -> Iterator[str]:
    """The number of images per prompt, against the sections that depend on it."""
    if spec is None or spec.images is None:
        return
    images, train = spec.images(rollout.options), sound.get("train")
    if train and train.trajectories % images:
        yield (
            f"train.trajectories: {train.trajectories} is not a multiple of {images}, the images that rollout "
            f"{rollout.name!r} takes of each prompt; set a multiple of {images}"
        )
    if images > 1:
        return
    for i, reward in enumerate(sound.get("rewards") or ()):
        if reward.normalise == "prompt":
            yield (
                f'rewards[{i}].normalise: "prompt" compares the images of a prompt; rollout {rollout.name!r} takes '
                'one of each; set rollout.images_per_prompt >= 2, or normalise = "running"'
            )
    if objective and objective.compares(sound["objective"].options):
        yield (
            f"objective.name: objective {objective.name!r} with these options compares the images of a prompt; rollout "
            f"{rollout.name!r} takes one of each; set rollout.images_per_prompt >= 2"
        )


def _replay(spec: Any, sound: Mapping[str, Any]) -> Iterator[str]:
    replay = sound.get("replay")
    if replay and replay.trajectories and not spec.off_policy:
        source = "model before training" if spec.samples == "reference" else "current policy"
        yield (
            f"replay.trajectories: {replay.trajectories} is not possible with objective {spec.name!r}, which learns "
            f"only from images of the {source}; set 0, or choose an off-policy objective, such as dag-db"
        )


def _normalised_replay(sound: Mapping[str, Any]) -> Iterator[str]:
    replay = sound.get("replay")
    if not (replay and replay.trajectories):
        return
    for i, reward in enumerate(sound.get("rewards") or ()):
        if reward.normalise != "none":
            yield (
                f"rewards[{i}].normalise: {reward.normalise!r} changes the scale of rewards from epoch to epoch, and "
                'rewards kept for replay do not follow; set "none", or replay.trajectories = 0'
            )


def _repeated(rewards: list[tuple[int, str]]) -> Iterator[str]:
    first: dict[str, int] = {}
    for i, name in rewards:
        if (earlier := first.setdefault(name, i)) != i:
            yield f"rewards[{i}].name: {name!r} is rewards[{earlier}] already; list each reward once"


def _found(registry: Specs, kind: str, name: object) -> Any:
    """The spec, or None where the name itself is a mistake, which is reported elsewhere."""
    try:
        return registry.get(kind, name) if isinstance(name, str) else None
    except DagsdkError:
        return None


def _is_zero(value: object) -> bool:
    return type(value) in (int, float) and value == 0
