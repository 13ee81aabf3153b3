"""What a sweep left in its folder, and training logs: read, grouped over seeds, and the Pareto front."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...data.split import JUDGED
from ...errors import DataError
from ...judge.stat import Stat, grouped
from ...study.plan import Plan
from ...study.results import alike, read_description, read_results
from ...tasks.primary import Primary


@dataclass(frozen=True)
class PartFigures:
    """Figures of one row on one part.  ``primary``: that of the sweep's task, such as accuracy.  ``fetch_reduction``:
    None if nothing was read."""

    clips: int
    primary: float
    fetch_reduction: float | None
    temporal_sparsity: float | None


@dataclass(frozen=True)
class Row:
    """A trained model at one setting of Θ.  ``varied``: values of the varied fields, as text.  ``factor``: of the
    trained Θ, None if the setting is none of these.  ``parts``: those that were evaluated.  ``same``: see ``alike``."""

    key: str
    label: str
    speaker: str
    varied: tuple[str, ...]
    seed: int
    theta: tuple[int, ...]
    factor: float | None
    parts: dict[str, PartFigures]
    file_bytes: int | None = None
    same: tuple = ()


@dataclass(frozen=True)
class Group:
    """Rows that differ by chance only: by seed, and by speaker where speakers were left out in turn."""

    rows: tuple[Row, ...]

    @property
    def first(self) -> Row:
        return self.rows[0]

    def stat(self, part: str, figure: str) -> Stat | None:
        """Over the rows that have the part; ``figure``: a field of ``PartFigures``."""
        return Stat.of(getattr(row.parts[part], figure) for row in self.rows if part in row.parts)

    def point(self, part: str) -> tuple[float | None, float | None]:
        """(mean fetch reduction, mean of the primary figure)."""
        fetch, primary = self.stat(part, "fetch_reduction"), self.stat(part, "primary")
        return fetch and fetch.mean, primary and primary.mean

    def median(self) -> Row:
        """The row of the median primary figure in the validation part (the lower of two)."""
        order = sorted(self.rows, key=lambda r: (r.parts["validation"].primary if "validation" in r.parts else -1.0,
                                                 r.key))
        return order[(len(order) - 1) // 2]

    def name(self, fields: Sequence[str]) -> str:
        """Label and varied fields, in words."""
        values = [f"{f} {v}" for f, v in zip(fields, self.first.varied, strict=True) if v]
        return ", ".join([series_name(self.first), *values])


@dataclass(frozen=True)
class SweepData:
    """``fields``: names of the varied fields, but for the seed.  ``rows``: in the order of the plan."""

    folder: Path
    plan: Plan
    fields: tuple[str, ...]
    rows: tuple[Row, ...]

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """In order of label and varied fields as they first come, then of factor and Θ."""
        order = list(dict.fromkeys((row.label, row.varied) for row in self.rows))

        def place(group: Group) -> tuple:
            row = group.first
            return order.index((row.label, row.varied)), row.factor or 0.0, row.theta

        return tuple(sorted((Group(tuple(rows)) for rows in grouped(self.rows, lambda row: row.same)), key=place))

    @cached_property
    def own(self) -> tuple[Row, ...]:
        """The rows at the Θ that their model was trained with; all where no setting is that."""
        return tuple(row for row in self.rows if row.factor == 1) or self.rows

    @cached_property
    def primary(self) -> Primary:
        """The figure of the sweep's task."""
        return self.plan.primary

    @property
    def part(self) -> str:
        """The part to show: test where anything was tested."""
        return "test" if any("test" in row.parts for row in self.rows) else "validation"

    def front(self, part: str) -> list[Group]:
        """Pareto front of the groups' means, of each split of the data on its own."""
        found = []
        for left_out in (False, True):
            mine = [g for g in self.groups if bool(g.first.speaker) == left_out]
            found += [mine[i] for i in pareto_front([self._good(*g.point(part)) for g in mine])]
        return found

    def _good(self, fetch: float | None, primary: float | None) -> tuple[float | None, float | None]:
        """A point whose second number is better if it is more."""
        return fetch, -primary if primary is not None and self.primary.lower else primary

    def chosen(self) -> Row | None:
        """The row to look at closely, by validation alone: the best one on the Pareto front of the rows at their
        own Θ, which the figures of a model's card are for; of these, only models that have thresholds at all, if there
        are any.  None without validation figures.
        """
        validated = [row for row in self.own if "validation" in row.parts]
        rows = [row for row in validated if any(row.theta)] or validated
        figures = [row.parts["validation"] for row in rows]
        points = [self._good(f.fetch_reduction, f.primary) for f in figures]
        best = max(pareto_front(points), default=None, key=lambda i: (points[i][1], points[i][0]))
        return None if best is None else rows[best]


