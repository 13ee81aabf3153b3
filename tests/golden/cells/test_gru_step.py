"""The integer cell against its equations in rational arithmetic, and its bounds."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from tidegate.golden.cells.gru import step
from tidegate.spec.activation import sigmoid, tanh
from tidegate.spec.layer import Layer


def to_grid(x: Fraction, frac: int, limit: int) -> int:
    return max(-limit, min(limit, floor(x * 2**frac + Fraction(1, 2))))


def random_accumulators(rng) -> np.ndarray:
    """Of four gates (4, 400): all corners of 24 bits, and smaller ones."""
    span = np.array([2**23 - 1, 2**20, 2**17, 2**14])[rng.integers(0, 4, (4, 400))]
    m = np.rint(rng.uniform(-1, 1, (4, 400)) * span).astype(np.int64)
    m[:, :16] = np.array(np.meshgrid(*[[-(2**23), 2**23 - 1]] * 4)).reshape(4, 16)
    return m


def rational_cell(nx, r, z, nh, h, weight_frac):
    """Real-valued equations, each intermediate rounded to its grid."""
    one = Fraction(1)
    m = [one * x / 2 ** (8 + weight_frac) for x in (nx, r, z, nh)]
    nx, nh = to_grid(m[0], 10, 32767), to_grid(m[3], 10, 32767)
    r_arg, z_arg = to_grid(m[1], 6, 511), to_grid(m[2], 6, 511)
    r, z = one * int(sigmoid(r_arg)) / 256, one * int(sigmoid(z_arg)) / 256
    n = one * int(tanh(to_grid(one * nx / 1024 + r * nh / 1024, 8, 1023))) / 256
    h = n + Fraction(to_grid(z * (one * h / 2**15 - n), 15, 1 << 20), 2**15)
    return r_arg, z_arg, nx, nh, int(h * 2**15)


@pytest.mark.parametrize("weight_frac", range(2, 10))
def test_cell_equals_rational_arithmetic(weight_frac):
    rng = np.random.default_rng(weight_frac)
    m = random_accumulators(rng)
    h = rng.integers(-32640, 32641, 400)
    h[:32] = np.tile([-32640, 32640], 16)
    stages, state, v = step(m[None], h[None], Layer(1, weight_frac))
    assert np.array_equal(state, stages.h) and np.array_equal(v, np.floor(state / 128 + 0.5))
    got = np.stack(stages, -1)[0]
    expected = [rational_cell(*map(int, m[:, k]), int(h[k]), weight_frac) for k in range(400)]
    assert np.array_equal(got, expected)


def test_state_and_signal_never_leave_their_range():
    h = np.arange(-32640, 32641)
    for big in (-(2**22), 0, 2**22):
        for update in (-(2**22), 2**22):
            zero = np.zeros_like(h)
            _, new, v = step(np.stack([zero + big, zero, zero + update, zero])[None], h[None], Layer(1))
            assert np.abs(new).max() <= 32640 and np.abs(v).max() <= 255
