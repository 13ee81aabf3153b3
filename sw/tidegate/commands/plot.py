"""Whether a picture can be drawn, for the verbs that have ``--plot``."""

from pathlib import Path

from tidegate.spec.errors import TidegateError

from .console import hint_at_extras

SUFFIXES = (".png", ".svg", ".pdf")


def check_plot(file: Path) -> None:
    """TidegateError if such a file cannot be drawn here, before long measurements."""
    if file.suffix.lower() not in SUFFIXES:
        raise TidegateError(f"cannot draw '{file}'; name it {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if not file.absolute().parent.is_dir():
        raise TidegateError(f"cannot draw '{file}': there is no such folder")
    with hint_at_extras():
        import matplotlib  # noqa: F401
