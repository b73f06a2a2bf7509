"""The adapter: a guest in the network, which leaves a host's own adapters and flags alone; saved as diffusers does."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig as PeftConfig
from safetensors.torch import load_file
from tiny import tiny_pipeline
from torch import Tensor, nn

from dagsdk.config.schema import LoraConfig
from dagsdk.engine.adapter import Adapter
from dagsdk.engine.sampler import decoded
from dagsdk.errors import ModelError
from dagsdk.models.stable_diffusion import StableDiffusion
from dagsdk.models.weights import ADAPTER
from dagsdk.prompts.protocol import Prompt


def drawn(b) -> Tensor:
    return decoded(b.policy, b.sample([Prompt("a cat")], [7]).latents.clean, 4)


def model_of(folder: Path) -> StableDiffusion:
    return StableDiffusion(tiny_pipeline(folder / "t"))


@torch.no_grad()
def output(model: StableDiffusion) -> Tensor:
    """Of the network, at two states."""
    x = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    return model.predict(x, torch.tensor([3, 500]), model.encode(["a", "b"]))


def move(parameters: Iterable[nn.Parameter], by: float = 0.3) -> None:
    draws = torch.Generator().manual_seed(0)
    for parameter in parameters:
        parameter.data += by * torch.randn(parameter.shape, generator=draws)


# --- its weights ---


def test_it_starts_as_the_identity_and_comes_from_its_seed(bench, tmp_path: Path) -> None:
    b = bench()
    plain, same, other = (model_of(tmp_path) for _ in range(3))
    before = torch.get_rng_state()
    assert torch.equal(
        Adapter(same, LoraConfig(), 0).state()[(n := next(iter(b.adapter.state())))], b.adapter.state()[n]
    )
    assert not torch.equal(Adapter(other, LoraConfig(), 1).state()[n], b.adapter.state()[n])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.allclose(output(plain), output(b.model), atol=1e-6)


def test_plain_diffusers_loads_what_is_saved(bench, tmp_path: Path) -> None:
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


def test_alpha_and_rank_survive_saving(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    adapter = Adapter(model, LoraConfig(rank=2, alpha=7.0), 0)
    move(adapter.trained().values(), by=1.0)
    adapter.save(tmp_path)
    pipeline = tiny_pipeline(tmp_path / "t")
    pipeline.load_lora_weights(str(tmp_path), weight_name=ADAPTER)
    assert torch.allclose(output(model), output(StableDiffusion(pipeline)), atol=1e-5)


def test_load_gives_the_weights_back(bench, tmp_path: Path) -> None:
    b = bench()
    b.perturb()
    b.adapter.save(tmp_path)
    other = Adapter(model_of(tmp_path), LoraConfig(), 9)
    other.load(tmp_path)
    saved, loaded = b.adapter.state(), other.state()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)


def test_an_adapter_of_another_rank_does_not_fit(bench, tmp_path: Path) -> None:
    b = bench()
    other = Adapter(model_of(tmp_path), LoraConfig(rank=2), 9)
    with pytest.raises(ModelError, match="rank"):
        other.restore(b.adapter.state())


@pytest.mark.parametrize("wrong", ["nowhere", "norm1"])
def test_targets_that_cannot_be_adapted_are_named_and_leave_no_trace(tmp_path: Path, wrong: str) -> None:
    """A name that no module has, and one of modules that take no adapter, next to one that is good."""
    model = model_of(tmp_path)
    modules, before = {name: type(module) for name, module in model.network.named_modules()}, flags(model)
    with pytest.raises(ModelError, match=wrong):
        Adapter(model, LoraConfig(targets=(wrong,) if wrong == "nowhere" else ("to_q", wrong)), 0)
    assert flags(model) == before
    assert {name: type(module) for name, module in model.network.named_modules()} == modules
    assert Adapter(model, LoraConfig(), 0).name == "dagsdk"  # the network is free, and so is the name


def test_trained_weights_are_float32_whatever_the_network_is(tmp_path: Path) -> None:
    pipeline = tiny_pipeline(tmp_path / "t")
    pipeline.unet.to(torch.bfloat16)
    adapter = Adapter(StableDiffusion(pipeline), LoraConfig(), 0)
    assert {p.dtype for p in adapter.trained().values()} == {torch.float32}
    assert pipeline.unet.conv_in.weight.dtype == torch.bfloat16


# --- the reference ---


def test_the_reference_is_a_look_and_no_more(bench) -> None:
    b = bench()
    before = drawn(b)
    b.perturb()
    after = drawn(b)
    with b.adapter.reference():
        assert torch.equal(drawn(b), before)
    assert torch.equal(drawn(b), after)
    assert all(p.requires_grad for p in b.adapter.trained().values()) and b.adapter.trained()


def test_the_whole_network_can_be_trained(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    adapter = Adapter(model, None, 0)
    assert len(adapter.trained()) == len(list(model.network.parameters()))
    before = output(model)
    for p in adapter.trained().values():
        p.data += 0.01
    with adapter.reference():
        assert torch.equal(output(model), before)
    after = output(model)
    assert not torch.allclose(after, before, atol=1e-4)
    adapter.save(tmp_path)
    other = model_of(tmp_path)
    Adapter(other, None, 0).load(tmp_path)
    assert torch.allclose(output(other), after, atol=1e-6)
    assert load_file(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")


# --- a host's own adapters ---


def hosted(folder: Path, *names: str) -> StableDiffusionPipeline:
    """A pipeline with adapters of its host's, the last of them active; each changes what the network computes."""
    pipeline = tiny_pipeline(folder / "t")
    for seed, name in enumerate(names):
        with warnings.catch_warnings(action="ignore"):  # that there are several is meant
            pipeline.unet.add_adapter(PeftConfig(r=2, target_modules=["to_q", "to_v"]), adapter_name=name)
        draws = torch.Generator().manual_seed(seed)
        for parameter in (p for n, p in pipeline.unet.named_parameters() if name in n.split(".")):
            parameter.data.normal_(generator=draws)
    pipeline.unet.set_adapter(names[-1])
    return pipeline


