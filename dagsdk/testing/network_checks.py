"""The contract of models, continued: the network that is trained."""

from __future__ import annotations

import torch
from torch import nn

from dagsdk.testing.check import require
from dagsdk.testing.model_case import ModelCase, among_others, require_finite, require_gradient


def check_predictions_have_the_shape_of_states(case: ModelCase) -> None:
    """States of shape (n, *latent_shape) get predictions of the same shape."""
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


def check_a_batch_of_one_state(case: ModelCase) -> None:
    """A batch of one state gets one prediction."""
    with torch.no_grad():
        shape, expected = tuple(case.predict(slice(1)).shape), (1, *case.states.shape[1:])
    require(
        shape == expected,
        f"{case.name}: predict returned shape {shape} for one state; it must be {expected}: do not squeeze",
    )


def check_states_are_predicted_row_by_row(case: ModelCase) -> None:
    """A prediction does not depend on the other states, times and texts of its batch."""
    with torch.no_grad():
        for row, index in among_others(case):
            require(
                case.close(case.predict(index)[row], case.output[row]),
                f"{case.name}: predict gives state {row} another prediction among other states; row i must depend on "
                "row i only: take each row's own time and text, and no statistics over the batch",
            )


def check_predicting_twice_gives_the_same(case: ModelCase) -> None:
    """The same states twice give the same bits."""
    with torch.no_grad():
        require(
            torch.equal(case.predict(), case.predict()),
            f"{case.name}: predict returns other bits for the same states when it is called again; switch dropout off "
            "with `.eval()`, and draw nothing at random",
        )


def check_inputs_are_not_changed(case: ModelCase) -> None:
    """Predicting and decoding do not change their arguments."""
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
    """A gradient flows from predictions to the weights of the network."""
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


def check_building_twice_gives_the_same(case: ModelCase) -> None:
    """Building again gives a new network with the same weights, which checkpoints of adapters do not hold."""
    require(
        case.adapted.model.network is not case.built.network,
        f"{case.name}: build returns the same network twice; load a new one each time, since a run changes it",
    )
    require(
        torch.equal(case.adapted.before, case.output),
        f"{case.name} predicts other bits when it is built again; draw new weights under a seed from the context",
    )


def check_frozen_modules_are_not_trained(case: ModelCase) -> None:
    """Frozen modules are other networks than the trained one, and share no weight with it."""
    trained = {id(weight) for weight in case.built.network.parameters()}
    for module in case.built.frozen_modules():
        require(
            isinstance(module, nn.Module),
            f"{case.name}: frozen_modules returns {module!r:.80}; each must be a torch.nn.Module",
        )
        require(
            trained.isdisjoint(id(weight) for weight in module.parameters()),
            f"{case.name}: frozen_modules returns a {type(module).__name__} with weights of the trained network; name "
            "the others only, such as a text encoder",
        )


NETWORK_CHECKS = (
    check_predictions_have_the_shape_of_states,
    check_predictions_are_float32,
    check_predictions_are_finite,
    check_a_batch_of_one_state,
    check_states_are_predicted_row_by_row,
    check_predicting_twice_gives_the_same,
    check_inputs_are_not_changed,
    check_gradients_reach_the_network,
    check_building_twice_gives_the_same,
    check_frozen_modules_are_not_trained,
)
