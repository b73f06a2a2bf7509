"""What a program that embeds a run has set, put back as it was: torch's modes, modules' flags, active adapters."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from attrs import define
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn


@contextmanager
def own_modes(device_type: str) -> Iterator[None]:
    """Within it, gradients are on and autocast is off, whatever the host's `no_grad`, `inference_mode` or `autocast`.

    These modes belong to the thread, so a generator must not yield within it.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device_type, enabled=False):
        yield


@contextmanager
def frozen(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Within it, the modules are in evaluation mode, and their parameters require no gradients.

    Runs in several threads may share a module, such as a VAE: it is as it was when the last of them leaves it.
    """
    with _LOCK:
        for module in modules:
            held = _HELD.setdefault(module, _Held(Flags((module,))))
            held.count += 1
            module.requires_grad_(False).eval()
    try:
        yield
    finally:
        with _LOCK:
            for module in reversed(modules):  # one may be a part of another
                held = _HELD[module]
                held.count -= 1
                if not held.count:
                    _HELD.pop(module).flags.restore()


class Flags:
    """`requires_grad` of every parameter and `training` of every module, as they are now."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._gradients = [(p, p.requires_grad) for module in modules for p in module.parameters()]
        self._training = [(m, m.training) for module in modules for m in module.modules()]

    def restore(self) -> None:
        for parameter, required in self._gradients:
            parameter.requires_grad_(required)
        for module, training in self._training:
            module.training = training


@define
class _Held:
    flags: Flags
    count: int = 0


_HELD: dict[nn.Module, _Held] = {}
"""Modules that are frozen now, by how many runs, and what they were before."""
_LOCK = threading.Lock()


class ActiveAdapters:
    """Which of peft's adapters take part in what each layer of a network computes, as it is now."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._layers = {layer: (list(layer.active_adapters), layer.disable_adapters) for layer in tuned(network)}

    def restore(self) -> None:
        """Adapters of layers that had none then take no part."""
        for layer in tuned(self._network):
            names, disabled = self._layers.get(layer, ([], False))
            activate(layer, names)
            if disabled:
                layer.enable_adapters(False)


def tuned(network: nn.Module) -> list[BaseTunerLayer]:
    """The layers that have adapters, or had some."""
    return [module for module in network.modules() if isinstance(module, BaseTunerLayer)]


def names(layer: BaseTunerLayer) -> set[str]:
    """Of the layer's adapters, active or not."""
    return {name for attribute in layer.adapter_layer_names for name in getattr(layer, attribute)}


def active(layer: BaseTunerLayer) -> list[str]:
    """Adapters that take part in what the layer computes."""
    return [] if layer.disable_adapters else list(layer.active_adapters)


def activate(layer: BaseTunerLayer, adapters: Sequence[str]) -> None:
    """Lets just these take part. Which parameters require gradients stays as it is, which peft would change."""
    flags = Flags((layer,))
    layer.enable_adapters(True)
    layer.set_adapter(list(adapters), inference_mode=True)
    flags.restore()
