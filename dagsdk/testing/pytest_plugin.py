"""Fixtures for the tests of plugins. pytest loads this file wherever dagsdk is installed, so that it is light."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import Tensor

    from dagsdk.prompts.protocol import Prompt
    from dagsdk.registry import Registry


@pytest.fixture
def dagsdk_images() -> Tensor:
    """Four small pictures that are unlike one another: shape (4, 3, 32, 32), float32 in [0, 1]."""
    from dagsdk.testing.samples import images

    return images()


@pytest.fixture
def dagsdk_prompts() -> tuple[Prompt, ...]:
    """Four prompts: a plain one, an empty one, one beyond ASCII, a very long one."""
    from dagsdk.testing.samples import prompts

    return prompts()


@pytest.fixture
def dagsdk_trajectories() -> Any:
    """Trajectories as `prepare` and `select` get them (`dagsdk.testing.trajectories.trajectories`)."""
    from dagsdk.testing.trajectories import trajectories

    return trajectories()


@pytest.fixture
def dagsdk_transitions() -> Callable[..., Any]:
    """Makes transitions with the fields that an objective needs (`dagsdk.testing.trajectories.transitions`)."""
    from dagsdk.testing.trajectories import transitions

    return transitions


@pytest.fixture
def isolated_plugins() -> Iterator[Callable[..., Registry]]:
    """Makes a registry of the core's components and those of the plugins given to it, and of no others.

    While the test runs, looking for installed plugins raises PluginError.
    """
    from dagsdk.testing.isolation import registry_of, without_discovery

    with without_discovery():
        yield registry_of
