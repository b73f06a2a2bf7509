"""Stable Diffusion pipelines: live ones, folders, folders that hold none; and adapters as diffusers saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, StableDiffusionPipeline
from peft import LoraConfig, inject_adapter_in_model
from safetensors import safe_open
from tiny import tiny_pipeline

from dagsdk.errors import ModelError
from dagsdk.models.stable_diffusion import StableDiffusion
from dagsdk.models.unet_state_flow import UNetStateFlow
from dagsdk.models.weights import ADAPTER
from dagsdk.specs import BuildContext

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")


def attached(model: StableDiffusion, name: str = "dagsdk", rank: int = 2, seed: int = 0) -> StableDiffusion:
    """With an adapter of that name whose weights are all noise."""
    config = LoraConfig(r=rank, lora_alpha=3, target_modules=list(model.lora_targets))
    inject_adapter_in_model(config, model.network, adapter_name=name)
    generator = torch.Generator().manual_seed(seed)
    for key, weight in model.network.named_parameters():
        if f".{name}." in key:
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    return model


def file_of(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and metadata of the adapter in a folder."""
    with safe_open(folder / ADAPTER, "pt") as opened:
        return {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata()  # noqa: SIM118


def state_of(pipeline: StableDiffusionPipeline) -> dict[str, Any]:
    """All that a program may have set on its pipeline."""
    kept: dict[str, Any] = {"progress": dict(getattr(pipeline, "_progress_bar_config", {}))}
    for name, module in (("unet", pipeline.unet), ("vae", pipeline.vae), ("text", pipeline.text_encoder)):
        kept |= {f"{name}.{key}.training": part.training for key, part in module.named_modules()}
        kept |= {
            f"{name}.{key}": (id(weight), weight.requires_grad, weight.dtype, weight.device, weight._version)
            for key, weight in module.named_parameters()
        }
    kept["scheduler"] = (id(pipeline.scheduler), dict(pipeline.scheduler.config), pipeline.scheduler.timesteps.tolist())
    return kept


@pytest.mark.parametrize("train", [False, True])
def test_a_live_pipeline_stays_as_it_was(train: bool, tmp_path: Path) -> None:
    pipeline = tiny_pipeline(tmp_path)
    pipeline.set_progress_bar_config(desc="mine")
    pipeline.scheduler.set_timesteps(7)
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        module.train(train).requires_grad_(train)
    before = state_of(pipeline)
    model = StableDiffusion(pipeline)
    assert model.pipeline is pipeline
    conditioning = model.encode(["a cat"])
    model.predict(torch.randn(1, 4, 4, 4), model.times(5)[:1], conditioning)
    model.decode(torch.randn(1, 4, 4, 4))
    model.state_flow_network((8,))
    assert state_of(pipeline) == before


def test_conditioning_has_no_gradient_though_the_text_encoder_has(tmp_path: Path) -> None:
    pipeline = tiny_pipeline(tmp_path)
    pipeline.text_encoder.requires_grad_(True)
    assert not StableDiffusion(pipeline).encode(["a cat"])["prompt_embeds"].requires_grad


def test_a_live_pipeline_of_another_class_is_refused(tmp_path: Path) -> None:
    other = DDPMPipeline(tiny_pipeline(tmp_path).unet, DDPMScheduler())
    with pytest.raises(ModelError, match="is a DDPMPipeline"):
        StableDiffusion(other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"prediction_type": "flow"}, "prediction_type is 'flow'"),
        ({"rescale_betas_zero_snr": True}, r"alphas_cumprod\[999\] is 0"),
    ],
    ids=["prediction", "zero terminal signal"],
)
def test_a_schedule_that_cannot_be_used_is_named(schedule: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"'pipeline'.*{said}"):
        StableDiffusion(tiny_pipeline(tmp_path, **schedule))


