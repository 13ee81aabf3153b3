"""A sweep's folder: what is written as soon as a point is trained, and how it is read.

    sweep.json          the description as run, its recipe spelled out
    data.json           the data set: folder, number of clips, digest of their names and parts
    results.csv         one row per trained point and setting of Θ
    early.csv           of a sweep with margins: see ``early.py``
    models/KEY.tidegate the trained model               logs/KEY.csv     one row an epoch

Model and log are written before the rows, the rows of a point at once and flushed to the disk, and what a kill leaves
of a half-written point is dropped when the folder is opened again.
"""

import csv
import fcntl
import io
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..data.split import UNSEEN
from ..errors import DataError
from ..files import replacing
from ..judge.stat import spreads
from .early import EARLY, EARLY_FIGURES, early_columns
from .plan import Plan, compact, make_plan

RESULTS, PLAN, DATA = "results.csv", "sweep.json", "data.json"
JUDGED = ("validation", "test", UNSEEN)
FIGURES = ("clips", "accuracy", "fetch_reduction", "temporal_sparsity", "weights_per_frame", "rejected", "occupancy")
_FIRST = ("key", "label", "speaker")
_SETTING = ("seed", "theta", "factor")
_LAST = ("dense_weights", "weight_bytes", "file_bytes", "epochs", "epoch", "seconds")
_FIXED = (*_FIRST, *_SETTING, *(f"{part}_{figure}" for part in JUDGED for figure in FIGURES), *_LAST)
_NUMBER = re.compile(r"-?\d+(\.\d*)?([eE][+-]?\d+)?")


def columns(plan: Plan) -> tuple[str, ...]:
    """Names of the columns of a sweep's ``results.csv``; they follow from its description alone."""
    varied = [field for field in plan.vary if field not in _FIXED]
    return (*_FIRST, *varied, *_FIXED[len(_FIRST):])


