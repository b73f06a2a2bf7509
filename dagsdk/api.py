"""What a program calls: `align`, `train`, `load`, and the `Run` that they give.

A run that is embedded changes nothing of its host's but the weights that it trains: no prints, no signal handlers, no
files outside `output`, and global generators and module flags as they were between epochs and afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagsdk.config.files import load_run, local_plugins, structure_run
from dagsdk.config.flat import structure_with_keys
from dagsdk.config.schema import RunConfig
from dagsdk.errors import ConfigError, ModelError, RunFolderError, TrainingError
from dagsdk.evaluation.held_out import sampled_images
from dagsdk.evaluation.pictures import to_pil
from dagsdk.plugins import discover
from dagsdk.prompts.protocol import Prompt
from dagsdk.registry import Registry
from dagsdk.run.card import write_card
from dagsdk.run.events import EpochEvent, Event
from dagsdk.run.given import Given, prompt
from dagsdk.run.trainer import Trainer

if TYPE_CHECKING:
    from PIL.Image import Image

    from dagsdk.models.protocol import Model

Rewarding = Callable[..., Any] | str | Mapping[str, Any]


def align(
    model: Any,
    *,
    prompts: Sequence[Any] | str | Mapping[str, Any],
    reward: Rewarding | Mapping[Any, float] | Sequence[Rewarding],
    objective: str | Mapping[str, Any] = "dag-db",
    output: str | Path | None = None,
    held_out: Sequence[Any] | str | Mapping[str, Any] | None = None,
    resume: bool = False,
    **keys: Any,
) -> Run:
    """Aligns a model with a reward. Nothing is trained until the run is iterated, or `finish` is called.

    model: a live diffusers pipeline, an object with the protocol `dagsdk.Model`, a folder, a Hub id, or the name of a
        registered model.
    prompts: a list of texts or `dagsdk.Prompt`, any other sequence of them, or the name of a registered set.
    reward: a function of (images, prompts) that returns one number per image, higher is better (see `dagsdk.reward`);
        the name of a registered reward; a list of these; or a mapping of these to weights.
    objective: a name, or the table of a run file with its options.
    output: the run folder; None writes nothing.
    held_out: prompts of the evaluation, in any form that `prompts` takes; by default those of the training.
    resume: continue the run in `output` from its last checkpoint. The same objects must be given as the first time.
    keys: any key of a run file by its name: ``epochs=50``, ``beta=10``. A name that several sections have is given with
        its section: ``evaluate={"every": 5}``.

    Raises ConfigError with every mistake in the arguments, ModelError for a model that cannot be trained, and
    RunFolderError for an output that cannot be used.
    """
    if "rewards" in keys:
        raise ConfigError("align", ["rewards: align takes one or several rewards as reward; rename it"])
    given = Given(files=keys.get("plugins", ()))
    tables: dict[str, Any] = {
        "output": None if output is None else str(Path(output).expanduser()),
        "trackers": [],
        "model": given.model(model),
        "prompts": given.prompts(prompts),
        "rewards": given.rewards(reward),
        "objective": {"name": objective} if isinstance(objective, str) else dict(objective),
    }
    if held_out is not None:
        tables["evaluate"] = {"prompts": given.prompts(held_out, "given-held-out")}
    tables["given"] = given.names
    registry = given.registry()
    config = structure_with_keys(tables, keys, registry, "align")
    return Run(Trainer(config, registry, resume=resume))


def train(run_file: str | Path, *, resume: bool = False, **keys: Any) -> Run:
    """The run that a run file describes; `keys` override those of the file, as in `align`.

    resume: continue the run in its output folder from its last checkpoint.
    """
    tables = load_run(run_file)
    registry = Registry(discover(files=local_plugins(tables)))
    config = structure_with_keys(tables, keys, registry, str(run_file))
    return Run(Trainer(config, registry, resume=resume))


def load(folder: str | Path) -> Run:
    """A run back from its folder, with the weights of its last checkpoint: to sample, to evaluate, or to continue.

    Nothing in the folder is changed before the run is iterated or evaluated. A folder cannot hold functions: a run that
    was given some as rewards can be sampled, and `align` with ``resume=True`` continues it. Raises RunFolderError for a
    folder without a run, and ConfigError for one whose model or prompts were objects of a program.
    """
    run_file = Path(folder).expanduser() / "run.toml"
    if not run_file.is_file():
        raise RunFolderError(f"{str(folder)!r} is not a run folder: it has no run.toml; give the output of a run")
    tables = {**load_run(run_file), "output": str(run_file.parent)}
    registry = Given(files=local_plugins(tables)).registry(missing=tables.get("given", ()))
    return Run(Trainer(structure_run(tables, registry, source=str(run_file)), registry, resume=True))


class Run:
    """A run in this program: iterate it, and each step trains one epoch and gives its metrics.

    ```python
    for epoch in run:
        print(epoch["reward/mean"])
    ```

    A loop that is left early can be taken up again by another one. As a context manager a run is closed at the end.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._closed = False

    @property
    def config(self) -> RunConfig:
        """The whole configuration, every default spelled out."""
        return self._trainer.config

    @property
    def epoch(self) -> int:
        """How many epochs are trained."""
        return self._trainer.epoch

    @property
    def history(self) -> list[dict[str, Any]]:
        """The metrics of every epoch so far, as in metrics.jsonl."""
        return self._trainer.history

    @property
    def pipeline(self) -> Any:
        """The diffusers pipeline with the aligned weights (their moving average, where the run has one).

        For a live pipeline that was handed in it is that very object. Raises ModelError for a model without one.
        """
        pipeline = getattr(self._model, "pipeline", None)
        if pipeline is None:
            raise ModelError(
                f"model {self._model.source!r} is no diffusers pipeline; draw from it with run.sample(prompts)"
            )
        return pipeline

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for event in self.events():
            if isinstance(event, EpochEvent):
                yield dict(event.metrics)

    def events(self) -> Iterator[Event]:
        """Trains the epochs that are left, and gives everything that happens, in order (`dagsdk.run.events`)."""
        if self._closed:
            raise TrainingError("this run is closed; start another one with dagsdk.align, or dagsdk.load its folder")
        yield from self._trainer.events()

    def finish(self, *, progress: bool = False) -> Run:
        """Trains the epochs that are left, and gives the run itself.

        progress: show bars, on standard error where it is a terminal, or in a notebook's cell.
        """
        if not progress:
            for _ in self:
                pass
            return self
        from dagsdk.cli.bars import Bars

        counter, silent = self._trainer.counter, self._trainer.counter.report
        with Bars(self.config.train.epochs) as bars:
            counter.report = bars.progress
            try:
                for epoch in self:
                    bars.epoch(epoch["epoch"])
            finally:
                counter.report = silent
        return self

    def stop(self) -> None:
        """Ends the training after the epoch in progress, or before the first one.

        May be called from any thread, or from the reward itself. The run can be iterated again afterwards.
        """
        self._trainer.stop()

    def sample(
        self, prompts: str | Prompt | Sequence[str | Prompt], *, seed: int = 0, base: bool = False
    ) -> list[Image]:
        """One image per prompt, drawn as the run draws them; image i starts from seed + i.

        base: from the model before training. Returns PIL images. Raises ModelError for a model of plain vectors.
        """
        given = [prompts] if isinstance(prompts, str | Prompt) else prompts
        wanted = [prompt(item, i, "sample") for i, item in enumerate(given)]
        trained, sampler = self._trainer.engine.trained, self._trainer.engine.plain_sampler
        images: list[Image] = []
        with trained.using(), trained.reference() if base else nullcontext():
            for start in range(0, len(wanted), sampler.batch):
                part = wanted[start : start + sampler.batch]
                seeds = range(seed + start, seed + start + len(part))
                images += to_pil(sampled_images(sampler, part, seeds), self._model.source)
        return images

    def evaluate(self) -> dict[str, float]:
        """Held-out metrics of the weights to use, on the run's fixed prompts and seeds: `evaluate/mean` and others."""
        return self._trainer.evaluate()

    def save(self, folder: str | Path) -> Path:
        """Writes the aligned weights in the format of the model's library: ``load_lora_weights(folder)`` reads them.

        Also writes a README.md with the lines that use them. Returns the folder.
        """
        path = Path(folder).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        self._trainer.engine.trained.save(path)
        write_card(path, self.config, self._model, self.epoch)
        return path

    def close(self) -> None:
        """Ends the run: its model may be trained by another one. What was trained stays on the model.

        With an output, a checkpoint of the last epoch is left. To be called when no loop over the run is in an epoch.
        """
        self._closed = True
        self._trainer.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def _model(self) -> Model:
        return self._trainer.components.model
