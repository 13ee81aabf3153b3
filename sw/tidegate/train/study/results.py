"""A sweep's folder: each point is written as soon as it is trained.

    sweep.json          the description as run, its recipe spelled out
    data.json           the data set: folder, number of clips, digest of their names and parts
    results.sqlite      one row per trained point and setting of Θ; with margins also the rows of ``early.py``
    models/KEY.tidegate the trained model
    logs/KEY.csv        one row per epoch

One transaction writes the model, the log and all rows of a point.  So a kill leaves all rows of a point or none, and
several processes may write to one folder.
"""

import csv
import io
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from tidegate.spec.files import replacing

from ..data.split import JUDGED, UNSEEN
from ..errors import DataError
from ..judge.stat import grouped, spreads
from ..recipe import Recipe
from ..tasks.primary import Primary
from .early import early_columns
from .plan import Plan, compact, make_plan

RESULTS, PLAN, DATA = "results.sqlite", "sweep.json", "data.json"
_COST = ("fetch_reduction", "temporal_sparsity", "weights_per_frame", "rejected", "occupancy")
_PARTS = (*JUDGED, UNSEEN)
BITS = "bits_per_weight"            # of a sweep with ``bits``
_NO_MEANS = ("clips", "occupancy")
_FIRST = ("key", "label", "speaker")
_SETTING = ("seed", "theta", "factor")
_LAST = ("dense_weights", "weight_bytes", "file_bytes", "epochs", "epoch", "seconds", "tidegate", "torch", "device")
_FIXED = (*_FIRST, *_SETTING, *_LAST)
_RECIPE = {field.name for field in fields(Recipe)}      # what a sweep may vary, such as test_share
_OLD = "results.csv"            # of older versions
_BUSY = 60                      # seconds to wait for another process that writes
_TABLE = "CREATE TABLE IF NOT EXISTS results (key TEXT NOT NULL, early INTEGER NOT NULL, row TEXT NOT NULL)"


def sweep_figures(primary: Primary, bits: bool) -> tuple[str, ...]:
    """Names of the figures of a sweep's rows on each part, its task's primary figure among them."""
    return ("clips", primary.name, *_COST, *([BITS] if bits else []))


def columns(plan: Plan) -> tuple[str, ...]:
    """Names of the columns of a sweep's rows; they follow from its description alone."""
    measured = [f"{part}_{figure}" for part in _PARTS for figure in sweep_figures(plan.primary, bits=False)]
    varied = [field for field in plan.vary if field not in (*_FIXED, *measured)]
    return (*_FIRST, *varied, *_SETTING, *measured, *_LAST,
            *(f"{part}_{BITS}" for part in _PARTS if plan.bits))


def _is_figure(column: str) -> bool:
    """Whether a column is a figure of a part, such as test_accuracy."""
    return column.startswith(tuple(f"{part}_" for part in _PARTS)) and column.split(".")[0] not in _RECIPE


