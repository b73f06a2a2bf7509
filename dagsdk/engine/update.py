"""An epoch's optimiser steps: which rows they see, in which order, and what they change."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dagsdk.config.schema import RunConfig
from dagsdk.engine.pairs import Pairs, pairs, stratified
from dagsdk.engine.processes import Processes
from dagsdk.engine.progress import Progress
from dagsdk.engine.seeds import SHUFFLE, STRATA, derived, generator
from dagsdk.engine.trained import Trained
from dagsdk.errors import TrainingError
from dagsdk.objectives.protocol import Objective, Signals
from dagsdk.objectives.trajectories import Trajectories


class Builder(Protocol):
    """What makes the batches of an objective: a `TransitionBuilder` or a `DenoisingBuilder`."""

    def start(self, trajectories: Trajectories, signals: Signals, everything: Pairs) -> Callable[[Pairs], Any]: ...


class Updater:
    """Trains the policy and the auxiliary networks on an epoch's batches.

    networks: auxiliary networks by name.
    """

    def __init__(
        self,
        config: RunConfig,
        objective: Objective,
        builder: Builder,
        trained: Trained,
        networks: Mapping[str, nn.Module],
        processes: Processes,
        scaler: torch.amp.GradScaler,
        device: torch.device,
        report: Progress,
    ) -> None:
        self.config, self.objective, self.builder = config, objective, builder
        self.trained, self.networks = trained, networks
        self.processes, self.scaler, self.device, self.report = processes, scaler, device, report
        train = config.train
        self.parameters = {**trained.parameters, **{name: list(net.parameters()) for name, net in networks.items()}}
        own = {"policy": train.learning_rate, "noise": train.noise_learning_rate}
        self.rates = [own.get(name, train.auxiliary_learning_rate) for name in self.parameters]
        groups = [
            {"params": params, "lr": rate} for params, rate in zip(self.parameters.values(), self.rates, strict=True)
        ]
        self.optimiser = torch.optim.AdamW(groups, betas=train.betas, weight_decay=train.weight_decay)
        trained.follow(self.optimiser)

    def update(
        self, trajectories: Trajectories, kept: Tensor, signals: Signals, window: tuple[int, int]
    ) -> dict[str, Any]:
        """The epoch's passes; each update sees its share of the rows, a micro-batch at a time. Returns metrics.

        kept: which of these trajectories are trained on, shape (b,), bool. signals: of these trajectories.
        window: (first, end) of the steps.
        """
        train = self.config.train
        self._set_rates(trajectories.epoch)
        passes = [self._draw(kept, window, trajectories.epoch, number) for number in range(train.passes)]
        build = self.builder.start(trajectories, signals, Pairs.joined(passes))
        done, total = 0, sum(map(len, passes))
        sums: dict[str, Tensor] = {}
        norms: dict[str, float] = {}
        for share in (share for rows in passes for share in rows.shares(train.updates)):
            count = self._everywhere(len(share))
            if count == 0:
                continue  # nothing was selected anywhere: no step
            for batch in share.split(train.micro_batch):
                loss = self.objective.loss(build(batch))
                if loss.values.shape != (len(batch),):
                    raise TrainingError(
                        f"objective {self.config.objective.name!r} returned losses of shape "
                        f"{tuple(loss.values.shape)} for a batch of {len(batch)}; it must return one loss per row"
                    )
                self.scaler.scale(loss.values.sum() / count).backward()
                for name, value in {**loss.metrics, "loss": loss.values}.items():
                    sums[name] = sums.get(name, 0.0) + value.detach().float().mean() * len(batch)
                done += len(batch)
                self.report("update", done, total)
            norms = self._step(trajectories.epoch)
        trained = float(self._everywhere(total))
        names = sorted({name for names in self.processes.objects(list(sums)) for name in names})
        zero = torch.zeros((), device=self.device)
        means = {name: float(self.processes.sum(sums.get(name, zero))) / max(trained, 1.0) for name in names}
        return {"loss": 0.0, **means, "transitions": int(trained), **norms}

    def _draw(self, kept: Tensor, window: tuple[int, int], epoch: int, number: int) -> Pairs:
        """The rows of one pass, in a random order, at most `train.transitions` of all processes."""
        train = self.config.train
        counters = epoch, self.processes.index, *([number] * (number > 0))
        if train.strata:
            rows = stratified(kept, window, train.strata, generator(derived(self.config.seed, STRATA, *counters)))
        else:
            rows = pairs(kept, window)
        shuffled = generator(derived(self.config.seed, SHUFFLE, *counters))
        order = torch.randperm(len(rows), generator=shuffled).to(self.device)
        if train.transitions:
            order = order[: max(1, train.transitions // self.processes.count)]
        return Pairs(rows.sample[order], rows.step[order])

    def _set_rates(self, epoch: int) -> None:
        """Learning rates follow from the epoch alone, so that no state is needed to resume them."""
        share = epoch / self.config.train.epochs
        factor = {"none": 1.0, "linear": 1 - share, "cosine": (1 + math.cos(math.pi * share)) / 2}
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor[self.config.train.decay]

    def _step(self, epoch: int) -> dict[str, float]:
        """One optimiser step from the gradients of all processes, clipped for each network by itself."""
        norms = {}
        for p in (p for params in self.parameters.values() for p in params):
            p.grad = self.processes.sum(torch.zeros_like(p) if p.grad is None else p.grad)
        self.scaler.unscale_(self.optimiser)
        limit = self.config.train.max_grad_norm or math.inf
        for name, params in self.parameters.items():
            norm = float(torch.nn.utils.clip_grad_norm_(params, limit))
            if not math.isfinite(norm) and not self.scaler.is_enabled():
                raise TrainingError(
                    f"epoch {epoch + 1}: the gradient of the {name} is {norm}; it must be finite; start a new run "
                    "with a lower objective.beta or learning rate"
                )
            norms[f"grad_norm/{name}"] = norm
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()
        return norms

    def _everywhere(self, count: int) -> Tensor:
        """A count summed over all processes."""
        return self.processes.sum(torch.tensor(float(count), device=self.device))

    # --- checkpoints ---

    def state(self) -> dict[str, Any]:
        """Sections of a checkpoint to continue from."""
        return {
            "optimizer": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            **{name: network.state_dict() for name, network in self.networks.items()},
        }

    def restore(self, sections: Mapping[str, Any]) -> None:
        self.optimiser.load_state_dict(sections["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(sections["scaler"])
        for name, network in self.networks.items():
            network.load_state_dict(sections[name])
