"""A tiny model, its policy, and runs over live components."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny import tiny_pipeline

from dagsdk.config.schema import ForwardLookingConfig, LoraConfig, RolloutConfig
from dagsdk.engine.evaluate import Evaluator
from dagsdk.engine.forward_looking import ForwardLooking
from dagsdk.engine.lora import Adapter
from dagsdk.engine.policy import Policy, make_policy
from dagsdk.engine.sampler import Sampler, decoded
from dagsdk.engine.schedule import schedule
from dagsdk.engine.trajectory import Trajectory
from dagsdk.families.stable_diffusion import StableDiffusion
from dagsdk.objectives.protocol import Needs
from dagsdk.prompts.protocol import Prompt
from dagsdk.rewards.mixture import Mixture
from dagsdk.rollouts.protocol import RolloutPlan

STEPS = 5


def brightness(images: torch.Tensor, prompts: object) -> torch.Tensor:
    return images.mean((1, 2, 3)) * 10


class Bench:
    """A family with everything around it, as the trainer puts it together."""

    def __init__(self, folder: Path, prediction_type: str = "epsilon", **rollout: object) -> None:
        self.family = StableDiffusion(tiny_pipeline(folder, prediction_type))
        config = RolloutConfig(**{"steps": STEPS, "guidance_scale": 3.0, **rollout})
        self.schedule = schedule(self.family, config, "cpu")
        self.adapter = Adapter(self.family, LoraConfig(), seed=0)
        self.policy: Policy = make_policy(self.family, self.schedule, config.guidance_scale)
        self.sampler = Sampler(self.policy, torch.device("cpu"), 4, record_outputs=True, record_denoised=True)
        self.plan = RolloutPlan(window=(0, self.schedule.steps))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.flow = self.family.flow_network((8, 8))
            torch.nn.init.normal_(self.flow.head.weight)

    def trajectories(self, count: int = 6) -> Trajectory:
        prompts = [Prompt(text) for text in ("a cat", "b", "", "ünïcode ✨")]
        sampled = self.sampler.sample([prompts[i % 4] for i in range(count)], list(range(count)), self.plan)
        return sampled.scored(brightness(decoded(self.policy, sampled.clean, 4), sampled.prompts), {})

    def evaluator(self, needs: frozenset[Needs] = frozenset(Needs), every: int = 1) -> Evaluator:
        looking = ForwardLooking(
            self.policy, Mixture([("brightness", 1.0, brightness)]), ForwardLookingConfig(every=every), 4
        )
        return Evaluator(self.policy, self.adapter.reference, self.flow, looking, needs)

    def perturb(self) -> None:
        generator = torch.Generator().manual_seed(3)
        for parameter in self.adapter.trained().values():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    return lambda *args, **options: Bench(tmp_path / "tokenizer", *args, **options)
