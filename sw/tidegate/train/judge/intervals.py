"""How sure a count is: exact 95 % intervals of a rate of events per hour and of a share.

    Garwood           k events in an exposure: the Poisson means for which so few, or so many, come in 2.5 % of cases
    Clopper-Pearson   k of n: the shares for which so few, or so many, come in 2.5 % of cases

Both hold their level for every count, 0 included: no false accept in 3 hours still allows 1.2 per hour.
"""

from collections.abc import Callable

import numpy as np

LEVEL = 0.95
_STEPS = 200


def poisson_interval(count: int, exposure: float, level: float = LEVEL) -> tuple[float, float]:
    """Lowest and highest rate, per unit of ``exposure``, that ``count`` events in it allow (Garwood 1936)."""
    if count < 0 or not exposure > 0:
        raise ValueError(f"{count} events in {exposure:g} have no rate")
    tail = (1 - level) / 2
    most = count + 20 * (count**0.5 + 3)            # beyond: next to impossible
    low = _solve(lambda x: 1 - _poisson(count - 1, x) < tail, 0, count) if count else 0.0
    return low / exposure, _solve(lambda x: _poisson(count, x) > tail, count, most) / exposure


def share_interval(count: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """Lowest and highest share that ``count`` of ``total`` allow (Clopper and Pearson 1934); (0, 1) of nothing."""
    if not 0 <= count <= total:
        raise ValueError(f"{count} of {total} is no share")
    tail = (1 - level) / 2
    low = _solve(lambda p: 1 - _binomial(count - 1, total, p) < tail, 0, count / total) if count else 0.0
    high = _solve(lambda p: _binomial(count, total, p) > tail, count / total, 1) if count < total else 1.0
    return low, high


def _solve(below: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``below`` turns from true to false."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2


def _log_factorials(most: int) -> np.ndarray:
    """log k! of k = 0..most."""
    return np.cumsum(np.log(np.maximum(np.arange(most + 1), 1)))


def _poisson(count: int, mean: float) -> float:
    """P(X <= count)."""
    k = np.arange(count + 1)
    return float(np.exp(k * np.log(mean) - mean - _log_factorials(count)).sum()) if mean else 1.0


def _binomial(count: int, total: int, p: float) -> float:
    """P(X <= count)."""
    if not 0 < p < 1:
        return float(p == 0 or count == total)
    logs, k = _log_factorials(total), np.arange(count + 1)
    return float(np.exp(logs[total] - logs[k] - logs[total - k] + k * np.log(p) + (total - k) * np.log1p(-p)).sum())
