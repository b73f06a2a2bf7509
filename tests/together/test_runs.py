"""Whole runs by the command line, on the embedded model and with real plugins; and what goes wrong there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from dagsdk.cli.main import main

RUN = """
output = "{output}"
trackers = []
[model]
name = "shapes"
[prompts]
name = "shapes"
[[rewards]]
name = "{reward}"
[objective]
name = "{objective}"
beta = 10.0
[rollout]
steps = 4
guidance_scale = 3.0
[state_flow]
widths = [16, 32]
[train]
epochs = 2
trajectories = 8
[evaluate]
samples = 4
"""


@pytest.fixture
def run_file(tmp_path: Path):
    def write(objective: str = "dag-db", reward: str = "jpeg-compressibility", extra: str = "") -> Path:
        path = tmp_path / "run.toml"
        path.write_text(RUN.format(output=tmp_path / "run", objective=objective, reward=reward) + extra)
        return path

    return write


def pictures(folder: Path) -> list[np.ndarray]:
    lines = (folder / "samples.jsonl").read_text().splitlines()
    return [np.asarray(Image.open(folder / json.loads(line)["file"])).astype(int) for line in lines]


@pytest.mark.parametrize("objective", ["dag-db", "dag-kl"])
@pytest.mark.parametrize("reward", ["jpeg-compressibility", "jpeg-incompressibility", "shapes-match"])
def test_every_objective_trains_on_every_reward(run_file, tmp_path: Path, capsys, objective: str, reward: str) -> None:
    assert main(["train", str(run_file(objective, reward))]) == 0
    shown = capsys.readouterr().out
    assert "epoch 1/2" in shown and "epoch 2/2" in shown and "held-out" in shown
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert (tmp_path / "run" / "checkpoints" / "epoch-0002" / "pytorch_lora_weights.safetensors").is_file()


def test_plain_diffusers_draws_what_dagsdk_sample_draws(run_file, tmp_path: Path) -> None:
    overrides = ["--set", "train.learning_rate=0.01"]  # far enough from the base model to show
    assert main(["train", str(run_file()), *overrides]) == 0
    prompts = ["a small red star on a blue background", "a ring"]
    for name, extra in (("tuned", []), ("base", ["--base"])):
        arguments = [str(tmp_path / "run"), "--out", str(tmp_path / name), "--seed", "5", *extra]
        assert main(["sample", *arguments, *(a for p in prompts for a in ("--prompt", p))]) == 0

    from dagsdk_shapes import MODEL_FOLDER

    pipeline = StableDiffusionPipeline.from_pretrained(MODEL_FOLDER, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(str(tmp_path / "run" / "checkpoints" / "epoch-0002"))
    tuned, base = pictures(tmp_path / "tuned"), pictures(tmp_path / "base")
    for i, prompt in enumerate(prompts):
        drawn = pipeline(
            prompt,
            num_inference_steps=4,
            eta=1.0,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(5 + i),
        ).images[0]
        # rounding to a byte may fall on either side
        assert np.abs(np.asarray(drawn).astype(int) - tuned[i]).max() <= 1
        assert np.abs(base[i] - tuned[i]).max() > 5


def test_a_prompt_set_can_be_sampled_and_measured(run_file, tmp_path: Path, capsys) -> None:
    assert main(["train", str(run_file()), "--set", "train.epochs=1"]) == 0
    out = tmp_path / "samples"
    assert main(["sample", str(tmp_path / "run"), "--prompts", "shapes-free", "--count", "6", "--out", str(out)]) == 0
    assert len(pictures(out)) == 6
    command = [sys.executable, "-m", "dagsdk_shapes.measure", str(out)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "match" in shown


def test_a_finished_run_has_nothing_to_resume(run_file, tmp_path: Path, capsys) -> None:
    file = str(run_file())
    assert main(["train", file]) == 0
    assert main(["train", file]) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert main(["train", file, "--resume"]) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["train.epoch=3"], "train.epoch: unknown key; did you mean 'epochs'?"),
        (['train.epochs="three"'], "train.epochs:"),
        (["train.epochs=0"], "train.epochs: 0 is too small"),
        (['objective.name="dag-bd"'], "did you mean 'dag-db'?"),
        (['model.name="./nowhere"'], "model.name: there is no folder './nowhere'"),
        (['model.name="shaps"'], "did you mean 'shapes'?"),
        (['prompts.name="texts"', "prompts.texts=[]"], "prompts.texts"),
    ],
)
def test_wrong_input_is_one_clear_error(run_file, tmp_path: Path, capsys, overrides: list[str], says: str) -> None:
    arguments = [argument for override in overrides for argument in ("--set", override)]
    assert main(["train", str(run_file()), *arguments]) == 1
    shown = capsys.readouterr().err
    assert says in shown
    assert shown.startswith("error: ") and "Traceback" not in shown
    assert not (tmp_path / "run").exists()


def test_all_mistakes_come_at_once(run_file, capsys) -> None:
    overrides = ["--set", "train.epochs=-1", "--set", "rollout.eta=2", "--set", 'rewards.0.name="jpg"']
    assert main(["train", str(run_file()), *overrides]) == 1
    shown = capsys.readouterr().err
    assert "3 problems" in shown
    assert all(path in shown for path in ("train.epochs", "rollout.eta", "rewards[0].name"))


PLUGIN = """
from dagsdk import Needs, ObjectiveSpec, PromptSpec, RewardSpec, hookimpl


