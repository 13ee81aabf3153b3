"""What all layers here share: Θ, packed sequences, states, activity, and what is saved.

A layer is a module of PyTorch with the arguments and shapes of ``torch.nn.GRU``, and computes a whole sequence in the
integers of the core: ``_run`` of a class below says how.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from tidegate.golden.figures import Figures
from tidegate.golden.general import Signal, Weights
from tidegate.golden.network import NetworkState
from tidegate.spec.formats import SIGNAL, THETA_MAX, WEIGHT_FRACS, whole_theta
from tidegate.spec.layer import Layer
from tidegate.spec.network import Network

from .control import ThetaControl
from .errors import LayerError, SaturationWarning
from .meter import Meter, Pass

LSB = 2.0**-SIGNAL.frac
_MOST_SATURATED = 0.001             # share of the input that may saturate without a word
_OF_THE_CALLER = 6                  # frames of Python from the warning to the line that calls the layer
_FIRST_THETA = 1 / 32               # where learned Θ begin
_SAVED = "tidegate"                 # of a state dict's metadata


class LayerRun(NamedTuple):
    """One forward pass: ``signals``; Θ of each, in LSBs; the ``output`` (T, B, H), SIGNAL integers held in floats; what
    else the module gives, each (layers, B, ·) in real units; and where the sequences ended, without a gradient."""

    signals: Sequence[Signal]
    thresholds: Sequence[Tensor | int]
    output: Tensor
    last: Sequence[Tensor]
    state: NetworkState


class IntegerRNN(nn.Module):
    """A recurrent layer that computes in integers; a class below has ``_run``, ``_begun``, ``network``, ``integers``.

    ``state_names``: what the module takes and gives beside the sequence, the output's first.
    """

    input_size: int
    hidden_size: int
    num_layers: int
    batch_first: bool
    dropout: float
    state_names: tuple[str, ...]
    _warned = False             # that the input saturates

    def _set_theta(self, count: int, theta: float | Sequence[float] | None, learn: bool, fetch_reduction: float | None,
                   anneal: int, default: float = 0.0, rising: bool = False) -> None:
        """Θ of ``count`` signals: given, learned or by a wish.  ``rising``: a wish never lowers it below ``theta``."""
        if learn and fetch_reduction is not None:
            raise LayerError("Θ is learned or follows fetch_reduction, not both; leave one of them out")
        given = None if theta is None else each_of("theta", theta, count)
        self._theta, self.control, first = given or [default] * count, None, None
        if fetch_reduction is not None:
            wanted = self._theta if rising else given
            self.control = ThetaControl(count, fetch_reduction, anneal, wanted, rising)
        if learn:
            begin = [max(t, LSB) for t in given or [default or _FIRST_THETA] * count]
            first = nn.Parameter(torch.tensor(begin, device=next(self.parameters()).device).log())
        self.register_parameter("log_theta", first)

    def _set_formats(self, weight_frac: int | Sequence[int] | None, layers: int, shape: Network) -> None:
        """Fraction bits of the weights, if they are given; ``shape``: any network of these layers."""
        self._fracs = None if weight_frac is None else [int(f) for f in each_of("weight_frac", weight_frac, layers)]
        if self._fracs and not all(f in WEIGHT_FRACS for f in self._fracs):
            raise LayerError(f"weight_frac is in {WEIGHT_FRACS.start}..{WEIGHT_FRACS.stop - 1}, not {weight_frac}")
        self._meter = Meter(shape)
        self._pass: Pass | None = None
        self._state: NetworkState | None = None

    # Θ

    @property
    def theta(self) -> tuple[float, ...]:
        """Θ in units of the signals, as the argument ``theta`` has it.

        Setting it, one number or one for each, ends that Θ is learned or follows ``fetch_reduction``.
        """
        if self.log_theta is not None:
            return tuple(cast(Tensor, self.log_theta).detach().exp().tolist())
        return tuple(self.control.theta if self.control else self._theta)

    @theta.setter
    def theta(self, value: float | Sequence[float]) -> None:
        self._theta, self.control, self.log_theta = each_of("theta", value, len(self._theta)), None, None

    @property
    def thresholds(self) -> list[int]:
        """Θ of each signal in LSBs of 2**-8, as models and boards have it."""
        return [whole_theta(t / LSB) for t in self.theta]

    def _thresholds(self) -> list[Tensor | int]:
        """Θ of a pass in LSBs, as tensors if it gets a gradient."""
        if self.log_theta is None or not torch.is_grad_enabled():
            return list(self.thresholds)
        return list((cast(Tensor, self.log_theta).exp() / LSB).unbind())

    # what a class below says

    @property
    def network(self) -> Network:
        """The layers' description, with the scales and Θ of this moment, and without a classifier."""
        raise NotImplementedError

    def integers(self, l: int, shape: Layer) -> Weights:
        """Weights and biases of layer l of the network as integers held in floats, differentiable."""
        raise NotImplementedError

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Elements of each of ``state_names``."""
        return (self.hidden_size,) * len(self.state_names)

    def _begun(self, real: Sequence[Tensor], frames: Tensor) -> NetworkState:
        """The state of which these (layers, B, ·) are the real numbers, for sequences like ``frames`` (T, B, features).
        """
        raise NotImplementedError

    def _run(self, frames: Tensor, start: NetworkState | None, ends: Tensor | None) -> LayerRun:
        """One pass over real frames (T, B, features); sequences end with the frames ``ends`` (B,), or with the last."""
        raise NotImplementedError

    # the forward pass

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """ValueError for another type of numbers than the parameters', RuntimeError for another size."""
        dtype = next(self.parameters()).dtype
        if input.dtype != dtype and not torch.is_autocast_enabled(input.device.type):
            raise ValueError(f"the input has the dtype {input.dtype}, the layer {dtype}; convert one of them by .to()")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(f"the last dimension of the input is input_size, {self.input_size}, not "
                               f"{input.shape[-1]}")

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
            self._check_range(frames)
            run = self._run(wide(frames), start, ends)
            self._state = _permuted(run.state, back)
            self._pass = Pass(run.signals, run.thresholds, valid)
            self._account(frames)
            return [(run.output * LSB).to(frames.dtype), *(x.to(frames.dtype) for x in run.last)]

    def _check_range(self, frames: Tensor) -> None:
        """LayerError for NaN; one SaturationWarning in the life of a layer if a part of the input is beyond ±8."""
        most = SIGNAL.max * LSB
        low, high = torch.aminmax(frames.detach())      # NaN if anything is
        if bool(torch.isnan(high)):
            raise LayerError("the input holds NaN; check what it is made from")
        if self._warned or max(-float(low), float(high)) <= most:
            return
        share = float((frames.detach().abs() > most).double().mean())
        if share > _MOST_SATURATED:
            self._warned = True
            warnings.warn(SaturationWarning(
                f"{share:.1%} of the input of this {type(self).__name__} lie beyond ±8, where it saturates (they go "
                f"from {float(low):.3g} to {float(high):.3g}); give it (features - mean) / deviation, the mean and the "
                "standard deviation of each feature in the training data"), stacklevel=_OF_THE_CALLER)

    def _start(self, hx: Any, frames: Tensor, batched: bool, order: Tensor | None) -> NetworkState | None:
        """Where the sequences begin, in the order of the batch of ``frames``; None at reset."""
        if hx is None:
            return None
        if isinstance(hx, NetworkState):
            return _permuted(hx, order)
        parts = [hx] if isinstance(hx, Tensor) else list(hx)
        if len(parts) != len(self.state_names):
            raise LayerError(f"the state to begin with is ({', '.join(self.state_names)}), not {len(parts)} tensors")
        real = []
        for part, name, size in zip(parts, self.state_names, self.state_sizes, strict=True):
            if part.dim() != 2 + batched:
                raise LayerError(f"{name} has {2 + batched} dimensions with this input, not {part.dim()}")
            part = part if batched else part.unsqueeze(1)
            expected = (self.num_layers, frames.shape[1], size)
            if tuple(part.shape) != expected:
                raise RuntimeError(f"Expected {name} of size {expected}, got {list(part.shape)}")
            real.append(wide(_in_order(part, order)))
        return self._begun(real, wide(frames))

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
            signals = [frames, *(s.memory * LSB for s in self._pass.signals[1:])]
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
            saved: dict[str, Any] = {"theta": list(self.theta), **self._progress()}
            if self.control:
                saved["control"] = self.control.state()
            destination._metadata[prefix[:-1]][_SAVED] = saved

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, *more) -> None:
        """Θ stays as it is if the state dict has none, such as one of PyTorch's module."""
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *more)
        if (name := prefix + "log_theta") in missing_keys:
            missing_keys.remove(name)
        saved = local_metadata.get(_SAVED)
        if saved is None or len(saved["theta"]) != len(self._theta):
            return
        self._go_on_from(saved)
        if self.log_theta is not None:
            with torch.no_grad():
                self.log_theta.copy_(torch.tensor([max(t, 1e-6) for t in saved["theta"]]).log())
        elif self.control and "control" in saved:
            self.control.restore(saved["control"])
        else:
            self._theta, self.control = list(saved["theta"]), None

    def _progress(self) -> dict:
        """What else changes while a layer trains, for the metadata of a state dict."""
        return {}

    def _go_on_from(self, saved: dict) -> None:
        """Take what ``_progress`` gave."""

    def __getstate__(self):
        state = super().__getstate__()
        state["_pass"] = None           # tensors with a gradient cannot be copied
        return state

    def extra_repr(self) -> str:
        learned = ", learn_thresholds=True" if self.log_theta is not None else ""
        wish = f", fetch_reduction={self.control.goal:g}" if self.control else ""
        theta = f"theta=({', '.join(f'{t:.3g}' for t in self.theta)}){learned}{wish}"
        return ", ".join(filter(None, (super().extra_repr(), theta)))


