"""The virtual board as a process: its life, its terminal, its trace, and what happens when it cannot be built."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import serial
from models import random_frames, random_model

from tidegate.golden import Golden
from tidegate.host.board import Board
from tidegate.host.transport import SerialTransport
from tidegate.spec.design import SIMULATED, Identity
from tidegate.spec.errors import TidegateError
from tidegate.spec.packets import ANSWER, NAK, LinkError, Request, decode_packet, encode_packet
from tidegate_sim import verilator
from tidegate_sim.virtual import VirtualBoard, executable

DESIGN = SIMULATED[64]


@pytest.fixture(autouse=True)
def _compiled(compiled):
    pass


def identify(port: str) -> Identity:
    with serial.Serial(port, 115200, timeout=5) as line:
        line.write(encode_packet(0, Request.IDENTIFY))
        _, kind, payload = decode_packet(line.read_until(b"\0")[:-1])
    assert kind == Request.IDENTIFY | ANSWER
    return Identity.unpack(payload[:-2])


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"


def wait_for(condition, seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_identifies_itself_and_ends():
    from tidegate_sim.harness import digest

    with VirtualBoard(DESIGN) as board:
        identity = identify(board.port)
        pid = board._process.pid
    assert identity == Identity(DESIGN, digest(DESIGN))
    assert not is_running(pid)
    assert board.cycles > 100 and board.seconds > 0
    board.close()


def kind_or_none(line: serial.Serial) -> int | None:
    """Type of the next packet; None if it is not a whole one, or none comes."""
    try:
        return decode_packet(line.read_until(b"\0")[:-1])[1]
    except LinkError:
        return None


def test_opens_again_after_a_hang_up():
    with VirtualBoard(DESIGN) as board:
        first = identify(board.port)
        with serial.Serial(board.port, 115200) as line:     # leaves half a packet and an unread answer behind
            line.write(encode_packet(0, Request.IDENTIFY) + b"\x05abc")
        with serial.Serial(board.port, 115200, timeout=1) as line:
            line.write(b"\0")
            assert NAK in [kind_or_none(line) for _ in range(2)]    # perhaps after the rest of the answer
        assert identify(board.port) == first


def test_a_reader_that_does_not_read_stops_nothing():
    """More answers than the terminal holds: they wait, and the next user gets its own."""
    with VirtualBoard(DESIGN) as board:
        with serial.Serial(board.port, 115200, timeout=5) as line:
            request = encode_packet(0, Request.IDENTIFY)
            line.write(request * 300)
            answer = line.read_until(b"\0")
            rest = line.read(299 * len(answer))
        assert rest == answer * 299
        with serial.Serial(board.port, 115200) as line:
            line.write(request * 100)
            time.sleep(0.2)
        assert wait_for(lambda: identify_or_none(board.port) is not None)


def identify_or_none(port: str) -> Identity | None:
    try:
        return identify(port)
    except TidegateError:
        return None


def test_sleeps_when_there_is_nothing_to_do():
    with VirtualBoard(DESIGN) as board:
        identify(board.port)
        time.sleep(0.3)
        def cpu_ticks():
            return sum(map(int, open(f"/proc/{board._process.pid}/stat").read().rsplit(")", 1)[1].split()[11:13]))
        before = cpu_ticks()
        time.sleep(0.5)
        assert cpu_ticks() - before <= 1


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_ends_with_its_parent(end):
    program = ("import sys, time\nfrom tidegate_sim.virtual import VirtualBoard\n"
               "from tidegate.spec.design import SIMULATED\n"
               "b = VirtualBoard(SIMULATED[64])\nprint(b._process.pid, flush=True)\ntime.sleep(60)")
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True)
    pid = int(parent.stdout.readline())
    assert is_running(pid)
    parent.send_signal(end)
    parent.wait(10)
    parent.stdout.close()
    assert wait_for(lambda: not is_running(pid))


def test_sigterm_ends_it():
    board = VirtualBoard(DESIGN)
    os.kill(board._process.pid, signal.SIGTERM)
    assert board._process.wait(5) == 0
    board.close()
    assert board.cycles is not None


def test_crash_is_one_line():
    board = VirtualBoard(DESIGN)
    board._process.kill()
    board._process.wait()
    board.close()
    assert board.cycles is None


def test_trace_is_what_the_cells_compute(tmp_path):
    """Complete up to the last answer while the board is still running, every stage equal to golden's."""
    model, frames = random_model(seed=4), random_frames(4, 12)
    golden = Golden(model).run(frames[:, None], keep_layers=True)
    g = DESIGN.cell_rate
    stages = ("r_arg", "z_arg", "nx", "nh", "h")
    kept = (*stages, *(f"unused {k}" for k in range(DESIGN.stages - len(stages))))      # a cell with more has these
    record = np.dtype([("layer", "<u2"), ("group", "<u2"), *((stage, "<i2", (g,)) for stage in kept)])
    with VirtualBoard(DESIGN, trace=tmp_path / "trace") as virtual:
        board = Board(SerialTransport(virtual.port))
        board.load(model)
        results = list(board.stream(frames))
        trace = np.fromfile(tmp_path / "trace", record)
        board.close()
    assert [list(r.logits) for r in results] == golden.logits[:, 0].tolist()
    for l, layer in enumerate(model.network.layers):
        mine = trace[trace["layer"] == l]
        for stage in stages:
            rtl = mine[stage].reshape(len(frames), -1)[:, : layer.size]
            assert (rtl == getattr(golden.layers[l], stage)[:, 0]).all(), (l, stage)


