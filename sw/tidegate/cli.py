"""The ``tidegate`` command: registers the verbs and turns every error a user can cause into one line."""

import os
import sys

import typer
from rich.markup import escape

from .commands import bench, boards, console, models, speech
from .spec.errors import TidegateError

app = typer.Typer(name="tidegate", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Delta-RNN: a network that speaks only when something changed, on the board and here.")
app.command()(speech.demo)
app.command()(speech.run)
app.command()(models.train)
app.command("eval")(models.evaluate)
app.command()(models.verify)
app.command()(bench.bench)
app.command()(models.data)
app.command()(models.models)
app.command()(boards.boards)

INTERRUPTED = 130


def main() -> None:
    """Entry point; exits with 0, 1 for a TidegateError, 2 for wrong usage, 130 when interrupted."""
    try:
        code = app(standalone_mode=False)
    except TidegateError as error:
        code = _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:                     # the reader went away, as in `tidegate models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        if not hasattr(error, "exit_code"):     # not one of click's usage errors
            raise
        error.show()
        code = error.exit_code
    if code == INTERRUPTED:
        console.err.print("[red]interrupted[/]")
    sys.exit(code or 0)


def _fail(text: str) -> int:
    console.err.print(f"[red]{escape(text)}[/]", soft_wrap=True)
    return 1


if __name__ == "__main__":
    main()
