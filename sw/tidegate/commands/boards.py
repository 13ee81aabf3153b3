"""Opening a board for a verb, with a note while that takes long; and the verb ``boards``."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from .console import JsonOption, hint_at_extras, out, print_json, progress

if TYPE_CHECKING:
    from tidegate.host.board import Board
    from tidegate.spec.model import Model


@contextmanager
def loaded_board(port: str, lanes: int | None, model: "Model", memory: int = 1) -> "Iterator[Board]":
    """A board with the model on it."""
    from tidegate.host.board import Board

    with hint_at_extras():
        board = Board.open(port, lanes, memory=memory)      # the first start of a virtual board shows its own progress
    with board:
        with progress("loading the model") as step:
            board.load(model, step)
        yield board


def boards(
    identify: Annotated[bool, typer.Option("--identify", help="Ask what is behind each serial port.")] = False,
    json: JsonOption = False,
) -> None:
    """List the boards there are: virtual ones, those that bitstreams are built for, serial ports that may have one."""
    from tidegate.host.discovery import fpga_boards, serial_ports, virtual_boards

    virtual, fpga, ports = virtual_boards(), fpga_boards(), serial_ports(identify)
    if json:
        return print_json({"virtual": virtual, "fpga": fpga, "serial": ports})
    table = Table("board", "lanes", "neurons/cycle", "int8 weights", "features", "neurons", "classes",
                  title="Virtual boards: the real RTL, simulated")
    for v in virtual:
        table.add_row(f"--board virtual --lanes {v['lanes']}", *map(str, list(v.values())[1:]))
    out.print(table)
    table = Table("board", "device", "lanes", "int8 weights", "neurons", "layers", "clock", "Fmax",
                  title="FPGA boards: what bitstreams are built for")
    for b in fpga:
        fmax = "not built" if b["fmax_mhz"] is None else f"{b['fmax_mhz']:.1f} MHz"
        table.add_row(*(str(b[key]) for key in ("board", "device", "lanes", "weights", "neurons", "layers")),
                      f"{b['clock_mhz']:g} MHz", fmax)
    out.print(table)
    table = Table("port", "device", *(["answers"] if identify else []), title="Serial ports")
    for p in ports:
        table.add_row(p["port"], p["device"], *([p["answer"]] if identify else []))
    out.print(table if ports else "No serial ports found; plug in a board to see it here.")
