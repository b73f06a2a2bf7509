"""One optimiser step of the engine against that of the published programs: loss and gradients, on the shapes model.

Each file holds trajectories, LoRA weights and an order of transitions, and what the program's own loop made of them
in float64. Here the engine computes as it always does, and only the frozen networks are in float64: the last steps
have standard deviations of 0.02 and 0.04, which magnify what a float32 network rounds off (to 2e-4 of a gradient).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from dagsdk.config.schema import (
    ForwardLookingConfig,
    LoraConfig,
    ModelConfig,
    ObjectiveConfig,
    PromptsConfig,
    RewardConfig,
    RolloutConfig,
    RunConfig,
    TrainConfig,
)
from dagsdk.engine.adapter import NAME
from dagsdk.engine.pairs import Pairs
from dagsdk.models.stable_diffusion import StableDiffusion
from dagsdk.objectives.protocol import Signals
from dagsdk.objectives.trajectories import Latents, Trajectories
from dagsdk.prompts.protocol import Prompt
from dagsdk.registry import load_registry
from dagsdk.rewards.mixture import RewardMixture
from dagsdk.rollouts.independent import Independent
from dagsdk.run.components import Components
from dagsdk.run.trainer import Trainer
from dagsdk.specs import BuildContext

GOLDEN = Path(__file__).parents[1] / "golden"
OPTIONS: dict[str, dict[str, Any]] = {
    "dag-db": {"beta": 100.0, "regulariser": 1.0},
    "dag-kl": {"beta": 100.0, "regulariser": 1.0, "kappa": 1.0, "clip_range": 1e-4},
    "ddpo": {"history": 3, "min_count": 2, "clip_range": 1e-4, "advantage_clip": 5.0},
}
TOLERANCE = 1e-4
"""Of a gradient, relative to the largest entry of its tensor."""
LOSS_TOLERANCE = {"dag-db": 1e-6, "dag-kl": 1e-6, "ddpo": 5e-4}
"""Relative. The terms of DDPO's loss are near 1 and -1 and nearly cancel, so its mean keeps fewer digits."""


class Formula(nn.Module):
    """The state flow log F̃(x, t) = a mean(x²) + b t / 1000."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(0.7)), nn.Parameter(torch.tensor(-1.3))

    def forward(self, x: Tensor, t: Tensor, conditioning: object) -> Tensor:
        return self.a * x.square().flatten(1).mean(1) + self.b * t / 1000


def red(images: Tensor, prompts: object) -> Tensor:
    return images[:, 0].mean((1, 2))


def read(objective: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The file of an objective: tensors by name, float64 ones as float32; and numbers and prompts by name.

    The adapter is called "default" in the file.
    """
    with safe_open(GOLDEN / f"update_{objective.replace('-', '_')}.safetensors", "pt") as file:
        tensors = {name.replace(".default.", f".{NAME}."): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = {name: json.loads(text) for name, text in file.metadata().items()}
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, metadata


def trainer(objective: str, golden: dict[str, Tensor], given: dict[str, Any]) -> Trainer:
    """A run at the file's LoRA weights, with the file's settings."""
    registry = load_registry()
    shapes, spec = registry.get("models", "shapes"), registry.get("objectives", objective)
    model, options = shapes.make(shapes.options(), BuildContext()), spec.options(**OPTIONS[objective])
    for module in (model.network, *model.frozen_modules()):
        module.double()
    prompts = tuple(map(Prompt, given["prompts"]))
    components = Components(
        model=model,
        prompts=prompts,
        held_out=prompts,
        reward=RewardMixture([("red", 1.0, red)]),
        objective=spec.make(options, BuildContext()),
        rollout=Independent(),
        needs=spec.needs_of(options),
    )
    config = RunConfig(
        output=None,
        trackers=(),
        model=ModelConfig(name="shapes", lora=LoraConfig(rank=4)),
        prompts=(PromptsConfig(name="texts"),),
        rewards=(RewardConfig(name="red"),),
        objective=ObjectiveConfig(name=objective),
        rollout=RolloutConfig(steps=4, guidance_scale=given["guidance_scale"], eta=given["eta"]),
        forward_looking=ForwardLookingConfig(mode="current"),
        train=TrainConfig(updates=1, micro_batch=given["micro_batch"], max_grad_norm=0.0),
    )
    run = Trainer(config, registry, components=components)
    run.engine.trained.adapter.restore({k.removeprefix("lora/"): v for k, v in golden.items() if k.startswith("lora/")})
    assert torch.equal(run.engine.policy.schedule.times, golden["times"])
    return run


def update(
    run: Trainer, golden: dict[str, Tensor], patch: pytest.MonkeyPatch
) -> tuple[Signals, dict[str, Any], dict[str, Tensor]]:
    """Signals, metrics and gradients of one update by the engine's own loop; the weights stay as they are."""
    prompts, states, updater = tuple(run.components.prompts), golden["states"], run.engine.updater
    trajectories = Trajectories(
        prompts=prompts, group=torch.arange(8), branch=torch.arange(8), replayed=torch.zeros(8, dtype=torch.bool),
        rewards=golden["rewards"], log_prior=torch.zeros(8), log_pf_old=golden["log_pf_old"], log_pb=golden["log_pb"],
        epoch=9, epochs=10,
        latents=Latents(
            conditioning=run.components.model.encode([p.text for p in prompts]),
            clean=states[:, -1], states=states, outputs=golden.get("outputs"),
        ),
    )  # fmt: skip
    named = {f"gradient/{name}": p for name, p in run.engine.trained.adapter.trained().items()}
    for network in updater.networks.values():
        named |= {f"flow_gradient/{name}": p for name, p in network.named_parameters()}
    steps: list[dict[str, Tensor]] = []
    order = Pairs(golden["order/sample"], golden["order/step"])
    patch.setattr(updater, "_draw", lambda *given: order)
    patch.setattr(updater.optimiser, "step", lambda: steps.append({k: p.grad.clone() for k, p in named.items()}))
    signals, everything = run.components.objective.prepare(trajectories), torch.ones(8, dtype=torch.bool)
    with run.engine.trained.training():
        metrics = updater.update(trajectories, everything, signals, (0, 4))
    [gradients] = steps
    return signals, metrics, gradients


@pytest.mark.parametrize("objective", OPTIONS)
def test_an_update_is_that_of_the_published_program(objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StableDiffusion, "state_flow_network", lambda self, widths: Formula())
    golden, given = read(objective)
    signals, metrics, gradients = update(trainer(objective, golden, given), golden, monkeypatch)
    if objective == "ddpo":
        torch.testing.assert_close(signals.values, golden["advantages"], rtol=0, atol=1e-6)
    else:
        assert signals.beta == given["beta"]
    assert metrics["transitions"] == 32
    assert metrics["loss"] == pytest.approx(given["loss"], rel=LOSS_TOLERANCE[objective])
    expected = {name: value for name, value in golden.items() if "gradient/" in name}
    assert gradients.keys() == expected.keys()
    errors = {k: float((gradients[k] - value).abs().max() / value.abs().max()) for k, value in expected.items()}
    assert {name: error for name, error in errors.items() if error > TOLERANCE} == {}
