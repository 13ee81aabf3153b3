"""One neuron of a GRU, one step at a time, in Python integers."""

from tidegate.spec.activation import sigmoid, tanh
from tidegate.spec.fixed import round_shift
from tidegate.spec.formats import CANDIDATE_ARG, GATE_ARG, PRE, acc_frac


def neuron(accumulators: list[int], h: int, weight_frac: int, activation: str) -> tuple[dict[str, int], int, int]:
    """Of nx, r, z, nh and h, see ``reference``."""
    frac = acc_frac(weight_frac)
    nx, r, z, nh = accumulators
    stage = {"r_arg": GATE_ARG.requantise(r, frac), "z_arg": GATE_ARG.requantise(z, frac),
             "nx": PRE.requantise(nx, frac), "nh": PRE.requantise(nh, frac)}
    gate_r, gate_z = int(sigmoid(stage["r_arg"])), int(sigmoid(stage["z_arg"]))
    n = int(tanh(CANDIDATE_ARG.requantise((stage["nx"] << 8) + gate_r * stage["nh"], 18))) << 7
    h = n + round_shift(gate_z * (h - n), 8)
    return stage | {"h": h}, h, round_shift(h, 7)
