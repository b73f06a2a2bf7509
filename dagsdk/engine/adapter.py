"""The trained weights of a network: a low-rank adapter, or all of it. A host's own adapters stay as they are."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakKeyDictionary, ref

import torch
from peft import LoraConfig as PeftConfig
from peft import inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from dagsdk.config.schema import LoraConfig
from dagsdk.engine import host
from dagsdk.engine.generators import global_seed
from dagsdk.errors import ModelError
from dagsdk.models.protocol import Model
from dagsdk.models.quiet import without_warnings

NAME = "dagsdk"
"""Of our adapter, unless the network has one of that name already."""

_CLAIMED: WeakKeyDictionary[nn.Module, ref[Adapter]] = WeakKeyDictionary()
"""Networks that an open run trains, and what it trains of them."""


class Adapter:
    """What is trained of a model's network. The reference is the network without it.

    Within `in_use` everything else of the network, and the model's other modules, is frozen and in evaluation mode;
    outside, every flag is as the host had it. Trained weights are float32 whatever the dtype of the frozen ones.
    Adapters that the host had active stay active, and are a part of the reference.

    lora: None trains the whole network. seed: of the adapter's first weights.
    Raises ModelError for a network that another open run trains, for one with a fused adapter, and for targets that it
    does not have; the network is then as it was.
    """

    def __init__(self, model: Model, lora: LoraConfig | None, seed: int) -> None:
        network = model.network
        self.model, self.lora = model, lora
        self._check_free()
        self.name = _free_name(network)
        flags = host.Flags((network, *model.frozen_modules()))
        self._knew_adapters = getattr(network, "_hf_peft_config_loaded", None)
        self._reference: dict[str, Tensor] | None = None
        try:
            if lora is None:
                self._reference = copy.deepcopy(dict(network.state_dict()))
                network.float()
            else:
                self._inject(lora, seed)
        finally:
            flags.restore()
        self._active = host.ActiveAdapters(network)
        _CLAIMED[network] = ref(self)

    def _check_free(self) -> None:
        if self._owner() is not None:
            gc.collect()  # a run that nobody holds any more may still be part of a cycle
        if self._owner() is not None:
            raise ModelError(
                f"model {self.model.source!r} is trained by another run that is still open; a network can be trained "
                "by one run at a time; call close() on that run first, or load the model again"
            )
        if any(layer.merged for layer in host.tuned(self.model.network)):
            raise ModelError(
                f"model {self.model.source!r} has a LoRA that is fused into its weights and could be taken out again; "
                "such a network cannot be trained; call pipeline.unload_lora_weights() first, which leaves it in them"
            )

    def _owner(self) -> Adapter | None:
        """What an open run trains of the network."""
        found = _CLAIMED.get(self.model.network)
        return None if found is None else found()

    def _inject(self, lora: LoraConfig, seed: int) -> None:
        network = self.model.network
        config = PeftConfig(
            r=lora.rank,
            lora_alpha=lora.alpha or lora.rank,
            init_lora_weights="gaussian",
            target_modules=list(lora.targets or self.model.lora_targets),
        )
        active = {layer: host.active(layer) for layer in host.tuned(network)}
        try:
            # the host's adapters are meant to be there
            with global_seed(seed), without_warnings("Already found a `peft_config`"):
                inject_adapter_in_model(config, network, self.name)
        except ValueError as error:
            self._take_off()
            raise ModelError(
                f"model.lora.targets is {list(config.target_modules or ())}; no module of {self.model.source!r} "
                "has such a name; leave it out for the model's own, or name linear or convolution layers"
            ) from error
        if hasattr(network, "_hf_peft_config_loaded"):  # diffusers then knows that there are adapters
            vars(network)["_hf_peft_config_loaded"] = True
        for layer in host.tuned(network):
            host.activate(layer, [*active.get(layer, ()), *([self.name] if self.name in host.names(layer) else [])])
            layer.train(layer.get_base_layer().training)  # new modules are as the one that they wrap
        for parameter in self.trained().values():
            parameter.data = parameter.data.float()
            parameter.requires_grad_(False)

    def trained(self) -> dict[str, nn.Parameter]:
        """Trained parameters by their name in the network, in a fixed order."""
        named = self.model.network.named_parameters()
        if self.lora is None:
            return dict(named)
        return {name: parameter for name, parameter in named if self.name in name.split(".")}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within it, only what is trained has gradients, and every module is in evaluation mode.

        The adapters that take part are those of the beginning, whichever the host has switched on or off since.
        """
        network = self.model.network
        modes, modules = host.own_modes(next(network.parameters()).device.type), self.model.frozen_modules()
        with modes, host.frozen((network, *modules)):
            active = host.ActiveAdapters(network)
            try:
                self._active.restore()
                self._require_gradients()
                yield
            finally:
                active.restore()

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Within it, the network computes what it did before training."""
        network = self.model.network
        if self._reference is not None:
            current = {k: v.detach().clone() for k, v in network.state_dict().items()}
            network.load_state_dict(self._reference)
            try:
                yield
            finally:
                network.load_state_dict(current)
            return
        ours = [layer for layer in host.tuned(network) if self.name in host.names(layer)]
        active = [host.active(layer) for layer in ours]
        for layer, names in zip(ours, active, strict=True):
            host.activate(layer, [name for name in names if name != self.name])
        try:
            yield
        finally:
            for layer, names in zip(ours, active, strict=True):
                host.activate(layer, names)

    def state(self) -> dict[str, Tensor]:
        """Copies of the trained weights, on the CPU."""
        return {name: p.detach().cpu().clone() for name, p in self.trained().items()}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Sets the trained weights to those of `state`. Raises ModelError where names or shapes differ."""
        trained = self.trained()
        wrong = set(trained) ^ set(state)
        wrong |= {name for name in set(trained) & set(state) if trained[name].shape != state[name].shape}
        if wrong:
            raise ModelError(
                f"trained weights do not fit the network: {sorted(wrong)[0]!r} and {len(wrong) - 1} others are "
                "missing, left over or of another shape; rank, targets and model must be those of the checkpoint"
            )
        for name, parameter in trained.items():
            parameter.copy_(state[name])

    def save(self, folder: Path) -> None:
        """Writes the trained weights in the format of the model's own library."""
        if self.lora is None:
            self.model.save_network(folder)
        else:
            self.model.save_adapter(folder, self.name)

    def load(self, folder: Path) -> None:
        """Reads what `save` wrote. Raises ModelError where it does not fit this network."""
        if self.lora is None:
            self.model.load_network(folder)
        else:
            self.model.load_adapter(folder, self.name)

    def release(self) -> None:
        """Lets another run train the network. What was trained stays in it."""
        if self._owner() is self:
            del _CLAIMED[self.model.network]

    def undo(self) -> None:
        """Gives the network back as it was: for a run that could not be set up."""
        self.release()
        flags = host.Flags((self.model.network,))
        if self._reference is None:
            self._take_off()
            flags.restore()
            return
        for name, value in (*self.model.network.named_parameters(), *self.model.network.named_buffers()):
            value.data = self._reference.get(name, value.data)

    def _take_off(self) -> None:
        """Removes the adapter, and the layers that were wrapped for it alone."""
        network = self.model.network
        for parent in list(network.modules()):
            for name, layer in list(parent.named_children()):
                if not isinstance(layer, BaseTunerLayer) or self.name not in host.names(layer):
                    continue
                host.activate(layer, [other for other in host.active(layer) if other != self.name])
                layer.delete_adapter(self.name)
                if not host.names(layer):
                    setattr(parent, name, layer.get_base_layer())
        configs = getattr(network, "peft_config", {})
        configs.pop(self.name, None)
        if hasattr(network, "peft_config") and not configs:
            del network.peft_config
        if self._knew_adapters is not None:
            vars(network)["_hf_peft_config_loaded"] = self._knew_adapters

    def _require_gradients(self) -> None:
        trained = self.trained()
        if not trained:
            raise ModelError(
                f"the adapter {self.name!r} is no longer on model {self.model.source!r}; an open run needs it there; "
                "call close() before unloading or deleting adapters"
            )
        for parameter in trained.values():
            parameter.requires_grad_(True)


def _free_name(network: nn.Module) -> str:
    taken = getattr(network, "peft_config", {})
    number = 1
    while (name := NAME if number == 1 else f"{NAME}_{number}") in taken:
        number += 1
    return name
