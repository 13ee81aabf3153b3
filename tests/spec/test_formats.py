"""Bias digits, and the claims about widths that ``formats`` makes."""

import math

import numpy as np

from tidegate.spec import formats as f
from tidegate.spec.formats import BIAS_DELTAS, BIAS_MAX, THETA_MAX, bias_digits, whole_theta


def test_bias_digits_rebuild_every_bias_from_int8():
    bias = np.arange(-BIAS_MAX, BIAS_MAX + 1)
    digits = bias_digits(bias)
    assert np.array_equal(sum(d * delta for d, delta in zip(digits, BIAS_DELTAS, strict=True)), bias)
    assert all(d.min() >= -128 and d.max() <= 127 for d in digits)
    assert bias_digits(-BIAS_MAX) == (0, 0, -127) and bias_digits(1000) == (8, -1, 1)
    for b in (-BIAS_MAX, -1, 0, 16, 1023, BIAS_MAX):
        assert bias_digits(b) == tuple(int(d[b + BIAS_MAX]) for d in digits)


def test_every_product_of_the_cell_is_exact_in_float32():
    h_max = 255 << (f.STATE.frac - f.CANDIDATE.frac)
    assert 255 * 2 * h_max + 128 < 2**24
    assert (f.PRE.max << f.GATE_FRAC) + 255 * f.PRE.max + 512 < 2**24
    for frac in f.WEIGHT_FRACS:
        # An accumulator, with the half that rounds it, and never a shift to the left.
        assert f.acc_frac(frac) >= f.PRE.frac >= f.GATE_ARG.frac
        assert 2 ** (f.ACC_BITS - 1) + 2 ** (f.acc_frac(frac) - f.GATE_ARG.frac - 1) < 2**24


def test_deltas_and_biases_fit_the_multiplier():
    assert 2 ** (f.DELTA_BITS - 1) - 1 == f.SIGNAL.max
    assert max(BIAS_DELTAS) <= f.SIGNAL.max and BIAS_MAX < 2 ** (f.ACC_BITS - 1)


def test_a_threshold_is_rounded_half_up_and_saturates():
    assert [whole_theta(x) for x in (0, 0.49, 0.5, 1.5, 2.5, 64, -3.0)] == [0, 0, 1, 2, 3, 64, 0]
    assert [whole_theta(x) for x in (THETA_MAX - 0.5, THETA_MAX + 1, 1e300, math.inf)] == [THETA_MAX] * 4
