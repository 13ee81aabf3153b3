"""What ``LIF`` and ``LMU`` share: layers of the cell ``unit`` that hear each other, computed by ``golden/general.py``.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from tidegate.golden import general
from tidegate.golden.encoder import at_ends
from tidegate.golden.fixed import quantise
from tidegate.golden.general import Weights
from tidegate.golden.integers import integers_of
from tidegate.golden.network import NetworkState
from tidegate.golden.scale import finest
from tidegate.golden.signals import Slope
from tidegate.spec.cells import UNIT
from tidegate.spec.formats import SIGNAL
from tidegate.spec.layer import Layer
from tidegate.spec.network import Network
from tidegate.spec.rules import DELTA_MAX, STEP_MAX, Diffuse

from .base import LSB, IntegerRNN, LayerRun, wide
from .errors import LayerError

BIAS_COLUMNS = 2            # biases of layers that consume are multiples of 32 LSBs of the accumulators


class UnitRNN(IntegerRNN):
    """A class below says which ``units`` there are, their ``rules``, and the names (``parts``) of their weights."""

    gradient = "hybrid"

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, most_layers: int, bias: bool,
                 batch_first: bool, dropout: float):
        super().__init__()
        for name, value, most in (("input_size", input_size, math.inf), ("hidden_size", hidden_size, math.inf),
                                  ("num_layers", num_layers, most_layers)):
            whole_number(name, value, 1, most)
        if not 0 <= dropout < 1:
            raise LayerError(f"dropout is a share, from 0 to below 1, not {dropout}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bool(bias), bool(batch_first), float(dropout)

    # what a class below says

    @property
    def units(self) -> tuple[Layer, ...]:
        """The layers of the network, with any scale."""
        raise NotImplementedError

    @property
    def rules(self) -> tuple[Diffuse | None, ...]:
        """The rule of each signal of this moment; () if all have the rule ``delta``."""
        raise NotImplementedError

    def parts(self, l: int) -> tuple[Sequence[str], str | None, str]:
        """Names of the parameters of unit l: the weights of each signal that it hears, of its own, and its biases."""
        raise NotImplementedError

    def given(self, real: Sequence[Tensor], signal: int) -> tuple[Tensor, Tensor | None]:
        """What a signal sent last and, if that is given, its error, (B, elements) in real units; of the parts of a
        state."""
        raise NotImplementedError

    def made(self, net: Network, signals: Sequence[general.Signal], ends: Tensor | None) -> list[Tensor]:
        """The parts of the state after the frames ``ends``, in real units."""
        raise NotImplementedError

    # the network

    @property
    def network(self) -> Network:
        units = self._with_scales(self.units)
        return Network(self.input_size, units, self._nothing(), tuple(self.thresholds), self.rules)

    def _nothing(self) -> Layer:
        """A classifier of no class, which hears the output as one would."""
        return Layer(0, consumes=bool(self.rules and self.rules[-1]))

    def _network(self, units: Sequence[Layer]) -> Network:
        """A network of these units, with any thresholds."""
        return Network(self.input_size, tuple(units), self._nothing(), (0,) * (len(units) + 1), self.rules)

    @torch.no_grad()
    def _with_scales(self, units: Sequence[Layer]) -> tuple[Layer, ...]:
        if self._fracs is not None:
            return tuple(replace(unit, weight_frac=f) for unit, f in zip(units, self._fracs, strict=True))
        net, found = self._network(units), []
        for l, unit in enumerate(units):
            heard, own, bias = self._reals(l)
            weights = [*heard, *([] if own is None else [own])]
            signals = [*net.heard(l), l + 1][: len(weights)]
            rows = weights[0].new_zeros(1, unit.size) if bias is None else bias[None]
            reach = [net.reach(s, unit.consumes) for s in signals]
            found.append(replace(unit, weight_frac=finest(UNIT, weights, rows, reach)))
        return tuple(found)

    def _reals(self, l: int) -> tuple[list[Tensor], Tensor | None, Tensor | None]:
        heard, own, bias = self.parts(l)
        return ([wide(getattr(self, name)) for name in heard], None if own is None else wide(getattr(self, own)),
                wide(getattr(self, bias)) if self.bias else None)

    def integers(self, l: int, shape: Layer) -> Weights:
        heard, own, bias = self._reals(l)
        return integers_of(shape, heard[0] if len(heard) == 1 else torch.cat(heard, 1), own, bias, None)

    def add_parameter(self, name: str, *shape: int, device=None, dtype=None) -> None:
        """A parameter of this shape, which ``reset_parameters`` fills."""
        self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))

    def flatten_parameters(self) -> None:
        """Nothing: PyTorch's modules have this for a GPU."""

    # the forward pass

    def _begun(self, real: Sequence[Tensor], frames: Tensor) -> NetworkState:
        net = self._network(self.units)
        first = frames.new_zeros(frames.shape[1:])
        memories, sent = [first], [first]
        for s in range(1, net.signals):
            value, error = self.given(real, s)
            if (rule := net.rule(s)) is None:
                memories.append(quantise(value, SIGNAL.frac, net.max_anchor(s)))
                sent.append(torch.zeros_like(value))
            else:
                level = torch.floor(value / (LSB * rule.step) + 0.5).clamp(rule.lowest, rule.highest)
                sent.append(value / LSB + (level * rule.step - value / LSB).detach())
                memories.append(torch.zeros_like(value) if error is None else quantise(error, SIGNAL.frac, SIGNAL.max))
        return NetworkState(memories, [torch.zeros_like(m) for m in memories[1:]], sent)

    def _run(self, frames: Tensor, start: NetworkState | None, ends: Tensor | None) -> LayerRun:
        net, thresholds = self.network, self._thresholds()
        weights = [self.integers(l, unit) for l, unit in enumerate(net.layers)]
        nothing = Weights(frames.new_zeros(0, self.hidden_size), None, frames.new_zeros(1, 0))
        begin = start and general.Start(start.anchors, start.sent, start.states)
        run = general.evaluated(net, weights, nothing, quantise(frames, SIGNAL.frac, SIGNAL.max), thresholds,
                                Slope(self.gradient), begin, masks=self._masks(net, frames))
        state = NetworkState([at_ends(s.memory, ends) for s in run.signals], run.states,
                             [at_ends(s.sent, ends) for s in run.signals])
        output = run.signals[-1].heard(net.classifier.consumes)
        return LayerRun(run.signals, thresholds, output, self.made(net, run.signals, ends), state)

    def _masks(self, net: Network, frames: Tensor) -> list[Tensor | None] | None:
        """Dropout: elements of all layers' outputs but the last one's are silent for whole sequences."""
        if not (self.training and self.dropout):
            return None
        per_layer = len(net.layers) // self.num_layers
        masks: list[Tensor | None] = [None] * net.signals
        for s in range(per_layer, net.signals - 1, per_layer):
            kept = torch.rand(frames.shape[1], net.elements(s), device=frames.device) >= self.dropout
            masks[s] = kept.to(frames.dtype) / (1 - self.dropout)
        return masks