def each_of(name: str, value: Any, count: int) -> list[float]:
    """One number for all, or ``count`` numbers.  LayerError if these are not that, or no Θ that there can be."""
    values = list(value) if isinstance(value, Sequence | Tensor) and not isinstance(value, str) else [value] * count
    try:
        values = [float(v) for v in values]
    except (TypeError, ValueError):
        raise LayerError(f"{name} is a number or {count} numbers, not {value!r:.40}") from None
    if len(values) != count:
        raise LayerError(f"{name} is one number, or {count} numbers for this layer, not {len(values)}")
    if name == "theta" and not all(0 <= v <= THETA_MAX * LSB for v in values):
        raise LayerError(f"theta is in 0..{THETA_MAX * LSB:g}, in units of the signals, not {value}")
    return values


def wide(x: Tensor) -> Tensor:
    """Numbers in a type in which the integers of the core are exact."""
    return x if x.dtype == torch.float64 else x.float()


def _in_order(x: Tensor, order: Tensor | None) -> Tensor:
    """(layers, B, H) with its batch in this order."""
    return x if order is None else x.index_select(1, order)


def _permuted(state: NetworkState, order: Tensor | None) -> NetworkState:
    """A network's state with its batch in this order, without a gradient."""
    return NetworkState(*([x.detach() if order is None else x.detach()[order] for x in part] for part in state))