def test_known_design_needs_no_tools(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with VirtualBoard(DESIGN) as board:
        identify(board.port)


def test_missing_tools_are_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path))
    with pytest.raises(TidegateError, match=r"^g\+\+ and make not found.*sudo apt install g\+\+ make`$"):
        VirtualBoard(SIMULATED[8])


def test_unusable_cache_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "file"))
    with pytest.raises(TidegateError, match="set TIDEGATE_CACHE"):
        executable(DESIGN)


HARNESS = """#include "Vtop.h"
#include <stdio.h>
int main() { Vtop top; top.a = 20; top.eval(); printf("%d", top.y); }
"""
VERILOG = "module adder(input [7:0] a, output [7:0] y); assign y = a + 8'd22; endmodule"
BUILD = """
import sys, time
from pathlib import Path
from tidegate_sim import verilator
def verilog():
    print("compiles", flush=True)
    return sys.argv[2]
recipe = verilator.VerilatorBuild(top="adder", harness=Path(sys.argv[1]), optimise="-O0")
print(verilator.build_executable(recipe, b"adder", verilog), flush=True)
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Starts processes that build a tiny design in a cache of their own."""
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "main.cpp").write_text(HARNESS)
    processes = []

    def start() -> subprocess.Popen:
        processes.append(subprocess.Popen([sys.executable, "-c", BUILD, str(tmp_path / "main.cpp"), VERILOG],
                                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def run(executable: str) -> str:
    return subprocess.run([executable], capture_output=True, text=True, check=True).stdout


def leftovers() -> list[str]:
    """What the cache holds besides finished executables and locks."""
    return [p.name for p in verilator.cache_dir().iterdir() if p.suffix not in ("", ".lock")]


def test_simultaneous_first_users_compile_once(small):
    outputs = [process.communicate()[0].split() for process in [small() for _ in range(3)]]
    assert sorted(map(len, outputs)) == [1, 1, 2]
    assert len({output[-1] for output in outputs}) == 1
    assert run(outputs[0][-1]) == "42"
    assert not leftovers()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_build_breaks_nothing(small, end):
    first = small()
    assert first.stdout.readline() == "compiles\n"
    folder = verilator.cache_dir()
    assert wait_for(lambda: any("g++ " in log.read_text() for log in folder.glob("*/log")), 60)     # at work
    first.send_signal(end)
    first.wait(10)
    if end == signal.SIGINT:
        assert not leftovers()
    second = small()
    output = second.communicate()[0].split()
    assert output[0] == "compiles" and run(output[-1]) == "42"
    assert not leftovers()


def test_failing_compiler_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "main.cpp").write_text("int main() { return nonsense; }")
    recipe = verilator.VerilatorBuild(top="adder", harness=tmp_path / "main.cpp", optimise="-O0")
    with pytest.raises(TidegateError, match=r"make failed: .*nonsense.* \(all messages: ") as error:
        verilator.build_executable(recipe, b"adder", lambda: VERILOG)
    log = str(error.value).rsplit(": ", 1)[1].rstrip(")")
    assert "nonsense" in open(log).read()
    assert leftovers() == [os.path.basename(log)]


@pytest.mark.slow
def test_waveform(tmp_path):
    with VirtualBoard(SIMULATED[8], waveform=tmp_path / "board.vcd") as board:
        identify(board.port)
    text = (tmp_path / "board.vcd").read_text()
    assert "$enddefinitions" in text and "tx_byte" in text and text.count("\n#") > 2 * 100
