import subprocess
import sys

import pytest
import torch

import dagsdk_shapes
from dagsdk.specs import BuildContext
from dagsdk_shapes import MODEL_FOLDER
from dagsdk_shapes.evaluate import sample
from dagsdk_shapes.measure import measure
from dagsdk_shapes.prompts import CaptionOptions, held_out_prompts, training_prompts


def test_importing_loads_no_torch():
    code = "import sys, dagsdk_shapes as d; d.dagsdk_rewards(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_hooks_declare_what_can_be_built():
    context = BuildContext()
    prompts = {spec.name: spec.make(spec.options(), context) for spec in dagsdk_shapes.dagsdk_prompts()}
    assert set(prompts) == {"shapes", "shapes-held-out", "shapes-free"}
    (reward,) = dagsdk_shapes.dagsdk_rewards()
    assert reward.name == "shapes-match"
    match = reward.make(reward.options(strict=True), context)
    chosen = prompts["shapes"][:3]
    assert match(torch.rand(3, 3, 32, 32), chosen).shape == (3,)
    assert [spec.name for spec in dagsdk_shapes.dagsdk_models()] == ["shapes"]


def test_the_embedded_model_is_small():
    files = [file for file in MODEL_FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 12e6
    assert {file.suffix for file in files} <= {".json", ".safetensors", ".txt"}


def test_the_core_loads_the_model():
    pytest.importorskip("dagsdk.models.stable_diffusion")
    (spec,) = dagsdk_shapes.dagsdk_models()
    model = spec.make(spec.options(), BuildContext())
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert model.decode(latents).shape == (2, 3, 32, 32)


def test_the_embedded_model_draws_what_it_is_asked_for():
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(MODEL_FOLDER)
    pipeline.set_progress_bar_config(disable=True)
    chosen = training_prompts(CaptionOptions(count=64))
    trained = measure(sample(pipeline, chosen, steps=10, guidance=3.0, seed=0), chosen)
    assert trained.match >= 0.8
    held_out = held_out_prompts(CaptionOptions(count=64))
    unseen = measure(sample(pipeline, held_out, steps=10, guidance=3.0, seed=0), held_out)
    assert 0.4 <= unseen.match < trained.match
