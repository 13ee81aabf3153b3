"""System tests share the helper modules of tests/host, and find the virtual boards compiled."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "host"))


@pytest.fixture(scope="session")
def compiled():
    """The virtual board with 64 lanes is in the cache: compiling it takes minutes and prints its progress."""
    from tidegate.spec.design import SIMULATED
    from tidegate_sim.virtual import executable

    executable(SIMULATED[64])


@pytest.fixture
def device():
    """A fake board behind a pseudo-terminal; ``device.port`` is what a user opens."""
    from fake_board import FakeBoard
    from pty_board import PtyBoard

    board = PtyBoard(FakeBoard())
    yield board
    board.close()


@pytest.fixture
def model(tmp_path):
    """File of a random model that takes features of sound."""
    from command import write_model

    return write_model(tmp_path)
