"""What a page needs around its template: figures as inline SVG, whose neutral colours follow the page's scheme."""

from __future__ import annotations

import re
import warnings
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from tidegate.spec.files import replacing

from ...errors import DataError
from .. import pages

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


def render(template: str, **values: Any) -> str:
    """The text of a page from its template, in which ``svg`` shows a drawing."""
    from tidegate import __version__

    return pages.render_template(template, version=__version__, svg=svg, **values)


def save(drawing: Figure, path: Path) -> None:
    """Write a plot file; the same file for the same figures.  DataError if it cannot be written."""
    svg = path.suffix == ".svg"
    try:
        with replacing(path) as part:
            _savefig(drawing, part, format=path.suffix[1:], dpi=150, metadata=_NO_METADATA if svg else None)
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


def svg(drawing: Figure, name: str, alternative: str) -> Markup:
    """A drawing as a piece of HTML.  ``name``, unique on the page, keeps the identifiers of drawings apart;
    ``alternative`` says what the drawing shows."""
    file = StringIO()
    _savefig(drawing, file, format="svg", transparent=True, metadata=_NO_METADATA, salt=name)
    text = file.getvalue()
    text = text[text.index("<svg"):].rstrip()

    def adapt(match: re.Match) -> str:
        tag = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", match[0])
        return re.sub("|".join(_VARIABLES), lambda colour: _VARIABLES[colour[0]], tag)

    text = re.sub(r"<[^>]+>", adapt, text)
    width, label = 96 * drawing.get_figwidth(), escape(alternative).replace('"', "&#34;")
    return Markup(re.sub(r'width="[^"]*pt"|height="[^"]*pt"', "", text, count=2).replace(
        "<svg", f'<svg role="img" aria-label="{label}" width="{width:.0f}"', 1))


def _savefig(drawing: Figure, target, salt: str = "tidegate", **options) -> None:
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")      # a reader's fonts may have what ours lack
        drawing.savefig(target, **options)
