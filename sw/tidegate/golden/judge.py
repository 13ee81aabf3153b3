"""The judge: what a board must answer, integer for integer.

Two routes that must agree: ``run`` evaluates whole sequences with the forward pass of training, ``step`` takes
one frame at a time in int64 and adds W·Δ to persistent accumulators, event by event, as the core does.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ..spec.errors import TidegateError
from ..spec.formats import GATE_ARG, SIGNAL, acc_frac
from ..spec.model import Model, accumulator_bounds
from .cell import Stages, cell, emit
from .encoder import count_events, encode, encode_step
from .gru import advance, sequence

_EXACT_FLOAT32 = 1 << 24


@dataclass(frozen=True)
class Trace:
    """Sequences from reset; integers as numpy int32.

    ``logits`` (T, B, classes): raw accumulators, ``logit_frac`` fraction bits.  ``events`` (T, B, signals).
    ``weights`` (T, B): weights read.  On request: ``layers[l]`` the stages of layer l, each (T, B, H);
    ``anchors[s]`` (T, B, elements) after each frame.
    """

    logits: np.ndarray
    events: np.ndarray
    weights: np.ndarray
    layers: list[Stages] | None = None
    anchors: list[np.ndarray] | None = None


@dataclass
class State:
    """What a core holds between frames, int64.

    ``anchors[s]`` (B, elements).  ``h[l]`` (B, H).  ``accumulators[l]`` (B, 4, H): nx, r, z, nh; the last entry is
    the classifier's (B, classes).
    """

    anchors: list[np.ndarray]
    h: list[np.ndarray]
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
    layers: list[Stages]
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
        self._columns = [self._signal_columns(s) for s in range(self.network.signals)]

    def run(self, frames, dense: bool = False, keep_layers: bool = False, keep_anchors: bool = False,
            dtype: torch.dtype | None = None) -> Trace:
        """Sequences (T, B, features) of SIGNAL integers (array or tensor) from reset.

        ``dense``: ignore the thresholds and count every element as an event.  TidegateError if a frame is no frame.
        """
        dtype = dtype or self.dtype
        net = self.network
        frames = torch.as_tensor(self._check(frames, 3)).to(dtype)
        thresholds = (0,) * net.signals if dense else net.thresholds
        anchors = [encode(frames, thresholds[0])]
        layers = []
        for l, layer in enumerate(net.gru):
            w_ih, w_hh, bias = (self._tensor(f"gru.{l}.{name}", dtype) for name in ("weight_ih", "weight_hh", "bias"))
            arguments = (anchors[-1], w_ih, w_hh, bias, layer.weight_frac, thresholds[l + 1])
            if not keep_layers:
                anchors.append(advance(*arguments)[0])
            else:
                result = sequence(*arguments, keep_args=True)
                anchors.append(result.anchors[1:])
                assert result.args is not None
                nx, r, z, nh = result.args.unbind(2)
                limit = GATE_ARG.max
                stages = (r.clamp(-limit, limit), z.clamp(-limit, limit), nx, nh, result.states[1:])
                layers.append(Stages(*map(_int32, stages)))
        weight, bias = self._tensor("classifier.weight", dtype), self._tensor("classifier.bias", dtype)
        logits = torch.nn.functional.linear(anchors[-1], weight, bias)
        events = torch.stack([count_events(a, dense) for a in anchors], -1).numpy().astype(np.int32)
        return Trace(
            _int32(logits), events, (events @ self._column_weights).astype(np.int32),
            layers if keep_layers else None, [_int32(a) for a in anchors] if keep_anchors else None)

    def initial_state(self, batch: int = 1) -> State:
        """The state after reset: anchors and h zero, accumulators at their biases."""
        net, tensors = self.network, self.model.tensors
        names = [*(f"gru.{l}.bias" for l in range(len(net.gru))), "classifier.bias"]
        return State(
            [np.zeros((batch, net.elements(s)), np.int64) for s in range(net.signals)],
            [np.zeros((batch, layer.size), np.int64) for layer in net.gru],
            [np.repeat(tensors[name].astype(np.int64)[None], batch, 0) for name in names])

    def step(self, frame, state: State, dense: bool = False) -> tuple[FrameTrace, State]:
        """Apply one frame (B, features) of SIGNAL integers; ``state`` is left as it was."""
        net = self.network
        state = State(*([x.copy() for x in part] for part in (state.anchors, state.h, state.accumulators)))
        layers, fired, deltas = [], [], []
        v = self._check(frame, 2).astype(np.int64)
        for s in range(net.signals):
            fires, delta = encode_step(v, state.anchors[s], net.thresholds[s], dense)
            fired.append(fires)
            deltas.append(delta)
            state.anchors[s] += delta
            for i in np.flatnonzero(fires.any(0)):
                for target, rows, weights in self._columns[s]:
                    state.accumulators[target][:, rows] += delta[:, i].reshape(-1, *[1] * weights[i].ndim) * weights[i]
            if s < len(net.gru):
                nx, r, z, nh = state.accumulators[s].swapaxes(0, 1)
                layers.append(cell(nx, r, z, nh, state.h[s], net.gru[s].weight_frac))
                state.h[s] = layers[-1].h
                v = emit(state.h[s])
        events = np.stack([fires.sum(1) for fires in fired], -1)
        logits = state.accumulators[-1].copy()
        return FrameTrace(logits, events, events @ self._column_weights, layers, fired, deltas), state

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
        tensors, layers, consumers = self.model.tensors, len(self.network.gru), []

        def gates(name: str, order: list[int]) -> np.ndarray:
            weight = tensors[name].astype(np.int64)
            return weight.reshape(3, -1, weight.shape[1])[order].transpose(2, 0, 1)

        if signal:
            consumers.append((signal - 1, slice(1, 4), gates(f"gru.{signal - 1}.weight_hh", [0, 1, 2])))
        if signal < layers:
            consumers.append((signal, slice(0, 3), gates(f"gru.{signal}.weight_ih", [2, 0, 1])))
        else:
            consumers.append((layers, slice(None), tensors["classifier.weight"].astype(np.int64).T))
        return consumers

    def _tensor(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        return torch.from_numpy(self.model.tensors[name]).to(dtype)


def _int32(tensor: torch.Tensor) -> np.ndarray:
    return tensor.to(torch.int32).numpy()
