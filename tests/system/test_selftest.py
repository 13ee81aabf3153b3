"""``tidegate selftest``: on the real RTL, sound and with faults planted before its link; on boards in Python."""

import json
import struct

import pytest
from command import fails, tidegate
from core_board import Broken, CoreBoard
from pty_board import PtyBoard

from tidegate.host import memtest
from tidegate.host.board import Board
from tidegate.host.selftest import STEPS
from tidegate.host.transport import SerialTransport
from tidegate.spec.design import SIMULATED, Design
from tidegate.spec.packets import Request

# half of the lanes have no class: only cells show them
FEW_CLASSES = Design(lanes=8, cell_rate=2, encoder_rate=4, weight_words=300, acc_words=64, features=16, neurons=64,
                     classes=4)


@pytest.fixture(scope="module", params=[SIMULATED[8], FEW_CLASSES], ids=["8 lanes", "few classes"])
def design(request):
    from tidegate_sim.virtual import executable

    executable(request.param)           # compiling it takes a minute
    return request.param


@pytest.fixture
def board(design):
    from tidegate_sim.virtual import VirtualBoard

    with VirtualBoard(design) as virtual:
        board = Board(SerialTransport(virtual.port))
        yield board
        board.close()


@pytest.fixture
def pty():
    boards = []

    def start(model):
        boards.append(PtyBoard(model))
        return boards[-1]

    yield start
    for board in boards:
        board.close()


def test_the_virtual_board_passes():
    done = tidegate("selftest", "virtual", "--lanes", "8", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["passed"] and [s["name"] for s in report["steps"]] == list(STEPS)
    assert all(s["passed"] for s in report["steps"]) and "32768 words of 8 lanes" in report["steps"][2]["seen"]
    digest = report["steps"][0]["seen"].split()[-1]
    done = tidegate("selftest", "virtual", "--lanes", "8", "--expect", digest, "--seed", "77")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [["✓", name] for name in STEPS] and "seed 77" in lines[2]


def through(board: Board, change) -> None:
    """What is written to the weight memory becomes what ``change(address, bytes)`` yields, pairs like these."""
    request = board.link.request

    def changed(kind, payload=b""):
        if kind != Request.WRITE_WEIGHTS:
            return request(kind, payload)
        for address, weights in change(int.from_bytes(payload[:4], "little"), payload[4:]):
            answer = request(kind, struct.pack("<I", address) + weights)
        return answer

    board.link.request = changed


def test_the_memory_of_the_rtl(board, design):
    assert f"{design.weight_words} words" in memtest.check_memory(board, seed=3)


def test_one_wrong_bit_in_the_memory_of_the_rtl(board, design):
    """In a lane with a class, and in one that only a cell shows, if there is one."""
    word = design.weight_words // 3
    plain = board.link.request
    for lane in {2, design.lanes - 2}:
        wrong = word * design.lanes + lane

        def flip(address, weights, wrong=wrong):
            yield address, bytes(byte ^ (at == wrong) for at, byte in enumerate(weights, address))

        through(board, flip)
        with pytest.raises(memtest.MemoryFault, match=f"^word {word} is wrong in lanes") as error:
            memtest.check_memory(board, seed=3)
        assert (f"lanes {lane}..{lane}: " if lane < design.classes else "lanes 4..7, or") in str(error.value)
        board.link.request = plain


def test_an_address_line_of_the_rtl(board, design):
    line = 128

    def alias(address, weights):
        cut = line * design.lanes - address % (line * design.lanes)     # where the line changes
        for start, part in ((address, weights[:cut]), (address + cut, weights[cut:])):
            yield start & ~(line * design.lanes), part

    through(board, alias)
    with pytest.raises(memtest.MemoryFault, match=f"^word 0 is wrong.* what was written to word {line}, so an addr"):
        memtest.check_memory(board, seed=3)


def test_a_board_in_python_passes(pty):
    done = tidegate("selftest", pty(CoreBoard(SIMULATED[64])).port)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.count("✓") == len(STEPS) and "64 lanes" in done.stdout


def test_a_broken_board(pty):
    port = pty(Broken("an address line is stuck")).port
    done = tidegate("selftest", port)
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
    lines = done.stdout.splitlines()
    assert [line[0] for line in lines] == ["✓", "✓", "✗"] and "what was written to word 64" in lines[2]
    assert f"{port} fails at memory: word 0 is wrong" in done.stderr
    done = tidegate("selftest", pty(Broken("a reset clears nothing")).port, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1 and not report["passed"] and "fails at reset" in done.stderr
    assert [s["passed"] for s in report["steps"]] == [True, True, True, False]


def test_another_core_than_the_manifest_says(pty, tmp_path):
    board = pty(CoreBoard())
    manifest = {"board": "ulx3s", "bitstream": "x.bit", "sha256": "0" * 64, "design_digest": "f" * 32}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest))
    done = tidegate("selftest", board.port, "--expect", path)
    assert done.returncode == 1 and "✗ identify" in done.stdout
    assert "load the bitstream that belongs to the manifest" in done.stderr and "Traceback" not in done.stderr
    path.write_text(json.dumps(manifest | {"design_digest": board.board.identity[-16:].hex()}))
    assert tidegate("selftest", board.port, "--expect", path).returncode == 0


def test_no_board_no_port_no_manifest(pty, tmp_path):
    silent = pty(CoreBoard())
    silent.pause = True
    done = tidegate("selftest", silent.port, "--json")
    assert done.returncode == 1 and "is the board powered and the bitstream loaded?" in done.stderr
    assert [s["name"] for s in json.loads(done.stdout)["steps"]] == ["identify"]
    assert "no port '/dev/ttyNOPE7'" in tidegate("selftest", "/dev/ttyNOPE7").stderr
    fails(tidegate("selftest", "virtual", "--expect", tmp_path / "nope.json"), "cannot read the manifest")
    fails(tidegate("selftest", "virtual", "--expect", "e5afa0cf"), "32 hexadecimal digits, not 8; copy it")
    (tmp_path / "text.json").write_text("this is no manifest")
    fails(tidegate("selftest", "virtual", "--expect", tmp_path / "text.json"), "is no manifest of a bitstream")
    (tmp_path / "list.json").write_text("[1]")
    fails(tidegate("selftest", "virtual", "--expect", tmp_path / "list.json"), "is no manifest of a bitstream")
