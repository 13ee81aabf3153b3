"""The verb ``selftest``: the bring-up checklist of a board."""

from pathlib import Path
from re import fullmatch
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tidegate.spec.errors import TidegateError

from .console import JsonOption, LanesOption, hint_at_extras, out, print_json, progress

if TYPE_CHECKING:
    from tidegate.host.board import Board


def selftest(
    port: Annotated[str, typer.Argument(help='A serial port, such as /dev/ttyUSB1, or "virtual".', show_default=False)],
    lanes: LanesOption = None,
    expect: Annotated[str | None, typer.Option(
        "--expect", help="The core that must be there: digest, or a bitstream's manifest.json.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random patterns and weights.")] = 1,
    json: JsonOption = False,
) -> None:
    """Go through a board's checklist: identity, link, all of the weight memory, reset, golden's integers, stop unit.

    It stops at the first step that fails.  A model on the board is lost.
    """
    from tidegate.host.board import Board
    from tidegate.host.selftest import STEPS, checklist

    digest = None if expect is None else _digest(expect)

    def open_board() -> "Board":
        with hint_at_extras():
            return Board.open(port, lanes, expect_digest=digest)

    bars, done = [], []
    steps = checklist(open_board, seed, lambda done, total: bars[-1](done, total))
    for name in STEPS:
        with progress(name, visible=name == "memory") as bar:      # a virtual board that is opened shows its own
            bars.append(bar)
            step = next(steps)
        done.append(step)
        if not json:
            mark = ("✓", "green") if step.passed else ("✗", "red")
            out.print(Text.assemble(mark, f" {step.name:9} {step.seen}"), soft_wrap=True)
        if not step.passed:
            break
    passed = all(step.passed for step in done)
    if json:
        print_json({"port": port, "passed": passed, "seed": seed, "steps": [vars(step) for step in done]})
    if not passed:
        raise TidegateError(f"{port} fails at {done[-1].name}: {done[-1].seen}")
    if not json:
        out.print(f"{port} passes; docs/boards.md says what each step means")


def _digest(expect: str) -> str:
    """A digest in hexadecimal, as given or from a manifest."""
    from tidegate.host.bitstreams import read_manifest

    if fullmatch("[0-9a-fA-F]{32,64}", expect):
        return expect
    if fullmatch("[0-9a-fA-F]+", expect) and not Path(expect).exists():
        raise TidegateError(f"a core's digest has 32 hexadecimal digits, not {len(expect)}; copy it whole")
    return read_manifest(Path(expect)).design_digest
