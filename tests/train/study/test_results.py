"""A sweep's folder: nothing that was finished is lost, whatever stops the writing, and rows are read as they were."""

import csv
import json
import resource
import sqlite3
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev

import pytest

from tidegate.train.errors import DataError
from tidegate.train.judge.stat import Stat
from tidegate.train.study.plan import make_plan
from tidegate.train.study.results import RESULTS, Results, columns, read_results, summary, write_csv

DATA = {"folder": "words", "clips": 3, "digest": "d"}


@pytest.fixture
def plan():
    return make_plan({"name": "s", "recipe": {}, "theta": [1, [9, 8]], "vary": {"gru": [[32], [64]], "seed": [2, 1]},
                      "variants": [{"label": "z", "set": {}}, {"label": "a, b", "set": {"sparsity_cost": 0.5}}]})


def opened(folder, plan, data=DATA):
    return Results(folder, plan, [p.key for p in plan.points()], data)


def rows_of(point, accuracy=0.5):
    same = {"key": point.key, "label": point.label, "speaker": point.speaker, **point.varied, "seed": point.recipe.seed,
            "epochs": 40, "epoch": 7, "seconds": 1.5, "dense_weights": 1000, "weight_bytes": 1000, "file_bytes": 4000}
    return [same | {"theta": theta, "factor": factor, "validation_clips": 8, "validation_accuracy": accuracy,
                    "validation_fetch_reduction": reduction, "validation_temporal_sparsity": 0.75,
                    "validation_weights_per_frame": 250.0, "validation_occupancy": [0.25, 1e-5]}
            for theta, factor, reduction in (((4, 5), 1, 4.0), ((9, 8), None, None))]


def fill(folder, plan, accuracy=lambda point: 0.5):
    results = opened(folder, plan)
    for point in reversed(plan.points()):
        log = [{"number": 1, "thresholds": (1, 2), "loss": 0.5}, {"number": 2, "thresholds": (3, 4), "loss": None}]
        results.add(point.key, b"model", log, rows_of(point, accuracy(point)))
    return folder


def execute(folder, *command):
    with closing(sqlite3.connect(folder / RESULTS)) as database, database:
        return database.execute(*command).fetchall()


def test_columns_follow_from_the_description(plan):
    assert columns(plan)[:7] == ("key", "label", "speaker", "gru", "seed", "theta", "factor")
    assert len(set(columns(plan))) == len(columns(plan)) and "test_occupancy" in columns(plan)


def test_rows_come_back_as_they_were_in_the_order_of_the_description(plan, tmp_path):
    rows = read_results(fill(tmp_path / "s", plan))
    points = plan.points()
    assert [row["key"] for row in rows] == [p.key for p in points for _ in range(2)]
    first, expected = rows[0], rows_of(points[0])[0]
    assert set(first) == set(columns(plan))
    assert {c: first[c] for c in expected} == expected | {"gru": 32, "validation_occupancy": (0.25, 1e-5)}
    assert first["test_accuracy"] is None and rows[1]["factor"] is None
    assert rows[-1]["label"] == "a, b"
    assert (tmp_path / "s/models" / f"{points[0].key}.tidegate").read_bytes() == b"model"
    log = (tmp_path / "s/logs" / f"{points[0].key}.csv").read_text()
    assert log == "number,thresholds,loss\n1,1 2,0.5\n2,3 4,\n"


