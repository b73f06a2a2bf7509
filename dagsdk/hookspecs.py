"""The five hooks of a plugin. Each docstring is a complete one: save it as `mine.py`, name it in a run file.

A hook takes no arguments and returns records; it declares and never computes. Heavy imports belong in
`build`, so that `dagsdk plugins` stays quick. An installed plugin names its module in its `pyproject.toml`:

    [project.entry-points.dagsdk]
    mine = "dagsdk_mine"
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

from dagsdk.specs import ModelSpec, ObjectiveSpec, PromptSpec, RewardSpec, RolloutSpec

hookspec = pluggy.HookspecMarker("dagsdk")


@hookspec
def dagsdk_rewards() -> Iterable[RewardSpec[Any]]:
    """Rewards: what images are scored by.

    ```python
    import attrs
    import dagsdk


    @attrs.frozen
    class RednessOptions:
        \"\"\"scale: what the mean of the red channel is multiplied by.\"\"\"

        scale: float = 1.0


    def build(options, context):
        def redness(images, prompts):  # (b, 3, h, w) in [0, 1] → (b,)
            return options.scale * images[:, 0].mean(dim=(1, 2))

        return redness


    @dagsdk.hookimpl
    def dagsdk_rewards():
        yield dagsdk.RewardSpec(
            name="redness",
            summary="How red an image is",
            build=build,
            options=RednessOptions,
            differentiable=True,
        )
    ```
    """
    return ()


@hookspec
def dagsdk_prompts() -> Iterable[PromptSpec[Any]]:
    """Prompt sets: sequences of prompts that never change; the engine shuffles and shards them.

    ```python
    import dagsdk


    def build(options, context):
        return [dagsdk.Prompt(f"a photo of a {animal}") for animal in ("cat", "dog", "newt")]


    @dagsdk.hookimpl
    def dagsdk_prompts():
        yield dagsdk.PromptSpec(name="three-animals", summary="A cat, a dog and a newt", build=build)
    ```
    """
    return ()


@hookspec
def dagsdk_objectives() -> Iterable[ObjectiveSpec[Any]]:
    """Objectives: what turns transitions into a loss. This one is REINFORCE.

    ```python
    import dagsdk


    class Reinforce:
        needs = frozenset()

        def prepare(self, trajectories):
            from dagsdk.objectives.protocol import Signals

            return Signals(values=trajectories.scores - trajectories.scores.mean())

        def loss(self, batch):
            from dagsdk.objectives.protocol import Loss

            return Loss(values=-batch.signal * batch.log_pf)  # (n,)

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass


    @dagsdk.hookimpl
    def dagsdk_objectives():
        yield dagsdk.ObjectiveSpec(
            name="reinforce",
            summary="REINFORCE with a mean baseline",
            build=lambda options, context: Reinforce(),
        )
    ```
    """
    return ()


@hookspec
def dagsdk_rollouts() -> Iterable[RolloutSpec[Any]]:
    """Rollouts: how trajectories are sampled, and which of them, at which steps, are trained on.

    ```python
    import dagsdk


    class BetterHalf:
        def plan(self, epoch, epochs, num_steps):
            from dagsdk.rollouts.protocol import RolloutPlan

            return RolloutPlan(window=(0, num_steps))

        def select(self, trajectories, signals):
            return trajectories.scores >= trajectories.scores.median()  # (b,) bool


    @dagsdk.hookimpl
    def dagsdk_rollouts():
        yield dagsdk.RolloutSpec(
            name="better-half",
            summary="Trains on the better half of the trajectories",
            build=lambda options, context: BetterHalf(),
        )
    ```
    """
    return ()


@hookspec
def dagsdk_models() -> Iterable[ModelSpec[Any]]:
    """Models to align. `build` returns a `dagsdk.families.protocol.Family`: one of the core's, or one's own.

    ```python
    import dagsdk


    def build(options, context):
        from dagsdk.families.options import VectorOptions
        from dagsdk.families.vector import Vector

        return Vector.build(VectorOptions(width=32, pretrain=10), context)


    @dagsdk.hookimpl
    def dagsdk_models():
        yield dagsdk.ModelSpec(name="tiny-vector", summary="A hastily trained small model", build=build)
    ```
    """
    return ()
