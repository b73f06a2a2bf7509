"""b sampled trajectories as plain data: what `prepare` and `select` see, and what the sampler kept of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from attrs import Factory, evolve, field, frozen

from dagsdk.errors import TrainingError
from dagsdk.objectives.parts import Needs, Parted, ReferencePath, StateFlowPath

if TYPE_CHECKING:
    from torch import Tensor

    from dagsdk.process.conditioning import Conditioning
    from dagsdk.prompts.protocol import Prompt
    from dagsdk.rewards.normalisation import Scales


@frozen(kw_only=True, eq=False)
class Latents:
    """What the sampler kept of b trajectories, on the process that sampled them. Nothing in here has a gradient.

    conditioning: of the prompts, first axis b.
    clean: shape (b, *latent), float32: what is decoded; the terminal state, or one noiseless step after it.
    states: shape (b, T + 1, *latent), float32, from noise to the terminal state; None on the forward process.
    outputs: the guided output at each state, shape (b, T, *latent), where an objective compares with it.
    denoised: the conditional x̂_0 at each state, shape (b, T, *latent), where potentials are recorded.
    scales: of the rewards that are normalised.
    """

    conditioning: Conditioning
    clean: Tensor
    states: Tensor | None = None
    outputs: Tensor | None = None
    denoised: Tensor | None = None
    scales: Scales = Factory(dict)


@frozen(kw_only=True, eq=False)
class Trajectories(Parted):
    """b sampled trajectories of T transitions. Nothing in here has a gradient.

    prompts: b of them.
    group: shape (b,), int64: the same number shares a prompt.
    branch: shape (b,), int64: the same number shares its first steps.
    replayed: shape (b,), bool: led back to noise from an image of an earlier epoch, not sampled.
    rewards: shape (b,), float32: what is trained for, Σ weight · reward, each on its scale; higher is better.
    raw_rewards: by name, what each reward function returned, shape (b,), float32.
    log_prior: shape (b,), float32: log-density of the noise x_T, N(0, I).
    log_pf_old: shape (b, T), float32: log p_F of each transition when it was sampled.
    log_pb: shape (b, T), float32: log-density of the noising kernel.
    epoch, epochs: e, counted from 0, and E.
    latents: what the sampler kept; the trajectories of all processes come without.

    On the forward process only images are kept: log_pf_old and log_pb have shape (b, 0).
    """

    prompts: tuple[Prompt, ...]
    group: Tensor
    branch: Tensor
    replayed: Tensor
    rewards: Tensor
    raw_rewards: Mapping[str, Tensor] = Factory(dict)
    log_prior: Tensor
    log_pf_old: Tensor
    log_pb: Tensor
    epoch: int = 0
    epochs: int = 1
    kept: Latents | None = field(default=None, alias="latents")

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def steps(self) -> int:
        """T."""
        return self.log_pf_old.shape[1]

    @property
    def latents(self) -> Latents:
        """Raises TrainingError for trajectories of all processes, which have none."""
        if self.kept is None:
            raise TrainingError("these trajectories are those of all processes; latents stay where they were sampled")
        return self.kept

    @property
    def states(self) -> Tensor:
        """Shape (b, T + 1, *latent). Raises TrainingError where they were not kept."""
        if self.latents.states is None:
            raise TrainingError("no states were kept; an objective on the forward process sees clean latents only")
        return self.latents.states

    @property
    def reference(self) -> ReferencePath:
        """log p_F of the model before training along the path (REFERENCE_PATH)."""
        return self._part(Needs.REFERENCE_PATH, ReferencePath, "reference")

    @property
    def state_flow(self) -> StateFlowPath:
        """log F along the path (STATE_FLOW_PATH)."""
        return self._part(Needs.STATE_FLOW_PATH, StateFlowPath, "state_flow")

    def part(self, rows: slice | Tensor) -> Trajectories:
        """The trajectories in these rows: a slice, or a tensor of shape (m,), int64 or bool."""

        import torch

        if isinstance(rows, torch.Tensor) and rows.dtype == torch.bool:
            rows = rows.nonzero().squeeze(1)

        def chosen(value: Any) -> Any:
            if isinstance(value, tuple) and not isinstance(rows, slice):
                return tuple(value[row] for row in rows.tolist())
            return value[rows]

        found: Trajectories = along(chosen, self)
        return found


def joined(parts: Sequence[Trajectories]) -> Trajectories:
    """The trajectories of all parts, one after the other."""
    import torch

    def together(*values: Any) -> Any:
        return sum(values, ()) if isinstance(values[0], tuple) else torch.cat(values)

    found: Trajectories = along(together, *parts)
    return found


def along(change: Callable[..., Any], first: Any, *others: Any) -> Any:
    """Trajectories whose every tensor and tuple is what `change` makes of those at the same place of each argument.

    Numbers and what is None stay those of the first.
    """
    if attrs.has(type(first)):
        names = [(a.name, a.alias) for a in attrs.fields(type(first)) if a.init]
        return evolve(
            first,
            **{
                alias: along(change, getattr(first, name), *(getattr(other, name) for other in others))
                for name, alias in names
            },
        )
    if isinstance(first, Mapping):
        return {key: along(change, first[key], *(other[key] for other in others)) for key in first}
    if first is None or isinstance(first, int | float | str):
        return first
    return change(first, *others)