class Results:
    """A sweep's folder, opened to write; used with ``with``, as only one sweep at a time may write to it.

    ``keys``: of all points of the plan; ``done``: of those that are there.  A sweep may have grown since: its folder is
    taken over if the columns and the settings of Θ are the same and every finished point is one of the plan's.
    DataError if the folder holds another sweep, was made from another data set, is being written to, or cannot be
    written.
    """

    def __init__(self, folder: str | Path, plan: Plan, keys: Iterable[str], data: dict):
        self.folder, self.plan, self.keys, self.data = Path(folder), plan, set(keys), data
        self.columns = columns(plan)
        self.done: set[str] = set()
        self._lock = -1

    def __enter__(self) -> "Results":
        try:
            for sub in ("models", "logs"):
                (self.folder / sub).mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY)
            self._claim()
            self._open()
        except OSError as error:
            self.__exit__()
            raise self._unwritable(error) from None
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def add(self, key: str, model: bytes, log: list[dict], rows: list[dict[str, Any]],
            early: Iterable[dict[str, Any]] = ()) -> None:
        """Keep a trained point: its model file, its epochs, and its rows, which may lack columns."""
        try:
            _replace(self.folder / "models" / f"{key}.tidegate", model)
            _replace(self.folder / "logs" / f"{key}.csv", _csv([list(log[0]), *(e.values() for e in log)]))
            if self.plan.margins:
                self._append(EARLY, _csv([row.get(column) for column in early_columns(self.plan)] for row in early))
            self._append(RESULTS, _csv([row.get(column) for column in self.columns] for row in rows))
        except OSError as error:
            raise self._unwritable(error) from None
        self.done.add(key)

    def _append(self, name: str, data: bytes) -> None:
        with open(self.folder / name, "ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def fail(self, key: str, trace: str) -> None:
        """Keep why a point failed, in ``logs/KEY.txt``, where one line cannot say it."""
        if trace:
            try:
                _replace(self.folder / "logs" / f"{key}.txt", trace.encode(errors="backslashreplace"))
            except OSError as error:
                raise self._unwritable(error) from None

    def _claim(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"another sweep is writing to '{self.folder}'; wait for it or choose another "
                            "--out") from None

    def _open(self) -> None:
        """Complain if the folder is not this sweep's; only then write anything."""
        table, description = self.folder / RESULTS, self.plan.to_dict()
        before = table.read_bytes() if table.is_file() else b""
        header, rows = _read(before, len(self.plan.theta))
        early, early_rows = self._early() if self.plan.margins else (b"", [])
        if self.plan.margins:           # a point is finished when it has its rows in both tables
            judged = {row[0] for row in early_rows}
            rows = [row for row in rows if row[0] in judged]
        self.done = {row[0] for row in rows}
        data, plan = self._found(DATA), self._found(PLAN)
        otherwise = "choose another --out, or delete the folder"
        if plan is not None and plan != description and not self._extends(plan):
            raise DataError(f"'{self.folder}' holds the results of another sweep; {otherwise}")
        if data is not None and data.get("digest") != self.data["digest"]:      # the same clips may have moved
            raise DataError(f"'{self.folder}' holds results on another data set; {otherwise}")
        if header and tuple(header) != self.columns:
            raise DataError(f"'{table}' has other columns than this sweep; choose another --out")
        if data is None:
            _replace(self.folder / DATA, _json(self.data))
        if plan != description:
            _replace(self.folder / PLAN, _json(description))
        after = _csv([self.columns, *rows])
        if after != before:
            _replace(table, after)
        if self.plan.margins:
            table = _csv([early_columns(self.plan), *(row for row in early_rows if row[0] in self.done)])
            if table != early:
                _replace(self.folder / EARLY, table)

    def _early(self) -> tuple[bytes, list[list[str]]]:
        """What ``early.csv`` holds, and its rows of whole points."""
        path = self.folder / EARLY
        held = path.read_bytes() if path.is_file() else b""
        header, rows = _read(held, _early_rows(self.plan))
        if header and tuple(header) != early_columns(self.plan):
            raise DataError(f"'{path}' has other columns than this sweep; choose another --out")
        return held, rows

    def _found(self, name: str) -> dict | None:
        """A description that is there already; empty if it is damaged."""
        path = self.folder / name
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict | None) else {}

    def _extends(self, description: dict) -> bool:
        """Whether what is finished of another sweep is a part of this one."""
        try:
            plan = make_plan(description)
        except DataError:
            return False
        same = (columns(plan), plan.theta, plan.margins) == (self.columns, self.plan.theta, self.plan.margins)
        return same and self.done <= self.keys

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(f"'{self.folder}' cannot be written ({error.strerror}); choose another --out")


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

    Numbers are parsed, ``theta`` and ``*_occupancy`` are tuples, what is empty is None (but for label and speaker, ""),
    and the varied fields are numbers where they look like one.  DataError if there is no table, or it is damaged in
    more than its last line.
    """
    plan, path = read_description(folder), Path(folder) / RESULTS
    try:
        header, rows = _read(path.read_bytes(), len(plan.theta))
    except OSError as error:
        raise DataError(f"'{folder}' holds no results of a sweep ({RESULTS}: {error.strerror}); run `tidegate sweep` "
                        "first") from None
    if lacking := [column for column in (*_FIRST, *plan.vary, *_SETTING) if header and column not in header]:
        raise DataError(f"'{path}' lacks the column {lacking[0]}; run the sweep in a new folder")
    order = {"label": [label for label, _ in plan.variants]}
    order |= {field: [compact(value) for value in values] for field, values in plan.vary.items()}

    def rank(row: dict) -> list:
        return [*(texts.index(row[field]) if row[field] in texts else len(texts) for field, texts in order.items()),
                row["speaker"]]

    return _parsed_rows(path, sorted((dict(zip(header, row, strict=True)) for row in rows), key=rank))


def read_early(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of ``early.csv`` in the order of ``read_results``; none of a sweep without margins."""
    plan, path = read_description(folder), Path(folder) / EARLY
    if not plan.margins:
        return []
    order = list(dict.fromkeys(row["key"] for row in read_results(folder)))
    try:
        header, rows = _read(path.read_bytes(), _early_rows(plan))
    except OSError as error:
        raise DataError(f"'{folder}' lacks {EARLY} ({error.strerror}); run the sweep in a new folder") from None
    if header and tuple(header) != early_columns(plan):
        raise DataError(f"'{path}' has other columns than today's; run the sweep in a new folder")
    there = [dict(zip(header, row, strict=True)) for row in rows if row[0] in order]
    return _parsed_rows(path, sorted(there, key=lambda row: order.index(row["key"])))


