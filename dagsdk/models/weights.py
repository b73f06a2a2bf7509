"""Weights in safetensors files: those of one adapter, and those of a whole network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from dagsdk.errors import ModelError

ADAPTER = "pytorch_lora_weights.safetensors"
"""diffusers' own name; older versions do not look for it when they are offline."""
NETWORK = "network.safetensors"


def adapter_weights(network: nn.Module, name: str) -> dict[str, Tensor]:
    """The weights of the network's adapter of this name, under peft's keys, which leave the name out."""
    # Without `save_embedding_layers` peft may ask the Hub for the size of the vocabulary.
    found = get_peft_model_state_dict(network, adapter_name=name, save_embedding_layers=False)
    # Older versions of peft also give adapters whose name only begins like this one.
    others = set(getattr(network, "peft_config", {})) - {name}
    return {key: weight.contiguous() for key, weight in found.items() if others.isdisjoint(key.split("."))}


def set_adapter_weights(network: nn.Module, name: str, weights: Mapping[str, Tensor], source: Path) -> None:
    """Sets the network's adapter of this name to weights under peft's keys.

    source: where they were read, for the message.
    Raises ModelError, and changes nothing, unless names and shapes are those of the adapter.
    """
    expected = adapter_weights(network, name)
    missing, extra = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    other = {key for key in expected.keys() & weights.keys() if expected[key].shape != weights[key].shape}
    if wrong := sorted(missing | extra | other):
        raise ModelError(
            f"the adapter in {str(source)!r} does not fit the network: {len(missing)} weights are missing, "
            f"{len(extra)} do not belong to it and {len(other)} have another shape, such as {wrong[0]!r}; rank and "
            "targets must be those it was trained with"
        )
    set_peft_model_state_dict(network, dict(weights), adapter_name=name)


def save_adapter_file(network: nn.Module, name: str, folder: Path) -> None:
    """Writes the adapter of this name to `ADAPTER` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(adapter_weights(network, name), folder / ADAPTER)


def load_adapter_file(network: nn.Module, name: str, folder: Path) -> None:
    """Reads that. Raises ModelError for a file that is missing or does not fit."""
    try:
        weights = load_file(folder / ADAPTER)
    except (OSError, SafetensorError) as error:
        raise unreadable("adapter", folder, error) from error
    set_adapter_weights(network, name, weights, folder)


def save_network_file(network: nn.Module, folder: Path) -> None:
    """Writes all weights to `NETWORK` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(network, str(folder / NETWORK))


def load_network_file(network: nn.Module, folder: Path) -> None:
    """Reads that. Raises ModelError for a file that is missing or does not fit."""
    try:
        load_model(network, folder / NETWORK)
    except (OSError, SafetensorError) as error:
        raise unreadable("network", folder, error) from error
    except RuntimeError as error:
        raise ModelError(
            f"the network in {str(folder)!r} does not fit this one: {' '.join(str(error).split())}; build the model "
            "with the options that it was saved with"
        ) from error


def unreadable(what: str, folder: Path, error: Exception) -> ModelError:
    return ModelError(
        f"the {what} in {str(folder)!r} cannot be read: {error}; give a folder that this kind of model was saved to"
    )
