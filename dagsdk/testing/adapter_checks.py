"""The contract of models, continued: the trained weights, and their files."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError, safe_open

from dagsdk.engine.adapter import Adapter
from dagsdk.testing.check import ContractError, require
from dagsdk.testing.model_case import LORA, ModelCase, training


def check_an_adapter_changes_nothing_at_first(case: ModelCase) -> None:
    """An adapter can be attached to lora_targets, and a new one leaves predictions as they were."""
    with torch.no_grad(), case.adapted.adapter.in_use():
        after = case.predict(model=case.adapted.model)
    require(
        case.close(after, case.adapted.before),
        f"{case.name}: predictions change when an adapter is attached, though it starts at zero; call `.eval()` in "
        "build, and name plain linear or convolution layers in lora_targets",
    )


def check_an_adapter_comes_back(case: ModelCase) -> None:
    """load_adapter gives another build the bits of the adapter that save_adapter wrote."""
    saving = case.adapted.adapter
    fresh = saving.state()
    try:
        _spoil(case, saving)
        with saving.in_use(), training(case.build(), LORA, seed=1) as loading:
            _require_the_same(case, "adapter", saving, loading)
    finally:
        saving.restore(fresh)


def check_the_named_adapter_is_used(case: ModelCase) -> None:
    """save_adapter and load_adapter use the adapter of the given name, and no other that the network has."""
    model, other = case.build(), case.build()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # a second adapter is meant
        for each in (model, other):
            Adapter(each, LORA, seed=2).release()  # a host's own, which is zero
        saving, loading = (Adapter(each, LORA, seed) for seed, each in enumerate((model, other)))
    with saving.in_use(), loading.in_use():
        with torch.no_grad(), loading.reference():
            before = case.predict(model=other)
        _spoil(case, saving)
        _require_the_same(case, "adapter", saving, loading, f" under the name {saving.name!r}, next to another")
        with torch.no_grad(), loading.reference():
            after = case.predict(model=other)
    require(
        torch.equal(after, before),
        f"{case.name}: load_adapter changed another adapter than {loading.name!r}; it must change only the adapter of "
        "the name that it is given",
    )


def check_a_network_comes_back(case: ModelCase) -> None:
    """load_network gives another build the bits of the network that save_network wrote."""
    with training(case.build(), None) as saving, training(case.build(), None) as loading:
        for weight in saving.trained().values():
            weight.data *= 0.9
        _require_the_same(case, "network", saving, loading)


def _spoil(case: ModelCase, adapter: Adapter) -> None:
    """Adds noise to the adapter's weights, as training would."""
    for seed, weight in enumerate(adapter.trained().values()):
        weight.data += 0.1 * case.normal(weight.shape, seed)


def _require_the_same(case: ModelCase, what: str, saving: Adapter, loading: Adapter, how: str = "") -> None:
    """Saves what changed in one model, loads it into the other, and compares their predictions."""
    with torch.no_grad(), TemporaryDirectory() as folder:
        expected = case.predict(model=saving.model)
        require(
            not torch.equal(expected, case.predict(model=loading.model)),
            f"{case.name}: other weights of its {what} leave predict as it was; predict must call `network`",
        )
        saving.save(Path(folder))
        loading.load(Path(folder))
        require(
            torch.equal(case.predict(model=loading.model), expected),
            f"{case.name}: predictions differ after its {what} is saved and loaded{how}; save_{what} must write every "
            f"trained weight as it is now, and load_{what} must set them in place",
        )


def check_files_are_safetensors(case: ModelCase) -> None:
    """Adapters and networks are saved as safetensors and JSON only, without pickle."""
    adapted = case.adapted
    for what, save in (
        ("adapter", lambda folder: adapted.model.save_adapter(folder, adapted.adapter.name)),
        ("network", case.built.save_network),
    ):
        with TemporaryDirectory() as folder:
            save(Path(folder))
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            other = sorted(path.name for path in files if path.suffix not in (".safetensors", ".json"))
            require(
                not other,
                f"{case.name}: save_{what} writes {', '.join(other)}; write .safetensors and .json only: other formats "
                "can run code when they are read",
            )
            weights = [path for path in files if path.suffix == ".safetensors"]
            require(weights, f"{case.name}: save_{what} writes no .safetensors file; write the weights as safetensors")
            for path in weights:
                _require_readable(case, what, path)


def _require_readable(case: ModelCase, what: str, path: Path) -> None:
    try:
        with safe_open(path, "pt") as opened:
            opened.keys()
    except SafetensorError as error:
        raise ContractError(
            f"{case.name}: save_{what} writes {path.name}, which is not what its name says: {error}; write it with "
            "safetensors"
        ) from error


ADAPTER_CHECKS = (
    check_an_adapter_changes_nothing_at_first,
    check_an_adapter_comes_back,
    check_the_named_adapter_is_used,
    check_a_network_comes_back,
    check_files_are_safetensors,
)