class Results:
    """A sweep's folder, opened to write.

    ``keys``: of all points of the plan.  A sweep may have grown since: its folder is taken over if the columns and the
    settings of Θ are the same and every finished point is one of the plan's.  DataError if the folder holds another
    sweep, was made from another data set, is of an older version, or cannot be written.
    """

    def __init__(self, folder: str | Path, plan: Plan, keys: Iterable[str], data: dict):
        self.folder, self.plan, self.keys = Path(folder), plan, set(keys)
        with self._writing(create=True) as database:
            self._take_over(_keys(database), data)

    @property
    def done(self) -> set[str]:
        """Keys of the points that are there, whichever process wrote them."""
        with self._writing() as database:
            return _keys(database)

    def add(self, key: str, model: bytes, log: list[dict], rows: list[dict[str, Any]],
            early: Iterable[dict[str, Any]] = ()) -> None:
        """Keep a trained point, unless its key is there already.

        ``model``: bytes of the model file.  ``log``: one dictionary per epoch.  ``rows``, ``early``: rows of
        ``columns`` and of ``early_columns``, which may lack columns.  DataError if the folder cannot be written.
        """
        with self._writing() as database:
            if key in _keys(database):
                return
            _replace(self.folder / "models" / f"{key}.tidegate", model)
            _replace(self.folder / "logs" / f"{key}.csv", _csv([list(log[0]), *(e.values() for e in log)]))
            for is_early, some in enumerate((rows, early)):
                database.executemany("INSERT INTO results VALUES (?, ?, ?)",
                                     [(key, is_early, json.dumps(row)) for row in some])

    def fail(self, key: str, trace: str) -> None:
        """Write the trace of a point that failed to ``logs/KEY.txt``; nothing if there is none."""
        if trace:
            with self._writing():
                _replace(self.folder / "logs" / f"{key}.txt", trace.encode(errors="backslashreplace"))

    @contextmanager
    def _writing(self, create: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction; other processes wait until it is over."""
        try:
            if create:
                _refuse_old(self.folder)
                for sub in ("models", "logs"):
                    (self.folder / sub).mkdir(parents=True, exist_ok=True)
            path = self.folder / RESULTS
            with closing(sqlite3.connect(path, timeout=_BUSY, isolation_level=None)) as database, database:
                _check(database)
                database.execute("BEGIN IMMEDIATE")
                database.execute(_TABLE)
                yield database
        except (OSError, sqlite3.Error) as error:
            why = error.strerror if isinstance(error, OSError) else f"{RESULTS}: {error}"
            raise DataError(f"'{self.folder}' cannot be written ({why}); choose another --out") from None

    def _take_over(self, done: set[str], data: dict) -> None:
        """Complain if the folder is not this sweep's; only then write anything."""
        description, held, plan = self.plan.to_dict(), self._found(DATA), self._found(PLAN)
        otherwise = "choose another --out, or delete the folder"
        if plan is not None and plan != description and not self._extends(plan, done):
            raise DataError(f"'{self.folder}' holds the results of another sweep; {otherwise}")
        if held is not None and held.get("digest") != data["digest"]:     # the same clips may have moved
            raise DataError(f"'{self.folder}' holds results on another data set; {otherwise}")
        if held is None:
            _replace(self.folder / DATA, _json(data))
        if plan != description:
            _replace(self.folder / PLAN, _json(description))

    def _found(self, name: str) -> dict | None:
        """A description that is there already; empty if it is damaged."""
        path = self.folder / name
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict | None) else {}

    def _extends(self, description: dict, done: set[str]) -> bool:
        """Whether what is finished of another sweep is a part of this one."""
        try:
            plan = make_plan(description)
        except DataError:
            return False
        same = all(of(plan) == of(self.plan) for of in (columns, lambda p: p.theta, lambda p: p.margins))
        return same and done <= self.keys


def read_description(folder: str | Path) -> Plan:
    """What a sweep's folder says was run; DataError if it is not there or damaged."""
    path = Path(folder) / PLAN
    try:
        return make_plan(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"'{folder}' holds no results of a sweep (no {PLAN}); run `tidegate sweep` first") from None
    except (OSError, ValueError, RecursionError, DataError) as error:
        raise DataError(f"'{path}' is no description of a sweep ({error}); run the sweep in a new folder") from None


