"""Each rule about a model's networks is caught by its own check, and by no other, in a model that breaks just it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sound_model import OPTIONS, Sound, failing, predicting, spec

from dagsdk import BuildContext
from dagsdk.models.mlp import MLP
from dagsdk.models.vector import Vector
from dagsdk.testing.adapter_checks import ADAPTER_CHECKS
from dagsdk.testing.auxiliary_checks import AUXILIARY_CHECKS
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


class Shared(Sound):
    """Built once, and returned again."""

    @classmethod
    def build(cls, options, context):
        if "only" not in vars(cls):
            cls.only = super().build(options, context)
        return cls.only


class Overlapping(Sound):
    def frozen_modules(self):
        return (self.network.hidden[0],)


class LeftInTraining(Sound):
    """Computes something else in training mode, in which its build leaves it."""

    def predict(self, x_t, t, conditioning):
        output = super().predict(x_t, t, conditioning)
        return 1.1 * output if self.network.training else output


class Forgetting(Sound):
    def load_adapter(self, folder, name):
        pass


class SavingTheFirst(Sound):
    """Saves the first adapter, whatever the name."""

    def save_adapter(self, folder, name):
        super().save_adapter(folder, next(iter(self.network.peft_config)))


class LoadingIntoTheFirst(Sound):
    """Loads into the first adapter, whatever the name."""

    def load_adapter(self, folder, name):
        super().load_adapter(folder, next(iter(self.network.peft_config)))


class SavingItsBase(Sound):
    """Writes the weights that it was built with."""

    def save_network(self, folder):
        Sound.build(OPTIONS, BuildContext()).save_network(folder)


class Pickling(Sound):
    def save_adapter(self, folder, name):
        super().save_adapter(folder, name)
        torch.save({}, folder / "extra.bin")


class Mislabelling(Sound):
    def save_network(self, folder):
        super().save_network(folder)
        torch.save({}, folder / "extra.safetensors")


def auxiliary(name: str, change: Any) -> type[Sound]:
    """Sound, with a change of each new state flow or flow gradient, or with another network in its place."""
    method = f"{name}_network"

    def changed(self, widths):
        network = getattr(Sound, method)(self, widths)
        return change(network, self)

    return type("Changed", (Sound,), {method: changed})


def returning(name: str, change: Any) -> type[Sound]:
    """Sound, with a change of what its state flow or flow gradient returns."""
    return auxiliary(name, lambda network, model: Returning(network, change))


class Returning(torch.nn.Module):
    def __init__(self, network, change):
        super().__init__()
        self.network, self.change = network, change

    def forward(self, x_t, t, conditioning):
        return self.change(self.network(x_t, t, conditioning))


def sharing(network, model):
    """The first network, every time."""
    return vars(model).setdefault("kept", network)


def drawing_elsewhere(network, model):
    generator = torch.Generator()
    generator.seed()
    torch.nn.init.normal_(network.network.input.weight, generator=generator)
    return network


def beginning_anywhere(network, model):
    torch.nn.init.ones_(network.network.output.bias)
    return network


AUXILIARY: list[tuple[str, str, Any, str]] = [
    ("auxiliary_networks_are_new", "state_flow", sharing, "state_flow networks share weights"),
    ("auxiliary_networks_are_new", "flow_gradient", sharing, "or with the trained network; make new ones"),
    ("a_seed_determines_auxiliary_networks", "state_flow", drawing_elsewhere, "from torch's global generator"),
    ("a_seed_determines_auxiliary_networks", "flow_gradient", drawing_elsewhere, "two flow_gradient networks differ"),
    ("flow_gradients_start_at_zero", "flow_gradient", beginning_anywhere, "returns up to 1; it must return zeros"),
]
RETURNING: list[tuple[str, str, Any, str]] = [
    ("one_estimate_per_state", "state_flow", lambda flow: flow[:, None], "torch.float32 of shape (4, 1) for 4 states"),
    ("one_estimate_per_state", "state_flow", lambda flow: flow.squeeze(), "of shape () for 1 states"),
    ("one_estimate_per_state", "flow_gradient", lambda states: states[:, :1], "of shape (4, 1) for 4 states"),
    ("one_estimate_per_state", "flow_gradient", lambda states: states.squeeze(0), "of shape (2,) for 1 states"),
    ("one_estimate_per_state", "flow_gradient", lambda states: states.double(), "returned torch.float64"),
    ("estimates_are_row_by_row", "state_flow", lambda flow: flow - flow.mean(), "no normalisation over the batch"),
    (
        "estimates_are_row_by_row",
        "flow_gradient",
        lambda states: states - states.mean(0),
        "the flow_gradient network gives state 0 another value among",
    ),
    ("auxiliary_networks_can_be_trained", "state_flow", lambda flow: flow.detach(), "do not detach on the way"),
    (
        "auxiliary_networks_can_be_trained",
        "flow_gradient",
        lambda states: states.detach(),
        "the flow_gradient network has no",
    ),
]


BROKEN: list[tuple[str, type[Vector], str]] = [
    (
        "predictions_have_the_shape_of_states",
        predicting(lambda output, t: torch.cat([output, output[:, :1]], 1)),
        "(4, 3) for states of shape (4, 2)",
    ),
    ("predictions_are_float32", predicting(lambda output, t: output.half()), "torch.float16"),
    (
        "predictions_are_finite",
        predicting(lambda output, t: output.masked_fill(t[:, None] > 900, torch.inf)),
        "predict has [inf]",
    ),
    ("a_batch_of_one_state", predicting(lambda output, t: output.squeeze(0)), "do not squeeze"),
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
    ("inputs_are_not_changed", ClampingStates, "predict changed the states"),
    ("inputs_are_not_changed", ClampingLatents, "decode changed the latents"),
    ("gradients_reach_the_network", Detached, "not under `no_grad`"),
    ("building_twice_gives_the_same", Unseeded, "under a seed from the context"),
    ("building_twice_gives_the_same", Shared, "returns the same network twice"),
    ("frozen_modules_are_not_trained", Overlapping, "a Linear with weights of the trained network"),
    ("an_adapter_changes_nothing_at_first", LeftInTraining, "call `.eval()` in build"),
    ("an_adapter_comes_back", Forgetting, "after its adapter is saved and loaded"),
    ("the_named_adapter_is_used", SavingTheFirst, "under the name 'dagsdk_2', next to another"),
    ("the_named_adapter_is_used", LoadingIntoTheFirst, "changed another adapter than 'dagsdk_2'"),
    ("a_network_comes_back", SavingItsBase, "save_network must write every trained weight as it is now"),
    ("files_are_safetensors", Pickling, "save_adapter writes extra.bin"),
    ("files_are_safetensors", Mislabelling, "extra.safetensors, which is not what its name says"),
    *((name, auxiliary(which, change), message) for name, which, change, message in AUXILIARY),
    *((name, returning(which, change), message) for name, which, change, message in RETURNING),
]
ALSO = {
    # A wrong shape is also wrong for one state, and in a trajectory.
    "predictions_have_the_shape_of_states": {"a_batch_of_one_state", "trajectories_are_finite"},
    # Where the network is infinite, so is the next state.
    "predictions_are_finite": {"trajectories_are_finite", "times_span_the_path"},
    # Random predictions look like those of other weights.
    "predicting_twice_gives_the_same": {
        "building_twice_gives_the_same",
        "an_adapter_comes_back",
        "the_named_adapter_is_used",
        "a_network_comes_back",
    },
    # A network that earlier checks changed is no longer new.
    "auxiliary_networks_are_new": {"flow_gradients_start_at_zero"},
    # An adapter belongs to the weights that it was trained on.
    "building_twice_gives_the_same": {"an_adapter_comes_back", "the_named_adapter_is_used", "a_network_comes_back"},
    # A model that ignores the file of one adapter does so next to another.
    "an_adapter_comes_back": {"the_named_adapter_is_used"},
}


@pytest.mark.parametrize(("name", "model", "message"), BROKEN)
def test_a_broken_model_fails_the_check_of_its_rule_only(name: str, model: type[Vector], message: str) -> None:
    found = failing(spec(model))
    assert message in found[name]
    assert set(found) - ALSO.get(name, set()) == {name}


def test_targets_that_are_nowhere_are_caught() -> None:
    class Astray(Sound):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            self.lora_targets = ("to_q",)

    assert "to_q" in failing(spec(Astray))["an_adapter_changes_nothing_at_first"]


def test_every_check_is_tested() -> None:
    checks = (*NETWORK_CHECKS, *ADAPTER_CHECKS, *AUXILIARY_CHECKS)
    assert {name_of(check) for check in checks} == {name for name, *_ in BROKEN}
