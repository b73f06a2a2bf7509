"""The run file as frozen classes. Every default of a run is here, and every range.

A component's own options are not here: they stand beside its `name` and are structured by the class that its
spec declares (`Component.options`).
"""

from __future__ import annotations

from typing import Any, Literal

from attrs import Factory, field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, le, lt, min_len

_count = ge(1)


@frozen(kw_only=True)
class Component:
    """A component by name, with its own options (already structured once the registry knows it)."""

    name: str = field(validator=min_len(1))
    options: Any = Factory(dict)


@frozen(kw_only=True)
class LoraConfig:
    """The low-rank adapter. Defaults are the paper's.

    rank: r of the update B A.
    alpha: scale of the update is alpha / rank; 0 means alpha = rank.
    targets: module names it goes on; empty means the family's own (attention projections).
    """

    rank: int = field(default=4, validator=_count)
    alpha: float = field(default=0.0, validator=ge(0))
    targets: tuple[str, ...] = ()


@frozen(kw_only=True)
class ModelConfig(Component):
    """[model]. `name` is a registered model, a folder, or a Hub id.

    train: "lora" trains an adapter, "full" the whole network.
    """

    train: Literal["lora", "full"] = "lora"
    lora: LoraConfig = LoraConfig()


@frozen(kw_only=True)
class FolderOptions:
    """Beside the `name` of a model that is a folder or a Hub id.

    revision: a branch, tag or commit of the Hub; None means its main branch.
    variant: which files of the weights, such as "fp16"; None means the plain ones.
    """

    revision: str | None = None
    variant: str | None = None


@frozen(kw_only=True)
class PromptsConfig(Component):
    """[prompts], or one of several [[prompts]].

    weight: among several sets, this one's share of the prompts is its weight over the sum of all.
    """

    weight: float = field(default=1.0, validator=gt(0))


@frozen(kw_only=True)
class RewardConfig(Component):
    """[[rewards]]. The training reward is the sum of weight · score.

    weight: may be negative, or 0: the reward is then watched and not trained for.
    normalise: whether scores are standardised before they are weighted: not at all, by the mean and standard
        deviation of the images that share a prompt, or by those of the last `train.normalise_window` epochs.
    """

    weight: float = 1.0
    normalise: Literal["none", "prompt", "running"] = "none"


@frozen(kw_only=True)
class ObjectiveConfig(Component):
    """[objective]."""


@frozen(kw_only=True)
class RolloutConfig(Component):
    """[rollout].

    steps: T, transitions of a trajectory.
    guidance_scale: classifier-free guidance; 1 means none (and half the cost).
    eta: 1 is ancestral sampling, 0 would be deterministic and has no density.
    variance: of a transition's noise, times eta²: that of x_t' given x_t and x_0 (what samplers take), that of the
        noising kernel, or their geometric mean; "learned" begins with the first and trains a factor a step.
    last_step: "keep" trains the last transition like the others; "drop" takes it without noise, as a part of
        the decoder, and ends the chain one step sooner.
    std_floor: least standard deviation of any transition; 0 refuses a schedule that reaches 0.
    reduction: log-densities are the mean (the paper's code) or the sum over the latent's dimensions.
    """

    name: str = field(default="independent", validator=min_len(1))
    steps: int = field(default=50, validator=_count)
    guidance_scale: float = field(default=5.0, validator=ge(0))
    eta: float = field(default=1.0, validator=and_(gt(0), le(1)))
    variance: Literal["posterior", "geometric", "noising", "learned"] = "posterior"
    last_step: Literal["keep", "drop"] = "keep"
    std_floor: float = field(default=0.0, validator=ge(0))
    reduction: Literal["mean", "sum"] = "mean"


@frozen(kw_only=True)
class ForwardLookingConfig:
    """[forward_looking], for objectives that ask for it.

    mode: "recorded" scores the x̂_0 that the sampler kept, once a state; "current" scores the x̂_0 of the
        current network at each update, as the paper's code does.
    every: in recorded mode, score every n-th state only and hold the value in between.
    """

    mode: Literal["recorded", "current"] = "recorded"
    every: int = field(default=1, validator=_count)


@frozen(kw_only=True)
class FlowConfig:
    """[flow], the network that estimates log F, for objectives that ask for it.

    widths: channels of its blocks, from the input inwards; the default is the paper's.
    """

    widths: tuple[int, ...] = field(default=(64, 128, 256, 256), validator=[min_len(1), deep_iterable(ge(2))])


@frozen(kw_only=True)
class ResidualConfig:
    """[residual], the network shaped like a state, for objectives that ask for it.

    widths: channels of its blocks, from the input inwards.
    """

    widths: tuple[int, ...] = field(default=(64, 128, 256, 256), validator=[min_len(1), deep_iterable(ge(2))])


