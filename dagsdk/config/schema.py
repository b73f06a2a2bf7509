"""The run file as frozen classes: every default of a run, and every range.

A component's own options are not here. They are written next to its `name`, and structured by the class that its
spec declares (`Component.options`).
"""

from __future__ import annotations

from typing import Any, Literal

from attrs import Factory, field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, le, lt, min_len, optional

_count = ge(1)


@frozen(kw_only=True)
class Component:
    """A component by name, with its own options, structured by the class that its spec declares."""

    name: str = field(validator=min_len(1))
    options: Any = Factory(dict)


@frozen(kw_only=True)
class LoraConfig:
    """[model.lora], the low-rank adapter. Defaults are the paper's.

    rank: r of the update B A.
    alpha: the update is scaled by alpha / rank; 0 means alpha = rank.
    targets: names of the modules that it adapts; empty means the model's own choice, the attention projections.
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
    """Options of a model that is a folder or a Hub id.

    revision: a branch, tag or commit on the Hub; None means the main branch.
    variant: which files of the weights, such as "fp16"; None means the default ones.
    """

    revision: str | None = None
    variant: str | None = None


@frozen(kw_only=True)
class PromptsConfig(Component):
    """[prompts], or one of several [[prompts]].

    weight: of several sets, this one has a share of the prompts equal to its weight over the sum of all weights.
    """

    weight: float = field(default=1.0, validator=gt(0))


@frozen(kw_only=True)
class RewardConfig(Component):
    """[[rewards]]. The training reward is the sum of weight · reward.

    weight: may be negative, or 0: the reward is then reported and not trained for.
    normalise: whether rewards are standardised before they are weighted: not at all, by the mean and standard
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
    eta: 1 is ancestral sampling; 0 is deterministic sampling, which has no density and is for objectives on the
        forward process only.
    variance: of a transition's noise, times eta²: that of x_t' given x_t and x_0 (what samplers use), that of the
        noising kernel, or their geometric mean; "learned" starts from the first and trains one factor per step.
    last_step: "keep" trains the last transition like the others; "drop" takes it without noise, as part of the
        decoder, so that the trained chain ends one step earlier.
    std_floor: smallest standard deviation of a transition; 0 refuses a schedule that reaches 0.
    reduction: log-densities are the mean (the paper's code) or the sum over the latent's dimensions.
    """

    name: str = field(default="independent", validator=min_len(1))
    steps: int = field(default=50, validator=_count)
    guidance_scale: float = field(default=5.0, validator=ge(0))
    eta: float = field(default=1.0, validator=and_(ge(0), le(1)))
    variance: Literal["posterior", "geometric", "noising", "learned"] = "posterior"
    last_step: Literal["keep", "drop"] = "keep"
    std_floor: float = field(default=0.0, validator=ge(0))
    reduction: Literal["mean", "sum"] = "mean"


@frozen(kw_only=True)
class ForwardLookingConfig:
    """[forward_looking], for objectives that need it.

    mode: "recorded" rewards the x̂_0 that the sampler kept, once per state; "current" rewards the x̂_0 of the
        current network at each update, as the paper's code does.
    every: in recorded mode, only every n-th state is rewarded, and the states in between use its value.
    """

    mode: Literal["recorded", "current"] = "recorded"
    every: int = field(default=1, validator=_count)


@frozen(kw_only=True)
class StateFlowConfig:
    """[state_flow], the network that estimates log F, for objectives that need it.

    widths: channels of its blocks, from the input inwards; the default is the paper's.
    """

    widths: tuple[int, ...] = field(default=(64, 128, 256, 256), validator=[min_len(1), deep_iterable(ge(2))])


@frozen(kw_only=True)
class FlowGradientConfig:
    """[flow_gradient], a network whose output has the shape of the latent, for objectives that need it.

    widths: channels of its blocks, from the input inwards.
    """

    widths: tuple[int, ...] = field(default=(64, 128, 256, 256), validator=[min_len(1), deep_iterable(ge(2))])


@frozen(kw_only=True)
class ReplayConfig:
    """[replay]: training again on good images of earlier epochs, noised by the noising kernel.

    trajectories: how many are added to each epoch's own, over all processes; 0 means none.
    capacity: how many of the best images are kept per prompt.
    """

    trajectories: int = field(default=0, validator=ge(0))
    capacity: int = field(default=16, validator=_count)


@frozen(kw_only=True)
class TrainConfig:
    """[train].

    epochs: E.
    trajectories: how many are sampled per epoch, over all processes.
    passes: how many times an epoch's data is trained on, each time in a new order (DDPO's inner epochs).
    updates: optimiser steps per pass; the data of a pass is shuffled and divided among them.
    transitions: how many of the epoch's transitions are trained on; 0 means all.
    strata: the trained steps before the last are divided into this many equal parts; of each trajectory, one step of
        each part and the last step are trained on; 0 means all steps.
    denoisings: for objectives on the forward process, how many times each image is noised per pass, at a time and
        with noise of its own each.
    sample_batch: trajectories sampled, and images decoded, at a time; results do not depend on it.
    micro_batch: transitions, or noised images, per forward and backward pass; gradients accumulate over an update.
    learning_rate, auxiliary_learning_rate: of the policy, and of the networks trained with it.
    noise_learning_rate: of the factors of rollout.variance = "learned".
    decay: whether all learning rates fall to 0 over the epochs, along a line or a half cosine.
    betas: AdamW's β₁ and β₂.
    weight_decay: AdamW's.
    max_grad_norm: gradients are clipped to this norm, each network separately; 0 means no clipping.
    ema: decay of an exponential moving average of the trained weights; 0 means no average.
    normalise_window: epochs whose rewards give the mean and standard deviation of normalise = "running".
    mixed_precision: "no", "bf16" or "fp16" (fp16 needs a GPU).
    """

    epochs: int = field(default=100, validator=_count)
    trajectories: int = field(default=64, validator=_count)
    passes: int = field(default=1, validator=_count)
    updates: int = field(default=2, validator=_count)
    transitions: int = field(default=0, validator=ge(0))
    strata: int = field(default=0, validator=ge(0))
    denoisings: int = field(default=8, validator=_count)
    sample_batch: int = field(default=64, validator=_count)
    micro_batch: int = field(default=64, validator=_count)
    learning_rate: float = field(default=3e-4, validator=gt(0))
    auxiliary_learning_rate: float = field(default=3e-4, validator=gt(0))
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

    prompts: one prompt set or several; without any, the training prompts are used.
    samples: how many images.
    every: epochs between evaluations; 0 means only before the first epoch and after the last.
    seed: image i is sampled with seed + i.
    """

    prompts: tuple[PromptsConfig, ...] = ()
    samples: int = field(default=64, validator=_count)
    every: int = field(default=0, validator=ge(0))
    seed: int = field(default=1000, validator=ge(0))


