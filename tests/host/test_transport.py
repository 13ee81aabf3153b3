"""The serial transport on real pseudo-terminals: users' mistakes and pulled cables are one line each."""

import os
import pty
import time

import pytest
from fake_board import FakeBoard
from models import random_frames, random_model
from pty_board import PtyBoard

from tidegate.host.board import Board
from tidegate.host.errors import BoardError
from tidegate.host.transport import SerialTransport
from tidegate.spec.design import SIMULATED, Identity
from tidegate.spec.stop import Stop


@pytest.fixture
def device():
    board = PtyBoard(FakeBoard())
    yield board
    board.close()


def test_stream_through_a_pty_equals_the_direct_one(device):
    frames = random_frames(3, 200)
    with Board.open(device.port) as board:
        board.load(random_model())
        first = list(board.stream(frames))
    with Board.open(device.port) as board:
        board.load(random_model())
        assert list(board.stream(frames)) == first
    assert len(first) == 200


def test_read_waits_no_longer_than_asked(device):
    transport = SerialTransport(device.port)
    start = time.monotonic()
    assert transport.read(0.05) == b""
    assert 0.04 < time.monotonic() - start < 1
    transport.close()
    transport.close()


@pytest.mark.parametrize("port, text", [
    ("/dev/ttyNOPE7", "no port '/dev/ttyNOPE7'; `tidegate boards` lists"),
    ("ulx3s", "ulx3s is a board, not a port; `tidegate boards` lists"),
    (__file__, "is not a serial port"),
    ("/tmp", "is not a serial port"),
    ("/dev/null", "is not a serial port"),
])
def test_ports_that_cannot_be_opened(port, text):
    with pytest.raises(BoardError, match=text) as error:
        Board.open(port)
    assert "\n" not in str(error.value)


def test_port_in_use(device):
    with Board.open(device.port):
        with pytest.raises(BoardError, match="in use by another program"):
            Board.open(device.port)
    Board.open(device.port).close()


def test_nothing_answers():
    master, slave = pty.openpty()
    with pytest.raises(BoardError, match="is the board powered and the bitstream loaded"):
        Board(SerialTransport(os.ttyname(slave)), patience=0.2)
    os.close(master)
    os.close(slave)


def test_cable_pulled_in_mid_stream(device):
    with Board.open(device.port) as board:
        board.load(random_model())
        stream = board.stream(random_frames(3, 50))
        for _ in range(7):
            next(stream)
        device.close()
        with pytest.raises(BoardError, match=r"lost the board on .*check the cable"):
            list(stream)


def test_every_call_after_the_cable_was_pulled_is_a_board_error(device):
    """Not the first alone: flushing a terminal that is gone is a termios.error, which is no OSError."""
    with Board.open(device.port) as board:
        board.load(random_model())
        device.close()
        for _ in range(3):
            for call in (board.reset, board.link.identify, lambda: board.read_register("FRAMES"), board.reopen,
                         lambda: list(board.stream(random_frames(3, 50)))):
                with pytest.raises(BoardError) as error:
                    call()
                assert "\n" not in str(error.value)


def test_a_board_that_comes_back_is_opened_again(tmp_path):
    """Behind the same path: with its model, its mode and its rule; state and answers are those after a load."""
    port, frames, rule = tmp_path / "board", random_frames(3, 50), Stop(1 << 15, stream=True)
    first = PtyBoard(FakeBoard())
    port.symlink_to(first.port)
    with Board.open(str(port)) as board:
        board.load(random_model().with_thresholds(9, 8, 7))
        board.dense, board.stop = True, rule
        expected = list(board.stream(frames))
        first.close()
        port.unlink()
        for _ in range(3):
            with pytest.raises(BoardError, match="no port"):
                board.reopen()
        with pytest.raises(BoardError, match="no model is loaded"):
            board.stream(frames)
        second = PtyBoard(FakeBoard(last=77))
        port.symlink_to(second.port)
        board.reopen()
        assert (board.dense, board.stop) == (True, rule) and second.board.frames == 0
        assert list(board.stream(frames)) == expected
        second.close()


def test_another_board_in_its_place_is_refused(tmp_path):
    port = tmp_path / "board"
    first, other = PtyBoard(FakeBoard()), PtyBoard(FakeBoard(SIMULATED[8]))
    other.board.identity = Identity(SIMULATED[8], bytes(16)).pack()
    port.symlink_to(first.port)
    with Board.open(str(port)) as board:
        board.load(random_model())
        first.close()
        port.unlink()
        port.symlink_to(other.port)
        with pytest.raises(BoardError, match="load the bitstream that belongs to the manifest"):
            board.reopen()
    other.close()


def test_use_after_close(device):
    board = Board.open(device.port)
    board.close()
    with pytest.raises(BoardError, match="lost the board"):
        board.reset()


def test_other_lanes_than_asked_for(device):
    with pytest.raises(BoardError, match="has 64 lanes, not 8"):
        Board.open(device.port, lanes=8)
    Board.open(device.port, lanes=64).close()


def test_interrupted_user_leaves_the_port_free(device):
    with pytest.raises(KeyboardInterrupt):
        with Board.open(device.port) as board:
            board.load(random_model())
            for result in board.stream(random_frames(3, 50)):
                if result.frame == 5:
                    raise KeyboardInterrupt
    with Board.open(device.port) as board:
        board.load(random_model())
        assert len(list(board.stream(random_frames(3, 50)))) == 50


def test_no_such_virtual_board():
    with pytest.raises(BoardError, match="no virtual board with 7 lanes; choose 8, 16, 64, 128"):
        Board.open("virtual", lanes=7)
