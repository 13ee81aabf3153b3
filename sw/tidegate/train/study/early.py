"""Early decisions in a sweep: one row per trained point, setting of Θ and margin.

A row without a margin decides at the clip's end.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tidegate.spec.model import Model

from ..data.split import JUDGED
from ..judge.evaluate import evaluate, words_read
from ..tasks.protocol import Examples
from .plan import Plan

FIGURES = ("accuracy", "decided", "frames_used", "fetch_reduction", "weights_per_frame", "weight_words_per_decision",
           "decision_reduction")
EARLY_FIGURES = tuple(f"{part}_{figure}" for part in JUDGED for figure in FIGURES)
_SAME = ("key", "label", "speaker")


def early_columns(plan: Plan) -> tuple[str, ...]:
    """Names of the columns of these rows."""
    varied = [field for field in plan.vary if field != "seed"]
    return (*_SAME, *varied, "seed", "theta", "factor", "margin", *EARLY_FIGURES)


def early_rows(model: Model, features: Examples, margins: Iterable[float | None]) -> list[dict[str, Any]]:
    """A row for each margin (units of the logits), at the model's Θ; None: the whole clip."""
    rows = []
    for margin in margins:
        row: dict[str, Any] = {"margin": margin}
        for part in JUDGED:
            if not len(features.of(part)):
                continue
            if margin is None:
                f = evaluate(model, features, part)
                f |= {"decided": None, "frames_used": 1.0, "decision_reduction": f["fetch_reduction"],
                      "weight_words_per_decision": words_read(model.network, f["events"]) / f["utterances"]}
            else:
                f = evaluate(model.deciding(margin), features, part, early=True)
            f["weights_per_frame"] = f["weights"] / f["frames"]         # frames up to the decision
            row |= {f"{part}_{name}": f[name] for name in FIGURES}
        rows.append(row)
    return rows


def group_name(group: Mapping[str, Any]) -> str:
    """The name of a group of early rows among those at the same margin: label, varied fields, and a Θ that is not the
    model's own."""
    told = (*_SAME, "theta", "factor", "margin", "n", *EARLY_FIGURES)
    fields = [f"{k} {v}" for k, v in group.items() if k.removesuffix("_std") not in told and v is not None]
    factor, theta = group.get("factor", 1), group.get("theta") or ()
    turned = [] if factor == 1 else [f"Θ x{factor:g}" if factor is not None else "Θ " + " ".join(map(str, theta))]
    return ", ".join([*([group["label"]] if group["label"] else []), *fields, *turned]) or "trained"


def margin_text(margin: float | None) -> str:
    return "whole clip" if margin is None else f"{margin:g}"