def test_the_adapter_file_is_that_of_diffusers(tmp_path: Path) -> None:
    attached(StableDiffusion(tiny_pipeline(tmp_path / "t"))).save_adapter(tmp_path, "dagsdk")
    tensors, metadata = file_of(tmp_path)
    places = ("down_blocks.1.attentions.0", "mid_block.attentions.0", "up_blocks.0.attentions.0")
    ends = {
        f"transformer_blocks.0.attn{n}.{projection}.lora.{way}.weight"
        for n in (1, 2)
        for projection in PROJECTIONS
        for way in ("down", "up")
    }
    found = {key.removeprefix(f"unet.{place}.") for key in tensors for place in places if place in key}
    assert found == ends
    assert all(key.startswith("unet.") and key.endswith(tuple(ends)) for key in tensors)
    config = json.loads(metadata["lora_adapter_metadata"])
    assert (config["unet.r"], config["unet.lora_alpha"]) == (2, 3)
    assert config["unet.target_modules"] == sorted(PROJECTIONS)


def test_the_adapter_file_holds_one_adapter_whatever_its_name_and_company(tmp_path: Path) -> None:
    alone = attached(StableDiffusion(tiny_pipeline(tmp_path / "t")), "default")
    company = StableDiffusion(tiny_pipeline(tmp_path / "t"))
    attached(attached(company, "style", rank=3, seed=8), "dagsdk")
    for model, name in ((alone, "default"), (company, "dagsdk")):
        model.save_adapter(tmp_path / name, name)
    (tensors, metadata), (others, other_metadata) = file_of(tmp_path / "default"), file_of(tmp_path / "dagsdk")
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[key], others[key]) for key in tensors)
    assert json.loads(metadata["lora_adapter_metadata"]) == json.loads(other_metadata["lora_adapter_metadata"])


def test_plain_diffusers_loads_the_adapter_and_computes_the_same(tmp_path: Path) -> None:
    model = attached(StableDiffusion(tiny_pipeline(tmp_path / "t")))
    model.save_adapter(tmp_path, "dagsdk")
    pipeline = tiny_pipeline(tmp_path / "t")
    bare = StableDiffusion(tiny_pipeline(tmp_path / "t"))
    pipeline.load_lora_weights(str(tmp_path), weight_name=ADAPTER)
    x, t, condition = torch.randn(2, 4, 4, 4), torch.tensor([3, 500]), model.encode(["a", "b"])
    with torch.no_grad():
        ours, theirs = (each.predict(x, t, condition) for each in (model, StableDiffusion(pipeline)))
        assert torch.allclose(ours, theirs, atol=1e-6)
        assert not torch.allclose(ours, bare.predict(x, t, condition), atol=1e-3)


def test_an_adapter_is_loaded_into_the_one_of_that_name(tmp_path: Path) -> None:
    attached(StableDiffusion(tiny_pipeline(tmp_path / "t"))).save_adapter(tmp_path, "dagsdk")
    model = attached(attached(StableDiffusion(tiny_pipeline(tmp_path / "t")), "style", seed=4), seed=5)
    before = {key: weight.clone() for key, weight in model.network.named_parameters()}
    model.load_adapter(tmp_path, "dagsdk")
    changed = {key for key, weight in model.network.named_parameters() if not torch.equal(weight, before[key])}
    assert changed == {key for key in before if ".dagsdk." in key}
    model.save_adapter(tmp_path / "again", "dagsdk")
    (tensors, _), (others, _) = file_of(tmp_path), file_of(tmp_path / "again")
    assert all(torch.equal(tensors[key], others[key]) for key in tensors | others)


def test_an_adapter_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        attached(StableDiffusion(tiny_pipeline(tmp_path / "t"))).load_adapter(tmp_path, "dagsdk")
    attached(StableDiffusion(tiny_pipeline(tmp_path / "t")), rank=4).save_adapter(tmp_path, "dagsdk")
    with pytest.raises(ModelError, match="64 have another shape"):
        attached(StableDiffusion(tiny_pipeline(tmp_path / "t"))).load_adapter(tmp_path, "dagsdk")