@frozen(kw_only=True)
class CheckpointConfig:
    """[checkpoint].

    every: epochs between checkpoints; the last epoch always has one.
    keep: how many of the newest are kept; 0 means all.
    """

    every: int = field(default=10, validator=_count)
    keep: int = field(default=0, validator=ge(0))


@frozen(kw_only=True)
class RunConfig:
    """A whole run file.

    seed: every random draw of the run follows from it.
    output: the run folder. None, which a run file cannot say, means that nothing is written.
    plugins: local plugin files, such as "./mine.py".
    given: components that a program handed over, such as "rewards/brightness"; written by `dagsdk.align`, since a run
        folder cannot hold them.
    trackers: where accelerate sends metrics, in addition to metrics.jsonl.
    """

    seed: int = field(default=0, validator=and_(ge(0), lt(2**63)))
    output: str | None = field(validator=optional(min_len(1)))
    plugins: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ("tensorboard",)
    model: ModelConfig
    prompts: tuple[PromptsConfig, ...] = field(validator=min_len(1))
    rewards: tuple[RewardConfig, ...] = field(validator=min_len(1))
    objective: ObjectiveConfig
    rollout: RolloutConfig = RolloutConfig()
    forward_looking: ForwardLookingConfig = ForwardLookingConfig()
    state_flow: StateFlowConfig = StateFlowConfig()
    flow_gradient: FlowGradientConfig = FlowGradientConfig()
    replay: ReplayConfig = ReplayConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
