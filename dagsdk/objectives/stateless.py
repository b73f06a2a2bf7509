"""What an objective without a memory has in place of a state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagsdk.errors import TrainingError


class Stateless:
    """Gives an empty state, and takes no other."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        if state:
            raise TrainingError(f"{type(self).__name__} has no state, but was given {sorted(state)} to restore")
