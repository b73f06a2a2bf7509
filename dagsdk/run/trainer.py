"""One run, top to bottom: sample, reward, train, report; again."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dagsdk.config.files import dump_toml, resolved
from dagsdk.config.schema import RunConfig
from dagsdk.engine.adapter import Adapter
from dagsdk.engine.generators import GlobalGenerators
from dagsdk.engine.host import own_modes
from dagsdk.engine.processes import default_device, launched
from dagsdk.engine.progress import Counter, Progress
from dagsdk.engine.seeds import ADAPTER, derived
from dagsdk.errors import TrainingError
from dagsdk.evaluation.held_out import ByReward, HeldOut
from dagsdk.objectives.protocol import Signals
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.registry import Registry
from dagsdk.run import checkpoints
from dagsdk.run.assembly import assemble
from dagsdk.run.card import write_card
from dagsdk.run.components import Components, build_components
from dagsdk.run.events import (
    CheckpointEvent,
    EpochEvent,
    EvaluationEvent,
    Event,
    FinishedEvent,
    ImagesEvent,
    WarningEvent,
)
from dagsdk.run.folder import Keeper, Nowhere, RunFolder, newest_checkpoint
from dagsdk.run.provenance import provenance
from dagsdk.run.trackers import Trackers
from dagsdk.specs import BuildContext


class Trainer:
    """A run that is iterated: each step trains one epoch and yields its metrics.

    config: the run. registry: where its components come from.
    resume: continue the run in `config.output` from its last checkpoint; without one, from the start.
    components: built ones instead of those that the configuration names.

    Raises ConfigError, ModelError or RunFolderError before anything is written.
    """

    def __init__(
        self,
        config: RunConfig,
        registry: Registry,
        *,
        resume: bool = False,
        components: Components | None = None,
        progress: Progress = lambda stage, done, total: None,
    ) -> None:
        self.config = config
        self.processes = launched()
        self.folder: Keeper = Nowhere() if config.output is None else RunFolder(Path(config.output))
        self.generators = GlobalGenerators(config.seed % 2**32)
        self.counter = Counter(progress)
        self.history: list[dict[str, Any]] = []
        self.epoch, self._saved, self._between_epochs = 0, 0, True
        self._base_rewards: ByReward | None = None
        self._events: deque[Event] = deque()
        self._stopped = threading.Event()
        # Components come first: what is wrong with them should not leave a folder behind.
        self.components = components or self._built(registry)
        model = self.components.model
        self.device = next(model.network.parameters()).device
        self.provenance = provenance(config, registry, model.source)
        lora = config.model.lora if config.model.train == "lora" else None
        with own_modes(self.device.type):
            self.adapter = Adapter(model, lora, derived(config.seed, ADAPTER))
            try:
                self._set_up(resume)
            except BaseException:
                self.adapter.undo()
                raise

    def _set_up(self, resume: bool) -> None:
        config = self.config
        self.engine = assemble(
            config,
            self.components,
            self.adapter,
            self.generators,
            self.processes,
            self.device,
            self.counter,
            self._show,
        )
        self.held_out = HeldOut(
            config=config.evaluate,
            prompts=self.components.held_out,
            reward=self.engine.reward,
            standardised=frozenset(self.engine.normaliser.modes),
        )
        self.trackers = Trackers(config.trackers, None if config.output is None else Path(config.output))
        self._claim(resume)

    def _built(self, registry: Registry) -> Components:
        device = default_device(self.processes)
        context = BuildContext(
            device=str(device), seed=self.config.seed, mixed_precision=self.config.train.mixed_precision
        )
        with self.generators.in_use(), own_modes(device.type):
            return build_components(self.config, registry, context)

    def _claim(self, resume: bool) -> None:
        """Takes the run folder, and continues from its last checkpoint where there is one."""
        last = None
        if self.processes.main:
            last = self.folder.claim(self._run_file, resume=resume)
        self.processes.wait()
        if not self.processes.main and (done := self.folder.checkpoints()) is not None:
            last = newest_checkpoint(done)
        if last is not None:
            self._restore(last)

    @property
    def _run_file(self) -> str:
        return "" if self.config.output is None else dump_toml(self.config)

    # --- the run ---

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Trains the epochs that are left. Each yields its line of metrics.jsonl."""
        for event in self.events():
            if isinstance(event, EpochEvent):
                yield dict(event.metrics)

    def events(self) -> Iterator[Event]:
        """The same, with all else that happens. A loop that is left early saves a checkpoint of its last epoch."""
        if self.processes.main:
            self.folder.begin(self._run_file, self.epoch)
        self.trackers.open()
        try:
            while self.epoch < self.config.train.epochs and not self._stop_requested():
                base = self._base()
                yield from self._reported()
                self._epoch(base)
                yield from self._reported()
            self._save_once()
            if self.processes.main:
                self.folder.write_curves()
            self._events.append(FinishedEvent(epoch=self.epoch, stopped=self.epoch < self.config.train.epochs))
            yield from self._reported()
        except GeneratorExit:
            self._save_once()
            raise
        finally:
            self._stopped.clear()
            self.trackers.close()

    def _reported(self) -> Iterator[Event]:
        """The events since the last time. Those that a loop did not take are the first of the next one."""
        while self._events:
            yield self._events.popleft()

    def stop(self) -> None:
        """Ends the run after the epoch in training. May be called from any thread, also before the run begins."""
        self._stopped.set()

    def _stop_requested(self) -> bool:
        """Whether any process was asked to stop, so that all of them do."""
        return any(self.processes.objects(self._stopped.is_set()))

    def close(self) -> None:
        """Ends the run, saves what is not saved, and lets another run train the model. What was trained stays on it."""
        self.stop()
        self._save_once()
        self.adapter.release()

    def _epoch(self, base: ByReward) -> None:
        """One epoch with its evaluation and checkpoint, where they are due."""
        config, started = self.config, time.perf_counter()
        self._between_epochs = False
        try:
            with self.engine.trained.training():
                metrics = self._train_epoch()
        except BaseException:
            self._events.clear()
            self.engine.updater.optimiser.zero_grad()
            raise
        self.epoch += 1
        self._between_epochs = True
        last = self.epoch == config.train.epochs
        try:
            if last or (config.evaluate.every and self.epoch % config.evaluate.every == 0):
                metrics |= self._evaluate(base)
        finally:  # the epoch is trained, even where it cannot be evaluated
            self._report({"epoch": self.epoch, **metrics, "seconds": time.perf_counter() - started})
        if last or self.epoch % config.checkpoint.every == 0:
            self._save_once()

    def _train_epoch(self) -> dict[str, Any]:
        engine, objective, rollout = self.engine, self.components.objective, self.components.rollout
        plan = rollout.plan(self.epoch, self.config.train.epochs, engine.steps)
        drawn = engine.prompts.draw(plan, self.epoch)
        self.counter.begin("sampling", (len(drawn) + engine.replay.count) * engine.steps)
        with engine.trained.sampling(self.components.samples):
            trajectories = engine.sampler.sample(drawn, plan)
        trajectories = engine.rewarder.reward_all(trajectories)
        trajectories = engine.replay.extend(trajectories)
        trajectories = engine.paths(trajectories)
        everyone = self.processes.gather(trajectories)
        signals = objective.prepare(everyone)
        kept = self._select(everyone, signals)
        mine = self.processes.rows(len(trajectories))
        window = plan.window if self.components.batches == "transitions" else (0, self.config.train.denoisings)
        metrics = engine.updater.update(trajectories, kept[mine], signals.part(mine), window)
        return {
            **signals.metrics,  # first, so that the engine's own metrics stay its own
            **engine.rewarder.metrics(everyone),
            **metrics,
            "trajectories": (self.epoch + 1) * self.config.train.trajectories,
            "kept": int((kept & ~everyone.replayed).sum()),
        }

    def _select(self, everyone: Trajectories, signals: Signals) -> Tensor:
        """Which trajectories are trained on, shape (b,), bool: the rollout's choice, and all replayed ones."""
        rollout, sampled = self.components.rollout, ~everyone.replayed
        if sampled.all():
            return rollout.select(everyone, signals)
        kept = torch.ones_like(sampled)
        kept[sampled] = rollout.select(everyone.part(sampled), signals.part(sampled))
        return kept

    # --- reports ---

    def _report(self, metrics: dict[str, Any]) -> None:
        """An epoch's line, to whoever wants it."""
        if self.processes.main:
            self.folder.append_metrics(metrics)
        self.history.append(metrics)
        self._events.append(EpochEvent(epoch=self.epoch, metrics=metrics))
        self.trackers.log(metrics, self.epoch)

    def _show(self, trajectories: Trajectories, images: Tensor) -> None:
        """Reports some of an epoch's images, and keeps them where a checkpoint is due."""
        done, texts = self.epoch + 1, [prompt.text for prompt in trajectories.prompts[: len(images)]]
        rewards = {name: values[: len(images)].tolist() for name, values in trajectories.raw_rewards.items()}
        self._events.append(ImagesEvent(epoch=done, images=images, prompts=texts, rewards=rewards))
        if self.processes.main and (done % self.config.checkpoint.every == 0 or done == self.config.train.epochs):
            self.folder.write_images(done, images, texts)

    def _base(self) -> ByReward:
        """Held-out rewards of the model before training."""
        if self._base_rewards is None and self.epoch:
            self._base_rewards = self.folder.read_rewards("base")
        if self._base_rewards is None:
            with self.engine.trained.using(), self.engine.trained.reference():
                evaluated = self.held_out.evaluate(self.engine.plain_sampler, self.counter)
            self._keep_evaluation("base", evaluated, {})
            self._base_rewards = evaluated.rewards
        return self._base_rewards

    def evaluate(self) -> dict[str, float]:
        """Held-out metrics of the weights to use, against the model before training. Reported to the caller only."""
        base, events = self._base(), self._events.copy()
        metrics = self._evaluate(base)
        self._events = events
        return metrics

    def _evaluate(self, base: ByReward) -> dict[str, float]:
        with self.engine.trained.using():
            evaluated = self.held_out.evaluate(self.engine.plain_sampler, self.counter)
        metrics = self.held_out.metrics(evaluated.rewards, base)
        self._keep_evaluation(f"epoch-{self.epoch:04d}", evaluated, metrics)
        return metrics

    def _keep_evaluation(self, name: str, evaluated: Any, metrics: dict[str, float]) -> None:
        if self.processes.main:
            self.folder.write_evaluation(name, evaluated)
        texts = [prompt.text for prompt in evaluated.prompts]
        self._events.append(
            EvaluationEvent(
                epoch=0 if name == "base" else self.epoch,
                images=evaluated.images,
                prompts=texts,
                rewards=evaluated.rewards,
                metrics=metrics,
            )
        )

    # --- checkpoints ---

    def save(self) -> Path | None:
        """Writes a checkpoint of this moment, between two epochs; None where the run keeps nothing."""
        folder = self.folder.checkpoints()
        if folder is None:
            return None
        rollout = self.components.rollout
        sections = {
            **self.engine.trained.state(),
            **self.engine.updater.state(),
            "replay": self.engine.replay.state_dict(),
            "objective": self.components.objective.state_dict(),
            "rollout": getattr(rollout, "state_dict", dict)(),
            "prompts": self.engine.prompts.sampler.state_dict(),
            "normaliser": self.engine.normaliser.state_dict(),
            "generators": self.generators.state_dict(),
            "config": resolved(self.config),
        }

        def also(draft: Path) -> None:
            self.engine.trained.save(draft)
            write_card(draft, self.config, self.components.model, self.epoch)

        path = checkpoints.save(folder, self.epoch, sections, self.provenance, also)
        checkpoints.prune(folder, self.config.checkpoint.keep)
        return path

    def _save_once(self) -> None:
        """A checkpoint of the last epoch, unless there is one, or an error has left another epoch unfinished."""
        if self.epoch == self._saved or not self._between_epochs or not self.processes.main:
            return
        if (path := self.save()) is not None:
            self._events.append(CheckpointEvent(epoch=self.epoch, path=path))
        self._saved = self.epoch

    def _restore(self, checkpoint: Path) -> None:
        self.epoch, sections, before = checkpoints.load(checkpoint)
        self._saved = self.epoch
        self.history = [line for line in self.folder.read_metrics() if line["epoch"] <= self.epoch]
        engine = self.engine
        engine.trained.restore(sections)
        engine.updater.restore(sections)
        engine.replay.load_state_dict(sections["replay"], self.device)
        self.components.objective.load_state_dict(sections["objective"])
        if sections["rollout"]:
            if not hasattr(self.components.rollout, "load_state_dict"):
                raise TrainingError(
                    f"checkpoint {checkpoint} holds a rollout's state, and {self.config.rollout.name!r} takes none; "
                    "resume with the rollout that the run began with"
                )
            self.components.rollout.load_state_dict(sections["rollout"])
        engine.prompts.sampler.load_state_dict(sections["prompts"])
        engine.normaliser.load_state_dict(sections["normaliser"])
        self.generators.load_state_dict(sections["generators"])
        self._events += [
            WarningEvent(message=f"{name} was {before.get(name)} and is {now}; the run may not end in the same bits")
            for name, now in self.provenance.items()
            if before.get(name) != now
        ]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Messages of the warnings that were not reported as events yet."""
        return tuple(event.message for event in self._events if isinstance(event, WarningEvent))
