"""Shares the helper modules of tests/host, and has its own."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "host"), str(Path(__file__).parent)]

from tests.system.conftest import compiled  # noqa: E402, F401
