"""Runs that differ by chance taken together, and means over them."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, TypeVar

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Stat:
    """Mean and sample standard deviation (n - 1) of ``n`` values; ``sd`` is None for one value."""

    n: int
    mean: float
    sd: float | None

    @staticmethod
    def of(values: Iterable[float | None]) -> "Stat | None":
        """None stands for no value and is left out; None if there are no others."""
        known = [v for v in values if v is not None]
        return Stat(len(known), mean(known), stdev(known) if len(known) > 1 else None) if known else None


def spreads(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, float | None]:
    """Of each name the mean over the rows, and with ``_std`` behind it the deviation; both None if a row lacks it."""
    found: dict[str, float | None] = {}
    for name in names:
        stat = Stat.of(row.get(name) for row in rows)
        stat = stat if stat and stat.n == len(rows) else None
        found[name], found[f"{name}_std"] = (stat.mean, stat.sd) if stat else (None, None)
    return found


def grouped(rows: Iterable[_Row], same: Callable[[_Row], Hashable]) -> list[list[_Row]]:
    """Rows of the same ``same(row)`` together, in the order of their first row."""
    groups: dict[Hashable, list[_Row]] = {}
    for row in rows:
        groups.setdefault(same(row), []).append(row)
    return list(groups.values())


def spread(mean: float | None, deviation: float | None) -> str:
    """As "98.40 ± 0.31 %"; "98.40%" of one run, "-" of none."""
    if mean is None:
        return "-"
    return f"{mean:.2%}" if deviation is None else f"{100 * mean:.2f} ± {100 * deviation:.2f} %"
