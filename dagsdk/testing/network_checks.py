"""The contract of models, continued: the network that is trained, its adapter, those beside it, and their files."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from dagsdk.engine.lora import Adapter
from dagsdk.engine.seeds import global_seed
from dagsdk.families.protocol import Family
from dagsdk.testing.check import ContractError, require
from dagsdk.testing.model_case import BESIDE, LORA, ModelCase, company, require_finite, require_gradient


def check_predictions_have_the_states_shape(case: ModelCase) -> None:
    """States of shape (n, *latent_shape) get predictions of that shape."""
    shape, expected = tuple(case.output.shape), tuple(case.states.shape)
    require(shape == expected, f"{case.name}: predict returned shape {shape} for states of shape {expected}")


def check_predictions_are_float32(case: ModelCase) -> None:
    """Predictions are float32, whatever the network computes in."""
    require(
        case.output.dtype == torch.float32,
        f"{case.name}: predict returned {case.output.dtype}; it must be torch.float32: cast with `.float()`",
    )


def check_predictions_are_finite(case: ModelCase) -> None:
    """Predictions are finite at every time of the chain."""
    require_finite(case, "predict", case.output, "see how times enter the network")


def check_one_state_is_predicted_alone(case: ModelCase) -> None:
    """One state alone gets one prediction."""
    with torch.no_grad():
        shape, expected = tuple(case.predict(slice(1)).shape), (1, *case.states.shape[1:])
    require(
        shape == expected,
        f"{case.name}: predict returned shape {shape} for one state; it must be {expected}: do not squeeze",
    )


def check_states_are_predicted_row_by_row(case: ModelCase) -> None:
    """A prediction does not depend on the other states, times and texts of its batch."""
    with torch.no_grad():
        for row, index in company(case):
            require(
                case.close(case.predict(index)[row], case.output[row]),
                f"{case.name}: predict gives state {row} another prediction among other states; row i must depend on "
                "row i only: take each row's own time and text, and no statistics over the batch",
            )


def check_predicting_twice_gives_the_same(case: ModelCase) -> None:
    """Predicting twice gives the same bits."""
    with torch.no_grad():
        require(
            torch.equal(case.predict(), case.predict()),
            f"{case.name}: predict gives the same states other bits when it is called again; switch dropout off with "
            "`.eval()`, and draw nothing at random",
        )


def check_inputs_are_left_as_they_were(case: ModelCase) -> None:
    """Predicting and decoding do not change what they are given."""
    (x_t, t, conditioning), (states, times, encoded) = case.rows(), case.rows()
    latents = states.clone()
    with torch.no_grad(), case.autocast():
        case.built.predict(x_t, t, conditioning)
        case.built.decode(latents)
    for what, after, before in (
        ("predict changed the states", x_t, states),
        ("predict changed the times", t, times),
        *((f"predict changed the conditioning {name!r}", conditioning[name], encoded[name]) for name in encoded),
        ("decode changed the latents", latents, states),
    ):
        require(
            torch.equal(after, before),
            f"{case.name}: {what} that it was given; work on a copy (no operation that ends in `_`)",
        )


def check_gradients_reach_the_network(case: ModelCase) -> None:
    """A gradient flows from predictions to the network's weights."""
    weights = [weight for weight in case.built.network.parameters() if weight.is_floating_point()]
    before = [weight.requires_grad for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_(True)
        hint = "predict must call `network`, and not under `no_grad`"
        require_gradient(case, "predict", case.predict(), weights, hint)
    finally:
        for weight, required in zip(weights, before, strict=True):
            weight.requires_grad_(required)


def check_building_twice_gives_the_same_model(case: ModelCase) -> None:
    """Building again gives the same weights: a checkpoint may hold no more than what was trained on them."""
    require(
        torch.equal(case.adapted.before, case.output),
        f"{case.name} predicts other bits when it is built again; draw new weights under a seed from the context",
    )


def check_frozen_modules_are_others(case: ModelCase) -> None:
    """Frozen modules are networks besides the trained one, and share no weight with it."""
    trained = {id(weight) for weight in case.built.network.parameters()}
    for module in case.built.frozen_modules():
        require(
            isinstance(module, nn.Module),
            f"{case.name}: frozen_modules holds {module!r:.80}; each must be a torch.nn.Module",
        )
        require(
            trained.isdisjoint(id(weight) for weight in module.parameters()),
            f"{case.name}: frozen_modules holds a {type(module).__name__} with weights of the trained network; name "
            "the others only, such as a text encoder",
        )


def check_an_adapter_changes_nothing_at_first(case: ModelCase) -> None:
    """An adapter goes on lora_targets, and a fresh one leaves predictions as they were."""
    with torch.no_grad():
        after = case.predict(family=case.adapted.family)
    require(
        case.close(after, case.adapted.before),
        f"{case.name}: predictions change when an adapter is attached, though it starts at zero; call `.eval()` in "
        "build, and name plain linear or convolution layers in lora_targets",
    )


def check_an_adapter_comes_back(case: ModelCase) -> None:
    """load_adapter gives another build the bits of the adapter that save_adapter wrote."""
    family, adapter = case.adapted.family, case.adapted.adapter
    fresh = adapter.state()
    try:
        for seed, weight in enumerate(adapter.trained().values()):
            weight.data += 0.1 * case.normal(weight.shape, seed)
        other: Family = case.build()
        loaded = Adapter(other, LORA, seed=1)
        _require_the_same(case, "adapter", family, other, adapter, loaded)
    finally:
        adapter.restore(fresh)


def check_a_network_comes_back(case: ModelCase) -> None:
    """load_network gives another build the bits of the network that save_network wrote."""
    family, other = case.build(), case.build()
    adapter, loaded = (Adapter(each, None, seed=0) for each in (family, other))
    for weight in adapter.trained().values():
        weight.data *= 0.9
    _require_the_same(case, "network", family, other, adapter, loaded)


def _require_the_same(
    case: ModelCase, what: str, family: Family, other: Family, saving: Adapter, loading: Adapter
) -> None:
    """Saves what was changed in one model, loads it into the other, and compares them."""
    with torch.no_grad(), TemporaryDirectory() as folder:
        expected = case.predict(family=family)
        require(
            not torch.equal(expected, case.predict(family=other)),
            f"{case.name}: other weights of its {what} leave predict as it was; predict must call `network`",
        )
        saving.save(Path(folder))
        loading.load(Path(folder))
        require(
            torch.equal(case.predict(family=other), expected),
            f"{case.name}: predictions differ once its {what} is saved and loaded; save_{what} must write every "
            f"trained weight as it is now, and load_{what} set them in place",
        )


def check_files_are_safetensors(case: ModelCase) -> None:
    """Adapters and networks are saved as safetensors and JSON only, without pickle."""
    for what, save in (("adapter", case.adapted.family.save_adapter), ("network", case.built.save_network)):
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


def check_networks_beside_it_are_new(case: ModelCase) -> None:
    """Each call of flow_network and residual_network gives a module with weights of its own."""
    taken = {id(weight) for weight in case.built.network.parameters()}
    for name in BESIDE:
        made = [case.new(name) for _ in range(2)]
        sound = all(isinstance(network, nn.Module) and list(network.parameters()) for network in made)
        rule = "it must be a torch.nn.Module with weights"
        require(sound, f"{case.name}: {name}_network returned {made[0]!r:.80}; {rule}")
        first, second = ({id(weight) for weight in network.parameters()} for network in made)
        rule = f"{name} networks share weights with one another or with the trained network; make new ones"
        require(first.isdisjoint(second) and taken.isdisjoint(first), f"{case.name}: {rule}")


def check_a_seed_makes_the_networks_beside_it(case: ModelCase) -> None:
    """Under one seed of torch's global generator flow and residual networks have the same weights."""
    for name in BESIDE:
        with global_seed(5):
            first = case.new(name).state_dict()
        with global_seed(5):
            second = case.new(name).state_dict()
        alike = first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
        require(
            alike,
            f"{case.name}: {name} networks differ under the same seed; draw their weights from torch's global "
            "generator, as torch.nn's own layers do",
        )


def check_one_estimate_a_state(case: ModelCase) -> None:
    """Of each state, alone or not, the flow network gives a number, the residual one its shape: finite float32."""
    for name, shape in zip(BESIDE, ((), case.built.latent_shape), strict=True):
        for count in (len(case.states), 1):
            found, expected = case.estimate(name, slice(count)).detach(), (count, *shape)
            require(
                tuple(found.shape) == expected and found.dtype == torch.float32,
                f"{case.name}: the {name} network returned {found.dtype} of shape {tuple(found.shape)} for {count} "
                f"states; it must be torch.float32 of shape {expected}",
            )
            require_finite(case, f"the {name} network", found, "see how times enter it")


def check_estimates_are_row_by_row(case: ModelCase) -> None:
    """The flow and the residual of a state do not depend on the other states of its batch."""
    with torch.no_grad():
        for name in BESIDE:
            estimates = case.estimate(name)
            for row, index in company(case):
                require(
                    case.close(case.estimate(name, index)[row], estimates[row]),
                    f"{case.name}: the {name} network gives state {row} another {name} among other states; row i must "
                    "depend on row i only: no normalisation over the batch",
                )


def check_residuals_start_at_zero(case: ModelCase) -> None:
    """A new residual network returns zeros."""
    found = case.estimate("residual", network=case.new("residual").to(case.device))
    require(
        not found.count_nonzero(),
        f"{case.name}: a new residual network returns up to {float(found.detach().abs().max()):g}; it must return "
        "zeros, since nothing is known before training: set weight and bias of its last layer to 0",
    )


def check_networks_beside_it_can_be_trained(case: ModelCase) -> None:
    """A gradient flows from flows and residuals to the weights of their networks."""
    hint = "do not detach on the way, and leave its weights trainable"
    for name in BESIDE:
        weights = list(case.beside[name].parameters())
        require_gradient(case, f"the {name} network", case.estimate(name), weights, hint)


NETWORK_CHECKS = (
    check_predictions_have_the_states_shape,
    check_predictions_are_float32,
    check_predictions_are_finite,
    check_one_state_is_predicted_alone,
    check_states_are_predicted_row_by_row,
    check_predicting_twice_gives_the_same,
    check_inputs_are_left_as_they_were,
    check_gradients_reach_the_network,
    check_building_twice_gives_the_same_model,
    check_frozen_modules_are_others,
    check_an_adapter_changes_nothing_at_first,
    check_an_adapter_comes_back,
    check_a_network_comes_back,
    check_files_are_safetensors,
    check_networks_beside_it_are_new,
    check_a_seed_makes_the_networks_beside_it,
    check_one_estimate_a_state,
    check_estimates_are_row_by_row,
    check_residuals_start_at_zero,
    check_networks_beside_it_can_be_trained,
)
