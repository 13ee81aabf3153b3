"""Lists of boards: virtual boards, boards that bitstreams are built for, and serial ports that may have a board."""

from pathlib import Path
from typing import Any

from serial.tools.list_ports import comports

from ..spec.boards import BOARDS
from ..spec.design import SIMULATED
from ..spec.errors import TidegateError
from .bitstreams import MANIFEST, bitstreams_folder, read_manifest
from .board import Board


def virtual_boards() -> list[dict]:
    """The designs of the virtual board."""
    return [{"port": "virtual", "lanes": d.lanes, "cell_rate": d.cell_rate, "weights": d.weight_bytes,
             "features": d.features, "neurons": d.neurons, "classes": d.classes} for d in SIMULATED.values()]


def fpga_boards() -> list[dict]:
    """Boards and their designs; ``fmax_mhz``: of the bitstream, if there is one."""
    entries = []
    for spec in BOARDS.values():
        try:
            manifest = read_manifest(bitstreams_folder(spec.name) / MANIFEST)
        except TidegateError:
            manifest = None
        entries += [{
            "board": spec.name, "title": spec.title, "device": spec.device, "lanes": d.lanes,
            "cell_rate": d.cell_rate, "weights": d.weight_bytes, "features": d.features, "neurons": d.neurons,
            "classes": d.classes, "layers": d.layers, "clock_mhz": spec.clock / 1e6,
            "fmax_mhz": manifest.fmax_mhz if manifest and manifest.lanes == d.lanes else None,
        } for d in spec.designs]
    return entries


def serial_ports(identify: bool = False) -> list[dict]:
    """Serial ports by name; with ``identify`` each is opened, and ``answer`` says which device is behind it."""
    return [_port(p, identify) for p in sorted(p for p in comports() if p.hwid != "n/a" and Path(p.device).exists())]


def _port(found: Any, identify: bool) -> dict:
    entry = {"port": found.device, "device": found.description, "hwid": found.hwid}
    if identify:
        try:
            with Board.open(found.device) as board:
                entry["answer"] = f"tidegate, {board.design.lanes} lanes, core {board.identity.digest.hex()[:12]}"
        except TidegateError as error:
            entry["answer"] = str(error)
    return entry
