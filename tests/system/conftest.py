"""System tests share the helper modules of tests/host, and find the virtual boards compiled."""

import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "host"))

# A job in the background, or under nohup, ignores these signals, and so would every program that a test starts and then
# interrupts. A handler that does nothing is not inherited: such programs begin with the usual ones.
with suppress(ValueError):                  # not in the main thread
    for _ignored in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(_ignored) == signal.SIG_IGN:
            signal.signal(_ignored, lambda *_: None)


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
