"""The numbers of the datapath, by name.

Whatever travels between blocks lies on a grid of 2**-8; only the state h keeps 15 fraction bits, so that
slow leaks survive.  With these widths every product of the cell stays below 2**24, so the cell is exact in
float32 as well as in integers (see ``golden/fixed.py``):

    z·(h - n):          255 · (32640 + 32640)            < 2**24
    nx·2**8 + r·nh:     32767·2**8 + 255·32767           < 2**24
"""

import math

from .fixed import Q

SIGNAL = Q(3, 8)        # what an encoder sees, its anchor and (clipped) its Δ; h uses only ±255 of it
THETA_MAX = 2 * SIGNAL.max              # no signal changes by more
DELTA_BITS = 12         # Δ saturates to ±2047
STATE = Q(0, 15)        # h
WEIGHT_BITS = 8         # of the memory of a board; w / 2**weight_frac, per layer
WEIGHT_WIDTHS = (4, 8)  # of a model's layers; narrower weights are kept narrow in the file, and run on any board
WEIGHT_FRACS = range(2, 10)
ACC_BITS = 24           # wraps; fraction bits are SIGNAL.frac + weight_frac
GATE_ARG = Q(3, 6)      # copy of M_r, M_z on its way into σ
PRE = Q(5, 10)          # copies of M_nx, M_nh on their way into the candidate
CANDIDATE_ARG = Q(2, 8) # nx + r·nh on its way into tanh
GATE_FRAC = 8           # r, z: unsigned, 1..255 of 256
CANDIDATE = Q(0, 8)     # n of a GRU, g and tanh(c) of an LSTM
CELL_STATE = Q(3, 12)   # c of an LSTM; saturates

# The bias is a signal of constant elements whose columns are played at reset:
# b = d0·1 + d1·32 + d2·1024 with int8 digits d (weight memory holds them like any column).
BIAS_DELTAS = (1, 32, 1024)
RECIPROCAL_BITS = 18    # of what an addresser multiplies by, in place of a division
BIAS_MAX = 127 * 1024   # in accumulator LSBs: ±3.97 at weight_frac 7


def whole_theta(theta: float) -> int:
    """The Θ that the hardware gets: a real number of LSBs rounded half up, saturating at 0 and ``THETA_MAX``."""
    return math.floor(max(0, min(theta, THETA_MAX)) + 0.5)


def acc_frac(weight_frac: int) -> int:
    """Fraction bits of the accumulators of a layer."""
    return SIGNAL.frac + weight_frac


def weight_max(bits: int) -> int:
    """Largest magnitude of a trained weight of so many bits; an imported one of 8 bits may also be -128."""
    return (1 << (bits - 1)) - 1


def bias_digits(bias):
    """Split accumulator-LSB biases (int or array, |b| <= BIAS_MAX) into three int8 digits, one per BIAS_DELTAS."""
    d0 = ((bias + 16) % 32) - 16
    rest = (bias - d0) // 32
    d1 = ((rest + 16) % 32) - 16
    return d0, d1, (rest - d1) // 32


def reciprocal(divisor: int) -> int:
    """What a core multiplies by to divide: n // divisor = n · reciprocal >> RECIPROCAL_BITS, where ``divides``."""
    return -(-(1 << RECIPROCAL_BITS) // divisor)


def divides(divisor: int, most: int) -> bool:
    """Whether that is exact for all n from 0 to ``most``."""
    return most * (reciprocal(divisor) * divisor - (1 << RECIPROCAL_BITS)) < 1 << RECIPROCAL_BITS