def no_prompts(options, context):
    return ()


def flaky(options, context):
    calls = 0

    def reward(images, prompts):
        nonlocal calls
        calls += 1
        if calls > {good}:
            raise ConnectionError("the rewarder is down")
        return images.mean((1, 2, 3))

    return reward


@hookimpl
def dagsdk_prompts():
    return [PromptSpec(name="nothing", summary="No prompt at all", build=no_prompts)]


@hookimpl
def dagsdk_rewards():
    return [RewardSpec(name="flaky", summary="Fails after some calls", build=flaky)]


@hookimpl
def dagsdk_objectives():
    spec = ObjectiveSpec(name="needy", summary="Needs gradients", build=no_prompts,
                         needs=frozenset({{Needs.REWARD_GRADIENT}}))
    return [spec]
"""


@pytest.fixture
def local_plugin(tmp_path: Path):
    def write(good: int = 10**9) -> list[str]:
        (tmp_path / "mine.py").write_text(PLUGIN.format(good=good))
        return ["--set", 'plugins=["./mine.py"]']

    return write


def test_an_objective_that_needs_what_the_reward_cannot_give(run_file, local_plugin, capsys) -> None:
    arguments = [*local_plugin(), "--set", 'objective={name="needy"}']
    assert main(["train", str(run_file()), *arguments]) == 1
    shown = capsys.readouterr().err
    assert "objective 'needy' needs REWARD_GRADIENT; reward 'jpeg-compressibility' is not differentiable" in shown


def test_an_empty_prompt_set(run_file, local_plugin, tmp_path: Path, capsys) -> None:
    assert main(["train", str(run_file()), *local_plugin(), "--set", 'prompts={name="nothing"}']) == 1
    assert "is empty" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_reward_that_fails_in_epoch_three_leaves_a_run_to_resume(
    run_file, local_plugin, tmp_path: Path, capsys
) -> None:
    # calls: 1 for the base model, 1 per epoch for rewards, 1 more once β rises; the third epoch has the fifth
    arguments = ["--set", 'rewards=[{name="flaky"}]', "--set", "train.epochs=4", "--set", "checkpoint.every=1"]
    assert main(["train", str(run_file()), *local_plugin(good=5), *arguments]) == 1
    shown = capsys.readouterr().err
    assert "reward 'flaky' raised ConnectionError: the rewarder is down" in shown
    assert "checkpoints/epoch-0002;" in shown and "--resume" in shown and "Traceback" not in shown
    (tmp_path / "mine.py").write_text(PLUGIN.format(good=10**9))
    assert main(["train", str(run_file()), *local_plugin(), *arguments, "--resume"]) == 0
    shown = capsys.readouterr().out
    assert "after epoch 2" in shown and "epoch 4/4" in shown
    assert "warning" in shown  # the plugin's file is another one than before


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_that_cannot_be_written(run_file, tmp_path: Path, capsys) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert main(["train", str(run_file()), "--set", f"output={locked}/run"]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_an_output_below_a_file_cannot_be_written(run_file, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("")
    assert main(["train", str(run_file()), "--set", f"output={tmp_path}/file/run"]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_folder_without_a_run_cannot_be_sampled(tmp_path: Path, capsys) -> None:
    assert main(["sample", str(tmp_path), "--prompt", "a", "--out", str(tmp_path / "o")]) == 1
    assert "is not a run folder" in capsys.readouterr().err