def series_name(row: Row) -> str:
    """Label of a row's series; a sweep without variants has no labels."""
    return (row.label or "trained") + " (speakers left out)" * bool(row.speaker)


def pareto_front(points: Sequence[tuple[float | None, float | None]]) -> list[int]:
    """Indices of the points that no other one beats (as good in both, better in one; more is better), in rising
    order of the first number.  Equal points are all there; points with a None are not."""
    known = [(x, y, i) for i, (x, y) in enumerate(points) if x is not None and y is not None]
    front, best, seen = [], -math.inf, None
    for x, y, i in sorted(known, key=lambda p: (-p[0], -p[1], p[2])):
        if y > best or (x, y) == seen:
            front.append((x, i))
            best, seen = y, (x, y)
    return [i for _, i in sorted(front)]


def read_sweep(folder: str | Path) -> SweepData:
    """DataError if sweep.json or the results are missing or damaged, or there is no finished point."""
    folder = Path(folder)
    plan, rows = read_description(folder), read_results(folder)
    if not rows:
        raise DataError(f"'{folder}' has no finished point yet; let the sweep run first")
    fields = tuple(field for field in plan.vary if field != "seed")
    return SweepData(folder, plan, fields, tuple(_row(row, fields, plan.primary.name) for row in rows))


def read_log(path: str | Path) -> dict[str, np.ndarray]:
    """A training log as columns of numbers: name → float (epochs, values), NaN where a cell is empty.

    Columns of text are left out.  DataError if the file is missing, damaged, has no epoch or no column ``number``.
    """
    header, lines = _read_csv(Path(path))
    columns = {}
    for name, *cells in zip(header, *lines, strict=True):
        try:
            values = [[float(x) for x in cell.split()] for cell in cells]
        except ValueError:
            continue
        column = np.full((len(values), max(map(len, values), default=0)), np.nan)
        for target, value in zip(column, values, strict=True):
            target[: len(value)] = value
        columns[name] = column
    if not lines or columns.get("number", np.empty((0, 0))).shape[1] != 1:
        raise DataError(f"'{path}' is no training log: it needs a column number and a row per epoch; train again")
    return columns


def _row(row: dict[str, Any], fields: Sequence[str], primary: str) -> Row:
    parts = {part: PartFigures(row.get(f"{part}_clips") or 0, row[f"{part}_{primary}"],
                               row.get(f"{part}_fetch_reduction"), row.get(f"{part}_temporal_sparsity"))
             for part in JUDGED if row.get(f"{part}_{primary}") is not None}
    varied = tuple("" if row[field] is None else str(row[field]) for field in fields)
    return Row(row["key"], row["label"], row["speaker"], varied, row["seed"], row["theta"], row["factor"], parts,
               row.get("file_bytes"), alike(row))


def _read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and lines, all of the same length."""
    try:
        with path.open(newline="", encoding="utf-8") as f:
            lines = [line for line in csv.reader(f) if line]
    except FileNotFoundError:
        raise DataError(f"no file '{path}'; it is written while training, so train again") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"'{path}' cannot be read ({error}); train again") from None
    if not lines or any(len(line) != len(lines[0]) for line in lines):
        raise DataError(f"'{path}' is damaged: its lines differ in length or there are none; train again")
    return lines[0], lines[1:]
