"""The HTML page and its figures: inline SVG whose neutral colours follow the page's scheme."""

from __future__ import annotations

import html
import re
import warnings
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

from ...errors import DataError
from ...files import replacing

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

# neutral colours of figures: on the page they are variables, so that dark and light both work
INK, MUTED, LINE = "#1c2127", "#6b737c", "#d5d9dd"
STYLE: dict[RcKeyType, Any] = {
    "text.color": INK, "axes.labelcolor": INK, "axes.titlecolor": INK, "axes.edgecolor": MUTED, "xtick.color": MUTED,
    "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK, "grid.color": LINE, "axes.grid": True,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "font.size": 9,
    "axes.titlesize": 10, "axes.titlelocation": "left", "legend.frameon": False, "legend.fontsize": 8.5,
    "figure.facecolor": "white", "axes.facecolor": "none", "text.parse_math": False, "path.simplify": False,
    "svg.fonttype": "none",
}
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)"}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_LONGEST = 60

_CSS = """
:root { --paper: #fff; --ink: #1c2127; --muted: #6b737c; --line: #d5d9dd; --band: #f4f6f8; color-scheme: light dark }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #15181c; --ink: #e3e6e9; --muted: #98a1aa; --line: #363c43; --band: #1d2126 } }
body { margin: 2.5rem auto 4rem; padding: 0 1.5rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .6rem } h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem;
  padding-top: .8rem; border-top: 1px solid var(--line) }
h1, h2, p, td, figcaption { overflow-wrap: break-word }
p { margin: .6rem 0; max-width: 48rem } code { font-size: .9em }
figure { margin: 1.2rem 0 } figcaption, caption { color: var(--muted); font-size: .86rem; text-align: left }
figcaption { max-width: 48rem; margin-top: .3rem }
figure svg { max-width: 100%; height: auto; display: block }
.row { display: flex; flex-wrap: wrap; gap: 0 1.5rem }
.row figcaption { width: 0; min-width: 100% }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; margin: 1rem 0 }
caption { caption-side: bottom; padding-top: .4rem }
th, td { padding: .28rem .8rem .28rem 0; text-align: left; vertical-align: top }
th { border-bottom: 1.5px solid var(--muted); font-weight: 600; vertical-align: bottom }
td { border-bottom: 1px solid var(--line) }
td.number, th.number { text-align: right } td.number { white-space: nowrap }
table.facts td:first-child { white-space: nowrap; color: var(--muted) }
tr.mark td { background: var(--band) }
footer { margin-top: 3rem; color: var(--muted); font-size: .86rem }
@media print { body { margin: 0; max-width: none; font-size: 10.5pt } figure, tr { break-inside: avoid }
  h2 { break-after: avoid } .wide { overflow: visible } }
"""


def document(title: str, body: Iterable[str]) -> str:
    """A page; ``title`` is text, ``body`` pieces of HTML."""
    from tidegate import __version__

    title = html.escape(title)
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n<title>{title}</title>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<style>{_CSS}</style></head>\n<body>\n<h1>{title}</h1>\n" + "\n".join(body)
            + f"\n<footer>Tidegate {html.escape(__version__)}</footer>\n</body></html>\n")


def heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>"


def paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", texts: int = 1,
          marked: Sequence[bool] = ()) -> str:
    """Cells are text; the first ``texts`` columns are words, the others numbers; ``marked`` rows get a background."""
    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = ("" if k < texts else ' class="number"' for k in range(len(row)))
        return "".join(f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    marks = (' class="mark"' if mark else "" for mark in marked or [False] * len(rows))
    lines = [f"<tr{mark}>{cells('td', row)}</tr>" for mark, row in zip(marks, rows, strict=True)]
    below = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    top = f"<thead><tr>{cells('th', head)}</tr></thead>" if any(head) else ""
    return f'<div class="wide"><table>{below}{top}<tbody>\n' + "\n".join(lines) + "\n</tbody></table></div>"


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values; a name without a value is left out."""
    return table((), [row for row in rows if row[1]], texts=2).replace("<table>", '<table class="facts">', 1)


def figure(drawing: Figure, name: str, caption: str) -> str:
    """A figure with its caption (text); ``name``, unique on the page, keeps the identifiers of SVGs apart."""
    return (f'<figure id="{name}">\n{_inline(drawing, name, caption)}\n'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>")


def save(drawing: Figure, path: Path) -> None:
    """Write a plot file; the same file for the same figures.  DataError if it cannot be written."""
    svg = path.suffix == ".svg"
    try:
        _savefig(drawing, path, format=path.suffix[1:], dpi=150, metadata=_NO_METADATA if svg else None)
    except OSError as error:
        raise DataError(f"'{path}' cannot be written ({error.strerror}); choose another place") from None


def write(text: str, path: Path) -> None:
    """All of it or nothing; DataError if it cannot be written."""
    try:
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise DataError(f"'{path}' cannot be written ({error.strerror}); choose another place") from None


def short(label: str) -> str:
    """A label as legends can bear it: not too long, and not hidden by an underscore at its beginning."""
    text = " ".join(label.split())
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return " " + text if text.startswith("_") else text


def _inline(drawing: Figure, name: str, alternative: str) -> str:
    file = StringIO()
    _savefig(drawing, file, format="svg", transparent=True, metadata=_NO_METADATA, salt=name)
    svg = file.getvalue()
    svg = svg[svg.index("<svg"):].rstrip()

    def adapt(match: re.Match) -> str:
        tag = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", match[0])
        return re.sub("|".join(_VARIABLES), lambda colour: _VARIABLES[colour[0]], tag)

    svg = re.sub(r"<[^>]+>", adapt, svg)
    width = 96 * drawing.get_figwidth()
    return re.sub(r'width="[^"]*pt"|height="[^"]*pt"', "", svg, count=2).replace(
        "<svg", f'<svg role="img" aria-label="{html.escape(alternative)}" width="{width:.0f}"', 1)


def _savefig(drawing: Figure, target, salt: str = "tidegate", **options) -> None:
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")      # a reader's fonts may have what ours lack
        drawing.savefig(target, **options)
