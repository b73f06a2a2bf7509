"""`python -m dagsdk`."""

from __future__ import annotations

import sys

from dagsdk.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
