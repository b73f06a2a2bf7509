"""The documentation of the hooks is five plugins; they must work."""

from __future__ import annotations

import re
from inspect import cleandoc
from pathlib import Path
from typing import Any

import pytest
import torch

from dagsdk import hookspecs
from dagsdk.hookcalls import HOOKS
from dagsdk.models.protocol import Model
from dagsdk.objectives.protocol import Objective, Transitions
from dagsdk.plugins import load_file
from dagsdk.rollouts.protocol import Rollout
from dagsdk.specs import BuildContext


def documented(hook: str, folder: Path) -> Any:
    """The spec that the plugin in the hook's docstring registers, and what it builds."""
    # cleandoc, since from Python 3.13 on the compiler takes the indentation off docstrings itself
    block = re.search(r"```python\n(.*?)```", cleandoc(getattr(hookspecs, hook).__doc__), re.DOTALL)
    assert block, f"{hook} documents no plugin"
    path = folder / "mine.py"
    path.write_text(block[1], encoding="utf-8")
    [spec] = load_file(path).provides[HOOKS[hook]]
    return spec, spec.make(spec.options(), BuildContext())


def test_there_is_a_hook_for_every_kind() -> None:
    assert all(callable(getattr(hookspecs, hook)) for hook in HOOKS)


def test_the_reward_is_differentiable(tmp_path: Path) -> None:
    spec, reward = documented("dagsdk_rewards", tmp_path)
    images = torch.rand(2, 3, 4, 4, requires_grad=True)
    rewards = reward(images, ())
    assert rewards.shape == (2,)
    rewards.sum().backward()
    assert spec.differentiable is (images.grad is not None)


def test_the_prompts_are_a_sequence(tmp_path: Path) -> None:
    _, prompts = documented("dagsdk_prompts", tmp_path)
    assert len(prompts) == 3
    assert prompts[0].text == "a photo of a cat"


def test_the_objective_has_a_loss(tmp_path: Path) -> None:
    spec, objective = documented("dagsdk_objectives", tmp_path)
    assert isinstance(objective, Objective)
    assert not spec.needs_of(spec.options())
    n = torch.ones(3)
    batch = Transitions(log_pf=n, log_pb=n, log_reward=n, is_last=n > 0, step=n.long(), signal=2 * n)
    assert objective.loss(batch).values.tolist() == [-2, -2, -2]


def test_the_rollout_plans(tmp_path: Path) -> None:
    _, rollout = documented("dagsdk_rollouts", tmp_path)
    assert isinstance(rollout, Rollout)
    assert rollout.plan(0, 1, 5).window == (0, 5)


@pytest.mark.slow
def test_the_model_keeps_the_protocol(tmp_path: Path) -> None:
    _, model = documented("dagsdk_models", tmp_path)
    assert isinstance(model, Model)