def test_it_has_a_name_of_its_own(tmp_path: Path) -> None:
    assert Adapter(model_of(tmp_path), LoraConfig(), 0).name == "dagsdk"
    assert Adapter(StableDiffusion(hosted(tmp_path, "style")), LoraConfig(), 0).name == "dagsdk"
    assert Adapter(StableDiffusion(hosted(tmp_path, "dagsdk")), LoraConfig(), 0).name == "dagsdk_2"
    assert Adapter(StableDiffusion(hosted(tmp_path, "dagsdk", "dagsdk_2")), LoraConfig(), 0).name == "dagsdk_3"


@pytest.mark.parametrize("lora", [LoraConfig(), LoraConfig(targets=("to_out.0",)), None], ids=["lora", "other", "full"])
def test_an_active_adapter_stays_active_and_is_part_of_the_reference(tmp_path: Path, lora: LoraConfig | None) -> None:
    """Of two, one is active; whether ours has the same layers as theirs, or others."""
    pipeline = hosted(tmp_path, "idle", "style")
    model = StableDiffusion(pipeline)
    styled = output(model)
    pipeline.unet.set_adapter("idle")
    idle = output(model)
    pipeline.unet.set_adapter("style")
    assert not torch.allclose(styled, idle, atol=1e-3)
    adapter = Adapter(model, lora, 0)
    assert torch.equal(output(model), styled)  # ours starts as the identity
    move(adapter.trained().values(), by=0.02 if lora is None else 0.3)
    trained = output(model)
    assert not torch.allclose(trained, styled, atol=1e-3)
    with adapter.reference():
        assert torch.equal(output(model), styled)
    assert torch.equal(output(model), trained)


def test_what_the_host_switched_off_stays_without_effect(tmp_path: Path) -> None:
    pipeline = hosted(tmp_path, "style")
    model = StableDiffusion(pipeline)
    styled = output(model)
    pipeline.disable_lora()
    plain = output(model)
    assert not torch.allclose(styled, plain, atol=1e-3)
    adapter = Adapter(model, LoraConfig(), 0)
    assert torch.equal(output(model), plain)
    move(adapter.trained().values())
    assert not torch.allclose(output(model), plain, atol=1e-3)  # though ours has one
    with adapter.reference():
        assert torch.equal(output(model), plain)


