"""Trajectories as plain data: rows of them, several of them together, and what is not there."""

from __future__ import annotations

import pytest
import torch
from attrs import evolve

from dagsdk import Needs, Prompt, Trajectories
from dagsdk.errors import TrainingError
from dagsdk.objectives.parts import ReferencePath
from dagsdk.objectives.trajectories import Latents, joined

B, T = 5, 3


def made(seed: int = 0, *, latents: bool = True) -> Trajectories:
    generator = torch.Generator().manual_seed(seed)
    rewards, log_prior = torch.randn(2, B, generator=generator)
    log_pf, log_pb, reference = torch.randn(3, B, T, generator=generator)
    states = torch.randn(B, T + 1, 2, generator=generator)
    conditioning = {"prompt": torch.randn(B, 4, generator=generator)}
    kept = Latents(conditioning=conditioning, clean=states[:, -1], states=states)
    return Trajectories(
        prompts=tuple(Prompt(f"{seed} {i}") for i in range(B)),
        group=torch.arange(B),
        branch=torch.arange(B),
        replayed=torch.zeros(B, dtype=torch.bool),
        rewards=rewards,
        raw_rewards={"sharpness": 2 * rewards},
        log_prior=log_prior,
        log_pf_old=log_pf,
        log_pb=log_pb,
        epoch=4,
        epochs=9,
        latents=kept if latents else None,
        parts={Needs.REFERENCE_PATH: ReferencePath(reference)},
    )


@pytest.mark.parametrize("rows", [slice(1, 4), torch.tensor([3, 0, 3]), torch.tensor([True, False, False, True, True])])
def test_part_takes_the_same_rows_of_everything(rows: slice | torch.Tensor) -> None:
    whole = made()
    numbers = torch.arange(B)[rows].tolist()
    part = whole.part(rows)
    assert len(part) == len(numbers) and part.steps == T
    assert part.prompts == tuple(whole.prompts[i] for i in numbers)
    assert (part.epoch, part.epochs) == (4, 9)
    for read in (
        lambda t: t.rewards,
        lambda t: t.raw_rewards["sharpness"],
        lambda t: t.log_pf_old,
        lambda t: t.reference.log_pf,
        lambda t: t.states,
        lambda t: t.latents.clean,
        lambda t: t.latents.conditioning["prompt"],
    ):
        assert torch.equal(read(part), read(whole)[numbers])
    assert part.latents.outputs is None


def test_joined_parts_are_the_whole() -> None:
    whole = made()
    again = joined([whole.part(slice(0, 2)), whole.part(slice(2, 3)), whole.part(slice(3, B))])
    assert again.prompts == whole.prompts
    assert torch.equal(again.log_pb, whole.log_pb)
    assert torch.equal(again.states, whole.states)
    assert torch.equal(again.reference.log_pf, whole.reference.log_pf)
    assert torch.equal(again.raw_rewards["sharpness"], whole.raw_rewards["sharpness"])


def test_those_of_all_processes_have_no_latents() -> None:
    gathered = made(latents=False)
    with pytest.raises(TrainingError, match="those of all processes"):
        _ = gathered.latents
    assert len(gathered.part(slice(0, 2))) == 2


def test_on_the_forward_process_no_states_are_kept() -> None:
    images = made()
    images = evolve(images, latents=evolve(images.latents, states=None), log_pf_old=torch.zeros(B, 0))
    assert images.steps == 0
    with pytest.raises(TrainingError, match="no states were kept"):
        _ = images.states
