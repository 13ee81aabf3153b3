"""A model card in Markdown from what a model file says: ``python -m tidegate.train.publish.card MODEL > CARD.md``.

``tidegate train`` writes recipe and figures into a model's card; ``release.py`` adds results of other runs:
seeds, words left out, a stream, the comparison with the RTL.  The text of a card is in ``templates/card.md.jinja``.
"""

import sys
from functools import partial
from pathlib import Path

from jinja2 import UndefinedError

from tidegate.spec.errors import TidegateError
from tidegate.spec.model import Model, read_model

from ..data.split import JUDGED, UNSEEN
from ..recipe import WORDS
from ..study.early import group_name, margin_text
from ..tasks.registry import find_task
from .pages import render_template

_PARTS = JUDGED[::-1]          # first what chose nothing
_OPTIONS = {"speech": "--speech", "words": "--other-words", "keywords": "--more-keywords",
            "noise": "--noise", "rooms": "--rooms"}


def card(model: Model, name: str, size: int) -> str:
    """The card as Markdown; ``size``: bytes of the model file.  TidegateError if the model was not trained with a
    recipe, or if its card lacks a figure."""
    if "recipe" not in model.card:
        raise TidegateError(f"the model '{name}' has no training card; only models from `tidegate train` have one")
    known = model.card
    figures = [known[part] for part in _PARTS if part in known]
    stream, sources = known.get("stream"), known.get("sources", {})
    primary = find_task(known["recipe"].get("task", WORDS)).primary
    try:
        return render_template(
            "card.md.jinja", model=model, card=known, recipe=known["recipe"], name=name, size=size,
            figures=figures, early=all("frames_used" in f for f in figures),
            twin=known.get("left_out") or (known if UNSEEN in known else None),
            stream=stream, played=_played(stream) if stream and "seeds" in stream else [], sources=sources,
            options="".join(f" {_OPTIONS[kind]} ..." for kind in sources),
            parts_of=partial(_parts_of, primary.name), primary=primary, group_name=group_name, margin_text=margin_text)
    except UndefinedError as error:
        raise TidegateError(f"the training card of the model '{name}' is incomplete ({error.message}); train the model "
                            "again, or attach what is missing again") from None


def _parts_of(figure: str, rows: list[dict]) -> list[str]:
    """The parts on which some of the rows have the figure."""
    return [part for part in _PARTS if any(row.get(f"{part}_{figure}") is not None for row in rows)]


def _played(stream: dict) -> list[tuple[str, float, list[str]]]:
    """(kind, hours, sources) of the continuous sound in a stream."""
    found = []
    for kind in ("speech", "noise"):
        hours = {name.partition("/")[2]: sound["played_hours"] for name, sound in stream["played"].items()
                 if name.startswith(kind)}
        if hours:
            found.append((kind, sum(hours.values()), list(hours)))
    return found


def main() -> int:
    if len(sys.argv) != 2:
        print("use: python -m tidegate.train.publish.card MODEL", file=sys.stderr)
        return 2
    path = Path(sys.argv[1])
    try:
        print(card(read_model(path), path.stem, path.stat().st_size), end="")
    except TidegateError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
