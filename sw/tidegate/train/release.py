"""Make a zoo model of a sweep: the run that is best by validation, its recipe, and a card with what all runs found.

    python -m tidegate.train.release NAME SWEEP_FOLDER [--label LABEL] [--left-out LABEL] [--attach KEY=FILE.json ...]

``--label``: the sweep's variant to take the model from; ``--left-out``: the variant whose twin, trained without some
words, tells how these are rejected.  ``--attach`` puts a verb's JSON into the card: ``verified`` of `tidegate verify`,
``stream`` of `tidegate stream`.  Without a folder, only attaches to the model that is there.
"""

import argparse
import json
import platform
import sys
from dataclasses import replace
from pathlib import Path

from tidegate import zoo
from tidegate.spec.errors import TidegateError
from tidegate.spec.model import Model, read_model, save_model

from .card import card
from .data import UNSEEN
from .recipe import Recipe
from .results import read_results, summary

_FIGURES = ("accuracy", "accuracy_std", "fetch_reduction")


def best(rows: list[dict], label: str) -> dict:
    """The row at its own Θ (factor 1) of the best run of a variant by validation, the first of equals."""
    own = [row for row in rows if row["label"] == label and row["factor"] == 1 and not row["speaker"]]
    if not own:
        labels = ", ".join(sorted({f"'{row['label']}'" for row in rows}))
        raise TidegateError(f"the sweep has no run '{label}' at factor 1; its labels are {labels}")
    return max(own, key=lambda row: row["validation_accuracy"])


def compose(folder: Path, label: str, left_out: str | None) -> Model:
    """The best model of a variant, with the sweep's findings in its card."""
    rows = read_results(folder)
    plan = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    row = best(rows, label)
    model = read_model(folder / "models" / f"{row['key']}.tidegate")
    found = {"sweep": plan["name"], "seconds": row["seconds"], "machine": f"one core, {platform.machine()}",
             "runs": [_run(group) for group in summary([r for r in rows if not r["speaker"]])]}
    if any(r["speaker"] for r in rows):
        found["speakers"] = [_run(group) for group in summary([r for r in rows if r["speaker"]])]
    turned = [r for r in rows if r["key"] == row["key"] and r["factor"] is not None]
    if len(turned) > 1:
        found["turned"] = [{k: v for k, v in r.items() if k == "factor" or k.endswith(_FIGURES)} for r in turned]
    if left_out is not None:
        twin = read_model(folder / "models" / f"{best(rows, left_out)['key']}.tidegate").card
        if UNSEEN not in twin:
            raise TidegateError(f"the runs '{left_out}' left no words out; set leave_out in this variant")
        found["left_out"] = {k: twin[k] for k in ("recipe", UNSEEN, "validation", "rejection") if k in twin}
    return replace(model, card=model.card | found)


def _run(group: dict) -> dict:
    figures = [f"{part}_{figure}" for part in ("validation", "test") for figure in _FIGURES]
    return {k: group[k] for k in ("label", "theta", "factor", "n", *figures)}


def write(model: Model, name: str, folder: Path) -> None:
    """NAME.tidegate, NAME.json and NAME.md."""
    recipe = replace(Recipe.from_dict(model.card["recipe"]), name=name)
    model = replace(model, card=model.card | {"recipe": recipe.to_dict()})
    path = folder / f"{name}.tidegate"
    save_model(model, path)
    recipe.write(path.with_suffix(".json"))
    path.with_suffix(".md").write_text(card(read_model(path), name, path.stat().st_size), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser("python -m tidegate.train.release", description="Make a zoo model of a sweep.")
    parser.add_argument("name")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--label", default="")
    parser.add_argument("--left-out")
    parser.add_argument("--attach", action="append", default=[], metavar="KEY=FILE")
    parser.add_argument("--zoo", type=Path, default=Path(zoo.__file__).parent)
    options = parser.parse_args()
    try:
        model = (compose(options.folder, options.label, options.left_out) if options.folder
                 else read_model(options.zoo / f"{options.name}.tidegate"))
        for item in options.attach:
            key, _, file = item.partition("=")
            model = replace(model, card=model.card | {key: json.loads(Path(file).read_text(encoding="utf-8"))})
        write(model, options.name, options.zoo)
    except (TidegateError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
