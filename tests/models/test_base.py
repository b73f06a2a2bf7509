"""What an author of a model inherits: files of adapters and networks, and the auxiliary networks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dagsdk import BaseModel, Model
from dagsdk.errors import ModelError
from dagsdk.models.mlp import MLPFlowGradient, MLPStateFlow
from dagsdk.models.unet_flow_gradient import UNetFlowGradient
from dagsdk.models.unet_state_flow import UNetStateFlow
from dagsdk.models.weights import ADAPTER, NETWORK
from dagsdk.process.path import RectifiedFlow


class Small(BaseModel):
    """The ten members that a model must have, and nothing else."""

    path = RectifiedFlow()
    prediction = "velocity"
    lora_targets = ("0", "1")
    source = "small"

    def __init__(self, latent_shape: tuple[int, ...] = (4, 8, 8), prompts: tuple[int, ...] = (3, 16)) -> None:
        self.latent_shape = latent_shape
        self.network = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
        self.prompts = prompts

    def times(self, steps: int, /) -> Tensor:
        return torch.linspace(1, 0, steps + 1)

    def encode(self, texts: Sequence[str], /) -> dict[str, Tensor]:
        return {"prompt_embeds": torch.ones(len(texts), *self.prompts)}

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Any, /) -> Tensor:
        output: Tensor = self.network(x_t)
        return output

    def decode(self, latents: Tensor, /) -> Tensor:
        return latents


def adapted(name: str, rank: int = 2, model: Small | None = None, seed: int = 0) -> Small:
    """A model with an adapter whose weights are all noise."""
    model = model or Small()
    config = LoraConfig(r=rank, target_modules=list(model.lora_targets))
    inject_adapter_in_model(config, model.network, adapter_name=name)
    generator = torch.Generator().manual_seed(seed)
    for key, weight in model.network.named_parameters():
        if f".{name}." in key:
            weight.data = torch.randn(weight.shape, generator=generator)
    return model


def weights(model: Small, name: str) -> dict[str, Tensor]:
    return {key: weight.clone() for key, weight in model.network.state_dict().items() if f".{name}." in key}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_ten_members_are_a_model() -> None:
    model = Small()
    assert isinstance(model, Model)
    assert model.frozen_modules() == ()
    assert model.pipeline is None


@pytest.mark.parametrize("method", ["times", "encode", "predict", "decode"])
def test_a_method_that_is_missing_is_named_when_the_model_is_made(method: str) -> None:
    made = type("Partial", (Small,), {method: getattr(BaseModel, method)})
    with pytest.raises(TypeError, match=method):
        made()


def test_naming_the_base_loads_no_torch() -> None:
    command = "import sys, dagsdk; dagsdk.BaseModel, dagsdk.Model; print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"


def test_images_get_unets_that_attend_to_the_prompt() -> None:
    model = Small((4, 8, 8), (3, 16))
    x, t, conditioning = torch.randn(2, 4, 8, 8), torch.tensor([0.2, 0.9]), model.encode(["", "a"])
    flow, gradient = model.state_flow_network((8, 16)), model.flow_gradient_network((8, 16))
    assert isinstance(flow, UNetStateFlow)
    assert isinstance(gradient, UNetFlowGradient)
    assert torch.equal(flow(x, t, conditioning), torch.zeros(2))
    assert torch.equal(gradient(x, t, conditioning), torch.zeros(2, 4, 8, 8))


def test_vectors_get_mlps_that_see_no_prompt() -> None:
    model = Small((6,))
    flow, gradient = model.state_flow_network((8, 16)), model.flow_gradient_network((8, 16))
    assert isinstance(flow, MLPStateFlow)
    assert isinstance(gradient, MLPFlowGradient)
    assert torch.equal(flow(torch.randn(2, 6), torch.tensor([3, 900]), {}), torch.zeros(2))
    assert torch.equal(gradient(torch.randn(2, 6), torch.tensor([3, 900]), {}), torch.zeros(2, 6))


@pytest.mark.parametrize("method", ["state_flow_network", "flow_gradient_network"])
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Small((4, 2, 8, 8)), r"latent_shape is \(4, 2, 8, 8\)"),
        (Small((4, 8, 8), (16,)), r"'prompt_embeds': \(1, 16\)"),
    ],
    ids=["video", "one vector per text"],
)
def test_what_the_default_networks_cannot_take_is_named(model: Small, said: str, method: str) -> None:
    with pytest.raises(ModelError, match=f"{said}.*`{method}` of its own"):
        getattr(model, method)((8, 16))


def test_an_adapter_comes_back_under_any_name(tmp_path: Path) -> None:
    saved, loaded = adapted("dagsdk"), adapted("other", seed=1)
    saved.save_adapter(tmp_path, "dagsdk")
    loaded.load_adapter(tmp_path, "other")
    renamed = {key.replace(".other.", ".dagsdk."): weight for key, weight in weights(loaded, "other").items()}
    assert same(renamed, weights(saved, "dagsdk"))


def test_an_adapter_is_saved_and_loaded_without_the_others(tmp_path: Path) -> None:
    alone, together = adapted("dagsdk"), adapted("dagsdk", model=adapted("style", rank=3, seed=5))
    for model, folder in ((alone, tmp_path / "alone"), (together, tmp_path / "together")):
        model.save_adapter(folder, "dagsdk")
    assert same(load_file(tmp_path / "alone" / ADAPTER), load_file(tmp_path / "together" / ADAPTER))
    assert not any("style" in key or "dagsdk" in key for key in load_file(tmp_path / "together" / ADAPTER))
    style = weights(together, "style")
    adapted("dagsdk", seed=7).save_adapter(tmp_path / "new", "dagsdk")
    together.load_adapter(tmp_path / "new", "dagsdk")
    assert same(weights(together, "style"), style)
    assert not same(weights(together, "dagsdk"), weights(alone, "dagsdk"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: {key: value[:1] for key, value in found.items()}, "4 have another shape"),
        (lambda found: {key: found[key] for key in found if key[0] != "0"}, "2 weights are missing"),
        (lambda found: {**found, "2.lora_A.weight": torch.ones(2, 6)}, "1 do not belong"),
    ],
    ids=["shape", "missing", "left over"],
)
def test_an_adapter_that_does_not_fit_changes_nothing(change: Any, said: str, tmp_path: Path) -> None:
    adapted("dagsdk").save_adapter(tmp_path, "dagsdk")
    save_file(change(load_file(tmp_path / ADAPTER)), tmp_path / ADAPTER)
    model = adapted("dagsdk", seed=1)
    before = weights(model, "dagsdk")
    with pytest.raises(ModelError, match=said):
        model.load_adapter(tmp_path, "dagsdk")
    assert same(weights(model, "dagsdk"), before)


def test_a_network_comes_back_also_with_weights_that_are_shared(tmp_path: Path) -> None:
    saved, loaded = Small(), Small()
    for model in (saved, loaded):
        model.network[1].weight = model.network[0].weight
    saved.save_network(tmp_path / "new")
    loaded.load_network(tmp_path / "new")
    assert same(dict(loaded.network.state_dict()), dict(saved.network.state_dict()))
    assert loaded.network[1].weight is loaded.network[0].weight


@pytest.mark.parametrize("layers", [(nn.Linear(6, 6),), (nn.Linear(6, 6), nn.Linear(6, 5))], ids=["missing", "shape"])
def test_a_network_that_does_not_fit_is_named(layers: tuple[nn.Module, ...], tmp_path: Path) -> None:
    model = Small()
    model.network = nn.Sequential(*layers)
    model.save_network(tmp_path)
    with pytest.raises(ModelError, match="does not fit this one"):
        Small().load_network(tmp_path)


@pytest.mark.parametrize("content", [None, b"no safetensors"], ids=["no file", "another format"])
def test_files_that_cannot_be_read_are_named(content: bytes | None, tmp_path: Path) -> None:
    for name in (ADAPTER, NETWORK):
        if content is not None:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=r"the adapter in .* cannot be read"):
        adapted("dagsdk").load_adapter(tmp_path, "dagsdk")
    with pytest.raises(ModelError, match=r"the network in .* cannot be read"):
        Small().load_network(tmp_path)