@frozen(kw_only=True)
class ReplayConfig:
    """[replay]: training on good images found before, led back to noise by the noising kernel.

    trajectories: how many an epoch trains on beside those that it samples, over all processes; 0 means none.
    capacity: how many of the best images are kept for each prompt.
    """

    trajectories: int = field(default=0, validator=ge(0))
    capacity: int = field(default=16, validator=_count)


@frozen(kw_only=True)
class TrainConfig:
    """[train].

    epochs: E.
    trajectories: sampled an epoch, over all processes.
    passes: how often an epoch's transitions are gone through, each time in a new order (DDPO's inner epochs).
    updates: optimiser steps a pass; its transitions are shuffled and divided among them.
    transitions: how many of the epoch's transitions are trained on; 0 means all.
    sample_batch: trajectories sampled (and images decoded) at a time; the results do not depend on it.
    micro_batch: transitions a forward and backward pass sees; gradients accumulate up to an update.
    strata: of each trajectory only the last trained step, and one drawn from each of so many equal parts of those
        before it, are trained on; 0 means all.
    learning_rate, flow_learning_rate: of the policy, and of the networks trained beside it.
    noise_learning_rate: of the factors of rollout.variance = "learned".
    decay: whether all learning rates fall to 0 over the epochs, along a line or a half cosine.
    max_grad_norm: gradient clipping, for each network by itself; 0 means none.
    ema: decay of an exponential moving average of the trained weights; 0 means none.
    normalise_window: epochs whose scores give the scale of rewards with normalise = "running".
    mixed_precision: "no", "bf16" or "fp16" (fp16 needs a GPU).
    """

    epochs: int = field(default=100, validator=_count)
    trajectories: int = field(default=64, validator=_count)
    passes: int = field(default=1, validator=_count)
    updates: int = field(default=2, validator=_count)
    transitions: int = field(default=0, validator=ge(0))
    strata: int = field(default=0, validator=ge(0))
    sample_batch: int = field(default=64, validator=_count)
    micro_batch: int = field(default=64, validator=_count)
    learning_rate: float = field(default=3e-4, validator=gt(0))
    flow_learning_rate: float = field(default=3e-4, validator=gt(0))
    noise_learning_rate: float = field(default=1e-2, validator=gt(0))
    decay: Literal["none", "linear", "cosine"] = "none"
    betas: tuple[float, float] = field(default=(0.9, 0.999))
    weight_decay: float = field(default=1e-4, validator=ge(0))
    max_grad_norm: float = field(default=1.0, validator=ge(0))
    ema: float = field(default=0.0, validator=and_(ge(0), lt(1)))
    normalise_window: int = field(default=8, validator=_count)
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"

    @betas.validator
    def _betas_below_one(self, attribute: Any, value: tuple[float, float]) -> None:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError(f"'betas' must both be >= 0 and < 1: {list(value)}")


@frozen(kw_only=True)
class EvaluateConfig:
    """[evaluate]: the same prompts and seeds, sampled by the base model and by the model in training.

    prompts: a prompt set, or several; without any the training prompts are used.
    samples: how many images.
    every: epochs between evaluations; 0 means at the start and the end only.
    seed: image i starts from seed + i.
    """

    prompts: tuple[PromptsConfig, ...] = ()
    samples: int = field(default=64, validator=_count)
    every: int = field(default=0, validator=ge(0))
    seed: int = field(default=1000, validator=ge(0))


@frozen(kw_only=True)
class CheckpointConfig:
    """[checkpoint].

    every: epochs between checkpoints; the last epoch always has one.
    keep: how many of the newest stay; 0 means all.
    """

    every: int = field(default=10, validator=_count)
    keep: int = field(default=0, validator=ge(0))


@frozen(kw_only=True)
class RunConfig:
    """A whole run file.

    seed: every random draw of the run follows from it.
    output: the run folder.
    plugins: local plugin files, such as "./mine.py".
    trackers: where accelerate sends figures beside metrics.jsonl.
    """

    seed: int = field(default=0, validator=and_(ge(0), lt(2**63)))
    output: str = field(validator=min_len(1))
    plugins: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ("tensorboard",)
    model: ModelConfig
    prompts: tuple[PromptsConfig, ...] = field(validator=min_len(1))
    rewards: tuple[RewardConfig, ...] = field(validator=min_len(1))
    objective: ObjectiveConfig
    rollout: RolloutConfig = RolloutConfig()
    forward_looking: ForwardLookingConfig = ForwardLookingConfig()
    flow: FlowConfig = FlowConfig()
    residual: ResidualConfig = ResidualConfig()
    replay: ReplayConfig = ReplayConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