def test_a_point_is_written_as_a_whole_or_not_at_all(plan, tmp_path):
    """The second row cannot be written; then the disk is full; then all is well."""
    results, point = opened(tmp_path, plan), plan.points()[0]
    first, second = rows_of(point)
    with pytest.raises(TypeError):
        results.add(point.key, b"model", [{"number": 1}], [first, second | {"label": object()}])
    assert not results.done and read_results(tmp_path) == []
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(DataError, match="cannot be written") as error:
            results.add(point.key, b"model", [{"number": 1}], [first, second | {"more": 100_000 * "x"}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value) and not results.done and read_results(tmp_path) == []
    results.add(point.key, b"model", [{"number": 1}], [first, second])
    assert results.done == {point.key} and len(read_results(tmp_path)) == 2


def add_all(folder, description, ready):
    plan = make_plan(description)
    results = opened(folder, plan)
    ready.wait()
    for point in plan.points():
        results.add(point.key, b"model", [{"number": 1}], rows_of(point))


def test_several_processes_write_to_one_folder(tmp_path):
    description = {"name": "s", "recipe": {}, "theta": [1, [9, 8]], "vary": {"seed": list(range(10))}}
    context = get_context("spawn")
    ready = context.Barrier(3)
    writers = [context.Process(target=add_all, args=(tmp_path, description, ready)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert [row["seed"] for row in read_results(tmp_path)] == [seed for seed in range(10) for _ in range(2)]


def test_what_is_there_first_stays(plan, tmp_path):
    point, (one, other) = plan.points()[0], (opened(tmp_path, plan), opened(tmp_path, plan))
    one.add(point.key, b"one", [{"number": 1}], rows_of(point))
    assert other.done == {point.key}
    other.add(point.key, b"other", [{"number": 1}], rows_of(point, accuracy=0.75))
    assert (tmp_path / "models" / f"{point.key}.tidegate").read_bytes() == b"one"
    assert [row["validation_accuracy"] for row in read_results(tmp_path)] == [0.5, 0.5]


def test_a_folder_belongs_to_one_sweep_and_one_data_set(plan, tmp_path):
    folder = fill(tmp_path / "s", plan)
    other = make_plan(plan.to_dict() | {"theta": [2]})
    with pytest.raises(DataError, match="results of another sweep"):
        opened(folder, other)
    with pytest.raises(DataError, match="another data set"):
        opened(folder, plan, DATA | {"digest": "e"})
    assert len(opened(folder, plan, DATA | {"folder": "moved"}).done) == 8


def test_results_of_an_older_version_are_one_line(plan, tmp_path):
    folder = fill(tmp_path / "s", plan)
    (folder / "results.csv").write_text("an export may have any name")
    assert len(read_results(folder)) == 16
    (folder / RESULTS).unlink()
    with pytest.raises(DataError, match=r"results\.csv of an older version"):
        opened(folder, plan)
    with pytest.raises(DataError, match=r"results\.csv of an older version"):
        read_results(folder)
    assert not (folder / RESULTS).exists()


@pytest.mark.parametrize("content, read, write", [
    (b"no database " * 100, "file is not a database", "cannot be written"), (b"", "no such table", None)])
def test_a_file_that_is_no_database_is_one_line(plan, tmp_path, content, read, write):
    folder = fill(tmp_path / "s", plan)
    (folder / RESULTS).write_bytes(content)
    with pytest.raises(DataError, match=read):
        read_results(folder)
    if write:
        with pytest.raises(DataError, match=write):
            opened(folder, plan)
    else:
        assert not opened(folder, plan).done


@pytest.mark.parametrize("row", ["{", "[]", "{}", "3"])
def test_a_damaged_row_is_one_line(plan, tmp_path, row):
    folder = fill(tmp_path / "s", plan)
    execute(folder, "UPDATE results SET row = ? WHERE rowid = 3", (row,))
    with pytest.raises(DataError, match="is damaged"):
        read_results(folder)


def test_rows_as_csv(plan, tmp_path):
    folder, file = fill(tmp_path / "s", plan), tmp_path / "rows.csv"
    assert write_csv(folder, file) == [file]
    with file.open(newline="", encoding="utf-8") as lines:
        table = list(csv.DictReader(lines))
    assert tuple(table[0]) == columns(plan) and len(table) == 16
    assert (table[0]["gru"], table[0]["theta"], table[0]["validation_occupancy"]) == ("32", "4 5", "0.25 1e-05")
    assert (table[-1]["label"], table[-1]["factor"], table[-1]["validation_accuracy"]) == ("a, b", "", "0.5")
    with pytest.raises(DataError, match="cannot be written"):
        write_csv(folder, tmp_path / "none" / "rows.csv")


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_sweep_may_grow(plan, tmp_path):
    """One more seed, value and variant: what is finished is kept, and the order is that of the new description."""
    folder, d = fill(tmp_path / "s", plan), plan.to_dict()
    finished = {row["key"]: row for row in read_results(folder)}
    grown = make_plan(d | {"about": "more", "vary": {"gru": [[16], [32], [64]], "seed": [1, 2, 3]},
                           "variants": [{"label": "first", "set": {"epochs": 9}}, *d["variants"]]})
    added = grown.points()[0]
    results = opened(folder, grown)
    assert results.done == set(finished)
    results.add(added.key, b"model", [{"number": 1}], rows_of(added))
    rows = read_results(folder)
    assert json.loads((folder / "sweep.json").read_text()) == grown.to_dict()
    assert [row["key"] for row in rows[::2]] == [p.key for p in grown.points() if p.key in {added.key, *finished}]
    assert {row["key"]: row for row in rows} == finished | {added.key: rows[1]}


@pytest.mark.parametrize("change", [
    {"vary": {"gru": [[32], [64]], "seed": [1]}},               # fewer than are finished
    {"vary": {"gru": [[32], [64]], "seed": [1, 3]}},
    {"variants": [{"label": "z", "set": {}}]},
    {"theta": [1, [9, 9]]},
    {"theta": [1]},
    {"vary": {"gru": [[32], [64]], "seed": [1, 2], "batch": [64]}},     # one column more
    {"recipe": {"epochs": 9}},
])
def test_what_would_lose_points_is_refused_and_changes_nothing(plan, tmp_path, change):
    folder = fill(tmp_path / "s", plan)
    before = files(folder)
    with pytest.raises(DataError, match="results of another sweep"):
        opened(folder, make_plan(plan.to_dict() | change))
    grown = make_plan(plan.to_dict() | {"vary": {"gru": [[32], [64]], "seed": [1, 2, 3]}})
    with pytest.raises(DataError, match="another data set"):
        opened(folder, grown, DATA | {"digest": "e"})
    assert files(folder) == before


def test_a_sweep_may_shrink_by_what_is_not_finished(plan, tmp_path):
    folder, fewer = tmp_path / "s", make_plan(plan.to_dict() | {"vary": {"gru": [[32], [64]], "seed": [1]}})
    fill(folder, fewer)
    for wanted in (plan, fewer):
        assert opened(folder, wanted).done == {p.key for p in fewer.points()}


@pytest.mark.parametrize("file", ["sweep.json", "data.json"])
def test_a_damaged_description_is_another_one(plan, tmp_path, file):
    folder = fill(tmp_path / "s", plan)
    for damage in ("{", "[]", "{}"):
        (folder / file).write_text(damage)
        with pytest.raises(DataError, match="another"):
            opened(folder, plan)


def test_a_place_that_cannot_be_written_is_one_line(plan, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", Path("/proc/none")):
        with pytest.raises(DataError, match="cannot be written"):
            opened(folder, plan)


def test_no_results_is_one_line(tmp_path):
    with pytest.raises(DataError, match="no results"):
        read_results(tmp_path)


def test_stat():
    assert Stat.of([None, None]) is None
    assert Stat.of([3.0, None]) == Stat(1, 3.0, None)
    assert Stat.of([1.0, 2.0, 6.0]) == Stat(3, 3.0, stdev([1, 2, 6]))


def test_a_summary_takes_seeds_and_speakers_together(plan, tmp_path):
    groups = summary(read_results(fill(tmp_path / "s", plan, lambda p: 0.5 + p.recipe.seed / 8)))
    assert [(g["label"], g["gru"], g["factor"], g["theta"]) for g in groups] == [
        (label, gru, factor, theta) for label in ("z", "a, b") for gru in (32, 64)
        for factor, theta in ((1, (4, 5)), (None, (9, 8)))]
    for g in groups:
        assert g["n"] == 2 and g["validation_accuracy"] == mean([0.75, 0.625]) and g["epochs"] == 40
        assert g["validation_accuracy_std"] == stdev([0.75, 0.625])
        assert g["validation_fetch_reduction"] == (4.0 if g["factor"] else None)
        assert g["test_accuracy"] is None and g["test_accuracy_std"] is None
        assert "seed" not in g and "key" not in g
    json.dumps(groups)


def test_learned_thresholds_are_one_group_by_their_factor(plan):
    point = plan.points()[0]
    rows = [row | {"theta": theta} for theta in ((4, 5), (6, 5)) for row in rows_of(point)[:1]]
    group, = summary(rows)
    assert group["n"] == 2 and group["theta"] is None and group["factor"] == 1
    assert summary(rows[:1])[0]["validation_accuracy_std"] is None
