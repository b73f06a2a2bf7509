"""The contract of models, continued: the state flow and the flow gradient, which are trained with the model."""

from __future__ import annotations

import torch
from torch import nn

from dagsdk.engine.generators import global_seed
from dagsdk.testing.check import require
from dagsdk.testing.model_case import AUXILIARY, ModelCase, among_others, require_finite, require_gradient


def check_auxiliary_networks_are_new(case: ModelCase) -> None:
    """Each call of state_flow_network and flow_gradient_network returns a module with weights of its own."""
    taken = {id(weight) for weight in case.built.network.parameters()}
    for name in AUXILIARY:
        made = [case.new(name) for _ in range(2)]
        sound = all(isinstance(network, nn.Module) and list(network.parameters()) for network in made)
        rule = "it must be a torch.nn.Module with weights"
        require(sound, f"{case.name}: {name}_network returned {made[0]!r:.80}; {rule}")
        first, second = ({id(weight) for weight in network.parameters()} for network in made)
        rule = f"{name} networks share weights with one another or with the trained network; make new ones"
        require(first.isdisjoint(second) and taken.isdisjoint(first), f"{case.name}: {rule}")


def check_a_seed_determines_auxiliary_networks(case: ModelCase) -> None:
    """State flows and flow gradients have the same weights for the same seed of torch's global generator."""
    for name in AUXILIARY:
        with global_seed(5):
            first = case.new(name).state_dict()
        with global_seed(5):
            second = case.new(name).state_dict()
        alike = first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
        require(
            alike,
            f"{case.name}: two {name} networks differ for the same seed; draw their weights from torch's global "
            "generator, as torch.nn's own layers do",
        )


def check_one_estimate_per_state(case: ModelCase) -> None:
    """A state flow returns one number per state, a flow gradient one tensor of its shape, finite and float32."""
    for name, shape in zip(AUXILIARY, ((), case.built.latent_shape), strict=True):
        for count in (len(case.states), 1):
            found, expected = case.estimate(name, slice(count)).detach(), (count, *shape)
            require(
                tuple(found.shape) == expected and found.dtype == torch.float32,
                f"{case.name}: the {name} network returned {found.dtype} of shape {tuple(found.shape)} for {count} "
                f"states; it must be torch.float32 of shape {expected}",
            )
            require_finite(case, f"the {name} network", found, "see how times enter it")


def check_estimates_are_row_by_row(case: ModelCase) -> None:
    """The state flow and the flow gradient of a state do not depend on the other states of its batch."""
    with torch.no_grad():
        for name in AUXILIARY:
            estimates = case.estimate(name)
            for row, index in among_others(case):
                require(
                    case.close(case.estimate(name, index)[row], estimates[row]),
                    f"{case.name}: the {name} network gives state {row} another value among other states; row i must "
                    "depend on row i only: no normalisation over the batch",
                )


def check_flow_gradients_start_at_zero(case: ModelCase) -> None:
    """A new flow gradient returns zeros."""
    found = case.estimate("flow_gradient", network=case.new("flow_gradient").to(case.device))
    require(
        not found.count_nonzero(),
        f"{case.name}: a new flow_gradient network returns up to {float(found.detach().abs().max()):g}; it must return "
        "zeros, since nothing is known before training: set weight and bias of its last layer to 0",
    )


def check_auxiliary_networks_can_be_trained(case: ModelCase) -> None:
    """A gradient flows from the results of state flows and flow gradients to their weights."""
    hint = "do not detach on the way, and leave its weights trainable"
    for name in AUXILIARY:
        weights = list(case.auxiliary[name].parameters())
        require_gradient(case, f"the {name} network", case.estimate(name), weights, hint)


AUXILIARY_CHECKS = (
    check_auxiliary_networks_are_new,
    check_a_seed_determines_auxiliary_networks,
    check_one_estimate_per_state,
    check_estimates_are_row_by_row,
    check_flow_gradients_start_at_zero,
    check_auxiliary_networks_can_be_trained,
)