def test_a_network_comes_back_and_a_folder_without_one_is_named(tmp_path: Path) -> None:
    saved, loaded = (StableDiffusion(tiny_pipeline(tmp_path / "t")) for _ in range(2))
    for weight in saved.network.parameters():
        weight.data *= 0.9
    with pytest.raises(ModelError, match=r"the network in .* cannot be read"):
        loaded.load_network(tmp_path)
    saved.save_network(tmp_path)
    loaded.load_network(tmp_path)
    expected = saved.network.state_dict()
    assert all(torch.equal(weight, expected[key]) for key, weight in loaded.network.state_dict().items())


def test_a_folder_loads_and_knows_itself(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path / "tokenizer", "v_prediction").save_pretrained(tmp_path / "model")
    model = StableDiffusion.from_pretrained(tmp_path / "model", BuildContext())
    assert model.prediction == "v_prediction"
    assert model.latent_shape == (4, 4, 4)
    assert model.times(5).tolist() == [801, 601, 401, 201, 1, 0]
    assert model.times(50).tolist()[:2] == [981, 961]
    images = model.decode(torch.randn(2, 4, 4, 4))
    assert images.shape == (2, 3, 8, 8)
    assert images.dtype == torch.float32
    assert 0 <= images.min() <= images.max() <= 1


def test_half_precision_follows_the_context(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path / "tokenizer").save_pretrained(tmp_path / "model")
    model = StableDiffusion.from_pretrained(tmp_path / "model", BuildContext(mixed_precision="bf16"))
    assert next(model.network.parameters()).dtype == torch.bfloat16
    assert model.encode(["a"])["prompt_embeds"].dtype == torch.bfloat16


def test_long_unicode_and_empty_prompts_are_encoded(tmp_path: Path) -> None:
    model = StableDiffusion(tiny_pipeline(tmp_path))
    embeds = model.encode(["", "ünïcode ✨ 汉字", "word " * 500])["prompt_embeds"]
    assert embeds.shape == (3, 16, 16)
    assert embeds.isfinite().all()


def test_a_missing_folder_and_an_unreachable_hub_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="cannot be loaded"):
        StableDiffusion.from_pretrained(tmp_path / "nothing", BuildContext())


def test_another_kind_of_pipeline_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ModelError, match="is a FluxPipeline"):
        StableDiffusion.from_pretrained(tmp_path, BuildContext())


def test_weights_in_pickle_are_not_loaded(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path / "tokenizer").save_pretrained(tmp_path / "model", safe_serialization=False)
    with pytest.raises(ModelError, match="safetensors"):
        StableDiffusion.from_pretrained(tmp_path / "model", BuildContext())


@pytest.mark.parametrize("side", [1, 2, 3, 8, 17])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_state_flow_takes_any_latent_and_batch(side: int, batch: int) -> None:
    flow = UNetStateFlow(4, 16, (8, 16, 16))
    torch.nn.init.normal_(flow.head.weight)
    x = torch.randn(batch, 4, side, side)
    values = flow(x, torch.arange(batch), {"prompt_embeds": torch.randn(batch, 5, 16)})
    assert values.shape == (batch,)
    assert values.isfinite().all()


def test_the_state_flow_sees_state_time_and_prompt_row_by_row() -> None:
    flow = UNetStateFlow(4, 16, (8, 16))
    torch.nn.init.normal_(flow.head.weight)
    x, t, c = torch.randn(3, 4, 8, 8), torch.tensor([5, 100, 900]), torch.randn(3, 5, 16)
    values = flow(x, t, {"prompt_embeds": c})
    alone = flow(x[1:2], t[1:2], {"prompt_embeds": c[1:2]})
    assert torch.allclose(values[1:2], alone, atol=1e-5)
    for changed in ((x + 0.1, t, c), (x, t + 50, c), (x, t, c + 0.5)):
        assert not torch.allclose(flow(changed[0], changed[1], {"prompt_embeds": changed[2]}), values, atol=1e-6)


def test_the_state_flow_starts_at_zero_and_has_about_the_papers_size() -> None:
    flow = UNetStateFlow(4, 768)
    values = flow(torch.randn(1, 4, 8, 8), torch.tensor([5]), {"prompt_embeds": torch.randn(1, 7, 768)})
    assert values.item() == 0.0
    assert sum(p.numel() for p in flow.parameters()) / 1e6 == pytest.approx(6.45, rel=0.1)
