"""The unit in integers: one sum through one function, with nothing kept but the sum.

    identity  v = round(M)      relu  v = max(0, round(M))      tanh  v = tanh(M)      sigmoid  v = σ(M)

Nothing goes from frame to frame but what the layer hears, so whole sequences of layers of units are computed in
``general.py``, by ``frame``.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...spec import activation
from ...spec.formats import CANDIDATE_ARG, GATE_ARG, SIGNAL, acc_frac
from ...spec.layer import Layer
from ..arithmetic import REAL, Arithmetic, Observed
from ..fixed import sigmoid, tanh, through

Module = torch.nn.RNN

# what the sum is rounded to on its way into a function
ARGUMENTS = {"identity": SIGNAL, "relu": SIGNAL, "tanh": CANDIDATE_ARG, "sigmoid": GATE_ARG}


class Stages(NamedTuple):
    """The numbers inside the cell, each (..., H): the argument in the format of ``ARGUMENTS``, and v in SIGNAL."""

    arg: np.ndarray
    v: np.ndarray


def observed(sums: Tensor, state: Tensor, activation: str = "tanh", number: Arithmetic = REAL) -> Observed:
    """The equations: sums (1, B, H) → what is seen inside, the signal, and ``state`` as it is."""
    if activation in ("tanh", "sigmoid"):
        v = (number.tanh if activation == "tanh" else number.sigmoid)(sums[0])
    else:
        m = number.to(sums[0], SIGNAL, "sum")
        v = torch.relu(m) if activation == "relu" else m
    return Observed({"v": v}, v, state)


def frame(sums: Tensor, state: Tensor, layer: Layer) -> tuple[list[Tensor], Tensor, Tensor]:
    """``step`` on integers held in floats, sums (..., 1, H), with a gradient: straight-through for roundings and
    saturations."""
    arg = through(sums.squeeze(-2), acc_frac(layer.weight_frac), ARGUMENTS[layer.activation])
    functions = {"relu": torch.relu, "tanh": tanh, "sigmoid": sigmoid}
    v = functions[layer.activation](arg) if layer.activation in functions else arg
    return [arg, v], state, v


def step(accumulators: np.ndarray, state: np.ndarray, layer: Layer) -> tuple[Stages, np.ndarray, np.ndarray]:
    """One frame: accumulators (B, 1, H) with acc_frac fraction bits → the numbers inside, ``state`` as it is (a unit
    keeps nothing), and the signal v (SIGNAL) that it sends; all int64."""
    arg = np.asarray(ARGUMENTS[layer.activation].requantise(accumulators[:, 0], acc_frac(layer.weight_frac)))
    v = {"identity": arg, "relu": np.maximum(arg, 0)}.get(layer.activation)
    if v is None:
        v = np.asarray((activation.tanh if layer.activation == "tanh" else activation.sigmoid)(arg))
    return Stages(arg, v), state, v