def _early_rows(plan: Plan) -> int:
    return len(plan.theta) * len(plan.margins)


def _parsed_rows(path: Path, rows: Iterable[dict[str, str]]) -> list[dict[str, Any]]:
    try:
        return [{column: _parsed(column, text) for column, text in row.items()} for row in rows]
    except ValueError as error:
        raise DataError(f"'{path}' is damaged ({error}); delete that line, and run the sweep again") from None


def summary(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that differ in seed and speaker only, taken together, in the order of their first row.

    Each has ``label``, the varied fields, ``epochs``, ``factor``, ``theta`` (None where it differs, as learned ones
    do), ``n``; and, for each part, the mean over the rows of ``{part}_accuracy``, ``_fetch_reduction``,
    ``_temporal_sparsity``, ``_weights_per_frame`` and ``_rejected``, and the same with ``_std`` behind it: the standard
    deviation of a sample (None for one row).  A mean is None if a row lacks the figure.
    """
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        same = {c: v for c, v in row.items() if c not in _FIXED or c in ("label", "epochs", "factor")}
        setting = row["theta"] if row["factor"] is None else None
        groups.setdefault((*same.items(), setting), []).append(row)
    return [_summed(dict(group[:-1]), members) for group, members in groups.items()]


def _summed(same: dict[str, Any], rows: list[dict]) -> dict[str, Any]:
    thetas = {row["theta"] for row in rows}
    d = same | {"theta": thetas.pop() if len(thetas) == 1 else None, "n": len(rows)}
    d |= spreads(rows, (f"{part}_{figure}" for part in JUDGED for figure in FIGURES[1:-1]))
    for size in ("dense_weights", "weight_bytes"):
        d[size] = rows[0][size] if len({row[size] for row in rows}) == 1 else None
    return d


def _read(data: bytes, settings: int) -> tuple[list[str], list[list[str]]]:
    """(header, rows); without a last line that was cut short, and without points that lack a row."""
    lines = data[: data.rfind(b"\n") + 1].decode(errors="replace")
    header, *rows = list(csv.reader(io.StringIO(lines))) or [[]]
    rows = [row for row in rows if len(row) == len(header)]
    counts: dict[str, int] = {}
    for row in rows:
        counts[row[0]] = counts.get(row[0], 0) + 1
    return header, [row for row in rows if counts[row[0]] == settings]


def _json(content: dict) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        ["" if x is None or x == "" else compact(x) for x in row] for row in rows)
    return out.getvalue().encode(errors="backslashreplace")


def _parsed(column: str, text: str) -> Any:
    """A cell; ValueError if a figure is no number."""
    if column in _FIRST:
        return text
    if _NUMBER.fullmatch(text) and column != "theta" and not column.endswith("_occupancy"):
        return float(text) if set(text) & set(".eE") else int(text)
    try:
        if column == "theta":
            return tuple(map(int, text.split()))
        if column.endswith("_occupancy"):
            return tuple(map(float, text.split())) or None
        if text and column in (*_FIXED, "margin", *EARLY_FIGURES):
            raise ValueError
    except ValueError:
        raise ValueError(f"{column} is '{text}'") from None
    return text or None


def _replace(path: Path, data: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(data)
