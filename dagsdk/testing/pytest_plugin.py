"""Fixtures for the tests of plugins, for a conftest.py: `pytest_plugins = "dagsdk.testing.pytest_plugin"`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import Tensor

    from dagsdk.objectives.protocol import Denoisings, Transitions
    from dagsdk.objectives.trajectories import Trajectories
    from dagsdk.prompts.protocol import Prompt
    from dagsdk.registry import Registry


@pytest.fixture
def dagsdk_images() -> Tensor:
    """Four small images that differ from one another: shape (4, 3, 32, 32), float32 in [0, 1]."""
    from dagsdk.testing.samples import images

    return images()


@pytest.fixture
def dagsdk_prompts() -> tuple[Prompt, ...]:
    """Four prompts: a plain one, an empty one, one beyond ASCII, a very long one."""
    from dagsdk.testing.samples import prompts

    return prompts()


@pytest.fixture
def dagsdk_trajectories() -> Trajectories:
    """Trajectories as `prepare` and `select` receive them (`dagsdk.testing.trajectories.trajectories`)."""
    from dagsdk.testing.trajectories import trajectories

    return trajectories()


@pytest.fixture
def dagsdk_transitions() -> Callable[..., Transitions]:
    """Makes transitions with the parts that an objective needs (`dagsdk.testing.trajectories.transitions`)."""
    from dagsdk.testing.trajectories import transitions

    return transitions


@pytest.fixture
def dagsdk_denoisings() -> Callable[..., Denoisings]:
    """Makes denoisings with the parts that an objective needs (`dagsdk.testing.trajectories.denoisings`)."""
    from dagsdk.testing.trajectories import denoisings

    return denoisings


@pytest.fixture
def isolated_plugins() -> Iterator[Callable[..., Registry]]:
    """Makes a registry of the core's components and those of the given plugins, and of no others.

    While the test runs, looking for installed plugins raises PluginError.
    """
    from dagsdk.testing.isolation import registry_of, without_discovery

    with without_discovery():
        yield registry_of
