"""From a configuration and its components to the engine that trains them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from dagsdk.config.schema import RunConfig
from dagsdk.engine.adapter import Adapter
from dagsdk.engine.clean_rewards import CleanRewards
from dagsdk.engine.denoisings import DenoisingBuilder
from dagsdk.engine.drawing import PromptDraws
from dagsdk.engine.generators import GlobalGenerators, global_seed
from dagsdk.engine.noise_scale import NoiseScale
from dagsdk.engine.policy import Policy, make_policy
from dagsdk.engine.potentials import CurrentPotentials, NoPotentials, Potentials, RecordedPotentials
from dagsdk.engine.precision import Precision
from dagsdk.engine.processes import Processes
from dagsdk.engine.progress import Counter
from dagsdk.engine.replay import Replay
from dagsdk.engine.rewarder import Rewarder
from dagsdk.engine.sampler import Sampler
from dagsdk.engine.schedule import schedule
from dagsdk.engine.seeds import FLOW_GRADIENT, STATE_FLOW, derived
from dagsdk.engine.trained import Trained
from dagsdk.engine.transitions import TransitionBuilder
from dagsdk.engine.update import Updater
from dagsdk.models.protocol import Model
from dagsdk.objectives.parts import Needs
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.rewards.mixture import RewardMixture
from dagsdk.rewards.normalisation import Normaliser
from dagsdk.run.components import Components
from dagsdk.run.seeded_rewards import SeededRewards


@frozen(eq=False, kw_only=True)
class Engine:
    """The parts that train, put together for one run. `paths` fills what objectives need of whole trajectories."""

    trained: Trained
    sampler: Sampler
    prompts: PromptDraws
    reward: RewardMixture
    normaliser: Normaliser
    rewarder: Rewarder
    replay: Replay
    updater: Updater
    paths: Callable[[Trajectories], Trajectories]

    @property
    def plain_sampler(self) -> Sampler:
        """Draws images only: no densities, no outputs, no progress."""
        return evolve(
            self.sampler,
            keeps_path=False,
            keeps_outputs=False,
            keeps_denoised=False,
            reference=None,
            tick=lambda n: None,
        )

    @property
    def policy(self) -> Policy:
        return self.sampler.policy

    @property
    def steps(self) -> int:
        """T."""
        return self.policy.schedule.steps


def assemble(
    config: RunConfig,
    parts: Components,
    adapter: Adapter,
    generators: GlobalGenerators,
    processes: Processes,
    device: torch.device,
    counter: Counter,
    show: Callable[[Trajectories, Tensor], None],
) -> Engine:
    """The engine of a run that trains this adapter of its model."""
    train, model, needs = config.train, parts.model, parts.needs
    forward_process = parts.batches == "denoisings"
    precision = Precision(train.mixed_precision, device)
    chain = schedule(model, config.rollout, device, has_density=not forward_process)
    noise = NoiseScale(chain.times) if config.rollout.variance == "learned" else None
    trained = Trained(adapter, noise, train.ema)
    with trained.using():  # both encode texts, which a text encoder in training mode may not do the same way twice
        policy = make_policy(model, chain, config.rollout.guidance_scale, precision, noise)
        networks = _networks(config, model, needs, device)
    reward = SeededRewards(parts.reward.rewards, generators)
    clean_rewards = CleanRewards(policy, reward, train.sample_batch)
    potentials = _potentials(config, needs, clean_rewards)
    transitions = TransitionBuilder(
        policy=policy,
        reference=trained.reference,
        networks={name: precision.of(network) for name, network in networks.items()},
        clean_rewards=clean_rewards,
        potentials=potentials,
        needs=needs,
        every=config.forward_looking.every,
    )
    denoisings = DenoisingBuilder(
        policy=policy, trained=trained, needs=needs, count=train.denoisings, seed=config.seed, process=processes.index
    )
    sampler = Sampler(
        policy=policy,
        device=device,
        batch=train.sample_batch,
        keeps_path=not forward_process,
        keeps_outputs=not forward_process and Needs.OLD_OUTPUT in needs,
        keeps_denoised=potentials.keeps_denoised or {Needs.STATE_FLOW_PATH, Needs.FORWARD_LOOKING} <= needs,
        reference=trained.reference if Needs.REFERENCE_PATH in needs else None,
        tick=counter.add,
    )
    normaliser = Normaliser({r.name: r.normalise for r in config.rewards}, train.normalise_window)
    builder = denoisings if forward_process else transitions
    return Engine(
        trained=trained,
        sampler=sampler,
        prompts=PromptDraws(parts.prompts, config, processes, compared="prompt" in normaliser.modes.values()),
        reward=reward,
        normaliser=normaliser,
        rewarder=Rewarder(policy, reward, normaliser, processes, train.sample_batch, show),
        replay=Replay(config.replay, sampler, processes, config.seed),
        updater=Updater(
            config, parts.objective, builder, trained, networks, processes, precision.scaler, device, counter.forward
        ),
        paths=transitions.along_paths,
    )


def _potentials(config: RunConfig, needs: frozenset[Needs], clean_rewards: CleanRewards) -> Potentials:
    if Needs.FORWARD_LOOKING not in needs:
        return NoPotentials()
    if config.forward_looking.mode == "current":
        return CurrentPotentials(clean_rewards)
    return RecordedPotentials(clean_rewards, config.forward_looking.every)


def _networks(config: RunConfig, model: Model, needs: frozenset[Needs], device: torch.device) -> dict[str, nn.Module]:
    """The auxiliary networks, new, each from a seed of its own."""
    networks: dict[str, nn.Module] = {}
    if Needs.STATE_FLOW in needs:
        with global_seed(derived(config.seed, STATE_FLOW)):
            networks["state_flow"] = model.state_flow_network(config.state_flow.widths).to(device)
    if Needs.FLOW_GRADIENT in needs:
        with global_seed(derived(config.seed, FLOW_GRADIENT)):
            networks["flow_gradient"] = model.flow_gradient_network(config.flow_gradient.widths).to(device)
    return networks
