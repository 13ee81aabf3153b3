"""The trainable network: float master weights, quantised on the fly, evaluated on the integer grid."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..spec.cells import GRU, Cell
from ..spec.errors import ModelError
from ..spec.formats import ACC_BITS, BIAS_MAX, SIGNAL, WEIGHT_BITS, acc_frac, weight_max
from ..spec.layer import Layer
from ..spec.model import Model, tensor_name
from ..spec.network import Network
from ..spec.rules import Diffuse
from ..spec.stop import STOP_SHIFT, Stop
from . import general
from .cells import golden_of
from .encoder import DeltaEncoder, encode, priced_events, whole_threshold
from .integers import classifier_integers_of, integer_model, integers_of
from .noise import dropout_of, noise_of
from .signals import SLOPES, Slope

WEIGHT_FRAC = 7
_REACH = float((1 << (ACC_BITS - 1)) - 1 - BIAS_MAX)    # of weights: the bias takes the rest of an accumulator
DECIDE_CHUNK = 8    # frames that are computed at once while a batch decides


class NetworkState(NamedTuple):
    """A network's memory between two frames: ``anchors[s]`` (B, elements) v̂ of signal s, or the error of the rule
    ``diffuse``, SIGNAL integers; ``states[l]`` (B, size) the state of layer l's cell, in STATE (a GRU's h) or
    CELL_STATE (an LSTM's c); ``sent[s]`` (B, elements) what was sent of signal s in the last frame, of networks that
    are no plain chain; held in floats."""

    anchors: list[Tensor]
    states: list[Tensor]
    sent: Sequence[Tensor] = ()


@dataclass
class Output:
    """Result of a batch of sequences from reset.

    ``logits`` (T, B, classes) in real units.  ``anchors[s]`` (T, B, elements): v̂ of signal s after each frame,
    SIGNAL integers held in floats; differentiable for s > 0.  ``thresholds``: as given; None in dense mode.
    ``states[l]`` (B, size): the state of layer l's cell after the last frame.  ``start``: the state in which the
    sequences began, None: at reset.  ``signals``: of a network that is no plain chain; ``anchors`` are then the
    memories of the signals' rules.
    """

    logits: Tensor
    anchors: list[Tensor]
    thresholds: Sequence[Tensor | int] | None
    states: list[Tensor] = field(default_factory=list)
    start: "NetworkState | None" = None
    signals: list[general.Signal] = field(default_factory=list)

    @property
    def state(self) -> "NetworkState":
        """Where the next frames of the same sequences begin; no gradient goes back through it."""
        return NetworkState([a[-1].detach() for a in self.anchors], [state.detach() for state in self.states],
                            [s.sent[-1].detach() for s in self.signals])

    @property
    def movements(self) -> list[Tensor]:
        """Mean |Δ| of each hidden signal over batch, frames and neurons, in units of 1: the L1 cost of delta
        networks (Neil et al. 2017, arXiv:1612.05571)."""
        moved = [a[1:] - a[:-1] for a in self.anchors[1:]]
        for l, signal in enumerate(self.signals[1:]):
            if signal.diffuses:
                moved[l] = signal.sent
        return [change.abs().mean() * 2.0**-SIGNAL.frac for change in moved]

    @cached_property
    def events(self) -> list[Tensor]:
        """(T, B) of each signal: how many elements fired in each frame, see ``encoder.priced_events``."""
        if self.thresholds is None:
            return [a.new_full(a.shape[:2], a.shape[2]) for a in self.anchors]
        if self.signals:
            return [s.priced_events(t) for s, t in zip(self.signals, self.thresholds, strict=True)]
        features, *hidden = self.anchors
        signals = [features.detach(), *hidden]          # no price moves the features
        starts = [None] * len(signals) if self.start is None else self.start.anchors
        return [priced_events(a, t, s) for a, t, s in zip(signals, self.thresholds, starts, strict=True)]


class DeltaLayer(nn.Module):
    """Master weights of one layer, named and shaped like those of PyTorch's module of its cell (as torch.nn.GRU).

    ``shape``: the layer's description, in place of the arguments before it.  A layer that does not hear itself has no
    ``weight_hh`` and ``bias_hh``, and one whose biases are 0 (``Layer.bias_grid``) has no biases.  A convolution has a
    row of weights and a bias for each output channel.
    """

    def __init__(self, inputs: int, hidden: int, weight_frac: int, weight_bits: int = WEIGHT_BITS, cell: Cell = GRU,
                 shape: Layer | None = None):
        super().__init__()
        self.shape = shape = Layer(hidden, weight_frac, weight_bits, cell) if shape is None else shape
        self.inputs = inputs
        rows_ih, rows_hh = len(shape.cell.input_rows) * shape.channels, len(shape.own_rows) * shape.size
        fan_in = shape.fan_in or inputs
        self.weight_ih = nn.Parameter(torch.empty(rows_ih, fan_in))
        self.weight_hh = nn.Parameter(torch.empty(rows_hh, shape.size)) if rows_hh else None
        self.bias_ih = nn.Parameter(torch.empty(rows_ih)) if shape.bias_grid else None
        self.bias_hh = nn.Parameter(torch.empty(rows_hh)) if shape.bias_grid and rows_hh else None
        spread = shape.size**-0.5
        for parameter in self.parameters():
            fed = fan_in**-0.5 if parameter is self.weight_ih and shape.cell.own_optional else spread
            nn.init.uniform_(parameter, -fed, fed)

    @property
    def hidden(self) -> int:
        return self.shape.size

    @property
    def weight_frac(self) -> int:
        return self.shape.weight_frac

    @property
    def weight_bits(self) -> int:
        return self.shape.weight_bits

    @property
    def cell(self) -> Cell:
        return self.shape.cell

    def integers(self) -> general.Weights:
        """(w_ih, w_hh, bias) as the cell's ``layer`` takes them, differentiable; bias (gates, H)."""
        return integers_of(self.shape, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)

    def forward(self, x: Tensor, threshold: Tensor | int, noise: Tensor | None = None,
                start: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Anchors (T, B, H) and what the cell keeps (B, H) after the last frame, see ``cells.GoldenCell``."""
        return golden_of(self.cell).layer(x, *self.integers(), self.weight_frac, threshold, noise, start)


class DeltaNetwork(nn.Module):
    """Layers of a cell and a classifier, every signal encoded by its rule; the forward pass is the golden model's.

    ``thresholds``: Θ per signal in LSBs of 2**-8 (default all 0); the attribute may change between batches.
    ``weight_fracs``, ``weight_bits``: scale and width, one per layer and one for the classifier (default 7: weights
    up to ±0.99, and 8 bits); ``set_format`` changes them.  Weights beyond what the width holds are clipped in the
    forward pass and get no gradient; ``clip_()`` clips the masters.
    ``of`` makes the trainable network of any description.  The attribute ``rules`` may change between batches as Θ may,
    but not between ``delta`` and ``diffuse``; ``slope`` is the gradient of ``diffuse``, which
    ``error_scale`` multiplies by √(neurons / neurons that fired) (``signals.py``).
    """

    def __init__(self, features: int, sizes: Sequence[int], classes: int,
                 thresholds: Sequence[int] | None = None, weight_fracs: Sequence[int] | None = None,
                 weight_bits: Sequence[int] | None = None, cells: Sequence[Cell] | None = None, *,
                 shape: Network | None = None):
        super().__init__()
        fracs = [WEIGHT_FRAC] * (len(sizes) + 1) if weight_fracs is None else list(weight_fracs)
        if len(fracs) != len(sizes) + 1:
            raise ModelError(f"{len(sizes)} layers and a classifier need {len(sizes) + 1} weight_fracs, "
                             f"not {len(fracs)}")
        cells = [GRU] * len(sizes) if cells is None else cells
        if len(cells) != len(sizes):
            raise ModelError(f"{len(sizes)} layers need as many cells, not {len(cells)}")
        if shape is None:
            layers = tuple(Layer(h, f, cell=cell) for h, f, cell in zip(sizes, fracs[:-1], cells, strict=True))
            shape = Network(features, layers, Layer(classes, fracs[-1]),
                            tuple([0] * (len(sizes) + 1) if thresholds is None else thresholds))
        self.features, self.classifier_shape, self.plain = shape.features, shape.classifier, shape.plain
        self.thresholds, self.rules = list(shape.thresholds), shape.rules
        self.slope, self.error_scale = SLOPES[0], False
        # named as the cell that was the first one, for checkpoints
        self.gru = nn.ModuleList(DeltaLayer(shape.inputs(l), x.size, x.weight_frac, shape=x)
                                 for l, x in enumerate(shape.layers))
        self.classifier = nn.Linear(shape.layers[-1].size, shape.classes, bias=shape.classifier.bias_grid > 0)
        self.set_format(fracs, weight_bits)

    @staticmethod
    def of(network: Network) -> "DeltaNetwork":
        """A trainable network of this description."""
        layers = (*network.layers, network.classifier)
        return DeltaNetwork(network.features, [layer.size for layer in network.layers], network.classes, None,
                            [layer.weight_frac for layer in layers], [layer.weight_bits for layer in layers],
                            shape=network)

    @property
    def layers(self) -> list[DeltaLayer]:
        return cast(list[DeltaLayer], list(self.gru))

    @property
    def classifier_frac(self) -> int:
        return self.classifier_shape.weight_frac

    @property
    def classifier_bits(self) -> int:
        return self.classifier_shape.weight_bits

    def set_format(self, weight_fracs: Sequence[int], weight_bits: Sequence[int] | None = None) -> None:
        """Scale and width of the weights from now on; the masters stay.  ModelError if there is no such format."""
        bits = [WEIGHT_BITS] * len(weight_fracs) if weight_bits is None else list(weight_bits)
        for layer, frac, width in zip(self.layers, weight_fracs[:-1], bits[:-1], strict=True):
            layer.shape = replace(layer.shape, weight_frac=frac, weight_bits=width)
        self.classifier_shape = replace(self.classifier_shape, weight_frac=weight_fracs[-1], weight_bits=bits[-1])
        _ = self.network    # checks sizes, formats and thresholds

    @property
    def network(self) -> Network:
        """The description, with the thresholds and rules of this moment."""
        return Network(self.features, tuple(x.shape for x in self.layers), self.classifier_shape,
                       tuple(self.thresholds), self.rules)

    def get_extra_state(self) -> dict:
        """Θ and formats, as part of ``state_dict()``."""
        net = self.network
        layers = (*net.layers, net.classifier)
        rules = {"rules": [rule and rule.to_dict() for rule in net.rules]} if net.rules else {}
        return {"thresholds": list(net.thresholds), "weight_fracs": [layer.weight_frac for layer in layers],
                "weight_bits": [layer.weight_bits for layer in layers], **rules}

    def set_extra_state(self, state: dict) -> None:
        self.thresholds = list(state["thresholds"])
        self.rules = tuple(rule and Diffuse.from_dict(rule) for rule in state.get("rules", ()))
        self.set_format(state["weight_fracs"], state["weight_bits"])

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, *more) -> None:
        """Parameters alone will do, as of former versions: Θ and formats then stay as they are."""
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *more)
        if (extra := prefix + "_extra_state") in missing_keys:
            missing_keys.remove(extra)

    def classifier_integers(self) -> tuple[Tensor, Tensor]:
        bias = self.classifier.bias if self.classifier_shape.bias_grid else None
        return classifier_integers_of(self.classifier_shape, self.classifier.weight, bias)

    def forward(self, frames: Tensor, dense: bool = False, thresholds: Sequence[Tensor | int] | None = None,
                noise: float = 0.0, generator: torch.Generator | None = None,
                start: NetworkState | None = None, dropout: Sequence[float] = ()) -> Output:
        """``frames`` (T, B, features): SIGNAL integers held in floats of the parameters' dtype.

        ``dense``: ignore the thresholds and count every element as an event.  ``thresholds``: instead of the
        attribute; 0-dim tensors among them get gradients.  ``noise``: standard deviation of Gaussian noise on every
        hidden signal, in units of h, drawn on the CPU from ``generator`` (the result is no longer golden's).
        ``start``: go on from there instead of from reset.  ``dropout``: per signal, the share of its elements that are
        silent for a whole sequence, while the others weigh more, drawn as the noise is.
        """
        thresholds = self.thresholds if thresholds is None else thresholds
        if not self.plain:
            return self._general(frames, dense, thresholds, noise, generator, start, dropout)
        if any(dropout):
            raise ModelError("dropout is for networks that are no plain chain; leave it out")
        if dense:
            thresholds = [0] * len(thresholds)
        anchors = [cast(Tensor, DeltaEncoder.apply(frames, thresholds[0], start and start.anchors[0]))]
        states = []
        for l, (layer, threshold) in enumerate(zip(self.layers, thresholds[1:], strict=True)):
            shape = (*frames.shape[:2], layer.hidden)
            drawn = noise_of(shape, noise, frames, generator) if noise else None
            a, h = layer(anchors[-1], threshold, drawn, start and (start.anchors[l + 1], start.states[l]))
            anchors.append(a)
            states.append(h)
        weight, bias = self.classifier_integers()
        logits = nn.functional.linear(anchors[-1], weight, bias) * 2.0 ** -acc_frac(self.classifier_frac)
        return Output(logits, anchors, None if dense else thresholds, states, start)

    def _general(self, frames: Tensor, dense: bool, thresholds: Sequence[Tensor | int], noise: float,
                 generator: torch.Generator | None, start: NetworkState | None, dropout: Sequence[float]) -> Output:
        net = self.network
        if dense:
            thresholds = [0 if net.rule(s) is None else theta for s, theta in enumerate(thresholds)]
        shapes = [(*frames.shape[:2], layer.hidden) for layer in self.layers]
        masks = [dropout_of((frames.shape[1], net.elements(s)), share, frames, generator) if share else None
                 for s, share in enumerate(dropout)]
        weight, bias = self.classifier_integers()
        begin = start and general.Start(start.anchors, start.sent, start.states)
        run = general.evaluated(
            net, [layer.integers() for layer in self.layers], general.Weights(weight, None, bias[None]), frames,
            thresholds, Slope(self.slope, self.error_scale), begin,
            [noise_of(shape, noise, frames, generator) for shape in shapes] if noise else None, masks or None)
        return Output(run.logits * 2.0 ** -acc_frac(self.classifier_frac), [s.memory for s in run.signals],
                      None if dense else thresholds, run.states, start, run.signals)

    @torch.no_grad()
    def decide(self, frames: Tensor, spans: Sequence[tuple[Tensor, Tensor]], stop: Stop,
               thresholds: Sequence[Tensor | int] | None = None) -> list[Tensor]:
        """The frame (B,) of each span's decision: the first that ``stop`` decides, else the span's last.

        ``spans``: (first, last) frame, each (B,), in order; each begins as after a reset, but for the network's state.
        No frame is computed after that in which the last member of the batch decides, but to fill a chunk.
        """
        if stop.smooth:
            raise ModelError("a decision in training is by logits that are not smoothed; leave the rule's smooth at 0")
        if not self.plain:
            raise ModelError("only plain chains of layers learn to decide early; leave the stop rule out")
        whole_thetas = [whole_threshold(t) for t in (self.thresholds if thresholds is None else thresholds)]
        features = encode(frames, whole_thetas[0])
        integers = [layer.integers() for layer in self.layers]
        weight, bias = self.classifier_integers()
        at = [last.clone() for _, last in spans]
        starts: list[tuple[Tensor, Tensor] | None] = [None] * len(self.layers)
        for begin in range(0, len(frames), DECIDE_CHUNK):
            x = features[begin : begin + DECIDE_CHUNK]
            for l, layer in enumerate(self.layers):
                x, last = golden_of(layer.cell).advance(x, *_all(integers[l]), layer.weight_frac, whole_thetas[l + 1],
                                                        starts[l])
                starts[l] = (x[-1], last)
            two, which = torch.floor(nn.functional.linear(x, weight, bias) * 2.0**-STOP_SHIFT).topk(2, -1)
            clear = two[..., 0] - two[..., 1] > stop.margin
            if stop.classes is not None:
                clear &= which[..., 0] < stop.classes
            t = torch.arange(begin, begin + len(x), device=frames.device)[:, None]
            for found, (first, last) in zip(at, spans, strict=True):
                here = clear & (t >= first + stop.hold) & (t <= last) & (t < found)
                found.copy_(torch.where(here.any(0), begin + here.int().argmax(0), found))
            if all(bool((found < begin + len(x)).all()) for found in at):
                break
        return at

    @torch.no_grad()
    def clip_(self) -> None:
        """Clip the master weights to what their width can hold, and scale rows down with which an accumulator could
        wrap; call it after an optimiser step."""
        net = self.network
        for l, layer in enumerate(self.layers):
            limit = weight_max(layer.weight_bits) * 2.0**-layer.weight_frac
            layer.weight_ih.clamp_(-limit, limit)
            consumes, own, heard = layer.shape.consumes, layer.weight_hh, net.heard(l)
            columns = [conv.columns for conv in layer.shape.convs] or [net.elements(s) for s in heard]
            parts = layer.weight_ih.split(columns, 1)
            ih = torch.stack([_reach(w, net.reach(s, consumes), layer.weight_frac)
                              for w, s in zip(parts, heard, strict=True)]).sum(0)
            if own is None:
                layer.weight_ih.mul_((_REACH / ih).clamp_(max=1).view(-1, 1))
                continue
            own.clamp_(-limit, limit)
            hh = _reach(own, net.reach(l + 1, consumes), layer.weight_frac)
            ih, hh = ih.view(-1, layer.hidden), hh.view(-1, layer.hidden)
            for gate in layer.cell.gates:           # an accumulator that hears both adds both
                if gate.input_row is not None and gate.own_row is not None:
                    ih[gate.input_row] = hh[gate.own_row] = ih[gate.input_row] + hh[gate.own_row]
            layer.weight_ih.mul_((_REACH / ih).clamp_(max=1).view(-1, 1))
            own.mul_((_REACH / hh).clamp_(max=1).view(-1, 1))
        limit = weight_max(self.classifier_bits) * 2.0**-self.classifier_frac
        self.classifier.weight.clamp_(-limit, limit)
        if not self.plain:
            reach = _reach(self.classifier.weight, net.reach(len(self.layers), net.classifier.consumes),
                           self.classifier_frac)
            self.classifier.weight.mul_((_REACH / reach).clamp_(max=1).view(-1, 1))

    @torch.no_grad()
    def export(self, labels: Sequence[str], frontend: dict, mean, scale, card: dict | None = None) -> Model:
        """The model file's content: exactly the integers of the forward pass.

        ``mean``, ``scale`` (features,): normalisation, see ``spec/model.py``.  ModelError if an accumulator could wrap.
        """
        return integer_model(self.network, [layer.integers() for layer in self.layers], self.classifier_integers(),
                             labels, frontend, mean, scale, card)

    @staticmethod
    @torch.no_grad()
    def from_model(model: Model) -> "DeltaNetwork":
        """A trainable network whose integers are the model's; ModelError if it holds a weight of -128."""
        net = model.network
        self = DeltaNetwork.of(net)

        def real(name: str, frac: int) -> Tensor:
            tensor = torch.from_numpy(model.tensors[name].astype(np.float32))
            if name.rpartition(".")[2].startswith("weight") and tensor.min() < -weight_max(WEIGHT_BITS):
                raise ModelError(f"{name} holds -128, which training cannot represent; use weights of ±127")
            return tensor * 2.0**-frac

        for l, layer in enumerate(self.layers):
            names = [tensor_name(net.layers[l], l, what) for what in ("weight_ih", "weight_hh", "bias")]
            layer.weight_ih.copy_(real(names[0], layer.weight_frac))
            if layer.weight_hh is not None:
                layer.weight_hh.copy_(real(names[1], layer.weight_frac))
            if layer.bias_hh is not None:
                layer.bias_hh.zero_()
            for gate, bias in zip(layer.cell.gates, real(names[2], acc_frac(layer.weight_frac)), strict=True):
                if gate.input_row is not None and layer.bias_ih is not None:
                    layer.bias_ih.view(-1, layer.shape.channels)[gate.input_row] = bias
                elif gate.own_row is not None and layer.bias_hh is not None:
                    layer.bias_hh.view(-1, layer.hidden)[gate.own_row] = bias
        self.classifier.weight.copy_(real("classifier.weight", self.classifier_frac))
        if net.classifier.bias_grid:
            self.classifier.bias.copy_(real("classifier.bias", acc_frac(self.classifier_frac)))
        return self


def _all(weights: general.Weights) -> tuple[Tensor, Tensor, Tensor]:
    """The weights of a layer that hears itself."""
    assert weights.w_hh is not None
    return weights.w_ih, weights.w_hh, weights.bias


def _reach(weight: Tensor, most: int, frac: int) -> Tensor:
    """What each row (rows,) can add to an accumulator, in its LSBs, the rounding of weights included."""
    return (weight.abs().sum(1) * 2.0**frac + 0.5 * weight.shape[1]) * most
