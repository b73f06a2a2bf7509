"""A tiny model with everything around it, as a run puts it together."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from attrs import evolve

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny import tiny_pipeline

from dagsdk.config.schema import LoraConfig, RolloutConfig
from dagsdk.engine.adapter import Adapter
from dagsdk.engine.clean_rewards import CleanRewards
from dagsdk.engine.drawing import Drawn
from dagsdk.engine.pairs import Pairs
from dagsdk.engine.policy import Policy, make_policy
from dagsdk.engine.potentials import CurrentPotentials, RecordedPotentials
from dagsdk.engine.sampler import Sampler, decoded
from dagsdk.engine.schedule import schedule
from dagsdk.engine.transitions import TransitionBuilder
from dagsdk.models.stable_diffusion import StableDiffusion
from dagsdk.objectives.parts import Needs
from dagsdk.objectives.protocol import Signals, Transitions
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.prompts.protocol import Prompt
from dagsdk.rewards.mixture import RewardMixture
from dagsdk.rewards.normalisation import Scale
from dagsdk.rollouts.protocol import RolloutPlan

STEPS = 5


def brightness(images: torch.Tensor, prompts: object) -> torch.Tensor:
    return images.mean((1, 2, 3)) * 10


def rewarded(trajectories: Trajectories, rewards: torch.Tensor, scales: Mapping[str, Scale]) -> Trajectories:
    latents = evolve(trajectories.latents, scales=scales)
    return evolve(trajectories, rewards=rewards, raw_rewards={"brightness": rewards}, latents=latents)


class Bench:
    """A model with everything around it, as a run puts it together; `brightness` is its reward."""

    def __init__(
        self,
        folder: Path,
        prediction_type: str = "epsilon",
        lora: LoraConfig | None = LoraConfig(),  # noqa: B008
        **rollout: object,
    ) -> None:
        self.model = StableDiffusion(tiny_pipeline(folder, prediction_type))
        config = RolloutConfig(**{"steps": STEPS, "guidance_scale": 3.0, **rollout})
        self.schedule = schedule(self.model, config, "cpu")
        self.adapter = Adapter(self.model, lora, seed=0)
        self.in_use = self.adapter.in_use()
        self.in_use.__enter__()
        self.policy: Policy = make_policy(self.model, self.schedule, config.guidance_scale)
        self.sampler = Sampler(
            policy=self.policy, device=torch.device("cpu"), batch=4, keeps_outputs=True, keeps_denoised=True
        )
        self.plan = RolloutPlan(window=(0, self.schedule.steps))
        self.rewards = CleanRewards(self.policy, RewardMixture([("brightness", 1.0, brightness)]), 4)
        self.networks = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.networks["state_flow"] = self.state_flow = self.model.state_flow_network((8, 8))
            torch.nn.init.normal_(self.state_flow.head.weight)
            self.networks["flow_gradient"] = self.model.flow_gradient_network((8, 8))

    def sample(self, prompts: Sequence[Prompt], seeds: Sequence[int], plan: RolloutPlan | None = None) -> Trajectories:
        return self.sampler.sample(Drawn(prompts=prompts, seeds=seeds), plan or self.plan)

    def trajectories(self, count: int = 6) -> Trajectories:
        prompts = [Prompt(text) for text in ("a cat", "b", "", "ünïcode ✨")]
        sampled = self.sample([prompts[i % 4] for i in range(count)], range(count))
        return rewarded(sampled, brightness(decoded(self.policy, sampled.latents.clean, 4), sampled.prompts), {})

    def builder(self, needs: frozenset[Needs] = frozenset(Needs), mode: str = "recorded") -> TransitionBuilder:
        recorded = RecordedPotentials(self.rewards, 1)
        return TransitionBuilder(
            policy=self.policy,
            reference=self.adapter.reference,
            networks=self.networks,
            clean_rewards=self.rewards,
            potentials=recorded if mode == "recorded" else CurrentPotentials(self.rewards),
            needs=needs,
        )

    def transitions(
        self,
        trajectories: Trajectories,
        pairs: Pairs,
        signals: Signals | None = None,
        needs: frozenset[Needs] = frozenset(Needs),
        mode: str = "recorded",
    ) -> Transitions:
        return self.builder(needs, mode).start(trajectories, signals or Signals(), pairs)(pairs)

    def perturb(self) -> None:
        generator = torch.Generator().manual_seed(3)
        for parameter in self.adapter.trained().values():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
