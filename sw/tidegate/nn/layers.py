"""``torch.nn.GRU`` and ``torch.nn.LSTM`` that speak only when something changed, in the integers of the core.

    x → round(256·x) → delta encoder, Θ₀ → layer 0 → delta encoder, Θ₁ → layer 1 → … → v̂ / 256

The output is v̂, what each neuron has sent last: what the layer behind it hears, on a board as here.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from tidegate.golden.cells import golden_of
from tidegate.golden.encoder import DeltaEncoder, at_ends
from tidegate.golden.fixed import quantise
from tidegate.golden.general import Signal, Weights
from tidegate.golden.integers import integers_of, of_gates
from tidegate.golden.network import NetworkState
from tidegate.golden.scale import finest
from tidegate.spec.cells import GRU, LSTM, Cell
from tidegate.spec.formats import CELL_STATE, SIGNAL, STATE
from tidegate.spec.layer import Layer
from tidegate.spec.network import MAX_LAYERS, Network

from .base import IntegerRNN, LayerRun, wide
from .errors import LayerError

_OWN = (1 << SIGNAL.frac) - 1       # largest |v| of a layer's signal, in LSBs


class DeltaRNN(IntegerRNN, nn.RNNBase):
    """What ``DeltaGRU`` and ``DeltaLSTM`` share; their docstrings say what it does."""

    cell: Cell
    state_range: tuple[int, int]        # fraction bits and largest magnitude of what the cell keeps

    def __init__(self, *args, theta: float | Sequence[float] | None = None, learn_thresholds: bool = False,
                 fetch_reduction: float | None = None, anneal: int = 300,
                 weight_frac: int | Sequence[int] | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        if self.bidirectional:
            raise LayerError("a bidirectional layer cannot run frame by frame; leave bidirectional out")
        if self.proj_size:
            raise LayerError("a layer with a projection does not run on the core; leave proj_size out")
        if self.num_layers > MAX_LAYERS:
            raise LayerError(f"the core runs 1 to {MAX_LAYERS} layers, not {self.num_layers}; choose fewer num_layers")
        signals = self.num_layers + 1
        self._set_theta(signals, theta, learn_thresholds, fetch_reduction, anneal)
        layers = (Layer(self.hidden_size, cell=self.cell),) * self.num_layers
        self._set_formats(weight_frac, self.num_layers, Network(self.input_size, layers, Layer(0), (0,) * signals))

    # weights

    @property
    def network(self) -> Network:
        """The layers' description, with the scales and Θ of this moment, and without a classifier."""
        layers = tuple(self.shape(l) for l in range(self.num_layers))
        return Network(self.input_size, layers, Layer(0), tuple(self.thresholds))

    @torch.no_grad()
    def shape(self, l: int) -> Layer:
        """The description of layer l, with the scale of this moment."""
        if self._fracs is not None:
            return Layer(self.hidden_size, self._fracs[l], cell=self.cell)
        w_ih, w_hh, b_ih, b_hh = self._reals(l)
        bias = w_ih.new_zeros(1) if b_ih is None or b_hh is None else of_gates(self.cell, b_ih, b_hh)
        frac = finest(self.cell, [w_ih, w_hh], bias, [_OWN if l else SIGNAL.max, _OWN])
        return Layer(self.hidden_size, frac, cell=self.cell)

    def integers(self, l: int, shape: Layer) -> Weights:
        return integers_of(shape, *self._reals(l))

    def _reals(self, l: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """weight_ih, weight_hh, bias_ih and bias_hh of layer l, in float32 or float64."""
        w_ih, w_hh = (wide(getattr(self, f"weight_{side}_l{l}")) for side in ("ih", "hh"))
        if not self.bias:
            return w_ih, w_hh, None, None
        return w_ih, w_hh, wide(getattr(self, f"bias_ih_l{l}")), wide(getattr(self, f"bias_hh_l{l}"))

    def reset_parameters(self) -> None:
        """Random weights, as those of PyTorch's module; Θ stays."""
        bound = self.hidden_size**-0.5
        for weight in cast(list[Tensor], self._flat_weights):
            nn.init.uniform_(weight, -bound, bound)

    def _begun(self, real: Sequence[Tensor], frames: Tensor) -> NetworkState:
        anchors, states = quantise(real[0], SIGNAL.frac, _OWN), quantise(real[-1], *self.state_range)
        return NetworkState([frames.new_zeros(frames.shape[1:]), *anchors], list(states))

    def _run(self, frames: Tensor, start: NetworkState | None, ends: Tensor | None) -> LayerRun:
        thresholds = self._thresholds()
        heard = cast(Tensor, DeltaEncoder.apply(quantise(frames, SIGNAL.frac, SIGNAL.max), thresholds[0],
                                                start and start.anchors[0]))
        anchors, states = [heard], []
        for l in range(self.num_layers):
            shape = self.shape(l)
            before = None if start is None else (start.anchors[l + 1], start.states[l])
            sent, state = golden_of(self.cell).layer(heard, *self.integers(l, shape), shape.weight_frac,
                                                     thresholds[l + 1], None, before, ends)
            anchors.append(sent)
            states.append(state)
            heard = sent
            if self.training and self.dropout and l < self.num_layers - 1:
                heard = nn.functional.dropout(sent, self.dropout)
        ended = [at_ends(a, ends) for a in anchors]
        last = [torch.stack(ended[1:]) * 2.0**-SIGNAL.frac]
        if len(self.state_names) > 1:
            last.append(torch.stack(states) * 2.0 ** -self.state_range[0])
        begun = [torch.zeros_like(a[0]) for a in anchors] if start is None else [a.detach() for a in start.anchors]
        signals = [Signal(a, b, False) for a, b in zip(anchors, begun, strict=True)]
        return LayerRun(signals, thresholds, anchors[-1], last, NetworkState(ended, states))


class DeltaGRU(DeltaRNN, nn.GRU):
    """``torch.nn.GRU`` as a delta network, with its arguments, shapes, parameters and state dict.

    ``theta``: Θ in units of the signals, one number for all, or one for the input and one for each layer's output (1 is
    256 LSBs; Θ is rounded to whole LSBs).  Default 0: every change is sent.  ``learn_thresholds``: Θ is a parameter,
    ``log_theta``, which begins at ``theta`` (default 1/32); add ``activity_loss()`` to the loss, or nothing asks for
    fewer events.  ``fetch_reduction``: how many times fewer weights the layer reads than a dense one; Θ follows it in
    each pass in training mode, from near 0 on; the wish grows to this value in ``anneal`` passes, and ``theta`` gives
    only the proportions of Θ (default: those of the standard deviations of the signals).  In evaluation mode Θ stays.
    ``weight_frac``: fraction bits of the int8 weights, one for all or one per layer; default: in every pass as many as
    hold the weights.  Weights beyond the range are clipped and get no gradient.

    Input: real numbers, rounded to 1/256 and clipped to ±8; so normalise it.  Output and h_n: what each neuron has
    sent, multiples of 1/256 within ±255/256.  An ``h_0`` is rounded to the formats of the core, within ±255/256.
    Gradients go straight through all rounding.

    The state dict has the entries of ``torch.nn.GRU``.  Θ is in its metadata, which ``torch.save`` keeps; a state dict
    that is made anew from the entries, or that is PyTorch's, leaves Θ as it is.

    LayerError (a ValueError) for ``bidirectional``, for more than 32 layers, and for NaN.
    """

    cell, state_names, state_range = GRU, ("h_0",), (STATE.frac, _OWN << (STATE.frac - SIGNAL.frac))


class DeltaLSTM(DeltaRNN, nn.LSTM):
    """``torch.nn.LSTM`` as a delta network; arguments as in ``DeltaGRU``.

    c_n is what the cells keep, multiples of 2**-12 within ±8.  LayerError for ``proj_size``, too.
    """

    cell, state_names, state_range = LSTM, ("h_0", "c_0"), (CELL_STATE.frac, CELL_STATE.max)
