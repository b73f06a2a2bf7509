"""The trained weights of a network: a low-rank adapter on peft, or all of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig as PeftConfig
from peft import inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from dagsdk.config.schema import LoraConfig
from dagsdk.engine.seeds import global_seed
from dagsdk.errors import ModelError
from dagsdk.families.protocol import Family


class Adapter:
    """What is trained of a family's network, and the way back to the reference.

    Everything else of the network, and the family's other modules, is frozen. Trained weights are float32 whatever
    the dtype of the frozen ones.
    """

    def __init__(self, family: Family, lora: LoraConfig | None, seed: int) -> None:
        """Attaches to the family's network. lora: None trains the whole network."""
        self.family = family
        self.lora = lora
        for module in (family.network, *family.frozen_modules()):
            module.requires_grad_(False).eval()
        if lora is None:
            self._reference: dict[str, Tensor] | None = copy.deepcopy(dict(family.network.state_dict()))
            family.network.float().requires_grad_(True)
        else:
            self._reference = None
            self._inject(lora, seed)

    def _inject(self, lora: LoraConfig, seed: int) -> None:
        network = self.family.network
        config = PeftConfig(
            r=lora.rank,
            lora_alpha=lora.alpha or lora.rank,
            init_lora_weights="gaussian",
            target_modules=list(lora.targets or self.family.lora_targets),
        )
        try:
            with global_seed(seed):
                inject_adapter_in_model(config, network)
        except ValueError as error:
            raise ModelError(
                f"model.lora.targets is {list(config.target_modules or ())}; no module of {self.family.source!r} "
                "has such a name; leave it out for the family's own, or name linear or convolution layers"
            ) from error
        for parameter in self.trained().values():
            parameter.data = parameter.data.float()

    def trained(self) -> dict[str, nn.Parameter]:
        """Trained parameters by their name in the network, in a fixed order."""
        return {name: p for name, p in self.family.network.named_parameters() if p.requires_grad}

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

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Within it, the network computes what it did before training."""
        if self._reference is not None:
            current = {k: v.detach().clone() for k, v in self.family.network.state_dict().items()}
            self.family.network.load_state_dict(self._reference)
            try:
                yield
            finally:
                self.family.network.load_state_dict(current)
            return
        layers = [m for m in self.family.network.modules() if isinstance(m, BaseTunerLayer)]
        trained = list(self.trained().values())
        for layer in layers:
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in layers:
                layer.enable_adapters(True)
            # peft also switches requires_grad; an adapter stays trained through a look at the reference
            for parameter in trained:
                parameter.requires_grad_(True)

    def merge(self) -> None:
        """Adds the adapter to the frozen weights for good (W + B A · alpha / rank) and removes it."""
        for parent in list(self.family.network.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, BaseTunerLayer):
                    child.merge(safe_merge=True)
                    setattr(parent, name, child.get_base_layer())

    def save(self, folder: Path) -> None:
        """Writes the trained weights in the format of the model's own library."""
        if self.lora is None:
            self.family.save_network(folder)
        else:
            self.family.save_adapter(folder)

    def load(self, folder: Path) -> None:
        """Reads what `save` wrote. Raises ModelError where it does not fit this network."""
        if self.lora is None:
            self.family.load_network(folder)
        else:
            self.family.load_adapter(folder)
