"""An epoch's optimiser steps: which transitions they see, in which order, and what they change."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dagsdk.config.schema import RunConfig
from dagsdk.engine.evaluate import Evaluator
from dagsdk.engine.seeds import SHUFFLE, STRATA, derived, generator
from dagsdk.engine.trained import Trained
from dagsdk.engine.trajectory import Pairs, Trajectory, pairs, stratified
from dagsdk.errors import TrainingError
from dagsdk.objectives.protocol import Objective, Signals

Tick = Callable[[int], None]


class Updater:
    """Trains the policy, and the networks beside it, on transitions.

    networks: those beside the policy, by name.
    """

    def __init__(
        self,
        config: RunConfig,
        objective: Objective,
        evaluator: Evaluator,
        trained: Trained,
        networks: Mapping[str, nn.Module],
        accelerator: Accelerator,
    ) -> None:
        self.config, self.objective, self.evaluator = config, objective, evaluator
        self.trained, self.networks, self.accelerator = trained, networks, accelerator
        self.device = accelerator.device
        train = config.train
        self.parameters = {**trained.parameters, **{name: list(net.parameters()) for name, net in networks.items()}}
        own = {"policy": train.learning_rate, "noise": train.noise_learning_rate}
        self.rates = [own.get(name, train.flow_learning_rate) for name in self.parameters]
        groups = [
            {"params": params, "lr": rate} for params, rate in zip(self.parameters.values(), self.rates, strict=True)
        ]
        adamw = torch.optim.AdamW(groups, betas=train.betas, weight_decay=train.weight_decay)
        self.optimiser = accelerator.prepare_optimizer(adamw)

    def update(
        self,
        trajectories: Trajectory,
        selected: Tensor,
        window: tuple[int, int],
        signals: Signals,
        tick: Callable[[int], Tick],
    ) -> dict[str, Any]:
        """The epoch's passes; each update sees its share of the transitions, a micro-batch at a time.

        selected: shape (b,), bool. window: (first, end) of the steps. tick: from a total to what counts it.
        """
        train, epoch = self.config.train, trajectories.epoch
        self._decay(epoch)
        turns = [self._chosen(selected, window, epoch, turn) for turn in range(train.passes)]
        trained = sum(map(len, turns))
        potentials = self._potentials(trajectories, turns, signals)
        sums: dict[str, Tensor] = {}
        counted = tick(trained)
        norms: dict[str, float] = {}
        for share in (share for turn in turns for share in turn.shares(train.updates)):
            count = self.sum(torch.tensor(float(len(share)), device=self.device))
            if count == 0:
                continue  # nothing was selected anywhere: no step
            for batch in share.split(train.micro_batch) if len(share) else []:
                transitions = self.evaluator.transitions(trajectories, batch, signals, potentials)
                loss = self.objective.loss(transitions)
                if loss.values.shape != (len(batch),):
                    raise TrainingError(
                        f"objective {self.config.objective.name!r} returned losses of shape "
                        f"{tuple(loss.values.shape)} for {len(batch)} transitions; it must be one each"
                    )
                self.accelerator.backward(loss.values.sum() / count)
                for name, value in {**loss.metrics, "loss": loss.values}.items():
                    total = value.detach().float().mean() * len(batch)
                    sums[name] = sums.get(name, torch.zeros((), device=self.device)) + total
                counted(len(batch))
            norms = self._step(epoch)
        everywhere = float(self.sum(torch.tensor(float(trained), device=self.device)))
        means = {name: float(self.sum(total)) / max(everywhere, 1.0) for name, total in sums.items()}
        return {"loss": 0.0, **means, "transitions": int(everywhere), **norms}

    def _chosen(self, selected: Tensor, window: tuple[int, int], epoch: int, turn: int) -> Pairs:
        """The transitions of one pass, in a random order, at most `train.transitions` of all processes."""
        train = self.config.train
        counters = epoch, self.accelerator.process_index, *([turn] * (turn > 0))
        if train.strata:
            draws = generator(derived(self.config.seed, STRATA, *counters))
            chosen = stratified(selected, window, train.strata, draws)
        else:
            chosen = pairs(selected, window)
        shuffled = generator(derived(self.config.seed, SHUFFLE, *counters))
        order = torch.randperm(len(chosen), generator=shuffled).to(self.device)
        if train.transitions:
            order = order[: max(1, train.transitions // self.accelerator.num_processes)]
        return Pairs(chosen.sample[order], chosen.step[order])

    def _potentials(self, trajectories: Trajectory, turns: list[Pairs], signals: Signals) -> Tensor | None:
        """Forward-looking rewards by state, shape (b, T + 1), where the evaluator does not look for itself."""
        evaluator = self.evaluator
        if not evaluator.recorded or signals.beta == 0:
            return None
        if trajectories.potential is not None:
            return trajectories.potential
        return evaluator.forward_looking.record(trajectories, Pairs.joined(turns))

    def _decay(self, epoch: int) -> None:
        """Learning rates follow from the epoch alone, so that no state is needed to resume them."""
        share = epoch / self.config.train.epochs
        factor = {"none": 1.0, "linear": 1 - share, "cosine": (1 + math.cos(math.pi * share)) / 2}
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor[self.config.train.decay]

    def _step(self, epoch: int) -> dict[str, float]:
        """One optimiser step from the gradients of all processes, clipped for each network by itself."""
        norms = {}
        for params in self.parameters.values():
            for p in params:
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
                if self.accelerator.num_processes > 1:
                    p.grad = self.accelerator.reduce(p.grad, "sum")
        self.accelerator.unscale_gradients(self.optimiser)
        limit = self.config.train.max_grad_norm or math.inf
        for name, params in self.parameters.items():
            norm = float(torch.nn.utils.clip_grad_norm_(params, limit))
            if not math.isfinite(norm) and self.accelerator.scaler is None:
                raise TrainingError(
                    f"epoch {epoch + 1}: the gradient of the {name} is {norm}; it must be finite; lower "
                    "objective.beta or the learning rate and go on from the last checkpoint as a new run"
                )
            norms[f"grad_norm/{name}"] = norm
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.trained.stepped()
        return norms

    def sum(self, value: Tensor) -> Tensor:
        """A number summed over all processes."""
        if self.accelerator.num_processes == 1:
            return value
        total: Tensor = self.accelerator.reduce(value, "sum")
        return total

    # --- checkpoints ---

    def state(self) -> dict[str, Any]:
        """Sections of a checkpoint, to go on from."""
        scaler = self.accelerator.scaler
        return {
            "optimizer": self.optimiser.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            **{name: network.state_dict() for name, network in self.networks.items()},
        }

    def restore(self, sections: Mapping[str, Any]) -> None:
        self.optimiser.load_state_dict(sections["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(sections["scaler"])
        for name, network in self.networks.items():
            network.load_state_dict(sections[name])
