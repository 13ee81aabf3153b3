"""Make a zoo model of a sweep: the run that is best by validation, its recipe, and a card with the results of all runs.

    python -m tidegate.train.publish.release NAME --sweep FOLDER [--label LABEL]
    python -m tidegate.train.publish.release NAME --model FILE
    python -m tidegate.train.publish.release NAME [--unseen FOLDER] [--speakers FOLDER] [--attach KEY=FILE.json ...]

``--label``: the sweep's variant to take the model from.  ``--model``: a file of `tidegate train` instead.  The other
options add to the card of an existing model: ``--unseen`` a sweep of the same model trained without some words,
``--speakers`` a sweep that leaves each speaker out in turn, ``--attach`` a verb's JSON: ``verified`` of `tidegate
verify`, ``stream`` of `tidegate stream`, ``wake_word`` of `tidegate stream --protocol mlperf`.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from tidegate import zoo
from tidegate.spec.errors import TidegateError
from tidegate.spec.files import replacing
from tidegate.spec.model import Model, read_model, save_model

from ..data.split import JUDGED, UNSEEN
from ..judge.scoring import brief
from ..recipe import Recipe
from ..study.results import read_description, read_early, read_results, summary
from ..tasks.primary import ACCURACY, Primary
from .card import card


def best(rows: list[dict], label: str, primary: Primary = ACCURACY) -> dict:
    """The row at its own Θ (factor 1) of the best run of a variant by validation, the first of equals."""
    own = [row for row in rows if row["label"] == label and row["factor"] == 1 and not row["speaker"]]
    if not own:
        labels = ", ".join(sorted({f"'{row['label']}'" for row in rows}))
        raise TidegateError(f"the sweep has no run '{label}' at factor 1; its labels are {labels}")
    return max(own, key=lambda row: row_score(row, primary))


def row_score(row: dict, primary: Primary = ACCURACY) -> float:
    """The score of a run, like that of an epoch (``fit.loop``): its task's primary figure, more being better, minus a
    point per percent over budget."""
    budget = row.get("budget")
    over = row["validation_weights_per_frame"] / budget - 1 if budget else 0.0
    return primary.score({primary.name: row[f"validation_{primary.name}"]}) - max(0.0, over)


def as_decided(rows: list[dict], early: list[dict], margin: float) -> list[dict]:
    """The rows with figures of early decisions at this margin in place of the figures of whole clips."""
    decided = {(row["key"], row["factor"]): row for row in early if row["margin"] == margin}
    if not all((row["key"], row["factor"]) in decided for row in rows):
        raise TidegateError(f"the sweep has no 'margins' of {margin:g}, at which this model decides; add it")
    names = [f"{part}_{figure}" for part in JUDGED for figure in ("accuracy", "fetch_reduction", "weights_per_frame")]
    return [row | {name: decided[row["key"], row["factor"]][name] for name in names} for row in rows]


def compose(folder: Path, label: str) -> Model:
    """The best model of a variant, with the sweep's findings in its card."""
    rows, early = read_results(folder), read_early(folder)
    plan = read_description(folder)
    recipe = plan.recipe | dict(plan.variants).get(label, {})
    if recipe["stop_margin"]:
        rows = as_decided(rows, early, recipe["stop_margin"])
    if recipe["budget_lanes"] == 1:
        rows = [{"budget": recipe["budget"]} | row for row in rows]
    row = best(rows, label, plan.primary)
    model = read_model(folder / "models" / f"{row['key']}.tidegate")
    found = {"sweep": plan.name, "seconds": row["seconds"]}
    if not recipe["stop_margin"]:
        found["runs"] = [_run(group, plan.primary) for group in summary(rows)]
    else:
        found["early"] = summary(early)
    turned = [r for r in rows if r["key"] == row["key"] and r["factor"] is not None]
    if len(turned) > 1:
        found["turned"] = [{k: v for k, v in r.items() if k == "factor" or k.endswith(_figures(plan.primary))}
                           for r in turned]
    return replace(model, card=model.card | found)


def unseen(folder: Path) -> dict:
    """What the first twin of a sweep that leaves words out has in its card."""
    row = read_results(folder)[0]
    twin = read_model(folder / "models" / f"{row['key']}.tidegate").card
    if UNSEEN not in twin:
        raise TidegateError(f"the runs in '{folder}' left no words out; set leave_out in their recipe")
    return {k: twin[k] for k in ("recipe", UNSEEN, "validation", "rejection") if k in twin}


def speakers(folder: Path) -> list[dict]:
    """Means over the speakers of a sweep that leaves each out in turn."""
    rows = read_results(folder)
    if not all(row["speaker"] for row in rows):
        raise TidegateError(f"not every run in '{folder}' left a speaker out; set 'speakers' in its description")
    return [_run(group, ACCURACY) for group in summary(rows)]


def _figures(primary: Primary) -> tuple[str, ...]:
    return primary.name, f"{primary.name}_std", "fetch_reduction"


def _run(group: dict, primary: Primary) -> dict:
    figures = [f"{part}_{figure}" for part in JUDGED for figure in _figures(primary)]
    return {k: group[k] for k in ("label", "theta", "factor", "n", *figures)}


def write_release(model: Model, name: str, folder: Path) -> None:
    """NAME.tidegate, NAME.json and NAME.md."""
    recipe = replace(Recipe.from_dict(model.card["recipe"]), name=name)
    model = replace(model, card=model.card | {"recipe": recipe.to_dict()})
    path = folder / f"{name}.tidegate"
    with replacing(path) as part:
        save_model(model, part)
        text = card(read_model(part), name, part.stat().st_size)
    recipe.write(path.with_suffix(".json"))
    with replacing(path.with_suffix(".md")) as part:
        part.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser("python -m tidegate.train.publish.release",
                                     description="Make a zoo model of a sweep.")
    parser.add_argument("name")
    for folder in ("--sweep", "--unseen", "--speakers"):
        parser.add_argument(folder, type=Path, metavar="FOLDER")
    parser.add_argument("--model", type=Path, metavar="FILE")
    parser.add_argument("--label", default="")
    parser.add_argument("--attach", action="append", default=[], metavar="KEY=FILE")
    parser.add_argument("--zoo", type=Path, default=Path(zoo.__file__).parent)
    options = parser.parse_args()
    try:
        path = options.zoo / f"{options.name}.tidegate"
        model = compose(options.sweep, options.label) if options.sweep else read_model(options.model or path)
        if options.unseen:
            model = replace(model, card=model.card | {"left_out": unseen(options.unseen)})
        if options.speakers:
            model = replace(model, card=model.card | {"speakers": speakers(options.speakers)})
        for item in options.attach:
            key, _, file = item.partition("=")
            found = json.loads(Path(file).read_text(encoding="utf-8"))
            model = replace(model, card=model.card | {key: brief(found) if key == "stream" else found})
        write_release(model, options.name, options.zoo)
    except (TidegateError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
