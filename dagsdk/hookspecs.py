"""The five hooks of a plugin. Each docstring has a complete plugin: save it as `mine.py` and name it in a run file.

A hook takes no arguments and returns records. It declares components and computes nothing, so `dagsdk plugins` stays
fast: import heavy libraries inside `build`, or make `build` an import string such as "dagsdk_mine.reward:Mine". An
installed plugin names its module in its `pyproject.toml`:

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
    """Rewards: functions of (images, prompts) that return one number per image, higher is better.

    ```python
    import attrs
    import dagsdk


    @attrs.frozen
    class RednessOptions:
        \"\"\"scale: what the mean of the red channel is multiplied by.\"\"\"

        scale: float = 1.0


    def build(options):
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
    """Prompt sets: sequences of `dagsdk.Prompt` that never change. The engine shuffles them and shares them out.

    ```python
    import dagsdk


    def build(options):
        return [dagsdk.Prompt(f"a photo of a {animal}") for animal in ("cat", "dog", "newt")]


    @dagsdk.hookimpl
    def dagsdk_prompts():
        yield dagsdk.PromptSpec(name="three-animals", summary="A cat, a dog and a newt", build=build)
    ```
    """
    return ()


@hookspec
def dagsdk_objectives() -> Iterable[ObjectiveSpec[Any]]:
    """Training objectives: a batch of `Transitions` or `Denoisings` in, one loss per row out. This one is REINFORCE.

    What a batch contains beyond log-densities and rewards is declared by `needs` (`dagsdk.Needs`).

    ```python
    import dagsdk


    class Reinforce(dagsdk.Stateless):
        def prepare(self, trajectories):
            return dagsdk.Signals(values=trajectories.rewards - trajectories.rewards.mean())

        def loss(self, batch):
            return dagsdk.Loss(values=-batch.signal * batch.log_pf)  # (n,)


    @dagsdk.hookimpl
    def dagsdk_objectives():
        yield dagsdk.ObjectiveSpec(
            name="reinforce",
            summary="REINFORCE with a mean baseline",
            build=lambda options: Reinforce(),
        )
    ```
    """
    return ()


@hookspec
def dagsdk_rollouts() -> Iterable[RolloutSpec[Any]]:
    """Rollouts: how trajectories are sampled, and which of them are trained on, at which steps.

    ```python
    import dagsdk


    class BetterHalf:
        def plan(self, epoch, epochs, num_steps):
            return dagsdk.RolloutPlan(window=(0, num_steps))

        def select(self, trajectories, signals):
            return trajectories.rewards >= trajectories.rewards.median()  # (b,) bool


    @dagsdk.hookimpl
    def dagsdk_rollouts():
        yield dagsdk.RolloutSpec(
            name="better-half",
            summary="Trains on the better half of the trajectories",
            build=lambda options: BetterHalf(),
        )
    ```
    """
    return ()


@hookspec
def dagsdk_models() -> Iterable[ModelSpec[Any]]:
    """Models to align. `build` returns a `dagsdk.Model`: one of the core's, or your own.

    ```python
    import dagsdk


    def build(options, context):
        from dagsdk.models.options import VectorOptions
        from dagsdk.models.vector import Vector

        return Vector.build(VectorOptions(width=32, pretrain=10), context)


    @dagsdk.hookimpl
    def dagsdk_models():
        yield dagsdk.ModelSpec(name="tiny-vector", summary="A hastily trained small model", build=build)
    ```
    """
    return ()
