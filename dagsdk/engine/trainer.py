"""One run, top to bottom: sample, score, train, report; again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from attrs import evolve
from torch import Tensor, nn

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
from dagsdk.engine.replay import Replay
from dagsdk.engine.sampler import Sampler
from dagsdk.engine.schedule import schedule
from dagsdk.engine.scoring import Scorer
from dagsdk.engine.seeds import ADAPTER, FLOW, REPLAY, RESIDUAL, TRAJECTORY, derived, generator, global_seed
from dagsdk.engine.trained import Trained
from dagsdk.engine.trajectory import Ends, Trajectory, joined
from dagsdk.engine.update import Updater
from dagsdk.errors import ConfigError
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


OPTIONAL = ("log_pf_reference", "log_flow", "potential")
"""What trajectories have for those objectives only that ask for it."""


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
        self.networks = self._networks()
        looking = ForwardLooking(self.policy, parts.reward, config.forward_looking, train.sample_batch)
        evaluator = Evaluator(
            self.policy,
            self.trained.reference,
            self.networks.get("flow"),
            looking,
            self.needs,
            self.networks.get("residual"),
        )
        self.updater = Updater(config, parts.objective, evaluator, self.trained, self.networks, self.accelerator)
        self.sampler = Sampler(
            self.policy,
            self.device,
            train.sample_batch,
            record_outputs=Needs.OUTPUT_GAP in self.needs,
            record_denoised=evaluator.recorded or {Needs.FLOW_PATH, Needs.FORWARD_LOOKING} <= self.needs,
            reference=self.trained.reference if Needs.REFERENCE_PATH in self.needs else None,
        )
        self.prompt_sampler = PromptSampler(parts.prompts, config.seed)
        self.normaliser = Normaliser({r.name: r.normalise for r in config.rewards}, train.normalise_window)
        self.scorer = Scorer(self.policy, parts.reward, self.normaliser, self.accelerator, train.sample_batch)
        self.replay = Replay(config.replay.capacity)

    def _networks(self) -> dict[str, nn.Module]:
        """What is trained beside the policy, new, each from a seed of its own."""
        config, family = self.config, self.components.family
        networks: dict[str, nn.Module] = {}
        if Needs.FLOW in self.needs:
            with global_seed(derived(config.seed, FLOW)):
                networks["flow"] = family.flow_network(config.flow.widths).to(self.device)
        if Needs.RESIDUAL in self.needs:
            with global_seed(derived(config.seed, RESIDUAL)):
                networks["residual"] = family.residual_network(config.residual.widths).to(self.device)
        return networks

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
        replayed = self.config.replay.trajectories // self.accelerator.num_processes
        total = (len(prompts) + replayed) * self.schedule.steps
        sampler = evolve(self.sampler, tick=self._counter("sampling", total))
        trajectories = sampler.sample(prompts, seeds, plan, epoch=self.epoch, epochs=train.epochs, first=first)
        trajectories, figures = self._score(trajectories, slice(first, first + len(prompts)))
        mine = torch.arange(first, first + len(prompts), device=self.device)
        seen_prompts = tuple(everyone)
        if replayed:
            again, ends, others = self._replay(trajectories, everyone, sampler)
            trajectories, seen_prompts = joined([trajectories, again]), (*everyone, *ends.prompts)
            mine = torch.cat([mine, len(everyone) + others])
            figures["replayed/mean"] = float(ends.scores.mean())
        if Needs.FLOW_PATH in self.needs:
            trajectories = self.updater.evaluator.along_the_path(trajectories)
        seen = self._seen_by_all(trajectories, len(prompts), seen_prompts)
        signals = parts.objective.prepare(seen)
        kept, selected = self._selected(seen, signals, len(everyone))
        if signals.values is not None:
            signals = evolve(signals, values=signals.values[mine])
        tick = partial(self._counter, "update")
        figures |= self.updater.update(trajectories, selected[mine], plan.window, signals, tick)
        figures |= self.scorer.counted()
        return {
            **signals.metrics,  # first, so that the engine's own figures stay its own
            **figures,
            "trajectories": (self.epoch + 1) * len(everyone),
            "kept": kept,
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
        if (again := self.config.replay.trajectories) % accelerator.num_processes:
            rule = f"it must be a multiple of the {accelerator.num_processes} processes"
            raise ConfigError("run", [f"replay.trajectories: {again} cannot be divided; {rule}"])
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

    def _replay(
        self, sampled: Trajectory, everyone: Sequence[Prompt], sampler: Sampler
    ) -> tuple[Trajectory, Ends, Tensor]:
        """This process's replayed trajectories; the images that those of all lead to; which of them are its own."""
        gather, epoch = self.accelerator.gather, self.epoch
        ends = (sampled.states[:, -1].contiguous(), sampled.clean, sampled.scores)
        self.replay.add(everyone, *map(gather, ends))
        draws = generator(derived(self.config.seed, REPLAY, epoch))
        drawn = self.replay.draw(self.config.replay.trajectories, everyone, gather(sampled.group), draws)
        mine = shard(range(len(drawn.prompts)), self.accelerator.process_index, self.accelerator.num_processes)
        seeds = [derived(self.config.seed, REPLAY, epoch, i) for i in mine]
        part = drawn.part(slice(mine[0], mine[-1] + 1))
        again = sampler.retrace(part, seeds, epoch=sampled.epoch, epochs=sampled.epochs)
        return again, drawn, torch.tensor(mine, device=self.device)

    def _seen_by_all(self, trajectories: Trajectory, sampled: int, everyone: Sequence[Prompt]) -> Trajectory:
        """The trajectories of all processes, as far as `prepare` and `select` may look; replayed ones come last."""
        if self.accelerator.num_processes == 1:
            return trajectories
        gathered: dict[str, Any] = {}
        for name in ("scores", "group", "branch", "log_prior", "log_pf_old", "log_pb", *OPTIONAL):
            values = getattr(trajectories, name)
            if values is not None:
                parts = (part for part in (values[:sampled], values[sampled:]) if len(part))
                gathered[name] = torch.cat([self.accelerator.gather(part) for part in parts])
        return evolve(trajectories, prompts=tuple(everyone), **gathered)

    def _selected(self, seen: Trajectory, signals: Signals, sampled: int) -> tuple[int, Tensor]:
        """How many of the sampled trajectories are trained on; and which of all, shape (b,): replayed ones all are."""
        if sampled == len(seen.prompts):
            selected = self.components.rollout.select(seen, signals)
            return int(selected.sum()), selected
        values = None if signals.values is None else signals.values[:sampled]
        selected = self.components.rollout.select(seen.part(slice(sampled)), evolve(signals, values=values))
        replayed = selected.new_ones(len(seen.prompts) - sampled)
        return int(selected.sum()), torch.cat([selected, replayed])

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
            **self.updater.state(),
            "replay": self.replay.state_dict(),
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
        self.updater.restore(sections)
        self.replay.load_state_dict(sections["replay"], self.device)
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

    def _counter(self, stage: str, total: int) -> Callable[[int], None]:
        done = 0

        def tick(n: int) -> None:
            nonlocal done
            done += n
            self.progress(stage, done, total)

        return tick
