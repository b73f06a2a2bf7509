"""Each rule about a model's networks is caught by its own check, and by no other, in a model that breaks just it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sound_model import OPTIONS, Sound, failing, predicting, spec

from dagsdk import BuildContext
from dagsdk.families.vector import MLP, Vector
from dagsdk.testing.check import name_of
from dagsdk.testing.network_checks import NETWORK_CHECKS


class ClampingStates(Sound):
    def predict(self, x_t, t, conditioning):
        output = super().predict(x_t, t, conditioning)
        x_t.data.clamp_(-0.5, 0.5)
        return output


class ClampingLatents(Sound):
    def decode(self, latents):
        latents.data.clamp_(-0.5, 0.5)
        return super().decode(latents)


class Detached(Sound):
    @torch.no_grad()
    def predict(self, x_t, t, conditioning):
        return super().predict(x_t, t, conditioning)


class Unseeded(Sound):
    @classmethod
    def build(cls, options, context):
        return cls(MLP(2, 2, options.width), options.log_snr)


class Overlapping(Sound):
    def frozen_modules(self):
        return (self.network.hidden[0],)


class LeftInTraining(Sound):
    """Computes otherwise in training mode, in which it is left by its build."""

    def predict(self, x_t, t, conditioning):
        output = super().predict(x_t, t, conditioning)
        return 1.1 * output if self.network.training else output


class Forgetting(Sound):
    def load_adapter(self, folder):
        pass


class SavingItsBase(Sound):
    """Writes the weights that it was built with."""

    def save_network(self, folder):
        Sound.build(OPTIONS, BuildContext()).save_network(folder)


class Pickling(Sound):
    def save_adapter(self, folder):
        super().save_adapter(folder)
        torch.save({}, folder / "extra.bin")


class Mislabelling(Sound):
    def save_network(self, folder):
        super().save_network(folder)
        torch.save({}, folder / "extra.safetensors")


def beside(name: str, change: Any) -> type[Sound]:
    """Sound, with a change of each new flow or residual network, or of what takes its place."""
    verb = f"{name}_network"

    def changed(self, widths):
        network = getattr(Sound, verb)(self, widths)
        return change(network, self)

    return type("Changed", (Sound,), {verb: changed})


def returning(name: str, change: Any) -> type[Sound]:
    """Sound, with a change of what its flow or residual network returns."""
    return beside(name, lambda network, model: Returning(network, change))


class Returning(torch.nn.Module):
    def __init__(self, network, change):
        super().__init__()
        self.network, self.change = network, change

    def forward(self, x_t, t, conditioning):
        return self.change(self.network(x_t, t, conditioning))


def sharing(network, model):
    """The network that the model was first asked for."""
    return vars(model).setdefault("kept", network)


def drawing_elsewhere(network, model):
    generator = torch.Generator()
    generator.seed()
    torch.nn.init.normal_(network.network.input.weight, generator=generator)
    return network


def beginning_anywhere(network, model):
    torch.nn.init.ones_(network.network.output.bias)
    return network


BESIDE: list[tuple[str, str, Any, str]] = [
    ("networks_beside_it_are_new", "flow", sharing, "flow networks share weights"),
    ("networks_beside_it_are_new", "residual", sharing, "or with the trained network; make new ones"),
    ("a_seed_makes_the_networks_beside_it", "flow", drawing_elsewhere, "from torch's global generator"),
    ("a_seed_makes_the_networks_beside_it", "residual", drawing_elsewhere, "residual networks differ"),
    ("residuals_start_at_zero", "residual", beginning_anywhere, "returns up to 1; it must return zeros"),
]
RETURNING: list[tuple[str, str, Any, str]] = [
    ("one_estimate_a_state", "flow", lambda flow: flow[:, None], "torch.float32 of shape (4, 1) for 4 states"),
    ("one_estimate_a_state", "flow", lambda flow: flow.squeeze(), "of shape () for 1 states"),
    ("one_estimate_a_state", "residual", lambda states: states[:, :1], "of shape (4, 1) for 4 states"),
    ("one_estimate_a_state", "residual", lambda states: states.squeeze(0), "of shape (2,) for 1 states"),
    ("one_estimate_a_state", "residual", lambda states: states.double(), "returned torch.float64"),
    ("estimates_are_row_by_row", "flow", lambda flow: flow - flow.mean(), "no normalisation over the batch"),
    ("estimates_are_row_by_row", "residual", lambda states: states - states.mean(0), "another residual among"),
    ("networks_beside_it_can_be_trained", "flow", lambda flow: flow.detach(), "do not detach on the way"),
    ("networks_beside_it_can_be_trained", "residual", lambda states: states.detach(), "the residual network has no"),
]


BROKEN: list[tuple[str, type[Vector], str]] = [
    (
        "predictions_have_the_states_shape",
        predicting(lambda output, t: torch.cat([output, output[:, :1]], 1)),
        "(4, 3) for states of shape (4, 2)",
    ),
    ("predictions_are_float32", predicting(lambda output, t: output.half()), "torch.float16"),
    (
        "predictions_are_finite",
        predicting(lambda output, t: output.masked_fill(t[:, None] > 900, torch.inf)),
        "predict has [inf]",
    ),
    ("one_state_is_predicted_alone", predicting(lambda output, t: output.squeeze(0)), "do not squeeze"),
    (
        "states_are_predicted_row_by_row",
        predicting(lambda output, t: output - 0.1 * output.mean(0)),
        "no statistics over the batch",
    ),
    ("states_are_predicted_row_by_row", predicting(lambda output, t: output + t.min() / 1000), "each row's own time"),
    (
        "predicting_twice_gives_the_same",
        predicting(lambda output, t: output + 1e-5 * torch.rand(2)),
        "draw nothing at random",
    ),
    ("inputs_are_left_as_they_were", ClampingStates, "predict changed the states"),
    ("inputs_are_left_as_they_were", ClampingLatents, "decode changed the latents"),
    ("gradients_reach_the_network", Detached, "not under `no_grad`"),
    ("building_twice_gives_the_same_model", Unseeded, "under a seed from the context"),
    ("frozen_modules_are_others", Overlapping, "a Linear with weights of the trained network"),
    ("an_adapter_changes_nothing_at_first", LeftInTraining, "call `.eval()` in build"),
    ("an_adapter_comes_back", Forgetting, "once its adapter is saved and loaded"),
    ("a_network_comes_back", SavingItsBase, "save_network must write every trained weight as it is now"),
    ("files_are_safetensors", Pickling, "save_adapter writes extra.bin"),
    ("files_are_safetensors", Mislabelling, "extra.safetensors, which is not what its name says"),
    *((name, beside(which, change), message) for name, which, change, message in BESIDE),
    *((name, returning(which, change), message) for name, which, change, message in RETURNING),
]
ALSO = {
    # A wrong shape is as wrong for one state, and cannot be stepped with.
    "predictions_have_the_states_shape": {"one_state_is_predicted_alone", "trajectories_are_finite"},
    # Where the network is infinite, so is the next state.
    "predictions_are_finite": {"trajectories_are_finite"},
    # What is random cannot be told from other weights.
    "predicting_twice_gives_the_same": {
        "building_twice_gives_the_same_model",
        "an_adapter_comes_back",
        "a_network_comes_back",
    },
    # What was tried before is no longer as it was made.
    "networks_beside_it_are_new": {"residuals_start_at_zero"},
    # An adapter belongs to the weights that it was trained on.
    "building_twice_gives_the_same_model": {"an_adapter_comes_back"},
}


@pytest.mark.parametrize(("name", "family", "message"), BROKEN)
def test_a_broken_model_fails_the_check_of_its_rule_only(name: str, family: type[Vector], message: str) -> None:
    found = failing(spec(family))
    assert message in found[name]
    assert set(found) - ALSO.get(name, set()) == {name}


def test_targets_that_are_nowhere_are_caught() -> None:
    class Astray(Sound):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            self.lora_targets = ("to_q",)

    assert "to_q" in failing(spec(Astray))["an_adapter_changes_nothing_at_first"]


def test_every_check_is_tried() -> None:
    assert {name_of(check) for check in NETWORK_CHECKS} == {name for name, *_ in BROKEN}
