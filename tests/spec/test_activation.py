"""σ and tanh: error, symmetry, and the margin that makes float evaluation safe."""

import math
from decimal import Decimal, getcontext

import numpy as np
import pytest

from tidegate.spec.activation import sigmoid, sigmoid_table, tanh, tanh_table
from tidegate.spec.formats import CANDIDATE_ARG, GATE_ARG

MARGIN = 4e-4    # LSB: the distance of the exact values from a rounding boundary


def exact(name: str, m: int) -> Decimal:
    """The function at grid point m in LSBs of 2**-8, to 40 digits."""
    getcontext().prec = 40
    if name == "sigmoid":
        return 256 / (1 + (-Decimal(m) / (1 << GATE_ARG.frac)).exp())
    e = (2 * Decimal(m) / (1 << CANDIDATE_ARG.frac)).exp()
    return 256 * (e - 1) / (e + 1)


@pytest.mark.parametrize(("name", "function", "table", "limit"),
                         [("sigmoid", sigmoid, sigmoid_table(), GATE_ARG.max),
                          ("tanh", tanh, tanh_table(), CANDIDATE_ARG.max)])
def test_every_entry_is_correctly_rounded_with_margin(name, function, table, limit):
    assert len(table) == limit + 1
    for m in range(-limit, limit + 1):
        y = exact(name, m)
        got = int(function(m))
        assert got == max(1 if name == "sigmoid" else -255, min(255, math.floor(y + Decimal("0.5")))), m
        if m >= 0:
            assert table[m] == got
        assert abs(y - math.floor(y) - Decimal("0.5")) > MARGIN, m
    x = np.arange(-limit, limit + 1)
    mirrored = function(-x)
    assert np.array_equal(function(x), 256 - mirrored if name == "sigmoid" else -mirrored)
    assert np.all(np.diff(function(x)) >= 0)


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_arguments_beyond_the_grid_saturate_as_its_end_does(name):
    """The sequence path evaluates σ and tanh without saturating their arguments first."""
    limit = {"sigmoid": GATE_ARG.max, "tanh": CANDIDATE_ARG.max}[name]
    for m in (limit, limit + 1, 4 * limit):
        assert exact(name, m) > Decimal("255.5") + Decimal(str(MARGIN))
