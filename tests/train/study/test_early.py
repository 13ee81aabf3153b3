"""A sweep with margins: its table of early decisions, what is kept of it, and what is drawn."""

import csv
import json
import math

import numpy as np
import pytest

from tidegate.spec.errors import TidegateError
from tidegate.spec.model import read_model
from tidegate.train.data.features import load_features
from tidegate.train.data.folders import scan
from tidegate.train.errors import DataError
from tidegate.train.judge.evaluate import evaluate
from tidegate.train.publish.release import as_decided
from tidegate.train.publish.report import charts, write_report
from tidegate.train.study.early import FIGURES, early_columns
from tidegate.train.study.plan import make_plan, read_plan, sweep_names
from tidegate.train.study.results import read_results, write_csv
from tidegate.train.study.sweep import Sweep, read_early, summary

MARGINS = [None, 1, 3]


@pytest.fixture(scope="module")
def plan(recipe):
    fields = json.loads(json.dumps(recipe.to_dict())) | {"epochs": 4}
    return make_plan({
        "name": "early", "recipe": fields, "vary": {"seed": [5, 6]}, "margins": MARGINS, "theta": [1, 2],
        "variants": [{"label": "rank coding", "set": {"stop_margin": 1.5}}, {"label": "whole clip", "set": {}}]})


@pytest.fixture(scope="module")
def swept(plan, write_words, tmp_path_factory):
    words, folder = write_words(clips=20), tmp_path_factory.mktemp("swept")
    assert not [o for o in Sweep(plan, words, folder, folder).outcomes(workers=1) if o.error]
    return words, folder


def test_every_model_is_judged_at_every_margin(swept, plan, recipe):
    words, folder = swept
    rows, features = read_early(folder), load_features(scan(words), recipe.frontend, folder)
    assert len(rows) == 4 * 2 * 3 and tuple(rows[0]) == early_columns(plan)
    assert [row["margin"] for row in rows] == 8 * MARGINS
    for row in rows[::5] + rows[:2]:
        model = read_model(folder / "models" / f"{row['key']}.tidegate").with_thresholds(*row["theta"])
        for part in ("validation", "test"):
            early = row["margin"] is not None
            f = evaluate(model.deciding(row["margin"]) if early else model, features, part, early)
            assert row[f"{part}_accuracy"] == f["accuracy"]
            if early:
                assert all(row[f"{part}_{name}"] == f[name] for name in FIGURES if name in f)
                assert row[f"{part}_weights_per_frame"] == pytest.approx(f["weights"] / f["frames"])
            else:
                assert (row[f"{part}_frames_used"], row[f"{part}_decided"]) == (1, None)
                assert row[f"{part}_decision_reduction"] == f["fetch_reduction"]
    by_margin = {row["margin"]: row for row in rows[:3]}
    words_a_decision = [by_margin[m]["test_weight_words_per_decision"] for m in (1, 3, None)]
    assert words_a_decision == sorted(words_a_decision)


def test_seeds_are_taken_together(swept):
    rows = read_early(swept[1])
    groups = summary(rows)
    assert len(groups) == 2 * 2 * 3 and all(g["n"] == 2 for g in groups)
    g = groups[1]
    members = [r for r in rows if all(r[c] == g[c] for c in ("label", "factor", "margin"))]
    used = [r["test_frames_used"] for r in members]
    assert (g["label"], g["margin"]) == ("rank coding", 1)
    assert (g["test_frames_used"], g["test_frames_used_std"]) == pytest.approx((np.mean(used), np.std(used, ddof=1)))


def test_it_is_drawn(swept):
    _, folder = swept
    page = write_report(folder).read_text(encoding="utf-8")
    assert "Deciding early" in page and "whole clip" in page
    groups = summary(read_early(folder))
    drawn = charts.early(groups, "test")
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == [
        "rank coding", "rank coding, Θ x2", "whole clip", "whole clip, Θ x2"]
    assert all(len(line[0].get_xdata()) == 3 for line in drawn.axes[0].containers)
    assert (folder / "early.svg").stat().st_size > 5000 and (folder / "early.png").is_file()


def test_rows_of_margins_as_csv(swept, tmp_path):
    _, folder = swept
    files = write_csv(folder, tmp_path / "rows.csv")
    assert [path.name for path in files] == ["rows.csv", "rows.early.csv"]
    with files[1].open(newline="") as lines:
        table = list(csv.DictReader(lines))
    assert [row["margin"] for row in table] == 8 * ["", "1", "3"]
    assert [row["test_decision_reduction"] for row in table] == [
        repr(row["test_decision_reduction"]) for row in read_early(folder)]


def test_a_release_is_chosen_by_what_is_decided_early(swept):
    _, folder = swept
    rows, early = read_results(folder), read_early(folder)
    with pytest.raises(TidegateError, match=r"no 'margins' of 1\.5, at which this model decides; add it"):
        as_decided(rows, early, 1.5)
    for row in as_decided(rows, early, 1):
        there = next(e for e in early if (e["key"], e["factor"], e["margin"]) == (row["key"], row["factor"], 1))
        for part in ("validation", "test"):
            assert all(row[f"{part}_{name}"] == there[f"{part}_{name}"]
                       for name in ("accuracy", "fetch_reduction", "weights_per_frame"))


def test_plans_without_margins_are_as_they_were():
    plan = read_plan("digits")
    assert plan.margins == () and "margins" not in plan.to_dict()
    assert "digits-early" in sweep_names() and read_plan("digits-early").margins[:2] == (None, 1)


@pytest.mark.parametrize("margins", [[], 3, [-1], ["2"], [True], [512], [math.nan], [1, 2, 1.0]])
def test_margins_that_make_no_sense(margins):
    with pytest.raises(DataError, match="margins"):
        make_plan({"name": "bad", "recipe": "digits", "margins": margins}).points()
