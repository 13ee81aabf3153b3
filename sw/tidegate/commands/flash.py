"""The verb ``flash``: a bitstream into a board."""

from pathlib import Path
from typing import Annotated

import typer

from .console import JsonOption, err, out, print_json


def flash(
    board: Annotated[str, typer.Option("--board", "-b", help="icebreaker or ulx3s.", show_default=False)],
    volatile: Annotated[bool, typer.Option("--volatile", help="Into the FPGA's SRAM: gone with the power.")] = False,
    bitstream: Annotated[Path | None, typer.Option(
        "--bitstream", help="A file with its manifest.json beside it (default: the one that was built).")] = None,
    json: JsonOption = False,
) -> None:
    """Check a board's bitstream against its manifest and load it into the board's flash, from which it starts."""
    from tidegate.host.bitstreams import MANIFEST
    from tidegate.host.flash import flash as load

    where = "SRAM" if volatile else "flash"
    with err.status(f"loading the {where} of {board}, a minute at most"):
        manifest = load(board, volatile, bitstream)
    if json:
        return print_json({"board": board, "memory": where.lower(), "bitstream": str(manifest.bitstream),
                           "sha256": manifest.sha256, "design_digest": manifest.design_digest})
    out.print(f"{manifest.bitstream} is in the {where} of the {board}, core {manifest.design_digest[:12]}",
              soft_wrap=True)
    out.print(f"Next: `tidegate selftest PORT --expect {manifest.bitstream.with_name(MANIFEST)}`",
              soft_wrap=True)
