"""What an objective sees of whole paths, several passes over an epoch, and rollouts that remember."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from tiny_run import Versions, components, config

from dagsdk.engine.drawing import Drawn
from dagsdk.engine.pairs import Pairs, pairs
from dagsdk.objectives.parts import Needs
from dagsdk.objectives.protocol import Loss, Signals
from dagsdk.objectives.toolbox import Stateless
from dagsdk.rollouts.independent import Independent
from dagsdk.rollouts.options import IndependentOptions
from dagsdk.run.trainer import Trainer


def test_the_prior_is_that_of_the_noise(bench: Any) -> None:
    b = bench()
    t = b.trajectories(4)
    exact = torch.distributions.Normal(0, 1).log_prob(t.states[:, 0]).flatten(1).mean(1)
    assert torch.allclose(t.log_prior, exact, atol=1e-6)


def test_the_reference_of_an_untrained_policy_is_itself_and_of_a_trained_one_is_not(bench: Any) -> None:
    b = bench()
    sampler = evolve(b.sampler, reference=b.adapter.reference)
    drawn = Drawn(prompts=b.trajectories(3).prompts, seeds=[1, 2, 3])
    fresh = sampler.sample(drawn, b.plan)
    assert torch.allclose(fresh.reference.log_pf, fresh.log_pf_old, atol=1e-6)
    b.perturb()
    trained = sampler.sample(drawn, b.plan)
    assert (trained.reference.log_pf - trained.log_pf_old).abs().min() > 1e-6
    # the same numbers that an update computes for each transition
    chosen = pairs(torch.ones(3, dtype=torch.bool), (0, trained.steps))
    seen = b.transitions(trained, chosen, needs=frozenset({Needs.REFERENCE}))
    assert torch.allclose(seen.reference.log_pf, trained.reference.log_pf.flatten(), atol=1e-5)
    assert seen.reference.kl.min() >= 0 and seen.reference.kl.requires_grad


def test_branches_share_their_first_steps_under_the_reference_too(bench: Any) -> None:
    b = bench()
    b.perturb()
    plan = evolve(b.plan, branches=2, branch_step=3)
    prompts = [p for p in b.trajectories(2).prompts for _ in range(2)]
    sampler = evolve(b.sampler, reference=b.adapter.reference)
    t = sampler.sample(Drawn(prompts=prompts, seeds=[1, 2, 3, 4]), plan)
    log_pf = t.reference.log_pf
    assert torch.equal(log_pf[0, :3], log_pf[1, :3])
    assert not torch.equal(log_pf[0, 3:], log_pf[1, 3:])
    assert torch.equal(t.log_prior[0], t.log_prior[1])


def test_a_signal_may_be_one_per_transition(bench: Any) -> None:
    b = bench()
    t = b.trajectories(2)
    values = torch.arange(2.0 * t.steps).reshape(2, t.steps)
    chosen = Pairs(torch.tensor([1, 0]), torch.tensor([3, 2]))
    seen = b.transitions(t, chosen, Signals(values=values), needs=frozenset())
    assert seen.signal.tolist() == [t.steps + 3.0, 2.0]


class Counting(Stateless):
    """Counts how often each transition is trained."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def prepare(self, trajectories: Any) -> Signals:
        return Signals(values=torch.arange(trajectories.rewards.numel() * 4.0).reshape(-1, 4))

    def loss(self, batch: Any) -> Loss:
        self.steps += batch.signal.long().tolist()
        return Loss(values=batch.log_pf * 0)


@pytest.mark.parametrize("passes", [1, 3])
def test_every_pass_sees_every_transition_once_in_another_order(tmp_path: Path, passes: int) -> None:
    counting = Counting()
    live = components(tmp_path / "model", objective="dag-db")
    live = evolve(live, objective=counting)
    [metrics] = Trainer(config(tmp_path / "run", epochs=1, passes=passes), Versions(), components=live)
    assert metrics["transitions"] == passes * 6 * 4 == len(counting.steps)
    turns = [counting.steps[i * 24 : (i + 1) * 24] for i in range(passes)]
    assert all(sorted(turn) == list(range(24)) for turn in turns)
    assert len({tuple(turn) for turn in turns}) == passes


class Alternating(Independent):
    """Selects all trajectories in every second epoch that it was asked, and the first half in between."""

    def __init__(self) -> None:
        super().__init__(IndependentOptions(images_per_prompt=2))
        self.asked = 0

    def select(self, trajectories: Any, signals: Signals) -> torch.Tensor:
        self.asked += 1
        selected = torch.ones_like(trajectories.rewards, dtype=torch.bool)
        if self.asked % 2:
            selected[len(selected) // 2 :] = False
        return selected

    def state_dict(self) -> dict[str, Any]:
        return {"asked": self.asked}

    def load_state_dict(self, state: Any) -> None:
        self.asked = state["asked"]


def test_what_a_rollout_remembers_is_in_the_checkpoint(tmp_path: Path) -> None:
    kept = []
    for epochs, resume in ((3, False), (4, True)):
        live = evolve(components(tmp_path / "model"), rollout=Alternating())
        settings = config(tmp_path / "run", epochs=epochs)
        settings = evolve(settings, checkpoint=evolve(settings.checkpoint, every=1))
        if resume:
            settings = evolve(settings, train=evolve(settings.train, epochs=4))
            (tmp_path / "run/run.toml").write_text(
                (tmp_path / "run/run.toml").read_text(encoding="utf-8").replace("epochs = 3", "epochs = 4"),
                encoding="utf-8",
            )
        kept += [line["kept"] for line in Trainer(settings, Versions(), components=live, resume=resume)]
    assert kept == [3, 6, 3, 6]