def read_results(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of a sweep's folder, in the order of its description; of finished points only.

    ``theta`` and ``*_occupancy`` are tuples, a figure that a row lacks is None, and the varied fields are numbers where
    they look like one.  DataError if there are no results, or they are damaged.
    """
    plan = read_description(folder)
    return _rows(folder, plan, columns(plan), early=False)


def read_early(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of every margin, in the order of ``read_results``; none of a sweep without margins."""
    plan = read_description(folder)
    return _rows(folder, plan, early_columns(plan), early=True) if plan.margins else []


def write_csv(folder: str | Path, path: Path) -> list[Path]:
    """A sweep's rows as CSV, those of its margins in ``NAME.early.csv`` beside it; the files that were written."""
    plan = read_description(folder)
    tables = {path: (columns(plan), read_results(folder))}
    if plan.margins:
        tables[path.with_name(f"{path.stem}.early.csv")] = early_columns(plan), read_early(folder)
    for file, (header, rows) in tables.items():
        try:
            _replace(file, _csv([header, *(row.values() for row in rows)]))
        except OSError as error:
            raise DataError(f"'{file}' cannot be written ({error.strerror}); choose another place") from None
    return list(tables)


def _rows(folder: str | Path, plan: Plan, names: Iterable[str], early: bool) -> list[dict[str, Any]]:
    path = Path(folder) / RESULTS
    try:
        _refuse_old(path.parent)
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", _BUSY, uri=True)) as database:
            _check(database)
            found = database.execute("SELECT row FROM results WHERE early = ? ORDER BY rowid", (early,)).fetchall()
        rows = [json.loads(text) for text, in found]
        rows = [{name: row[name] if name in (*_FIRST, *_SETTING) else row.get(name) for name in names} for row in rows]
    except (OSError, sqlite3.OperationalError) as error:
        raise DataError(f"'{path}' holds no results of a sweep ({error}); run `tidegate sweep` first") from None
    except (sqlite3.Error, ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(f"'{path}' is damaged ({error!r}); run the sweep in a new folder") from None
    order = {"label": [label for label, _ in plan.variants]}
    order |= {field: [compact(value) for value in values] for field, values in plan.vary.items()}

    def rank(row: dict) -> list:
        places = [(texts, compact(row[field])) for field, texts in order.items()]
        return [*(texts.index(text) if text in texts else len(texts) for texts, text in places), row["speaker"]]

    return [{name: _value(value, name in plan.vary) for name, value in row.items()} for row in sorted(rows, key=rank)]


def _value(cell: Any, varied: bool) -> Any:
    """A list as a tuple, and a varied field as a number if its text is one."""
    if varied and isinstance(cell, str):
        with suppress(ValueError):
            return number if type(number := json.loads(cell)) in (int, float) else cell
    return tuple(cell) if isinstance(cell, list) else cell


def _check(database: sqlite3.Connection) -> None:
    """sqlite3.DatabaseError if the file is damaged: a file that was cut short can look like an empty one."""
    (answer,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise sqlite3.DatabaseError(answer)


def _keys(database: sqlite3.Connection) -> set[str]:
    return {key for key, in database.execute("SELECT DISTINCT key FROM results")}


def _refuse_old(folder: Path) -> None:
    if (folder / _OLD).is_file() and not (folder / RESULTS).is_file():
        raise DataError(f"'{folder}' holds {_OLD} of an older version of tidegate, which this version does not read; "
                        "run the sweep in a new folder")


def alike(row: dict[str, Any]) -> tuple:
    """The pairs of column and value that are equal in rows which differ by chance only, by seed and by speaker.

    These are ``label``, the varied fields, ``epochs``, ``factor``, ``margin``, and Θ where there is no factor.
    """
    by_chance = {*_FIXED} - {"label", "epochs", "factor"}
    theta = row["theta"] if row["factor"] is None else None
    return (*((c, v) for c, v in row.items() if c not in by_chance and not _is_figure(c)), ("theta", theta))


def summary(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that are ``alike`` taken together, in the order of their first row; for ``read_early``'s rows, too.

    Each has the pairs of ``alike``, ``theta`` (None where it differs, as learned ones do), ``n``, the mean over the
    rows of every figure, and the same with ``_std`` behind it: the standard deviation of a sample (None for one row).
    A mean is None if a row lacks the figure.
    """
    return [_summed(dict(alike(group[0])), group) for group in grouped(rows, alike)]


def _summed(same: dict[str, Any], rows: list[dict]) -> dict[str, Any]:
    first = rows[0]
    one = {c: first[c] if all(row[c] == first[c] for row in rows) else None
           for c in ("theta", "dense_weights", "weight_bytes") if c in first}
    means = [c for c in first if _is_figure(c) and not c.endswith(_NO_MEANS)]
    return same | one | {"n": len(rows)} | spreads(rows, means)


def _json(content: dict) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        ["" if x is None or x == "" else compact(x) for x in row] for row in rows)
    return out.getvalue().encode(errors="backslashreplace")


def _replace(path: Path, data: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(data)
