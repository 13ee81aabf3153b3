"""A sweep with margins: its table of early decisions, what is kept of it, and what is drawn."""

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
from tidegate.train.study.early import EARLY, FIGURES, early_columns
from tidegate.train.study.plan import make_plan, read_plan, sweep_names
from tidegate.train.study.results import RESULTS, read_results
from tidegate.train.study.sweep import Sweep, early_summary, read_early

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
    with Sweep(plan, words, folder, folder) as task:
        assert not [o for o in task.outcomes(workers=1) if o.error]
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
    groups = early_summary(rows)
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
    groups = early_summary(read_early(folder))
    drawn = charts.early(groups, "test")
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == [
        "rank coding", "rank coding, Θ x2", "whole clip", "whole clip, Θ x2"]
    assert all(len(line[0].get_xdata()) == 3 for line in drawn.axes[0].containers)
    assert (folder / "early.svg").stat().st_size > 5000 and (folder / "early.png").is_file()


def copy_tables(folder, to):
    """What a sweep's folder says, without its models."""
    for path in folder.iterdir():
        if path.is_file() and path.suffix in (".csv", ".json"):
            (to / path.name).write_bytes(path.read_bytes())


def test_a_point_that_lacks_its_rows_is_trained_again(swept, plan, tmp_path):
    words, folder = swept
    copy_tables(folder, tmp_path)
    lines = (tmp_path / RESULTS).read_text().splitlines(keepends=True)
    (tmp_path / RESULTS).write_text("".join(lines[:-1]))       # killed while it wrote the last point's rows
    with Sweep(plan, words, tmp_path, folder) as task:
        assert len(task.left) == 1
        assert len(read_early(tmp_path)) == 3 * 2 * 3


def test_early_rows_that_are_lost_or_damaged_are_made_again(swept, plan, tmp_path):
    words, folder = swept
    copy_tables(folder, tmp_path)
    lines = (tmp_path / EARLY).read_text().splitlines(keepends=True)
    (tmp_path / EARLY).write_text("".join(lines[:2] + lines[3:]))
    with Sweep(plan, words, tmp_path, folder) as task:
        assert len(task.left) == 1
    assert len(read_early(tmp_path)) == 3 * 2 * 3
    cells = lines[-1].rstrip().split(",")
    (tmp_path / EARLY).write_text("".join(lines[:-1]) + ",".join([*cells[:-1], "abc"]) + "\n")
    with pytest.raises(DataError, match=r"early\.csv' is damaged .*test_decision_reduction is 'abc'"):
        read_early(tmp_path)
    (tmp_path / EARLY).write_text("key,label\n")
    with pytest.raises(DataError, match="other columns than today's"):
        read_early(tmp_path)
    with pytest.raises(DataError, match="other columns than this sweep; choose another --out"):
        Sweep(plan, words, tmp_path, folder).__enter__()
    (tmp_path / EARLY).unlink()
    with Sweep(plan, words, tmp_path, folder) as task:
        assert len(task.left) == 4


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
    with pytest.raises(DataError, match="'margins'"):
        make_plan({"name": "bad", "recipe": "digits", "margins": margins}).points()