def test_only_ours_is_saved(tmp_path: Path) -> None:
    model = StableDiffusion(hosted(tmp_path, "style"))
    adapter = Adapter(model, LoraConfig(), 0)
    move(adapter.trained().values())
    adapter.save(tmp_path)
    other = StableDiffusion(hosted(tmp_path, "style"))
    Adapter(other, LoraConfig(), 1).load(tmp_path)
    assert torch.equal(output(other), output(model))
    assert len(load_file(tmp_path / ADAPTER)) == len(adapter.trained())


# --- a host's flags ---


def flags(model: StableDiffusion) -> tuple[dict[str, bool], dict[str, bool]]:
    """requires_grad by parameter and training by module, of everything but our adapter."""
    modules = {"unet": model.network, "vae": model.pipeline.vae, "text": model.pipeline.text_encoder}
    gradients = {f"{m}.{n}": p.requires_grad for m, module in modules.items() for n, p in module.named_parameters()}
    training = {f"{m}.{n}": child.training for m, module in modules.items() for n, child in module.named_modules()}
    return (
        {name.replace(".base_layer", ""): on for name, on in gradients.items() if "dagsdk" not in name},
        {name: on for name, on in training.items() if "lora" not in name and "base_layer" not in name},
    )


def mixed(model: StableDiffusion) -> tuple[dict[str, bool], dict[str, bool]]:
    """Flags such as no run would set."""
    model.network.train()
    model.network.down_blocks.eval()
    model.network.conv_in.requires_grad_(False)
    model.pipeline.vae.train()
    model.pipeline.text_encoder.eval().requires_grad_(False)
    next(model.pipeline.text_encoder.parameters()).requires_grad_(True)
    return flags(model)


@pytest.mark.parametrize("lora", [LoraConfig(), None], ids=["lora", "full"])
def test_flags_are_the_hosts_outside(tmp_path: Path, lora: LoraConfig | None) -> None:
    model = model_of(tmp_path)
    before = mixed(model)
    adapter = Adapter(model, lora, 0)
    assert flags(model) == before
    with adapter.in_use():
        assert flags(model) != before
        assert not any(flags(model)[1].values())
    assert flags(model) == before
    with pytest.raises(RuntimeError, match="in the middle"), adapter.in_use(), adapter.reference():
        raise RuntimeError("in the middle")
    assert flags(model) == before
    with adapter.reference():
        pass
    assert flags(model) == before


@pytest.mark.parametrize("lora", [LoraConfig(), None], ids=["lora", "full"])
def test_within_only_what_is_trained_has_gradients(tmp_path: Path, lora: LoraConfig | None) -> None:
    model = StableDiffusion(hosted(tmp_path, "style"))
    mixed(model)
    adapter = Adapter(model, lora, 0)
    trained = set(adapter.trained())
    assert trained and (lora is None or all("dagsdk" in name.split(".") for name in trained))

    def having() -> set[str]:
        modules = model.network, model.pipeline.vae, model.pipeline.text_encoder
        return {name for module in modules for name, p in module.named_parameters() if p.requires_grad}

    with adapter.in_use():
        assert having() == trained
        with adapter.reference():
            pass
        assert having() == trained
        with adapter.in_use():
            assert having() == trained
        assert having() == trained  # the inner one does not end the outer one


# --- one run at a time ---


@pytest.mark.parametrize("lora", [LoraConfig(), None], ids=["lora", "full"])
def test_a_network_is_trained_by_one_run_at_a_time(tmp_path: Path, lora: LoraConfig | None) -> None:
    model = model_of(tmp_path)
    adapter = Adapter(model, lora, 0)
    move(adapter.trained().values())
    before, weights = output(model), adapter.state()
    for again in (LoraConfig(), None):
        with pytest.raises(ModelError, match=r"still open.*close\(\)"):
            Adapter(StableDiffusion(model.pipeline), again, 0)
    assert torch.equal(output(model), before)  # and the first run has lost nothing
    assert all(torch.equal(weights[name], value) for name, value in adapter.state().items())
    adapter.release()
    second = Adapter(model, LoraConfig(), 0)
    assert second.name == ("dagsdk" if lora is None else "dagsdk_2")
    assert torch.equal(output(model), before)  # what was trained stays, as a part of the reference
    move(second.trained().values())
    with second.reference():
        assert torch.equal(output(model), before)
