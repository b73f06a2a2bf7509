"""Sampling: what diffusers samples, whatever the batch, with what an update needs to know."""

from __future__ import annotations

import pytest
import torch
from attrs import evolve
from diffusers import DDIMScheduler
from tiny import tiny_pipeline

from dagsdk.config.schema import RolloutConfig
from dagsdk.engine.drawing import Drawn
from dagsdk.engine.sampler import decoded
from dagsdk.engine.schedule import schedule
from dagsdk.errors import DensityError
from dagsdk.models.stable_diffusion import StableDiffusion
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.prompts.protocol import Prompt
from dagsdk.rollouts.protocol import RolloutPlan


def drawn_in_batches(b, batch: int, texts: list[str], plan: RolloutPlan | None = None) -> Trajectories:
    """Trajectories of these prompts from seeds 0, 1, ..."""
    drawn = Drawn(prompts=[Prompt(text) for text in texts], seeds=range(len(texts)))
    return evolve(b.sampler, batch=batch).sample(drawn, plan or b.plan)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_it_draws_what_plain_diffusers_draws(bench, prediction_type: str, guidance: float) -> None:
    b = bench(prediction_type, guidance_scale=guidance)
    ours = decoded(b.policy, b.sample([Prompt("a cat")], [7]).latents.clean, 4)
    theirs = b.model.pipeline(
        "a cat",
        generator=torch.Generator().manual_seed(7),
        num_inference_steps=5,
        eta=1.0,
        guidance_scale=guidance,
        output_type="pt",
    ).images
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_seed_draws_the_same_in_any_batch(bench) -> None:
    b = bench()
    texts = [f"prompt {i}" for i in range(7)]
    whole = drawn_in_batches(b, 7, texts)
    for batch in (1, 2, 3):
        parts = drawn_in_batches(b, batch, texts)
        assert torch.equal(parts.states[:, 0], whole.states[:, 0])
        assert torch.allclose(parts.states, whole.states, atol=1e-5)
    alone = b.sample([Prompt(texts[4])], [4])
    assert torch.allclose(alone.states[0], whole.states[4], atol=1e-5)


def test_recorded_densities_are_those_of_the_stored_states(bench) -> None:
    b = bench()
    t = b.trajectories()
    times = b.schedule.times
    for k in range(t.steps):
        x_t, x_next = t.states[:, k], t.states[:, k + 1]
        now, after = times[k].expand(len(t)), times[k + 1].expand(len(t))
        transition = b.policy.transition(t.latents.outputs[:, k], x_t, now, after)
        assert torch.allclose(transition.log_prob(x_next), t.log_pf_old[:, k], atol=1e-6)
        assert torch.allclose(b.policy.noising(x_next, now, after).log_prob(x_t), t.log_pb[:, k], atol=1e-6)


def test_nothing_sampled_has_a_gradient(bench) -> None:
    t = bench().trajectories()
    kept = t.latents
    tensors = (t.states, kept.clean, t.log_pf_old, t.log_pb, t.log_prior, kept.outputs, kept.denoised)
    assert not any(tensor.requires_grad for tensor in tensors)
    assert t.states.dtype == torch.float32


def test_branches_share_their_first_steps_to_the_bit(bench) -> None:
    b = bench()
    plan = RolloutPlan(branches=3, branch_step=2, window=(2, 5))
    prompts = [Prompt("x")] * 3 + [Prompt("y")] * 3
    t = b.sample(prompts, range(6), plan)
    assert t.branch.tolist() == [0, 0, 0, 1, 1, 1]
    for start in (0, 3):
        siblings = t.states[start : start + 3]
        assert torch.equal(siblings[0, :3], siblings[1, :3])
        assert torch.equal(siblings[0, :3], siblings[2, :3])
        assert not torch.allclose(siblings[0, 3], siblings[1, 3])
    assert not torch.allclose(t.states[0, 0], t.states[3, 0])


def test_a_shared_prefix_is_sampled_once(bench) -> None:
    b = bench()
    rows: list[int] = []
    call = b.policy.conditional_output
    policy = evolve(b.policy, conditional_output=lambda x, t, c: rows.append(len(x)) or call(x, t, c))
    b.sampler = evolve(b.sampler, policy=policy)
    plan = RolloutPlan(branches=3, branch_step=2, window=(2, 5))
    drawn_in_batches(b, 6, ["x"] * 6, plan)
    assert rows == [4, 4, 12, 12, 12]  # guided: twice 2 rows, then twice 6


def test_groups_are_numbered_across_processes(bench) -> None:
    b = bench()
    plan = RolloutPlan(images_per_prompt=2, window=(0, 5))
    second = b.sampler.sample(Drawn(prompts=[Prompt("x")] * 4, seeds=range(4), first=4), plan)
    assert second.group.tolist() == [2, 2, 3, 3]
    assert second.branch.tolist() == [4, 5, 6, 7]


def test_dropping_the_last_step_ends_the_chain_one_step_sooner(bench) -> None:
    b = bench(last_step="drop")
    t = b.trajectories()
    assert t.steps == 4
    assert t.states.shape[1] == 5
    assert not torch.allclose(t.latents.clean, t.states[:, -1])


def test_a_schedule_without_a_density_is_refused_with_the_ways_out(tmp_path) -> None:
    # steps_offset = 0 ends at time 0 twice: the trap of section 1 of the algorithms. A pipeline corrects it when
    # it is made, so this takes a scheduler that is put in afterwards.
    pipeline = tiny_pipeline(tmp_path)
    pipeline.scheduler = DDIMScheduler.from_config({**pipeline.scheduler.config, "steps_offset": 0})
    model = StableDiffusion(pipeline)
    with pytest.raises(DensityError, match="step 4"):
        schedule(model, RolloutConfig(steps=5), "cpu")
    assert schedule(model, RolloutConfig(steps=5, last_step="drop"), "cpu").steps == 4
