"""Rounding, saturation and wrap-around against rational arithmetic, every value."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from tidegate.spec.fixed import Q, round_shift, saturate, wrap


def test_round_shift_is_floor_of_x_plus_a_half():
    x = range(-1100, 1100)
    for shift in range(12):
        expected = [floor(Fraction(k, 2**shift) + Fraction(1, 2)) for k in x]
        assert [round_shift(k, shift) for k in x] == expected
        assert round_shift(np.array(x), shift).tolist() == expected


def test_saturation_is_symmetric():
    for bits in range(2, 9):
        limit = 2 ** (bits - 1) - 1
        expected = [min(limit, max(-limit, k)) for k in range(-300, 300)]
        assert [saturate(k, bits) for k in range(-300, 300)] == expected
        assert saturate(np.arange(-300, 300), bits).tolist() == expected


def test_wrap_is_twos_complement():
    for bits in range(1, 9):
        got = [wrap(k, bits) for k in range(-600, 600)]
        assert all((g - k) % 2**bits == 0 and -(2 ** (bits - 1)) <= g < 2 ** (bits - 1)
                   for g, k in zip(got, range(-600, 600), strict=True))
        assert wrap(np.arange(-600, 600), bits).tolist() == got


@pytest.mark.parametrize(("q", "bits", "largest"), [(Q(3, 8), 12, 2047), (Q(0, 15), 16, 32767), (Q(3, 6), 10, 511)])
def test_width_and_range(q, bits, largest):
    assert (q.bits, q.max) == (bits, largest)
    assert q.requantise(largest << 4, q.frac + 4) == largest
    assert q.requantise((largest << 4) + 8, q.frac + 4) == largest
    assert q.requantise(-(1 << 30), q.frac + 4) == -largest
    assert [q.requantise(k, q.frac + 1) for k in (-3, -2, -1, 0, 1, 2, 3)] == [-1, -1, 0, 0, 1, 1, 2]
