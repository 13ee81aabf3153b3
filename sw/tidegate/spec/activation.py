"""σ and tanh as tables over the magnitude of their argument; the sign is applied by symmetry.

    σ(-x) = 1 - σ(x)        tanh(-x) = -tanh(x)

Every entry is the correctly rounded value (error <= 1/2 LSB, saturated to 255/256).  No grid point lies
closer than 4e-4 LSB to a rounding boundary, so evaluating the function in float32 and rounding gives the
same integers on any machine; a test holds that margin.
"""

import math

import numpy as np

from .formats import CANDIDATE, CANDIDATE_ARG, GATE_ARG, GATE_FRAC

_GATE_ONE = 1 << GATE_FRAC


def sigmoid_table() -> list[int]:
    """Entry m: σ(m / 2**GATE_ARG.frac) with GATE_FRAC fraction bits, for m = 0 .. GATE_ARG.max."""
    scale = 1 << GATE_ARG.frac
    exact = (_GATE_ONE / (1.0 + math.exp(-m / scale)) for m in range(GATE_ARG.max + 1))
    return [min(_GATE_ONE - 1, math.floor(y + 0.5)) for y in exact]


def tanh_table() -> list[int]:
    """Entry m: tanh(m / 2**CANDIDATE_ARG.frac) in CANDIDATE, for m = 0 .. CANDIDATE_ARG.max."""
    scale = 1 << CANDIDATE_ARG.frac
    exact = ((1 << CANDIDATE.frac) * math.tanh(m / scale) for m in range(CANDIDATE_ARG.max + 1))
    return [min(CANDIDATE.max, math.floor(y + 0.5)) for y in exact]


_SIGMOID = np.array(sigmoid_table())
_TANH = np.array(tanh_table())


def sigmoid(x):
    """σ of GATE_ARG integers (array or int) as 1..255 of 256."""
    y = _SIGMOID[np.abs(x)]
    return np.where(np.asarray(x) < 0, _GATE_ONE - y, y)


def tanh(x):
    """tanh of CANDIDATE_ARG integers (array or int) in CANDIDATE."""
    y = _TANH[np.abs(x)]
    return np.where(np.asarray(x) < 0, -y, y)
