"""Leaky integrate-and-fire neurons as a layer of PyTorch: spikes out, potentials kept."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tidegate.golden.encoder import at_ends
from tidegate.golden.general import Signal
from tidegate.golden.signals import SLOPES
from tidegate.spec.cells import UNIT
from tidegate.spec.formats import SIGNAL
from tidegate.spec.layer import Layer
from tidegate.spec.network import MAX_LAYERS, Network
from tidegate.spec.rules import LEAK_MAX, Diffuse

from .base import LSB
from .errors import LayerError
from .units import BIAS_COLUMNS, UnitRNN, ended, quantiser, rounding

_LEAKS = {0.0: 0} | {2.0**-k: k for k in range(1, LEAK_MAX + 1)}
_INPUT_REACH = 4.0


class LIF(UnitRNN):
    """Layers of leaky integrate-and-fire neurons, with the arguments and shapes of ``torch.nn.RNN``.

        u ← (1 − leak)·u + W_ih·x + b + W_hh·s        s = 1 where u ≥ Θ, else 0        u ← u − s

    ``output, (h_n, u_n) = layer(x, (h_0, u_0))``.  The output s (T, B, hidden_size) is 0 or 1: what each neuron sends
    per frame.  h_n is s of the last frame, u_n the membrane potential after it, each (num_layers, B, hidden_size).

    ``leak``: share of the potential that a frame loses, 0 or 1/2, 1/4 … 1/128.  ``recurrent``: each layer hears its own
    spikes of the frame before.  ``reset``: a spike takes 1 from the potential ("subtract"), or all of it ("zero").
    ``step``, ``levels``: the input is sent in multiples of ``step``, a power of two, at most ``levels`` of them up or
    down (default: up to ±4), and what rounding leaves is sent in later frames; ``step=1, levels=1`` takes spikes as
    they are.  ``gradient`` of spikes: "hybrid", "membrane" or "surrogate", see ``golden/signals.py``.  ``dropout``:
    outputs of all layers but the last are silent for a whole sequence.

    ``theta``: Θ of the neurons, one number or one for each layer (default 1).  ``learn_thresholds``: Θ is a parameter,
    ``log_theta``; its gradient is "membrane" or "surrogate".  ``fetch_reduction``: Θ rises from ``theta`` on until the
    layer reads so many times fewer weights than a dense one; the wish grows to this value in ``anneal`` passes.  The
    reads of the input count, and no Θ makes them fewer: a larger ``step`` does.  ``weight_frac``: as of ``DeltaGRU``.

    LayerError (a ValueError) for what no core can do, and for NaN.
    """

    state_names = ("h_0", "u_0")

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, *, leak: float = 0.25, recurrent: bool = True,
                 reset: str = "subtract", step: float = 0.5, levels: int | None = None, gradient: str = "hybrid",
                 theta: float | Sequence[float] | None = None, learn_thresholds: bool = False,
                 fetch_reduction: float | None = None, anneal: int = 300,
                 weight_frac: int | Sequence[int] | None = None, device=None, dtype=None):
        super().__init__(input_size, hidden_size, num_layers, MAX_LAYERS, bias, batch_first, dropout)
        if leak not in _LEAKS:
            raise LayerError(f"leak is 0 or a share 1/2, 1/4 ... 1/{2**LEAK_MAX}, not {leak!r:.40}")
        if reset not in ("subtract", "zero"):
            raise LayerError(f"reset is 'subtract' or 'zero', not {reset!r:.40}")
        if gradient not in SLOPES:
            raise LayerError(f"gradient is {' or '.join(map(repr, SLOPES))}, not {gradient!r:.40}")
        if learn_thresholds and gradient == SLOPES[0]:
            raise LayerError("the gradient 'hybrid' moves no Θ; learn it with gradient='surrogate' or 'membrane'")
        if fetch_reduction is not None and not leak and reset == "subtract":
            raise LayerError("neurons that keep all they hear fire as often with any Θ; give a leak or reset='zero' "
                             "for a fetch_reduction")
        self.leak, self.recurrent, self.reset, self.gradient = float(leak), bool(recurrent), reset, gradient
        self._input = quantiser(step, levels, _INPUT_REACH)
        self._spikes = Diffuse(1 << SIGNAL.frac, leak=_LEAKS[leak], zero=reset == "zero")
        for l in range(num_layers):
            heard = input_size if l == 0 else hidden_size
            self.add_parameter(f"weight_ih_l{l}", hidden_size, heard, device=device, dtype=dtype)
            if recurrent:
                self.add_parameter(f"weight_hh_l{l}", hidden_size, hidden_size, device=device, dtype=dtype)
            if bias:
                self.add_parameter(f"bias_ih_l{l}", hidden_size, device=device, dtype=dtype)
        self.reset_parameters()
        self._set_theta(num_layers, theta, learn_thresholds, fetch_reduction, anneal, 1.0, rising=True)
        self._set_formats(weight_frac, num_layers, self._network(self.units))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Random weights, uniform in ± 1/√(what a neuron hears of each kind)."""
        for name, parameter in self.named_parameters():
            if name != "log_theta":
                bound = (parameter.shape[-1] if parameter.dim() == 2 else self.hidden_size) ** -0.5
                nn.init.uniform_(parameter, -bound, bound)

    @property
    def units(self) -> tuple[Layer, ...]:
        columns = BIAS_COLUMNS if self.bias else 0
        unit = Layer(self.hidden_size, cell=UNIT, activation="identity", recurrent=self.recurrent, consumes=True,
                     bias_columns=columns)
        return (unit,) * self.num_layers

    @property
    def rules(self) -> tuple[Diffuse | None, ...]:
        return (self._input, *(self._spikes,) * self.num_layers)

    @property
    def thresholds(self) -> list[int]:
        return [rounding(self._input), *super().thresholds]

    def _thresholds(self) -> list[Tensor | int]:
        return [rounding(self._input), *super()._thresholds()[-self.num_layers :]]

    def parts(self, l: int) -> tuple[Sequence[str], str | None, str]:
        return (f"weight_ih_l{l}",), f"weight_hh_l{l}" if self.recurrent else None, f"bias_ih_l{l}"

    def given(self, real: Sequence[Tensor], signal: int) -> tuple[Tensor, Tensor | None]:
        spikes, potentials = real
        return spikes[signal - 1], potentials[signal - 1]

    def made(self, net: Network, signals: Sequence[Signal], ends: Tensor | None) -> list[Tensor]:
        return [torch.stack([ended(s, True, ends) for s in signals[1:]]),
                torch.stack([at_ends(s.memory, ends) * LSB for s in signals[1:]])]

    def extra_repr(self) -> str:
        return (f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, leak={self.leak:g}, "
                f"recurrent={self.recurrent}, {super().extra_repr()}")
