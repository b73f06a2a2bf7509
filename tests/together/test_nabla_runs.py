"""Whole runs with ∇-DB under rewards that have a gradient: on images, on points, refused, and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from dagsdk.cli.main import main
from dagsdk.config.files import load_run, local_plugins, structure_run
from dagsdk.registry import load_registry
from dagsdk.run.trainer import Trainer

RUN = """
output = "{output}"
trackers = []
plugins = ["{plugin}"]
[model]
name = "{model}"
{pretrain}
[prompts]
name = "texts"
texts = ["a red circle", "a blue star"]
[[rewards]]
name = "{reward}"
[objective]
name = "nabla-db"
beta = {beta}
regulariser = 1.0
{more}
[rollout]
steps = 5
guidance_scale = {guidance}
[flow_gradient]
widths = [16, 32]
[train]
epochs = {epochs}
trajectories = 8
updates = 1
strata = 3
decay = "linear"
learning_rate = 1e-2
auxiliary_learning_rate = 1e-2
[evaluate]
samples = 8
[checkpoint]
every = 1
"""

REWARDS = """
from dagsdk import RewardSpec, hookimpl


def redness(images, prompts):  # of red circles; of blue stars blueness
    channel = [0 if "red" in prompt.text else 2 for prompt in prompts]
    return 2 * images[range(len(images)), channel].mean((1, 2)) - images.mean((1, 2, 3))


def centred(points, prompts):
    return -points.square().flatten(1).sum(1)


@hookimpl
def dagsdk_rewards():
    for reward in (redness, centred):
        yield RewardSpec(
            name=reward.__name__, summary="A smooth one", build=lambda o, c, reward=reward: reward, differentiable=True
        )
"""

IMAGES = {"model": "shapes", "reward": "redness", "beta": 300.0, "guidance": 2.0, "pretrain": ""}
POINTS = {"model": "vector", "reward": "centred", "beta": 1.0, "guidance": 1.0, "pretrain": "pretrain = 100"}


def written(folder: Path, output: str = "run", more: str = "", epochs: int = 2, **given: object) -> Path:
    plugin = folder / "mine.py"
    plugin.write_text(REWARDS, encoding="utf-8")
    file = folder / f"{output}.toml"
    file.write_text(RUN.format(output=folder / output, plugin=plugin, more=more, epochs=epochs, **given))
    return file


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("given", [IMAGES, POINTS], ids=["shapes", "vector"])
def test_it_trains_policy_and_flow_gradient(tmp_path: Path, given: dict[str, object]) -> None:
    assert main(["train", str(written(tmp_path, **given))]) == 0
    for line in lines(tmp_path / "run"):
        assert line["transitions"] == 8 * 4  # the last step, and one of each of three parts
        assert line["beta"] == given["beta"]
        assert all(line[f"grad_norm/{name}"] > 0 for name in ("policy", "flow_gradient"))
        assert all(line[name] > 0 for name in ("forward", "reverse", "pull"))
        total = sum(line[name] for name in ("forward", "reverse", "terminal", "regulariser"))
        assert line["loss"] == pytest.approx(total, rel=1e-4)
    first, last = lines(tmp_path / "run")
    # before the first step the policy is the reference, and the flow gradient is 0
    assert first["moved"] == first["terminal"] == 0 < min(last["moved"], last["terminal"])
    trained = load_file(tmp_path / "run" / "checkpoints" / "epoch-0002" / "flow_gradient.safetensors")
    assert any(tensor.abs().max() > 0 for tensor in trained.values())


def test_it_trains_on_images_that_were_found_before(tmp_path: Path) -> None:
    """Off its own policy; and without a reverse loss no flow gradient is trained."""
    file = written(tmp_path, more="reverse = 0.0\n[replay]\ntrajectories = 4", **POINTS)
    assert main(["train", str(file)]) == 0
    for line in lines(tmp_path / "run"):
        assert line["transitions"] == 12 * 4 and line["grad_norm/policy"] > 0
        assert not {"reverse", "terminal", "grad_norm/flow_gradient"} & line.keys()
    assert not (tmp_path / "run" / "checkpoints" / "epoch-0002" / "flow_gradient.safetensors").exists()


def test_a_reward_without_a_gradient_is_refused_when_the_run_file_is_read(tmp_path: Path, capsys) -> None:
    file = written(tmp_path, **{**IMAGES, "reward": "jpeg-compressibility"})
    assert main(["train", str(file)]) != 0
    shown = capsys.readouterr().err
    assert "objective 'nabla-db' needs REWARD_GRADIENT; reward 'jpeg-compressibility' is not differentiable" in shown
    assert "Traceback" not in shown and not (tmp_path / "run").exists()


def trainer(folder: Path, output: str, resume: bool = False) -> Trainer:
    tables = load_run(written(folder, output, epochs=3, **IMAGES))
    registry = load_registry(local_plugins(tables))
    return Trainer(structure_run(tables, registry, source="run.toml"), registry, resume=resume)


def bits(folder: Path, name: str) -> dict[str, bytes]:
    """What the last checkpoint holds of one section."""
    tensors = load_file(folder / "checkpoints" / "epoch-0003" / f"{name}.safetensors")
    return {key: tensor.numpy().tobytes() for key, tensor in tensors.items()}


@pytest.mark.parametrize("forgets", [False, True])
def test_stopped_and_resumed_it_ends_in_the_same_bits(tmp_path: Path, forgets: bool) -> None:
    """With the flow gradient, whose loss would be seen."""
    list(trainer(tmp_path, "straight"))
    stopped = iter(trainer(tmp_path, "stopped"))
    next(stopped), next(stopped)
    stopped.close()
    again = trainer(tmp_path, "stopped", resume=True)
    if forgets:
        new = trainer(tmp_path, "new").engine.updater.networks["flow_gradient"]
        again.engine.updater.networks["flow_gradient"].load_state_dict(new.state_dict())
    assert [line["epoch"] for line in again] == [3]
    for name in ("trained", "flow_gradient"):
        assert (bits(tmp_path / "stopped", name) == bits(tmp_path / "straight", name)) is not forgets
