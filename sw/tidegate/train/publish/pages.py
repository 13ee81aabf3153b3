"""Pages and cards from the Jinja2 templates in ``templates``.

Templates ``*.html.jinja`` escape their values, templates ``*.md.jinja`` do not.  A template that asks for a value that
does not exist raises ``jinja2.UndefinedError``.
"""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from tidegate.host.figures import ratio_text

from ..judge.stat import spread


def number(value: Any, form: str) -> str:
    """A number in a format of Python's, such as ".2%"; "-" for None."""
    return "-" if value is None else format(value, form)


def seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def joined_lines(text: str) -> str:
    """The lines of a text as one; text that is escaped stays escaped."""
    return type(text)(" ").join(text.split())


_ENVIRONMENT = Environment(
    loader=PackageLoader("tidegate.train.publish"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    keep_trailing_newline=True, autoescape=select_autoescape(["html.jinja"]))
_ENVIRONMENT.filters.update(number=number, ratio=ratio_text, spread=spread, seconds=seconds, joined_lines=joined_lines)


def render_template(template: str, /, **values: Any) -> str:
    """The text of a template, a file's name in ``templates``."""
    return _ENVIRONMENT.get_template(template).render(values)
