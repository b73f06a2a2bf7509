"""Stable Diffusion pipelines from folders, and folders that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import tiny_pipeline

from dagsdk.errors import ModelError
from dagsdk.families.stable_diffusion import StableDiffusion
from dagsdk.families.unet_flow import UNetFlow
from dagsdk.specs import BuildContext


def test_a_folder_loads_and_knows_itself(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path / "tokenizer", "v_prediction").save_pretrained(tmp_path / "model")
    family = StableDiffusion.from_pretrained(tmp_path / "model", BuildContext())
    assert family.prediction == "v_prediction"
    assert family.latent_shape == (4, 4, 4)
    assert family.times(5).tolist() == [801, 601, 401, 201, 1, 0]
    assert family.times(50).tolist()[:2] == [981, 961]
    images = family.decode(torch.randn(2, 4, 4, 4))
    assert images.shape == (2, 3, 8, 8)
    assert images.dtype == torch.float32
    assert 0 <= images.min() <= images.max() <= 1


def test_half_precision_follows_the_context(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path / "tokenizer").save_pretrained(tmp_path / "model")
    family = StableDiffusion.from_pretrained(tmp_path / "model", BuildContext(mixed_precision="bf16"))
    assert next(family.network.parameters()).dtype == torch.bfloat16
    assert family.encode(["a"])["prompt_embeds"].dtype == torch.bfloat16


def test_long_unicode_and_empty_prompts_are_encoded(tmp_path: Path) -> None:
    family = StableDiffusion(tiny_pipeline(tmp_path))
    embeds = family.encode(["", "ünïcode ✨ 汉字", "word " * 500])["prompt_embeds"]
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
def test_the_flow_network_takes_any_latent_and_batch(side: int, batch: int) -> None:
    flow = UNetFlow(4, 16, (8, 16, 16))
    torch.nn.init.normal_(flow.head.weight)
    x = torch.randn(batch, 4, side, side)
    values = flow(x, torch.arange(batch), {"prompt_embeds": torch.randn(batch, 5, 16)})
    assert values.shape == (batch,)
    assert values.isfinite().all()


def test_the_flow_network_looks_at_state_time_and_prompt_row_by_row() -> None:
    flow = UNetFlow(4, 16, (8, 16))
    torch.nn.init.normal_(flow.head.weight)
    x, t, c = torch.randn(3, 4, 8, 8), torch.tensor([5, 100, 900]), torch.randn(3, 5, 16)
    values = flow(x, t, {"prompt_embeds": c})
    alone = flow(x[1:2], t[1:2], {"prompt_embeds": c[1:2]})
    assert torch.allclose(values[1:2], alone, atol=1e-5)
    for changed in ((x + 0.1, t, c), (x, t + 50, c), (x, t, c + 0.5)):
        assert not torch.allclose(flow(changed[0], changed[1], {"prompt_embeds": changed[2]}), values, atol=1e-6)


def test_the_flow_network_starts_at_zero_and_has_about_the_papers_size() -> None:
    flow = UNetFlow(4, 768)
    values = flow(torch.randn(1, 4, 8, 8), torch.tensor([5]), {"prompt_embeds": torch.randn(1, 7, 768)})
    assert values.item() == 0.0
    assert sum(p.numel() for p in flow.parameters()) / 1e6 == pytest.approx(6.45, rel=0.1)
