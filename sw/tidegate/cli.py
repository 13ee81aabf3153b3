"""The ``tidegate`` command: every error that a user can cause becomes one line on standard error.

All else is imported inside ``main``, so that Ctrl-C is one line from the beginning.
"""

import errno
import io
import os
import sys
import warnings

FAILED, INTERRUPTED = 1, 130

# One thread, as in a sweep, unless it is set: torch's threads wait by spinning, so on a busy machine more of them take
# many times longer, while two on idle cores gain less than a factor of two; and sums come out the same on any number.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    """Entry point; exits with 0, 1 for a TidegateError, 2 for wrong usage, 130 when interrupted."""
    if isinstance(sys.stdout, io.TextIOWrapper):        # a terminal need not know Θ, nor a file name be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:                     # the reader went away, as in `tidegate models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    except OSError as error:                    # a folder without permission, a full disk
        if not error.filename and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        where = f"'{error.filename}'" if error.filename else "the output"
        print(f"{where} cannot be read or written ({error.strerror or error}); check the place and its permissions",
              file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())      # what is left to be written there
        code = FAILED
    if code == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    sys.exit(code)


def _run() -> int:
    import typer

    from .commands import console
    from .commands.app import app
    from .spec.errors import TidegateError

    # Amaranth's complaint when Ctrl-C cuts the elaboration of a virtual board short
    warnings.filterwarnings("ignore", message=".* created but never used")
    warnings.showwarning = _one_line(warnings.showwarning)
    try:
        return app(standalone_mode=False) or 0
    except TidegateError as error:
        console.err.print(str(error), style="red", soft_wrap=True)
        return FAILED
    except typer.Abort:                         # how older versions of typer pass Ctrl-C on
        return INTERRUPTED
    except Exception as error:
        show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if show is None or code is None:        # not one of typer's usage errors
            raise
        show()
        return code


def _one_line(show):
    """``show``, which prints a warning, but those that are meant for a user without the place in the code."""
    from .commands import console
    from .spec.errors import TidegateWarning

    def print_warning(message, category, *where, **more):
        if issubclass(category, TidegateWarning):
            console.err.print(f"warning: {message}", style="yellow", soft_wrap=True)
        else:
            show(message, category, *where, **more)
    return print_warning


if __name__ == "__main__":
    main()
