"""Ranges of the numbers that a recipe is made of."""

from collections.abc import Iterable
from typing import Any

from .errors import DataError

TINY, HUGE = 1e-15, 1e9
SHARE = (0, 1)

Bounds = tuple[str, float, float]


def check_ranges(what: str, values: Any, bounds: Iterable[Bounds]) -> None:
    """DataError if an attribute of ``values``, or one of a tuple's members, is not within its bounds: (name, lowest,
    highest).  None is no number and passes."""
    for name, low, high in bounds:
        given = getattr(values, name)
        for value in given if isinstance(given, tuple) else (given,):
            if value is not None and not low <= value <= high:
                raise DataError(f"{what}{name} must be {low:g} to {high:g}, not {value:g}")


def check_order(what: str, values: Any, names: Iterable[str]) -> None:
    """DataError if an attribute (lowest, highest) is the wrong way round; None passes."""
    for name in names:
        given = getattr(values, name)
        if given is not None and given[0] > given[1]:
            raise DataError(f"{what}{name} is the lowest and the highest, not {given[0]:g} and {given[1]:g}")
