"""The GRU cell in integers: accumulators → state.  The sequence path (``gru.py``) must give the same numbers.

    r = σ(M_r)   z = σ(M_z)   n = tanh(M_nx + r·M_nh)   h ← n + z·(h − n)
"""

from typing import NamedTuple

import numpy as np

from ..spec.activation import sigmoid, tanh
from ..spec.fixed import Q, round_shift
from ..spec.formats import CANDIDATE, CANDIDATE_ARG, GATE_ARG, GATE_FRAC, PRE, SIGNAL, STATE, acc_frac


class Stages(NamedTuple):
    """The numbers inside a cell, each (B, H): arguments of σ in GATE_ARG, nx and nh in PRE, the new h in STATE."""

    r_arg: np.ndarray
    z_arg: np.ndarray
    nx: np.ndarray
    nh: np.ndarray
    h: np.ndarray


def cell(nx: np.ndarray, r: np.ndarray, z: np.ndarray, nh: np.ndarray, h: np.ndarray, weight_frac: int) -> Stages:
    """One step from the accumulators M_nx, M_r, M_z, M_nh (B, H; acc_frac fraction bits) and h (STATE); int64."""
    frac = acc_frac(weight_frac)
    r_arg, z_arg = _requantise(r, frac, GATE_ARG), _requantise(z, frac, GATE_ARG)
    nx, nh = _requantise(nx, frac, PRE), _requantise(nh, frac, PRE)
    r, z = sigmoid(r_arg), sigmoid(z_arg)
    n = tanh(CANDIDATE_ARG.requantise((nx << GATE_FRAC) + r * nh, PRE.frac + GATE_FRAC))
    n = n << (STATE.frac - CANDIDATE.frac)
    return Stages(r_arg, z_arg, nx, nh, n + round_shift(z * (h - n), GATE_FRAC))


def _requantise(x: np.ndarray, frac: int, to: Q) -> np.ndarray:
    return np.asarray(to.requantise(x, frac))


def emit(h: np.ndarray) -> np.ndarray:
    """The signal v that a state h sends: STATE → SIGNAL, rounded."""
    return round_shift(h, STATE.frac - SIGNAL.frac)
