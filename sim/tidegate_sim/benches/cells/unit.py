"""One neuron of a unit, one step at a time, in Python integers."""

from tidegate.spec.activation import sigmoid, tanh
from tidegate.spec.fixed import round_shift, saturate
from tidegate.spec.formats import acc_frac


def neuron(accumulators: list[int], state: int, weight_frac: int, activation: str) -> tuple[dict[str, int], int, int]:
    """Of the only sum, see ``reference``; there is no state."""
    kept, bits = {"tanh": (8, 11), "sigmoid": (6, 10)}.get(activation, (8, 12))     # fraction bits, and all
    arg = saturate(round_shift(accumulators[0], acc_frac(weight_frac) - kept), bits)
    v = {"identity": lambda: arg, "relu": lambda: max(arg, 0), "tanh": lambda: int(tanh(arg)),
         "sigmoid": lambda: int(sigmoid(arg))}[activation]()
    return {"arg": arg, "v": v}, state, v
