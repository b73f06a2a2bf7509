"""From a run's configuration to live objects: the only place that calls `build`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from attrs import asdict, frozen

from dagsdk.config.schema import Component, PromptsConfig, RunConfig
from dagsdk.errors import ConfigError, DagsdkError, RewardError, TrainingError, UnknownComponentError
from dagsdk.models.protocol import Model
from dagsdk.objectives.parts import Needs
from dagsdk.objectives.protocol import Objective
from dagsdk.prompts.mixture import PromptMixture
from dagsdk.prompts.protocol import PromptSet
from dagsdk.registry import Registry
from dagsdk.rewards.mixture import RewardMixture
from dagsdk.rollouts.protocol import Rollout
from dagsdk.specs import BuildContext


@frozen(eq=False, kw_only=True)
class Components:
    """The parts of a run, built.

    held_out: prompts of the evaluation.
    needs, batches, samples: what the objective's record says, for its options.
    """

    model: Model
    prompts: PromptSet
    held_out: PromptSet
    reward: RewardMixture
    objective: Objective
    rollout: Rollout
    needs: frozenset[Needs]
    batches: Literal["transitions", "denoisings"] = "transitions"
    samples: Literal["policy", "reference"] = "policy"


def build_components(config: RunConfig, registry: Registry, context: BuildContext) -> Components:
    """Builds what is cheap and may be wrong first, the model last."""
    spec = registry.get("objectives", config.objective.name)
    prompts = prompt_set(registry, config.prompts, context)
    evaluated = config.evaluate.prompts
    return Components(
        prompts=prompts,
        held_out=prompt_set(registry, evaluated, context) if evaluated else prompts,
        reward=RewardMixture((r.name, r.weight, built(registry, "rewards", r, context)) for r in config.rewards),
        objective=built(registry, "objectives", config.objective, context),
        rollout=built(registry, "rollouts", config.rollout, context),
        needs=spec.needs_of(config.objective.options),
        batches=spec.batches,
        samples=spec.samples,
        model=build_model(config, registry, context),
    )


def prompt_set(registry: Registry, components: Sequence[PromptsConfig], context: BuildContext) -> PromptSet:
    """The set, or several sets as one, each with its share."""
    sets: list[tuple[float, PromptSet]] = []
    for component in components:
        prompts: PromptSet = built(registry, "prompts", component, context)
        if len(prompts) == 0:
            problem = f"prompts.name: prompt set {component.name!r} is empty; it must hold a prompt"
            raise ConfigError("prompts", [problem])
        sets.append((component.weight, prompts))
    return sets[0][1] if len(sets) == 1 else PromptMixture(sets)


def build_model(config: RunConfig, registry: Registry, context: BuildContext) -> Model:
    """The model: a registered one, or a Stable Diffusion pipeline from a folder or the Hub."""
    try:
        registry.get("models", config.model.name)
    except UnknownComponentError:
        from dagsdk.models.stable_diffusion import StableDiffusion

        options = {key: value for key, value in asdict(config.model.options).items() if value is not None}
        return StableDiffusion.from_pretrained(config.model.name, context, **options)
    model: Model = built(registry, "models", config.model, context)
    return model


def built(registry: Registry, kind: str, component: Component, context: BuildContext) -> Any:
    """What a spec's `build` makes. Raises TrainingError for an error raised by the plugin, with its cause."""
    spec = registry.get(kind, component.name)
    try:
        return spec.make(component.options, context)
    except RewardError as error:
        if component.name in str(error):
            raise
        raise RewardError(f"{kind.removesuffix('s')} {component.name!r}: {error}") from error
    except DagsdkError:
        raise
    except Exception as error:
        raise TrainingError(
            f"{kind.removesuffix('s')} {component.name!r} cannot be built: {type(error).__name__}: {error}; "
            "check its options in the run file and what it needs"
        ) from error