def whole_number(name: str, value: object, least: int, most: float = math.inf) -> int:
    """A whole number in this range; LayerError for anything else."""
    if type(value) is not int or not least <= value <= most:
        top = "or more" if most == math.inf else f"to {most}"
        raise LayerError(f"{name} is a whole number, {least} {top}, not {value!r:.40}")
    return value


def steps_of(step: float) -> int:
    """A step of a quantiser in LSBs; LayerError if it is no power of two that there is."""
    steps = [2.0**k for k in range(-SIGNAL.frac, STEP_MAX.bit_length() - SIGNAL.frac)]
    if not isinstance(step, int | float) or step not in steps:
        raise LayerError(f"a step is a power of two from 1/256 to {steps[-1]:g}, such as 0.5, not {step!r:.40}")
    return int(step / LSB)


def quantiser(step: float, levels: int | None, reach: float) -> Diffuse:
    """The rule that rounds to multiples of ``step``, up to ``levels`` of them, and diffuses the error to later frames.

    ``levels``: None for as many as reach ±``reach``.  LayerError if no event holds that.
    """
    lsbs = steps_of(step)
    most = DELTA_MAX // lsbs
    levels = max(1, min(int(reach / step), most)) if levels is None else whole_number("levels", levels, 1, most)
    return Diffuse(lsbs, -levels, levels)


def rounding(rule: Diffuse) -> int:
    """Θ, in LSBs, at which a quantiser rounds to the nearest step."""
    return max(1, rule.step // 2)


def ended(signal: general.Signal, consumed: bool, ends: Tensor | None) -> Tensor:
    """What consumers hear of a signal after the frames ``ends``, in real units."""
    return cast(Tensor, at_ends(signal.heard(consumed), ends)) * LSB
