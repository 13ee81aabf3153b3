"""``torch.nn.GRU`` and ``torch.nn.LSTM`` that speak only when something changed, in the integers of the core.

    x → round(256·x) → delta encoder, Θ₀ → layer 0 → delta encoder, Θ₁ → layer 1 → … → v̂ / 256

The output is v̂, what each neuron has sent last: what the layer behind it hears, on a board as here.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from tidegate.golden.cells import golden_of
from tidegate.golden.encoder import DeltaEncoder, at_ends
from tidegate.golden.figures import Figures
from tidegate.golden.fixed import quantise
from tidegate.golden.general import Weights
from tidegate.golden.network import NetworkState, integers_of, of_gates
from tidegate.golden.scale import finest
from tidegate.spec.cells import GRU, LSTM, Cell
from tidegate.spec.formats import CELL_STATE, SIGNAL, STATE, THETA_MAX, WEIGHT_FRACS, whole_theta
from tidegate.spec.network import MAX_LAYERS, Layer, Network

from .control import ThetaControl
from .errors import LayerError
from .meter import Meter, Pass

_LSB = 2.0**-SIGNAL.frac
_OWN = (1 << SIGNAL.frac) - 1       # largest |v| of a layer's signal, in LSBs
_FIRST_THETA = 1 / 32               # where learned Θ begin
_SAVED = "tidegate"                 # of a state dict's metadata


class DeltaRNN(nn.RNNBase):
    """What ``DeltaGRU`` and ``DeltaLSTM`` share; their docstrings say what it does."""

    cell: Cell
    state_names: tuple[str, ...]
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
        if learn_thresholds and fetch_reduction is not None:
            raise LayerError("Θ is learned or follows fetch_reduction, not both; leave one of them out")
        signals = self.num_layers + 1
        given = None if theta is None else _each("theta", theta, signals)
        self._theta, self.control, first = given or [0.0] * signals, None, None
        if fetch_reduction is not None:
            self.control = ThetaControl(signals, fetch_reduction, anneal, given)
        if learn_thresholds:
            begin = [max(t, _LSB) for t in given or [_FIRST_THETA] * signals]
            first = nn.Parameter(torch.tensor(begin, device=cast(Tensor, self.weight_ih_l0).device).log())
        self.register_parameter("log_theta", first)
        self._fracs = None if weight_frac is None else [
            int(f) for f in _each("weight_frac", weight_frac, self.num_layers)]
        if self._fracs and not all(f in WEIGHT_FRACS for f in self._fracs):
            raise LayerError(f"weight_frac is in {WEIGHT_FRACS.start}..{WEIGHT_FRACS.stop - 1}, not {weight_frac}")
        layers = (Layer(self.hidden_size, cell=self.cell),) * self.num_layers
        self._meter = Meter(Network(self.input_size, layers, Layer(0), (0,) * signals))
        self._pass: Pass | None = None
        self._state: NetworkState | None = None

    # Θ

    @property
    def theta(self) -> tuple[float, ...]:
        """Θ of the input and of each layer's output, in units of these signals.

        Setting it, one number or one for each, ends that Θ is learned or follows ``fetch_reduction``.
        """
        if self.log_theta is not None:
            return tuple(cast(Tensor, self.log_theta).detach().exp().tolist())
        return tuple(self.control.theta if self.control else self._theta)

    @theta.setter
    def theta(self, value: float | Sequence[float]) -> None:
        self._theta, self.control, self.log_theta = _each("theta", value, self.num_layers + 1), None, None

    @property
    def thresholds(self) -> list[int]:
        """Θ in LSBs of 2**-8, as models and boards have it."""
        return [whole_theta(t / _LSB) for t in self.theta]

    def _thresholds(self) -> list[Tensor | int]:
        """Θ of a pass in LSBs, as tensors if it gets a gradient."""
        if self.log_theta is None or not torch.is_grad_enabled():
            return list(self.thresholds)
        return list((cast(Tensor, self.log_theta).exp() / _LSB).unbind())

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
        """Weights and biases of layer l as integers held in floats, differentiable."""
        return integers_of(shape, *self._reals(l))

    def _reals(self, l: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """weight_ih, weight_hh, bias_ih and bias_hh of layer l, in float32 or float64."""
        w_ih, w_hh = (_wide(getattr(self, f"weight_{side}_l{l}")) for side in ("ih", "hh"))
        if not self.bias:
            return w_ih, w_hh, None, None
        return w_ih, w_hh, _wide(getattr(self, f"bias_ih_l{l}")), _wide(getattr(self, f"bias_hh_l{l}"))

    def reset_parameters(self) -> None:
        """Random weights, as those of PyTorch's module; Θ stays."""
        bound = self.hidden_size**-0.5
        for weight in cast(list[Tensor], self._flat_weights):
            nn.init.uniform_(weight, -bound, bound)

    # the forward pass

    def forward(self, input: Tensor | PackedSequence, hx: Any = None):
        """What PyTorch's module gives, with its arguments and shapes; ``hx`` may also be a ``state``."""
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        if input.dim() not in (2, 3):
            raise LayerError(f"the input has 2 or 3 dimensions, not {input.dim()}")
        batched, batch_at = input.dim() == 3, 0 if self.batch_first else 1
        data = input if batched else input.unsqueeze(batch_at)
        self.check_input(data, None)
        frames = data.transpose(0, 1) if self.batch_first else data
        output, *last = self._evaluated(frames, self._start(hx, frames, batched, None), None, None, None)
        output = output.transpose(0, 1) if self.batch_first else output
        if not batched:
            output, last = output.squeeze(batch_at), [part.squeeze(1) for part in last]
        return output, last[0] if len(last) == 1 else tuple(last)

    def _packed(self, input: PackedSequence, hx: Any):
        data, sizes, order, back = input
        self.check_input(data, sizes)
        valid = (torch.arange(int(sizes[0])) < sizes[:, None]).to(data.device)
        frames = data.new_zeros(*valid.shape, self.input_size)
        frames[valid] = data
        start = self._start(hx, frames, True, order)
        output, *last = self._evaluated(frames, start, valid, valid.sum(0) - 1, back)
        last = [_in_order(part, back) for part in last]
        return PackedSequence(output[valid], sizes, order, back), last[0] if len(last) == 1 else tuple(last)

    def _evaluated(self, frames: Tensor, start: NetworkState | None, valid: Tensor | None, ends: Tensor | None,
                   back: Tensor | None) -> list[Tensor]:
        """Output (T, B, H), h_n and what else the module gives, each (layers, B, H), of frames (T, B, features).

        ``valid`` (T, B) and ``ends`` (B,): the frames of sequences of several lengths.  ``back``: order of the batch in
        ``state``.
        """
        if not frames.shape[0] or not frames.shape[1]:
            raise LayerError("there is no frame in the input; leave empty ones out")
        with torch.autocast(frames.device.type, enabled=False):
            anchors, states, thresholds = self._integer_sequence(_wide(frames), start, ends)
            h_n = torch.stack([at_ends(a, ends) for a in anchors[1:]])
            results = [(x * _LSB).to(frames.dtype) for x in (anchors[-1], h_n)]
            if len(self.state_names) > 1:
                results.append((torch.stack(states) * 2.0 ** -self.state_range[0]).to(frames.dtype))
            self._state = _permuted([at_ends(anchors[0].detach(), ends), *h_n.detach()], states, back)
            starts = [None] * len(anchors) if start is None else [a.detach() for a in start.anchors]
            self._pass = Pass(anchors, thresholds, starts, valid)
            self._account(frames)
        return results

    def _integer_sequence(self, frames: Tensor, start: NetworkState | None, ends: Tensor | None
                          ) -> tuple[list[Tensor], list[Tensor], list[Tensor | int]]:
        """Anchors (T, B, elements) and Θ of each signal, and states (B, H) of each layer at the ends, integers held in
        floats, of real frames (T, B, features)."""
        if bool(torch.isnan(frames).any()):
            raise LayerError("the input holds NaN; check what it is made from")
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
        return anchors, states, thresholds

    def _start(self, hx: Any, frames: Tensor, batched: bool, order: Tensor | None) -> NetworkState | None:
        """Where the sequences begin, in the order of the batch of ``frames``; None at reset."""
        if hx is None:
            return None
        if isinstance(hx, NetworkState):
            return _permuted(hx.anchors, hx.states, order)
        parts = [hx] if isinstance(hx, Tensor) else list(hx)
        if len(parts) != len(self.state_names):
            raise LayerError(f"the state to begin with is ({', '.join(self.state_names)}), not {len(parts)} tensors")
        real = []
        for part, name in zip(parts, self.state_names, strict=True):
            if part.dim() != 2 + batched:
                raise LayerError(f"{name} has {2 + batched} dimensions with this input, not {part.dim()}")
            part = part if batched else part.unsqueeze(1)
            self.check_hidden_size(part, (self.num_layers, frames.shape[1], self.hidden_size),
                                   f"Expected {name} of size {{}}, got {{}}")
            real.append(_wide(_in_order(part, order)))
        anchors, states = quantise(real[0], SIGNAL.frac, _OWN), quantise(real[-1], *self.state_range)
        return NetworkState([_wide(frames).new_zeros(frames.shape[1:]), *anchors], list(states))

    @property
    def state(self) -> NetworkState:
        """Where the sequences of the last pass ended, exactly; give it as ``hx`` to go on as if they had not.

        h_n is only what each neuron has sent; ``state`` also has what its cell keeps, and what of the input was sent.
        No gradient goes through it.  LayerError before the first pass.
        """
        if self._state is None:
            raise LayerError("there is no state before the first pass; call the layer first")
        return self._state

    # what it costs

    def _account(self, frames: Tensor) -> None:
        """Count the pass that is over, and move Θ if it follows a wish."""
        assert self._pass is not None
        reduction = self._meter.add(self._pass)
        if self.control and self.training and torch.is_grad_enabled():
            signals = [frames, *(a * _LSB for a in self._pass.anchors[1:])]
            deviations = None if self.control.fixed else [x.detach().std(correction=0).item() for x in signals]
            self.control.seen(reduction, deviations)

    @property
    def activity(self) -> Figures:
        """Events, occupancy and fetch reduction of all passes since the last call of ``train()``, ``eval()`` or
        ``reset_activity()``.

        Per signal: the input, and each layer's output.  Weights of these layers count, those of a classifier do not;
        frames of padding count unless sequences are packed.
        """
        return self._meter.figures

    def reset_activity(self) -> None:
        """Let ``activity`` count from 0."""
        self._meter.reset()

    def activity_loss(self) -> Tensor:
        """Share of a dense layer's weight reads that the last pass made, 0 to 1, to add to a loss.

        Its gradient is that of Σ|Δ|/Θ: a network that pays for it moves less, and learned Θ grow.  LayerError before
        the first pass.
        """
        if self._pass is None:
            raise LayerError("there is no activity before the first pass; call the layer first")
        return self._meter.loss(self._pass)

    def train(self, mode: bool = True):
        """As any module's; ``activity`` counts from 0."""
        self.reset_activity()
        return super().train(mode)

    # what is saved

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        """Θ goes into the metadata, so that the entries are those of PyTorch's module."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.pop(prefix + "log_theta", None)
        if hasattr(destination, "_metadata"):
            saved: dict[str, Any] = {"theta": list(self.theta)}
            if self.control:
                saved["control"] = self.control.state()
            destination._metadata[prefix[:-1]][_SAVED] = saved

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, *more) -> None:
        """Θ stays as it is if the state dict has none, such as one of PyTorch's module."""
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *more)
        if (name := prefix + "log_theta") in missing_keys:
            missing_keys.remove(name)
        saved = local_metadata.get(_SAVED)
        if saved is None or len(saved["theta"]) != self.num_layers + 1:
            return
        if self.log_theta is not None:
            with torch.no_grad():
                self.log_theta.copy_(torch.tensor([max(t, 1e-6) for t in saved["theta"]]).log())
        elif self.control and "control" in saved:
            self.control.restore(saved["control"])
        else:
            self._theta, self.control = list(saved["theta"]), None

    def __getstate__(self):
        state = super().__getstate__()
        state["_pass"] = None           # tensors with a gradient cannot be copied
        return state

    def extra_repr(self) -> str:
        learned = ", learn_thresholds=True" if self.log_theta is not None else ""
        wish = f", fetch_reduction={self.control.goal:g}" if self.control else ""
        return f"{super().extra_repr()}, theta=({', '.join(f'{t:.3g}' for t in self.theta)}){learned}{wish}"


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

    LayerError (a ValueError) for ``bidirectional``, for more than 4 layers, and for NaN.
    """

    cell, state_names, state_range = GRU, ("h_0",), (STATE.frac, _OWN << (STATE.frac - SIGNAL.frac))


class DeltaLSTM(DeltaRNN, nn.LSTM):
    """``torch.nn.LSTM`` as a delta network; arguments as in ``DeltaGRU``.

    c_n is what the cells keep, multiples of 2**-12 within ±8.  LayerError for ``proj_size``, too.
    """

    cell, state_names, state_range = LSTM, ("h_0", "c_0"), (CELL_STATE.frac, CELL_STATE.max)


def _each(name: str, value: Any, count: int) -> list[float]:
    """One number for all, or ``count`` numbers.  LayerError if these are not that, or no Θ that there can be."""
    values = list(value) if isinstance(value, Sequence | Tensor) and not isinstance(value, str) else [value] * count
    try:
        values = [float(v) for v in values]
    except (TypeError, ValueError):
        raise LayerError(f"{name} is a number or {count} numbers, not {value!r:.40}") from None
    if len(values) != count:
        raise LayerError(f"{name} is one number, or {count} numbers for this layer, not {len(values)}")
    if name == "theta" and not all(0 <= v <= THETA_MAX * _LSB for v in values):
        raise LayerError(f"theta is in 0..{THETA_MAX * _LSB:g}, in units of the signals, not {value}")
    return values


def _wide(x: Tensor) -> Tensor:
    """Numbers in a type in which the integers of the core are exact."""
    return x if x.dtype == torch.float64 else x.float()


def _in_order(x: Tensor, order: Tensor | None) -> Tensor:
    """(layers, B, H) with its batch in this order."""
    return x if order is None else x.index_select(1, order)


def _permuted(anchors: Sequence[Tensor], states: Sequence[Tensor], order: Tensor | None) -> NetworkState:
    """A network's state with its batch in this order, without a gradient."""
    return NetworkState(*([x.detach() if order is None else x.detach()[order] for x in part]
                          for part in (anchors, states)))
