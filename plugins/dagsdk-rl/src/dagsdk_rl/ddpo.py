"""DDPO, and reward-weighted regression on the same advantages (arXiv 2305.13301, sections 4.1 to 4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dagsdk import Loss, Signals, Trajectories, Transitions
from dagsdk.errors import TrainingError
from dagsdk.objectives.toolbox import policy_loss
from dagsdk_rl.options import DDPOOptions
from dagsdk_rl.tracker import Tracker


class DDPO:
    """`ddpo`: one advantage per trajectory, for all of its transitions."""

    def __init__(self, options: DDPOOptions | None = None) -> None:
        self.options = options or DDPOOptions()
        history = self.options.history
        self.tracker = Tracker(history, self.options.min_count or history) if self.options.tracking else None

    def prepare(self, trajectories: Trajectories, /) -> Signals:
        advantages, metrics = self._advantages(trajectories)
        limit = self.options.advantage_clip
        metrics["advantage_clipped"] = float((advantages.abs() > limit).double().mean())
        values = advantages.clamp(-limit, limit)
        if self.options.variant == "weighted":
            values = (values / self.options.temperature).softmax(0) * len(values)
            # effective sample size: b if all trajectories have the same weight, 1 if one has all of it
            metrics["effective"] = float(values.sum().square() / values.square().sum())
        return Signals(values=values.to(trajectories.rewards.dtype), metrics=metrics)

    def _advantages(self, trajectories: Trajectories) -> tuple[Tensor, dict[str, float]]:
        """Shape (b,), float64, before they are clamped; and metrics."""
        rewards = trajectories.rewards.double()
        if self.tracker is None:
            return (rewards - rewards.mean()) / (rewards.std(correction=0) + 1e-8), {}
        texts = [prompt.text for prompt in trajectories.prompts]
        advantages, tracked = self.tracker.advantages(texts, rewards)
        return advantages, {"tracked": float(tracked.double().mean())}

    def loss(self, batch: Transitions, /) -> Loss:
        if self.options.variant == "weighted":
            return Loss(values=-batch.signal * batch.log_pf)
        values, metrics = policy_loss(batch, self.options.clip_range)
        return Loss(values=values, metrics=metrics)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.tracker is None else self.tracker.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Raises TrainingError for a state of an objective with tracking, where this one has none."""
        if self.tracker is not None:
            self.tracker.load_state_dict(state)
        elif state:
            raise TrainingError(
                f"ddpo without tracking has no state, but was given {sorted(state)} to restore; resume with the "
                "options that the run began with"
            )
