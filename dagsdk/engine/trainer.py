"""One run, top to bottom: sample, score, train, report; again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from attrs import evolve
from torch import Tensor

from dagsdk import checkpoints
from dagsdk.config.files import dump_toml, resolved
from dagsdk.config.schema import RunConfig
from dagsdk.engine.accelerators import accelerator_for
from dagsdk.engine.components import Components, build_components
from dagsdk.engine.evaluate import Evaluator
from dagsdk.engine.forward_looking import ForwardLooking
from dagsdk.engine.held_out import SHOWN, HeldOut, ScoresByReward
from dagsdk.engine.lora import Adapter
from dagsdk.engine.noise_scale import NoiseScale
from dagsdk.engine.policy import make_policy
from dagsdk.engine.provenance import provenance
from dagsdk.engine.sampler import Sampler
from dagsdk.engine.schedule import schedule
from dagsdk.engine.scoring import Scorer
from dagsdk.engine.seeds import ADAPTER, FLOW, SHUFFLE, TRAJECTORY, derived, generator, global_seed
from dagsdk.engine.trained import Trained
from dagsdk.engine.trajectory import Pairs, Trajectory, pairs
from dagsdk.errors import ConfigError, TrainingError
from dagsdk.evaluation.pictures import save_curves, save_grid
from dagsdk.objectives.protocol import Needs, Signals
from dagsdk.prompts.protocol import Prompt
from dagsdk.prompts.sampling import PromptSampler, shard
from dagsdk.registry import Registry
from dagsdk.rewards.normalisation import Normaliser
from dagsdk.rollouts.protocol import RolloutPlan
from dagsdk.run_folder import RunFolder
from dagsdk.specs import BuildContext

Progress = Callable[[str, int, int], None]
"""Called with a stage ("sampling", "update", "evaluation"), how much of it is done, and of how much."""


class Trainer:
    """A run that is iterated: each step trains one epoch and yields its figures.

    config: the run. registry: where its components come from.
    resume: go on with the run in `config.output`, from its last checkpoint; without one, from the start.
    components: live objects instead of those that the configuration names.
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
        self.progress = progress
        self.folder = RunFolder(Path(config.output))
        # What draws from global generators (a reward with dropout, say) draws the same in every run of this seed.
        set_seed(config.seed % 2**32)
        # Components come first: what is wrong with them should not leave a folder behind.
        self.accelerator = accelerator_for(config, tracked=True)
        self.device = self.accelerator.device
        context = BuildContext(device=str(self.device), seed=config.seed, mixed_precision=config.train.mixed_precision)
        self.components = components or build_components(config, registry, context)
        self.provenance = provenance(config, registry, self.components.family.source)
        self._assemble()
        self.held_out = HeldOut(
            config=config.evaluate,
            prompts=self.components.held_out,
            reward=self.components.reward,
            folder=self.folder,
            standardised=frozenset(self.normaliser.modes),
            writes=self.accelerator.is_main_process,
        )
        last = None
        if self.accelerator.is_main_process:
            last = self.folder.claim(dump_toml(config), resume=resume)
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            done = checkpoints.found(self.folder.checkpoints)
            last = done[-1] if done else None
        self.warnings: tuple[str, ...] = ()
        if last is not None:
            self._restore(last)
        if self.accelerator.is_main_process:
            self.folder.keep_metrics(self.epoch)

    def _assemble(self) -> None:
        config, parts = self.config, self.components
        family, train = parts.family, config.train
        self.needs = parts.objective.needs
        self.epoch = 0
        self.schedule = schedule(family, config.rollout, self.device)
        lora = config.model.lora if config.model.train == "lora" else None
        self.adapter = Adapter(family, lora, derived(config.seed, ADAPTER))
        noise = NoiseScale(self.schedule.times) if config.rollout.variance == "learned" else None
        self.trained = Trained(self.adapter, noise, train.ema)
        self.policy = make_policy(
            family, self.schedule, config.rollout.guidance_scale, self.accelerator.autocast, noise
        )
        self.flow = None
        if Needs.FLOW in self.needs:
            with global_seed(derived(config.seed, FLOW)):
                self.flow = family.flow_network(config.flow.widths).to(self.device)
        self.forward_looking = ForwardLooking(self.policy, parts.reward, config.forward_looking, train.sample_batch)
        self.evaluator = Evaluator(self.policy, self.trained.reference, self.flow, self.forward_looking, self.needs)
        self.recorded = Needs.FORWARD_LOOKING in self.needs and config.forward_looking.mode == "recorded"
        self.sampler = Sampler(
            self.policy,
            self.device,
            train.sample_batch,
            record_outputs=Needs.OUTPUT_GAP in self.needs,
            record_denoised=self.recorded,
            reference=self.trained.reference if Needs.REFERENCE_PATH in self.needs else None,
        )
        self.prompt_sampler = PromptSampler(parts.prompts, config.seed)
        self.normaliser = Normaliser({r.name: r.normalise for r in config.rewards}, train.normalise_window)
        self.scorer = Scorer(self.policy, parts.reward, self.normaliser, self.accelerator, train.sample_batch)
        self.parameters = dict(self.trained.parameters)
        rates = {"policy": train.learning_rate, "flow": train.flow_learning_rate, "noise": train.noise_learning_rate}
        if self.flow is not None:
            self.parameters["flow"] = list(self.flow.parameters())
        groups = [{"params": params, "lr": rates[name]} for name, params in self.parameters.items()]
        adamw = torch.optim.AdamW(groups, betas=train.betas, weight_decay=train.weight_decay)
        self.optimiser = self.accelerator.prepare_optimizer(adamw)

    # --- the run ---

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Trains the epochs that are left. Each yields the object that metrics.jsonl has for it."""
        config, main = self.config, self.accelerator.is_main_process
        project = Path(config.output).resolve().name
        self.accelerator.init_trackers("." if "tensorboard" in config.trackers else project)
        try:
            base = self._base_scores()
            while self.epoch < config.train.epochs:
                started = time.perf_counter()
                figures = self._train_epoch()
                self.epoch += 1
                last = self.epoch == config.train.epochs
                if last or (config.evaluate.every and self.epoch % config.evaluate.every == 0):
                    figures |= self._evaluate(base)
                figures = {"epoch": self.epoch, **figures, "seconds": time.perf_counter() - started}
                if main:
                    self.folder.append_metrics(figures)
                if main and (last or self.epoch % config.checkpoint.every == 0):
                    self.save()
                numbers = {k: v for k, v in figures.items() if k != "epoch"}
                self.accelerator.log(numbers, step=self.epoch)
                yield figures
            if main:
                save_curves(self.folder.read_metrics(), self.folder.path / "images" / "curves.png")
        finally:
            self.accelerator.end_training()

    def _train_epoch(self) -> dict[str, Any]:
        """One epoch of design: plan, sample, score, signal, select, update."""
        train, parts = self.config.train, self.components
        plan = parts.rollout.plan(self.epoch, train.epochs, self.schedule.steps)
        everyone, prompts, seeds, first = self._draw(plan)
        total = len(prompts) * self.schedule.steps
        sampler = evolve(self.sampler, tick=self._counter("sampling", total))
        trajectories = sampler.sample(prompts, seeds, plan, epoch=self.epoch, epochs=train.epochs, first=first)
        mine = slice(first, first + len(prompts))
        trajectories, figures = self._score(trajectories, mine)
        seen = self._seen_by_all(trajectories, everyone)
        signals = parts.objective.prepare(seen)
        selected = parts.rollout.select(seen, signals)
        if signals.values is not None:
            signals = evolve(signals, values=signals.values[mine])
        chosen = pairs(selected[mine], plan.window)
        figures |= self._update(trajectories, chosen, signals)
        figures |= self.scorer.counted()
        kept = self._sum(torch.tensor(float(selected[mine].sum()), device=self.device))
        return {
            **signals.metrics,  # first, so that the engine's own figures stay its own
            **figures,
            "trajectories": (self.epoch + 1) * len(everyone),
            "kept": int(kept),
        }

    # --- sampling ---

    def _draw(self, plan: RolloutPlan) -> tuple[list[Prompt], list[Prompt], list[int], int]:
        """The epoch's prompts of all processes; then this process's prompts, seeds, and number of its first."""
        train, accelerator = self.config.train, self.accelerator
        copies = plan.images_per_prompt * plan.branches
        if copies == 1 and "prompt" in self.normaliser.modes.values():
            rule = 'rewards: normalise = "prompt" compares the images of a prompt, and the rollout has one a prompt'
            raise ConfigError("run", [f'{rule}; set rollout.images_per_prompt >= 2, or normalise = "running"'])
        if train.trajectories % (copies * accelerator.num_processes):
            raise ConfigError(
                "run",
                [
                    (
                        f"train.trajectories: {train.trajectories} cannot be divided into "
                        f"{accelerator.num_processes} processes with {copies} images a prompt; it must be a "
                        "multiple of both together"
                    )
                ],
            )
        indices = self.prompt_sampler.take(train.trajectories // copies)
        everyone = [self.components.prompts[i] for i in indices for _ in range(copies)]
        mine = shard(range(len(everyone)), accelerator.process_index, accelerator.num_processes)
        seeds = [derived(self.config.seed, TRAJECTORY, self.epoch, i) for i in mine]
        return everyone, [everyone[i] for i in mine], seeds, mine[0]

    def _score(self, trajectories: Trajectory, mine: slice) -> tuple[Trajectory, dict[str, float]]:
        """Scores the images, and shows some of them now and then."""
        trajectories, figures, shown = self.scorer.score(trajectories, mine, keep=SHOWN)
        done, every = self.epoch + 1, self.config.checkpoint.every
        if self.accelerator.is_main_process and (done % every == 0 or done == self.config.train.epochs):
            captions = [prompt.text for prompt in trajectories.prompts[:SHOWN]]
            save_grid(shown, self.folder.path / "images" / f"epoch-{done:04d}.png", captions)
        return trajectories, figures

    def _seen_by_all(self, trajectories: Trajectory, everyone: Sequence[Prompt]) -> Trajectory:
        """The trajectories of all processes, as far as `prepare` and `select` may look."""
        if self.accelerator.num_processes == 1:
            return trajectories
        fields = ["scores", "group", "branch", "log_prior", "log_pf_old", "log_pb"]
        if trajectories.log_pf_reference is not None:
            fields.append("log_pf_reference")
        gathered = {name: self.accelerator.gather(getattr(trajectories, name)) for name in fields}
        return evolve(trajectories, prompts=tuple(everyone), **gathered)

    # --- updating ---

    def _shuffled(self, chosen: Pairs, turn: int) -> Pairs:
        """The transitions of one pass, in a random order, at most `train.transitions` of all processes."""
        seed = derived(self.config.seed, SHUFFLE, self.epoch, self.accelerator.process_index, *([turn] * (turn > 0)))
        order = torch.randperm(len(chosen), generator=generator(seed)).to(self.device)
        if limit := self.config.train.transitions:
            order = order[: max(1, limit // self.accelerator.num_processes)]
        return Pairs(chosen.sample[order], chosen.step[order])

    def _update(self, trajectories: Trajectory, chosen: Pairs, signals: Signals) -> dict[str, Any]:
        """The epoch's optimiser steps; each sees its share of the transitions, a micro-batch at a time."""
        train = self.config.train
        turns = [self._shuffled(chosen, turn) for turn in range(train.passes)]
        trained = sum(map(len, turns))
        potentials = None
        if self.recorded and signals.beta != 0:
            potentials = self.forward_looking.record(trajectories, Pairs.joined(turns))
        sums: dict[str, Tensor] = {}
        tick = self._counter("update", trained)
        norms: dict[str, float] = {}
        for share in (share for turn in turns for share in turn.shares(train.updates)):
            count = self._sum(torch.tensor(float(len(share)), device=self.device))
            if count == 0:
                continue  # nothing was selected anywhere: no step
            for batch in share.split(train.micro_batch) if len(share) else []:
                transitions = self.evaluator.transitions(trajectories, batch, signals, potentials)
                loss = self.components.objective.loss(transitions)
                if loss.values.shape != (len(batch),):
                    raise TrainingError(
                        f"objective {self.config.objective.name!r} returned losses of shape "
                        f"{tuple(loss.values.shape)} for {len(batch)} transitions; it must be one each"
                    )
                self.accelerator.backward(loss.values.sum() / count)
                for name, value in {**loss.metrics, "loss": loss.values}.items():
                    total = value.detach().float().mean() * len(batch)
                    sums[name] = sums.get(name, torch.zeros((), device=self.device)) + total
                tick(len(batch))
            norms = self._step()
        everywhere = float(self._sum(torch.tensor(float(trained), device=self.device)))
        means = {name: float(self._sum(total)) / max(everywhere, 1.0) for name, total in sums.items()}
        return {"loss": 0.0, **means, "transitions": int(everywhere), **norms}

    def _step(self) -> dict[str, float]:
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
                    f"epoch {self.epoch + 1}: the gradient of the {name} is {norm}; it must be finite; lower "
                    "objective.beta or the learning rate and go on from the last checkpoint as a new run"
                )
            norms[f"grad_norm/{name}"] = norm
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.trained.stepped()
        return norms

    # --- evaluation ---

    def _held_out_sampler(self) -> Sampler:
        total = self.config.evaluate.samples * self.schedule.steps
        tick = self._counter("evaluation", total)
        return evolve(self.sampler, tick=tick, record_outputs=False, record_denoised=False, reference=None)

    def _base_scores(self) -> ScoresByReward:
        """Held-out scores of the model before training."""
        with self.trained.reference():
            return self.held_out.base(self._held_out_sampler(), known=self.epoch > 0)

    def _evaluate(self, base: ScoresByReward) -> dict[str, float]:
        """Held-out figures of the weights of now."""
        with self.trained.averaged():
            return self.held_out.figures(self._held_out_sampler(), base, f"epoch-{self.epoch:04d}")

    # --- checkpoints ---

    def save(self) -> Path:
        """Writes a checkpoint of this moment, between two epochs."""
        sections = {
            **self.trained.state(),
            "optimizer": self.optimiser.state_dict(),
            "flow": None if self.flow is None else self.flow.state_dict(),
            "scaler": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
            "objective": self.components.objective.state_dict(),
            "rollout": getattr(self.components.rollout, "state_dict", dict)(),
            "prompts": self.prompt_sampler.state_dict(),
            "normaliser": self.normaliser.state_dict(),
            "generators": checkpoints.generator_states(),
            "config": resolved(self.config),
        }
        folder = self.folder.checkpoints
        with self.trained.averaged():
            path = checkpoints.save(folder, self.epoch, sections, self.provenance, self.trained.save)
        checkpoints.prune(folder, self.config.checkpoint.keep)
        return path

    def _restore(self, checkpoint: Path) -> None:
        self.epoch, sections, before = checkpoints.load(checkpoint)
        self.trained.restore(sections)
        self.optimiser.load_state_dict(sections["optimizer"])
        if self.flow is not None:
            self.flow.load_state_dict(sections["flow"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(sections["scaler"])
        self.components.objective.load_state_dict(sections["objective"])
        if sections["rollout"]:
            self.components.rollout.load_state_dict(sections["rollout"])  # type: ignore[attr-defined]
        self.prompt_sampler.load_state_dict(sections["prompts"])
        self.normaliser.load_state_dict(sections["normaliser"])
        checkpoints.restore_generators(sections["generators"])
        self.warnings = tuple(
            f"{name} was {before.get(name)} and is {now}; the run may not end in the same bits"
            for name, now in self.provenance.items()
            if before.get(name) != now
        )

    # --- small ---

    def _sum(self, value: Tensor) -> Tensor:
        """A number summed over all processes."""
        if self.accelerator.num_processes == 1:
            return value
        total: Tensor = self.accelerator.reduce(value, "sum")
        return total

    def _counter(self, stage: str, total: int) -> Callable[[int], None]:
        done = 0

        def tick(n: int) -> None:
            nonlocal done
            done += n
            self.progress(stage, done, total)

        return tick
