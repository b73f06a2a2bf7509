"""What belongs to the program that embeds a run stays as it was: flags, modes, generators, accelerate's state."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from diffusers import StableDiffusionPipeline
from embedded import Restless, align, brightness, live, metrics, saved

from dagsdk.errors import RewardError

# --- flags and modes ---


def flags(pipeline: StableDiffusionPipeline) -> dict[str, Any]:
    modules = {"unet": pipeline.unet, "text": pipeline.text_encoder, "vae": pipeline.vae}
    found: dict[str, Any] = {}
    for part, module in modules.items():
        found |= {f"{part}.{name}": p.requires_grad for name, p in module.named_parameters() if "dagsdk" not in name}
        for name, child in module.named_modules():
            if "lora_" not in name and not name.endswith("base_layer"):
                found[f"{part}.{name}.training"] = child.training
    return {name.replace(".base_layer", ""): value for name, value in found.items()}


@pytest.mark.parametrize("host", ["train", "eval", "mixed"])
def test_flags_are_as_they_were(host: str) -> None:
    pipeline = live()
    for module in (pipeline.unet, pipeline.text_encoder, pipeline.vae):
        module.train(host != "eval").requires_grad_(host == "train")
    if host == "mixed":
        pipeline.unet.down_blocks.eval()
        pipeline.vae.decoder.requires_grad_(True)
    before = flags(pipeline)

    def failing(images: Any, prompts: Any) -> Any:
        """In the middle of the second epoch's update."""
        assert run.epoch == 0 or all(p.grad is None for p in pipeline.unet.parameters()), "as a reward may"
        return brightness(images, prompts)

    run = align(pipeline, failing, epochs=3, forward_looking={"mode": "current"}, micro_batch=4)
    assert flags(pipeline) == before
    with pytest.raises(RewardError, match="as a reward may"):
        for _ in run:
            assert flags(pipeline) == before
            run.sample("a cat", base=True)
            assert flags(pipeline) == before
    assert run.epoch == 1 and flags(pipeline) == before
    assert all(p.grad is None for p in pipeline.unet.parameters())
    run.close()
    assert flags(pipeline) == before


def test_results_do_not_depend_on_the_flags_and_modes_of_the_host() -> None:
    plain, other = align(live(), ema=0.5).finish(), live()
    for module in other.text_encoder.modules():
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.5
    for module in (other.unet, other.text_encoder, other.vae):
        module.train().requires_grad_(False)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        run = align(other, ema=0.5)
        for _ in run:
            assert torch.is_inference_mode_enabled() and torch.is_autocast_enabled("cpu")
        run.evaluate()
    assert metrics(run) == metrics(plain)
    with torch.no_grad():
        assert metrics(align(live(), ema=0.5).finish()) == metrics(plain)
    assert torch.is_grad_enabled()


# --- generators ---


def generators() -> tuple[Any, ...]:
    state = np.random.get_state()
    return random.getstate(), state[1].tolist(), state[2:], torch.get_rng_state().tolist()


def test_global_generators_are_as_they_were(tmp_path: Path) -> None:
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    np.random.standard_normal(), torch.randn(1), random.gauss(0, 1)
    before = generators()
    for model in (live(), str(saved(tmp_path / "tiny"))):
        run = align(model, Restless(), output=tmp_path / type(model).__name__, trackers=["tensorboard"])
        assert generators() == before, "construction"
        for _ in run:
            assert generators() == before, "an epoch"
            run.sample("a cat"), run.evaluate(), run.save(tmp_path / "lora")
            assert generators() == before, "sampling"
        run.close()
        assert generators() == before, "closing"


# --- accelerate ---


@pytest.fixture
def no_accelerator() -> Iterator[None]:
    def reset() -> None:
        AcceleratorState._reset_state(True)
        GradientState._reset_state()

    reset()
    yield
    reset()


def shared_states() -> list[dict[str, Any]]:
    return [dict(kind._shared_state) for kind in (PartialState, AcceleratorState, GradientState)]


@pytest.mark.usefixtures("no_accelerator")
@pytest.mark.parametrize("trackers", [[], ["tensorboard"]])
def test_the_state_of_accelerate_is_the_hosts(trackers: list[str], tmp_path: Path) -> None:
    align(live(), output=tmp_path / "before", trackers=trackers).finish().close()
    assert shared_states() == [{}, {}, {}], "a host that has none can still make its own"
    accelerator = Accelerator(mixed_precision="bf16", cpu=True, gradient_accumulation_steps=2)
    before = shared_states()
    run = align(live(), output=tmp_path / "after", trackers=trackers)
    for _ in run:
        assert shared_states() == before
    run.close()
    assert shared_states() == before and accelerator.mixed_precision == "bf16"
    model = accelerator.prepare(torch.nn.Linear(2, 2))
    assert model(torch.ones(1, 2)).isfinite().all()
    if trackers:
        assert list((tmp_path / "after/tensorboard").rglob("events*"))
