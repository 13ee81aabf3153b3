"""The judge: what a board must answer, integer for integer.

Two routes that must agree: ``run`` evaluates whole sequences with the forward pass of training, ``step`` takes
one frame at a time in int64 and adds W·Δ to persistent accumulators, event by event, as the core does.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..spec.errors import TidegateError
from ..spec.formats import SIGNAL, acc_frac
from ..spec.model import Model, accumulator_bounds, tensor_name
from ..spec.rules import rule_of
from . import general, spikes
from .cells import golden_of
from .encoder import count_events, earlier, encode

_EXACT_FLOAT32 = 1 << 24


@dataclass(frozen=True)
class Trace:
    """Sequences from reset; integers as numpy int32.

    ``logits`` (T, B, classes): raw accumulators, ``logit_frac`` fraction bits.  ``events`` (T, B, signals).
    ``weights`` (T, B): weights read.  On request: ``layers[l]`` the ``Stages`` of layer l's cell, each (T, B, H);
    ``anchors[s]`` (T, B, elements) after each frame, of the rule ``diffuse`` its errors; ``sent[s]`` (T, B, elements):
    what was sent of each element, 0 where nothing was.
    """

    logits: np.ndarray
    events: np.ndarray
    weights: np.ndarray
    layers: list[Any] | None = None
    anchors: list[np.ndarray] | None = None
    sent: list[np.ndarray] | None = None


@dataclass
class State:
    """What a core holds between frames, int64.

    ``anchors[s]`` (B, elements): what the signal's rule remembers.  ``states[l]`` (B, H): what the layer's cell keeps.
    ``accumulators[l]`` (B, gates, H); the last entry is the classifier's (B, classes).
    """

    anchors: list[np.ndarray]
    states: list[np.ndarray]
    accumulators: list[np.ndarray]


@dataclass(frozen=True)
class FrameTrace:
    """One frame of ``Golden.step``, int64.

    ``logits`` (B, classes), ``events`` (B, signals), ``weights`` (B,), ``layers[l]`` stages (B, H),
    ``fired[s]`` and ``deltas[s]`` (B, elements).
    """

    logits: np.ndarray
    events: np.ndarray
    weights: np.ndarray
    layers: list[Any]
    fired: list[np.ndarray]
    deltas: list[np.ndarray]


class Golden:
    """Evaluates a model; thresholds are the model's (``model.with_thresholds`` for others)."""

    def __init__(self, model: Model):
        self.model, self.network = model, model.network
        worst = max(int(bound.max(initial=0)) for bound in accumulator_bounds(model).values())
        self.dtype = torch.float32 if worst < _EXACT_FLOAT32 else torch.float64
        self.logit_frac = acc_frac(self.network.classifier.weight_frac)
        self._column_weights = np.array([self.network.column_weights(s) for s in range(self.network.signals)])
        self._fan_out = [self.network.fan_out(s) for s in range(self.network.signals)]
        self._convolves = any(map(self.network.convolves, range(self.network.signals)))
        self._columns = [self._signal_columns(s) for s in range(self.network.signals)]
        self._spikes: spikes.SpikingNetwork | None = None
        names = [*(tensor_name(layer, l, "bias") for l, layer in enumerate(self.network.layers)), "classifier.bias"]
        self._biases = [model.tensors[name].astype(np.int64)[None] for name in names]
        for l, layer in enumerate(self.network.layers):
            if layer.conv:
                self._biases[l] = np.tile(self._biases[l], layer.conv.positions)

    def run(self, frames, dense: bool = False, keep_layers: bool = False, keep_anchors: bool = False,
            dtype: torch.dtype | None = None, keep_sent: bool = False) -> Trace:
        """Sequences (T, B, features) of SIGNAL integers (array or tensor) from reset.

        ``dense``: ignore the thresholds and count every element as an event.  TidegateError if a frame is no frame.
        """
        dtype = dtype or self.dtype
        net = self.network
        frames = self._check(frames, 3)
        if not (dense or keep_layers or keep_anchors or keep_sent) and spikes.runs_events(net):
            return self._spiking(frames)
        if isinstance(frames, np.ndarray):
            frames = np.require(frames, requirements="W")       # PyTorch warns of views that cannot be written
        frames = torch.as_tensor(frames).to(dtype)
        if not net.plain:
            return self._general(frames, dense, keep_layers, keep_anchors, keep_sent)
        thresholds = (0,) * net.signals if dense else net.thresholds
        anchors = [encode(frames, thresholds[0])]
        layers = []
        for l, layer in enumerate(net.layers):
            if not keep_layers:
                anchors.append(self.advance(anchors[-1], l, thresholds[l + 1])[0])
            else:
                cell = golden_of(layer.cell)
                a, stages = cell.traced(anchors[-1], *self._held(l, dtype), layer.weight_frac, thresholds[l + 1])
                anchors.append(a)
                layers.append(cell.Stages(*map(_int32, stages)))
        weight, bias = self._tensor("classifier.weight", dtype), self._tensor("classifier.bias", dtype)
        logits = torch.nn.functional.linear(anchors[-1], weight, bias)
        events = torch.stack([count_events(a, dense) for a in anchors], -1).numpy().astype(np.int32)
        return Trace(
            _int32(logits), events, (events @ self._column_weights).astype(np.int32),
            layers if keep_layers else None, [_int32(a) for a in anchors] if keep_anchors else None,
            [_int32(a - earlier(a)) for a in anchors] if keep_sent else None)

    def _general(self, frames: torch.Tensor, dense: bool, keep_layers: bool, keep_anchors: bool,
                 keep_sent: bool) -> Trace:
        """What ``run`` gives, for networks that are no plain chain."""
        net = self.network
        run = self.forward(frames, dense, keep_stages=keep_layers)
        events = self.events(run, dense)
        layers = [golden_of(layer.cell).Stages(*map(_int32, stages))
                  for layer, stages in zip(net.layers, run.stages, strict=True)] if keep_layers else None
        return Trace(
            _int32(run.logits), events, self._weights(run, events, dense), layers,
            [_int32(signal.memory) for signal in run.signals] if keep_anchors else None,
            [_int32(signal.sent) for signal in run.signals] if keep_sent else None)

    def _spiking(self, frames: np.ndarray) -> Trace:
        """What ``run`` gives, event by event."""
        if self._spikes is None:
            self._spikes = spikes.SpikingNetwork(self.model)
        run = self._spikes.run(frames)
        return Trace(run.logits, run.events, run.weights + np.int32(self.network.replayed_weights))

    @torch.no_grad()
    def forward(self, frames: torch.Tensor, dense: bool = False, start: general.Start | None = None,
                keep_stages: bool = False) -> general.Evaluation:
        """Frames (T, B, features), from reset or from ``start``, of any network; see ``general.evaluated``."""
        net, dtype = self.network, frames.dtype
        weights = [general.Weights(*self._integers(l, dtype)) for l in range(len(net.layers))]
        classifier = general.Weights(self._tensor("classifier.weight", dtype), None,
                                     self._tensor("classifier.bias", dtype)[None])
        thresholds = [0 if dense and net.rule(s) is None else theta for s, theta in enumerate(net.thresholds)]
        return general.evaluated(net, weights, classifier, frames, thresholds, start=start, keep_stages=keep_stages)

    def events(self, run: general.Evaluation, dense: bool = False) -> np.ndarray:
        """Events (T, B, signals) of a run, int32."""
        if dense:
            steps, batch, _ = run.logits.shape
            elements = [self.network.elements(s) for s in range(self.network.signals)]
            return np.broadcast_to(np.array(elements, np.int32), (steps, batch, len(elements))).copy()
        return torch.stack([(signal.sent != 0).sum(-1) for signal in run.signals], -1).to(torch.int32).numpy()

    def _weights(self, run: general.Evaluation, events: np.ndarray, dense: bool) -> np.ndarray:
        """Weights (T, B) that a run read, int32."""
        if not self._convolves:
            return (events @ self._column_weights + self.network.replayed_weights).astype(np.int32)
        read = np.full(events.shape[:2], self.network.replayed_weights, np.int64)
        for signal, weights in zip(run.signals, self._fan_out, strict=True):
            read += weights.sum() if dense else (signal.sent != 0).numpy() @ weights
        return read.astype(np.int32)

    def advance(self, x: torch.Tensor, layer: int, threshold: int,
                start: tuple[torch.Tensor, torch.Tensor] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Anchors (T, B, H) of a layer's signal after each frame, and the cell's state (B, H) after the last frame.

        ``x`` (T, B, inputs): anchors of the signal below.  ``start``: (anchors, state) (B, H) to begin with, None:
        reset.
        """
        network_layer = self.network.layers[layer]
        return golden_of(network_layer.cell).advance(
            x, *self._held(layer, x.dtype), network_layer.weight_frac, threshold, start)

    def initial_state(self, batch: int = 1) -> State:
        """The state after reset: anchors and states zero, accumulators at their biases."""
        net = self.network
        return State(
            [np.zeros((batch, net.elements(s)), np.int64) for s in range(net.signals)],
            [np.zeros((batch, layer.size), np.int64) for layer in net.layers],
            [bias.repeat(batch, 0) for bias in self._biases])

    def step(self, frame, state: State, dense: bool = False) -> tuple[FrameTrace, State]:
        """Apply one frame (B, features) of SIGNAL integers; ``state`` is left as it was."""
        net = self.network
        state = State(*([x.copy() for x in part] for part in (state.anchors, state.states, state.accumulators)))
        layers, fired, deltas = [], [], []
        v = self._check(frame, 2).astype(np.int64)
        for s in range(net.signals):
            fires, sent, state.anchors[s] = rule_of(net.rule(s))(v, state.anchors[s], net.thresholds[s], dense)
            fired.append(fires)
            deltas.append(sent)
            for i in np.flatnonzero(fires.any(0)):
                for target, rows, weights in self._columns[s]:
                    state.accumulators[target][:, rows] += sent[:, i].reshape(-1, *[1] * weights[i].ndim) * weights[i]
                if net.convolves(s):
                    self._add_to_image(s, int(i), sent[:, i], state)
            if s < len(net.layers):
                layer = net.layers[s]
                stages, state.states[s], v = golden_of(layer.cell).step(state.accumulators[s], state.states[s], layer)
                layers.append(stages)
                if layer.consumes:
                    state.accumulators[s] = self._biases[s].repeat(len(v), 0)
        events = np.stack([fires.sum(1) for fires in fired], -1)
        logits = state.accumulators[-1].copy()
        if net.classifier.consumes:
            state.accumulators[-1] = self._biases[-1].repeat(len(logits), 0)
        weights = np.full(len(logits), net.replayed_weights)
        for fires, fan_out in zip(fired, self._fan_out, strict=True):
            weights += fires @ fan_out
        return FrameTrace(logits, events, weights, layers, fired, deltas), state

    def _check(self, frames, dimensions: int) -> np.ndarray:
        frames = np.asarray(frames)
        if frames.ndim != dimensions or frames.shape[-1] != self.network.features:
            wanted = ("T, B, ", "B, ")[dimensions == 2]
            raise TidegateError(f"frames of shape {frames.shape}: the model takes ({wanted}features) with "
                                f"{self.network.features} features")
        if frames.size and not np.abs(frames).max() <= SIGNAL.max:
            raise TidegateError(f"frames must be SIGNAL integers within ±{SIGNAL.max}; use model.quantise(features)")
        if frames.dtype.kind == "f" and not np.array_equal(frames, np.floor(frames)):
            raise TidegateError("frames must be integers; use model.quantise(features)")
        return frames

    def _signal_columns(self, signal: int) -> list[tuple[int, slice, np.ndarray]]:
        """Consumers of a signal: (accumulator block, its rows, int64 weights per element)."""
        tensors, layers, consumers = self.model.tensors, self.network.layers, []
        for c in self.network.connections(signal):
            if c.conv:
                continue
            last = c.layer == len(layers)
            name = "classifier.weight" if last else tensor_name(layers[c.layer], c.layer, c.tensor)
            weight = tensors[name][:, c.column : c.column + self.network.elements(signal)].astype(np.int64)
            if last:
                consumers.append((c.layer, slice(None), weight.T))
            else:
                blocks = weight.reshape(len(c.blocks), -1, weight.shape[1])[list(c.blocks)].transpose(2, 0, 1)
                consumers.append((c.layer, slice(c.gate, c.gate + len(c.blocks)), blocks))
        return consumers

    def _add_to_image(self, signal: int, element: int, sent: np.ndarray, state: State) -> None:
        """Add what an event (B,) of an element feeds to the accumulators of the convolutions that hear it."""
        for connection in self.network.connections(signal):
            l, conv = connection.layer, connection.conv
            assert conv is not None
            layer = self.network.layers[l]
            weight = self.model.tensors[tensor_name(layer, l, "weight_ih")].astype(np.int64)
            kernels = weight[:, connection.column : connection.column + conv.columns].reshape(
                layer.channels, -1, conv.kernel, conv.kernel)
            pixel, c = divmod(element, conv.channels)
            y, x = divmod(pixel, conv.width)
            image = state.accumulators[l].reshape(len(sent), conv.out_height, conv.out_width, layer.channels)
            for row in conv.reached(y, conv.out_height):
                for column in conv.reached(x, conv.out_width):
                    ky, kx = y + conv.padding - row * conv.stride, x + conv.padding - column * conv.stride
                    if conv.depthwise:
                        image[:, row, column, c] += sent * kernels[c, 0, ky, kx]
                    else:
                        image[:, row, column] += sent[:, None] * kernels[:, c, ky, kx]

    def _integers(self, l: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """(weight_ih, weight_hh or None, bias) of a layer."""
        layer = self.network.layers[l]
        w_ih, w_hh, bias = (self._tensor(tensor_name(layer, l, what), dtype)
                            if what != "weight_hh" or layer.own_rows else None
                            for what in ("weight_ih", "weight_hh", "bias"))
        assert w_ih is not None and bias is not None
        return w_ih, w_hh, bias

    def _held(self, l: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(weight_ih, weight_hh, bias) of a layer that hears itself."""
        w_ih, w_hh, bias = self._integers(l, dtype)
        assert w_hh is not None
        return w_ih, w_hh, bias

    def _tensor(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        return torch.from_numpy(self.model.tensors[name]).to(dtype)


def _int32(tensor: torch.Tensor) -> np.ndarray:
    return tensor.to(torch.int32).numpy()
