"""The verb ``build``: a board's bitstream, from the gateware."""

import shlex
from math import isfinite
from os import W_OK, access
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tidegate.spec.errors import TidegateError

from .console import LANES_OF_BOARDS, JsonOption, err, hint_at_extras, names_in, out, print_json

if TYPE_CHECKING:
    from tidegate.spec.design import Design


def build(
    board: Annotated[str, typer.Option("--board", "-b", help="icebreaker or ulx3s.", show_default=False)],
    lanes: Annotated[int | None, typer.Option(
        "--lanes", help=f"Which of the board's designs (default: the first): {LANES_OF_BOARDS}.",
        show_default=False)] = None,
    cells: Annotated[str | None, typer.Option(
        "--cells",
        help="Cells that layers may have, such as gru,lstm (default: the board's).", show_default=False)] = None,
    rules: Annotated[str | None, typer.Option(
        "--rules",
        help="Encoder rules that signals may have, such as delta,diffuse (default: the board's).",
        show_default=False)] = None,
    features: Annotated[int | None, typer.Option(
        "--features", help="Elements that a frame may have (default: the board's).", show_default=False)] = None,
    clock: Annotated[float | None, typer.Option(
        "--clock", help="MHz, where the design is too slow for the board's usual clock; ulx3s: 75 or 50.",
        show_default=False)] = None,
    to: Annotated[Path | None, typer.Option(
        "--to", help="Folder of bitstream, manifest and report (default: bitstreams/BOARD in the checkout).",
        show_default=False)] = None,
    check: Annotated[bool, typer.Option(
        "--check", help="Only say whether the bitstream there belongs to this RTL; exit code 1 if not.")] = False,
    json: JsonOption = False,
) -> None:
    """Build a board's bitstream with yosys and nextpnr, and a manifest of what it is.

    All that the tools read and write, their messages too, stays in build/BOARD beside bitstreams/, or beside the
    folder of --to.  Where the design does not fit or is too slow, what was built before stays as it is.
    """
    from tidegate.spec.boards import board_spec

    spec = board_spec(board)
    if clock is not None and not isfinite(clock):
        raise TidegateError(f"a clock of {clock} MHz is none; give the MHz of one that {board} has")
    design = spec.design(lanes, names_in(cells), names_in(rules), features)
    hertz = None if clock is None else spec.at(round(1e6 * clock)).clock
    if to is None and (design != spec.design() or hertz not in (None, spec.clock)):
        own = spec.design()
        raise TidegateError(f"bitstreams/{board} is for {own.lanes} lanes, {own.features} features, "
                            f"{spec.clock / 1e6:g} MHz, "
                            f"{' and '.join((*own.cells, *own.rules))}; give another folder with --to")
    folder, work = _folders(board, to)
    with hint_at_extras("build"):
        import tidegate_hw.build as builder

        with err.status(f"elaborating, to see whether '{folder}' belongs to this RTL"):
            why = _why_not(board, design, hertz or spec.clock, folder)
        if check:
            options = {"--lanes": lanes, "--cells": cells, "--rules": rules, "--features": features, "--clock": clock,
                       "--to": to}
            return _checked(board, folder, why, json, "".join(
                f" {option} {shlex.quote(str(value))}" for option, value in options.items() if value is not None))
        err.print(f"{why}; building" if why else f"'{folder}' belongs to this RTL; building again", soft_wrap=True)
        _writable(folder, work)
        start = monotonic()

        def say(stage: str) -> None:
            err.print(f"{monotonic() - start:5.0f} s  {stage}", soft_wrap=True)

        manifest = builder.build(board, design, folder, work, say, hertz)
        say("done")
        seconds = monotonic() - start
    if json:
        return print_json({"folder": str(folder), "seconds": round(seconds, 1), "manifest": manifest})
    _print(manifest, folder)


def _folders(board: str, to: Path | None) -> tuple[Path, Path]:
    """Where the results go, and where the tools work."""
    from tidegate.host.bitstreams import built_folder

    if to is not None:
        return to, to.absolute().parent / "build" / to.absolute().name
    folder = built_folder(board)
    return folder, folder.absolute().parents[1] / "build" / board


def _why_not(board: str, design: "Design", clock: int, folder: Path) -> str | None:
    """Why what is in ``folder`` is not the design's bitstream by this RTL for this clock in Hz; None if it is."""
    from tidegate.host.bitstreams import MANIFEST, read_manifest
    from tidegate_hw.build import stale

    if not (folder / MANIFEST).is_file():
        return f"there is no bitstream for {board} in '{folder}' yet"
    try:
        manifest = read_manifest(folder / MANIFEST)
        manifest.check()
    except TidegateError as error:
        return str(error).split("; ")[0]        # what to do is said elsewhere
    if (manifest.board, manifest.lanes) != (board, design.lanes):
        return f"the bitstream in '{folder}' is for {manifest.board} with {manifest.lanes} lanes"
    built = manifest.design or design
    for what in ("cells", "rules", "features"):
        if (has := getattr(built, what)) != (wanted := getattr(design, what)):
            return f"the bitstream in '{folder}' has the {what} {_told(has)}, not {_told(wanted)}"
    if built != design:
        return f"the bitstream in '{folder}' has other capacities than this design"
    if manifest.clock_mhz is not None and manifest.clock_mhz != clock / 1e6:
        return f"the bitstream in '{folder}' is for {manifest.clock_mhz:g} MHz, not {clock / 1e6:g}"
    why = stale(folder)
    return why and why.split("; ")[0]


def _told(value: int | tuple[str, ...]) -> str:
    return str(value) if isinstance(value, int) else " and ".join(value)


def _checked(board: str, folder: Path, why: str | None, json: bool, where: str) -> None:
    """``where``: the option that builds in this folder."""
    if json:
        print_json({"board": board, "folder": str(folder), "up_to_date": why is None, "why": why})
    if why:
        raise TidegateError(f"{why}; run `tidegate build --board {board}{where}`")
    if not json:
        out.print(f"'{folder}' belongs to this RTL", soft_wrap=True)


def _writable(folder: Path, work: Path) -> None:
    """Both can be written: better said now than when a long build is over."""
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TidegateError(f"cannot write to '{work}' ({error.strerror}); give another folder with --to") from None
    above = folder if folder.exists() else next(p for p in folder.absolute().parents if p.exists())
    if not above.is_dir() or not access(above, W_OK):
        raise TidegateError(f"cannot write to '{folder}'; give another folder with --to")


def _print(manifest: dict, folder: Path) -> None:
    table = Table("", "used", "available", "share",
                  title=f"{manifest['board']}: {manifest['device']}, {manifest['lanes']} lanes")
    for what, (used, available) in manifest["utilisation"].items():
        table.add_row(what.upper(), str(used), str(available), f"{used / available:.0%}")
    out.print(table)
    fmax, clock = manifest["fmax_mhz"], manifest["clock_mhz"]
    out.print(f"Fmax {fmax:.1f} MHz, {fmax / clock - 1:.0%} above the board's clock of {clock:g} MHz")
    out.print(f"{folder / manifest['bitstream']}, core {manifest['design_digest'][:12]}; "
              f"next: `tidegate flash --board {manifest['board']}`", soft_wrap=True)
