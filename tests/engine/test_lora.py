"""The adapter: attached, frozen around, switched off, merged, saved as diffusers does."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_pipeline

from dagsdk.config.schema import LoraConfig
from dagsdk.engine.lora import Adapter
from dagsdk.engine.sampler import decoded
from dagsdk.errors import ModelError
from dagsdk.families.stable_diffusion import ADAPTER, StableDiffusion
from dagsdk.prompts.protocol import Prompt


def drawn(b) -> torch.Tensor:
    return decoded(b.policy, b.sampler.sample([Prompt("a cat")], [7], b.plan).clean, 4)


def test_it_starts_as_the_identity_and_comes_from_its_seed(bench, tmp_path) -> None:
    b = bench()
    plain = StableDiffusion(tiny_pipeline(tmp_path / "t"))
    same, other = (StableDiffusion(tiny_pipeline(tmp_path / "t")) for _ in range(2))
    before = torch.get_rng_state()
    assert torch.equal(
        Adapter(same, LoraConfig(), 0).state()[(n := next(iter(b.adapter.state())))], b.adapter.state()[n]
    )
    assert not torch.equal(Adapter(other, LoraConfig(), 1).state()[n], b.adapter.state()[n])
    assert torch.equal(torch.get_rng_state(), before)
    x, t = torch.randn(2, 4, 4, 4), torch.tensor([3, 500])
    condition = plain.encode(["a", "b"])
    assert torch.allclose(plain.predict(x, t, condition), b.family.predict(x, t, condition), atol=1e-6)


def test_plain_diffusers_loads_what_is_saved(bench, tmp_path) -> None:
    b = bench()
    before = drawn(b)
    b.perturb()
    ours = drawn(b)
    b.adapter.save(tmp_path)
    pipeline = tiny_pipeline(tmp_path / "t")
    pipeline.load_lora_weights(str(tmp_path), weight_name=ADAPTER)
    theirs = pipeline(
        "a cat",
        generator=torch.Generator().manual_seed(7),
        num_inference_steps=5,
        eta=1.0,
        guidance_scale=3.0,
        output_type="pt",
    ).images
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, before, atol=1e-3)


def test_alpha_and_rank_survive_saving(tmp_path) -> None:
    family = StableDiffusion(tiny_pipeline(tmp_path / "t"))
    adapter = Adapter(family, LoraConfig(rank=2, alpha=7.0), 0)
    for p in adapter.trained().values():
        p.data.normal_(generator=torch.Generator().manual_seed(0))
    adapter.save(tmp_path)
    pipeline = tiny_pipeline(tmp_path / "t")
    pipeline.load_lora_weights(str(tmp_path), weight_name=ADAPTER)
    x, t = torch.randn(2, 4, 4, 4), torch.tensor([3, 500])
    condition = family.encode(["a", "b"])
    theirs = StableDiffusion(pipeline).predict(x, t, condition)
    assert torch.allclose(family.predict(x, t, condition), theirs, atol=1e-5)


def test_load_gives_the_weights_back(bench, tmp_path) -> None:
    b = bench()
    b.perturb()
    b.adapter.save(tmp_path)
    other = Adapter(StableDiffusion(tiny_pipeline(tmp_path / "t")), LoraConfig(), 9)
    other.load(tmp_path)
    saved, loaded = b.adapter.state(), other.state()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)


def test_an_adapter_of_another_rank_does_not_fit(bench, tmp_path) -> None:
    b = bench()
    other = Adapter(StableDiffusion(tiny_pipeline(tmp_path / "t")), LoraConfig(rank=2), 9)
    with pytest.raises(ModelError, match="rank"):
        other.restore(b.adapter.state())


def test_the_reference_is_a_look_and_no_more(bench) -> None:
    b = bench()
    before = drawn(b)
    b.perturb()
    after = drawn(b)
    with b.adapter.reference():
        assert torch.allclose(drawn(b), before, atol=1e-6)
    assert torch.equal(drawn(b), after)
    assert all(p.requires_grad for p in b.adapter.trained().values()) and b.adapter.trained()


def test_merging_keeps_what_it_draws(bench) -> None:
    b = bench()
    b.perturb()
    with_adapter = drawn(b)
    b.adapter.merge()
    assert not any("lora" in name for name, _ in b.family.network.named_parameters())
    assert torch.allclose(drawn(b), with_adapter, atol=1e-4)


def test_targets_that_are_nowhere_are_named(tmp_path) -> None:
    family = StableDiffusion(tiny_pipeline(tmp_path / "t"))
    with pytest.raises(ModelError, match="nowhere"):
        Adapter(family, LoraConfig(targets=("nowhere",)), 0)


def test_the_whole_network_can_be_trained(tmp_path) -> None:
    family = StableDiffusion(tiny_pipeline(tmp_path / "t"))
    adapter = Adapter(family, None, 0)
    assert len(adapter.trained()) == len(list(family.network.parameters()))
    x, t, condition = torch.randn(2, 4, 4, 4), torch.tensor([3, 500]), family.encode(["a", "b"])
    before = family.predict(x, t, condition).detach()
    for p in adapter.trained().values():
        p.data += 0.01
    with adapter.reference(), torch.no_grad():
        assert torch.equal(family.predict(x, t, condition), before)
    after = family.predict(x, t, condition).detach()
    assert not torch.allclose(after, before, atol=1e-4)
    adapter.save(tmp_path)
    other = StableDiffusion(tiny_pipeline(tmp_path / "t"))
    Adapter(other, None, 0).load(tmp_path)
    assert torch.allclose(other.predict(x, t, condition), after, atol=1e-6)
    assert load_file(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
