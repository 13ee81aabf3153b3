"""A Legendre Memory Unit (Voelker, Kajić, Eliasmith 2019) as a layer of PyTorch: a linear memory that a hidden state
reads and writes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tidegate.golden.general import Signal
from tidegate.spec.cells import UNIT
from tidegate.spec.layer import Layer
from tidegate.spec.lmu import discrete
from tidegate.spec.network import MAX_LAYERS, Network
from tidegate.spec.rules import Diffuse

from .base import LSB, each_of
from .errors import LayerError
from .units import BIAS_COLUMNS, UnitRNN, ended, quantiser, rounding, whole_number

_REACH = {"input": 4.0, "memory": 4.0, "hidden": 1.0}       # of the levels of a hybrid-spiking unit


class LMU(UnitRNN):
    """Legendre Memory Units, with the arguments and shapes of ``torch.nn.GRU`` and a memory.

        m ← W_mm·m + W_im·x + W_hm·h + b_m        h ← tanh(W_ih·x + W_mh·m + W_hh·h + b_h)

    ``output, (h_n, m_n) = layer(x, (h_0, m_0))``; h_n (num_layers, B, hidden_size), m_n (num_layers, B,
    ``memory_size``).  The memory holds ``channels`` signals over the last ``window`` frames, each in ``order`` numbers:
    memory_size is order · channels, and W_mm begins as the paper's Ā for each.  W_im begins as B̄·e with random encoders
    e, times ``gain``, and W_hm as 0.  The encoders are part of W_im and W_hm, so that all rows learn; for a memory that
    stays, set ``layer.weight_mm_l0.requires_grad_(False)``.  (The paper calls the window θ; here ``theta`` is Θ.)

    Input, memory and hidden state are three signals of a layer.  Without ``step`` each sends what has changed by Θ:
    ``theta``, ``learn_thresholds``, ``fetch_reduction`` and ``anneal`` are those of ``DeltaGRU``, with 1 + 2·num_layers
    numbers as ``theta``: input, then memory and hidden state of each layer.

    ``step``: the unit is hybrid-spiking.  Each signal is sent in multiples of a step, a power of two, and what rounding
    leaves is sent in later frames; one step, or three for input, memory and hidden state.  ``levels``: at most so many
    steps up or down, one number or three (default: as many as reach ±4 of input and memory, ±1 of the hidden state).
    The step grows from 1/256 in the first ``anneal`` passes in training mode, by powers of two.  There is no Θ to
    choose then: each is half a step.

    ``spec/lmu.py`` says how well a memory with weights of 8 bits remembers.  ``weight_frac``: as of
    ``DeltaGRU``, for memory and hidden state of each layer.  LayerError (a ValueError) for what no core can do, and
    for NaN.
    """

    state_names = ("h_0", "m_0")

    def __init__(self, input_size: int, hidden_size: int, order: int, window: float, channels: int = 1,
                 num_layers: int = 1, bias: bool = True, batch_first: bool = False, dropout: float = 0.0, *,
                 gain: float = 1.0, step: float | Sequence[float] | None = None,
                 levels: int | Sequence[int] | None = None, theta: float | Sequence[float] | None = None,
                 learn_thresholds: bool = False, fetch_reduction: float | None = None, anneal: int = 300,
                 weight_frac: int | Sequence[int] | None = None, device=None, dtype=None):
        super().__init__(input_size, hidden_size, num_layers, MAX_LAYERS // 2, bias, batch_first, dropout)
        self.order, self.channels = whole_number("order", order, 1), whole_number("channels", channels, 1)
        if not isinstance(window, int | float) or not 1 <= window < float("inf"):
            raise LayerError(f"window is the memory's length in frames, 1 or more, not {window!r:.40}")
        if not isinstance(gain, int | float) or not 0 < gain < float("inf"):
            raise LayerError(f"gain is a number above 0, not {gain!r:.40}")
        if step is None and levels is not None:
            raise LayerError("levels are of a hybrid-spiking unit; give its step, too, or leave them out")
        if step is not None and (theta is not None or learn_thresholds or fetch_reduction is not None):
            raise LayerError("a hybrid-spiking unit sends by its step and levels; leave theta, learn_thresholds and "
                             "fetch_reduction out, or leave step out")
        self.window, self.gain = float(window), float(gain)
        self.anneal, self.passes = whole_number("anneal", anneal, 0), 0
        self._steps: list[Diffuse] | None = None if step is None else _rules(step, levels)
        for l in range(num_layers):
            heard = input_size if l == 0 else hidden_size
            for name, rows, columns in (("im", self.memory_size, heard), ("hm", self.memory_size, hidden_size),
                                        ("mm", self.memory_size, self.memory_size), ("ih", hidden_size, heard),
                                        ("mh", hidden_size, self.memory_size), ("hh", hidden_size, hidden_size)):
                self.add_parameter(f"weight_{name}_l{l}", rows, columns, device=device, dtype=dtype)
            for name, rows in (("m", self.memory_size), ("h", hidden_size)) if bias else ():
                self.add_parameter(f"bias_{name}_l{l}", rows, device=device, dtype=dtype)
        self.reset_parameters()
        self._set_theta(2 * num_layers + 1, theta, learn_thresholds, fetch_reduction, anneal)
        self._set_formats(weight_frac, 2 * num_layers, self._network(self.units))

    @property
    def memory_size(self) -> int:
        """Numbers of a layer's memory."""
        return self.order * self.channels

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return self.hidden_size, self.memory_size

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The memory's matrices, and random weights for the rest; biases 0 of the memory."""
        a, b = (torch.from_numpy(x).float() for x in discrete(self.order, self.window))
        for l in range(self.num_layers):
            own, into = (getattr(self, f"weight_{name}_l{l}") for name in ("mm", "im"))
            own.copy_(torch.block_diag(*[a] * self.channels))
            bound = (3 / into.shape[1]) ** 0.5
            encoders = torch.empty(self.channels, 1, into.shape[1]).uniform_(-bound, bound)
            into.copy_((encoders * b[:, None] * self.gain).flatten(0, 1))
            getattr(self, f"weight_hm_l{l}").zero_()
            heard = into.shape[1] + self.memory_size
            for name, fan in (("ih", heard), ("mh", heard), ("hh", self.hidden_size)):
                nn.init.uniform_(getattr(self, f"weight_{name}_l{l}"), -(fan**-0.5), fan**-0.5)
            if self.bias:
                getattr(self, f"bias_m_l{l}").zero_()
                nn.init.uniform_(getattr(self, f"bias_h_l{l}"), -(self.hidden_size**-0.5), self.hidden_size**-0.5)

    @property
    def units(self) -> tuple[Layer, ...]:
        hybrid, found = self._steps is not None, []
        columns = BIAS_COLUMNS if hybrid and self.bias else 0
        for l in range(0, 2 * self.num_layers, 2):          # layer l is the memory, l + 1 the hidden state
            found += [Layer(self.memory_size, cell=UNIT, activation="identity", hears=(l, l + 2), consumes=hybrid,
                            bias_columns=columns),
                      Layer(self.hidden_size, cell=UNIT, activation="tanh", hears=(l, l + 1), consumes=hybrid,
                            bias_columns=columns)]
        return tuple(found)

    @property
    def rules(self) -> tuple[Diffuse | None, ...]:
        if self._steps is None:
            return ()
        share = min(1.0, self.passes / self.anneal) if self.anneal else 1.0
        first, memory, hidden = (_finer(rule, share) for rule in self._steps)
        return (first, *(memory, hidden) * self.num_layers)

    @property
    def thresholds(self) -> list[int]:
        return super().thresholds if self._steps is None else [rounding(rule) for rule in self.rules if rule]

    def _thresholds(self) -> list[Tensor | int]:
        return super()._thresholds() if self._steps is None else list(self.thresholds)

    def parts(self, l: int) -> tuple[Sequence[str], str | None, str]:
        layer, hidden = divmod(l, 2)
        heard, own = (("ih", "mh"), "hh") if hidden else (("im", "hm"), "mm")
        return [f"weight_{name}_l{layer}" for name in heard], f"weight_{own}_l{layer}", f"bias_{own[0]}_l{layer}"

    def given(self, real: Sequence[Tensor], signal: int) -> tuple[Tensor, Tensor | None]:
        layer, hidden = divmod(signal - 1, 2)
        return real[0 if hidden else 1][layer], None

    def made(self, net: Network, signals: Sequence[Signal], ends: Tensor | None) -> list[Tensor]:
        return [torch.stack([ended(s, False, ends) for s in signals[first::2]]) for first in (2, 1)]

    def _account(self, frames: Tensor) -> None:
        super()._account(frames)
        self.passes += self.training and torch.is_grad_enabled()

    def _progress(self) -> dict:
        return {"passes": self.passes}

    def _go_on_from(self, saved: dict) -> None:
        self.passes = saved.get("passes", self.passes)

    def extra_repr(self) -> str:
        kind = super().extra_repr() if self._steps is None else f"step={tuple(r.step * LSB for r in self._steps)}"
        return (f"{self.input_size}, {self.hidden_size}, order={self.order}, window={self.window:g}, "
                f"channels={self.channels}, num_layers={self.num_layers}, {kind}")


def _rules(step: float | Sequence[float], levels: int | Sequence[int] | None) -> list[Diffuse]:
    """The quantisers of input, memory and hidden state."""
    steps = each_of("step", step, 3)
    counts = [None] * 3 if levels is None else list(levels) if isinstance(levels, Sequence) else [levels] * 3
    if len(counts) != 3:
        raise LayerError(f"levels are one number, or 3 for input, memory and hidden state, not {len(counts)}")
    return [quantiser(s, n, reach) for s, n, reach in zip(steps, counts, _REACH.values(), strict=True)]


def _finer(rule: Diffuse, share: float) -> Diffuse:
    """The rule with a step that has grown from 1/256 by this share, in powers of two."""
    f = 1 << round((1 - share) * rule.log2_step)
    return Diffuse(rule.step // f, rule.lowest * f, rule.highest * f)
