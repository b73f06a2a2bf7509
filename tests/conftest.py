"""What every test gets: no model hub, no trackers of this user's, few threads; and which folders need plugins."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "agg")

# End-to-end runs and the documentation use all plugins of this repository. The core's own tests must pass without any,
# so that without these, and only then, the folders are left out.
NEEDED = {folder.name.removeprefix("dagsdk-") for folder in Path(__file__).parents[1].glob("plugins/dagsdk-*")}
MISSING = sorted(NEEDED - {entry.name for entry in entry_points(group="dagsdk")})
collect_ignore = ["together", "docs"] if MISSING else []


def pytest_report_header() -> str | None:
    return f"without tests/together and tests/docs: not installed: {', '.join(MISSING)}" if MISSING else None
