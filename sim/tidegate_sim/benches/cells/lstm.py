"""One neuron of an LSTM, one step at a time, in Python integers."""

from tidegate.spec.activation import sigmoid, tanh
from tidegate.spec.fixed import round_shift, saturate
from tidegate.spec.formats import CANDIDATE_ARG, GATE_ARG, acc_frac


def neuron(accumulators: list[int], c: int, weight_frac: int, activation: str) -> tuple[dict[str, int], int, int]:
    """Of o, i, f, g and c, see ``reference``."""
    frac = acc_frac(weight_frac)
    o, i, f, g = accumulators
    args = {"o_arg": GATE_ARG.requantise(o, frac), "i_arg": GATE_ARG.requantise(i, frac),
            "f_arg": GATE_ARG.requantise(f, frac), "g_arg": CANDIDATE_ARG.requantise(g, frac)}
    gate_o, gate_i, gate_f = (int(sigmoid(args[name])) for name in ("o_arg", "i_arg", "f_arg"))
    # c has 12 fraction bits, f·c 20, i·g 16; tanh takes 8 of c's
    c = saturate(round_shift(gate_f * c + (gate_i * int(tanh(args["g_arg"])) << 4), 8), 16)
    v = round_shift(gate_o * int(tanh(saturate(round_shift(c, 4), 11))), 8)
    return args | {"c": c, "v": v}, c, v
