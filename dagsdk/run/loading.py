"""A trained model back from its run folder, to sample from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen
from torch import Tensor

from dagsdk.config.files import load_run, local_plugins, structure_run
from dagsdk.config.schema import PromptsConfig, RunConfig
from dagsdk.engine.adapter import Adapter
from dagsdk.engine.noise_scale import NoiseScale
from dagsdk.engine.policy import make_policy
from dagsdk.engine.precision import Precision
from dagsdk.engine.processes import default_device, launched
from dagsdk.engine.sampler import Sampler
from dagsdk.engine.schedule import schedule
from dagsdk.errors import RunFolderError
from dagsdk.evaluation.held_out import sampled_images
from dagsdk.models.protocol import Model
from dagsdk.prompts.protocol import Prompt, PromptSet
from dagsdk.registry import Registry
from dagsdk.run import checkpoints
from dagsdk.run.components import build_model, prompt_set
from dagsdk.run.given import Given
from dagsdk.specs import BuildContext


@frozen(eq=False)
class RunModel:
    """A run's model with its trained weights, and how the run samples."""

    config: RunConfig
    registry: Registry
    context: BuildContext
    model: Model
    sampler: Sampler

    def images(self, prompts: Sequence[Prompt], seed: int) -> Iterator[tuple[int, Tensor]]:
        """Batches of images, each with the number of its first; image i has seed + i."""
        for start in range(0, len(prompts), self.sampler.batch):
            part = prompts[start : start + self.sampler.batch]
            yield start, sampled_images(self.sampler, part, range(seed + start, seed + start + len(part)))


def load_run_model(folder: Path, epoch: int | None = None, base: bool = False) -> RunModel:
    """The model of a run folder, from its last checkpoint or that of an epoch.

    base: without what was trained. Raises RunFolderError for a folder that holds no such checkpoint.
    """
    run_file = folder / "run.toml"
    if not run_file.is_file():
        raise RunFolderError(f"{str(folder)!r} is not a run folder: it has no run.toml; give the output of a run")
    tables = load_run(run_file)
    registry = Given(files=local_plugins(tables)).registry(missing=tables.get("given", ()))
    config = structure_run(tables, registry, source=str(run_file))
    checkpoint = None if base else _checkpoint(folder, epoch)
    context = BuildContext(
        device=str(default_device(launched())), seed=config.seed, mixed_precision=config.train.mixed_precision
    )
    model = build_model(config, registry, context)
    device = next(model.network.parameters()).device
    if checkpoint is not None:
        lora = config.model.lora if config.model.train == "lora" else None
        adapter = Adapter(model, lora, seed=0)
        adapter.load(checkpoint)
        adapter.release()
    model.network.eval()
    chain = schedule(model, config.rollout, device, has_density=False)
    noise = None
    if checkpoint is not None and config.rollout.variance == "learned":
        noise = NoiseScale(chain.times)
        noise.load(checkpoint)
    precision = Precision(config.train.mixed_precision, device)
    policy = make_policy(model, chain, config.rollout.guidance_scale, precision, noise)
    sampler = Sampler(policy=policy, device=device, batch=config.train.sample_batch, keeps_path=False)
    return RunModel(config, registry, context, model, sampler)


def named_prompts(model: RunModel, name: str) -> PromptSet:
    """A registered prompt set with its default options, or the run's own options where it is the run's."""
    for component in (*model.config.prompts, *model.config.evaluate.prompts):
        if component.name == name:
            return prompt_set(model.registry, [component], model.context)
    spec = model.registry.get("prompts", name)
    return prompt_set(model.registry, [PromptsConfig(name=name, options=spec.options())], model.context)


def _checkpoint(folder: Path, epoch: int | None) -> Path:
    done = checkpoints.found(folder / "checkpoints")
    if epoch is not None:
        done = [path for path in done if path.name == f"epoch-{epoch:04d}"]
    if not done:
        wanted = f"no checkpoint of epoch {epoch}" if epoch is not None else "no checkpoint yet"
        raise RunFolderError(f"run {str(folder)!r} has {wanted}; train it further, or sample the base model: --base")
    return done[-1]
