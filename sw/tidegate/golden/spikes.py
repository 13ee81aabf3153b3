"""Networks of integrate-and-fire neurons in C, event by event: what ``Golden.run`` gives, in a fraction of the time.

Few neurons of a deep spiking network spike in a frame.  ``general.py`` computes all sums of all layers all the same;
``spikes.c`` adds the weights of those that did.  The integers are equal, so nothing depends on it: without a C
compiler, or for another network, ``general.py`` does the same in torch.
"""

import ctypes
from typing import NamedTuple

import numpy as np

from ..spec.layer import Layer
from ..spec.model import Model, tensor_name
from ..spec.network import Network
from ..spec.rules import Diffuse
from . import kernel

_DENSE, _CONVOLUTION, _DEPTHWISE = range(3)


class _Feed(ctypes.Structure):
    """``struct feed`` of spikes.c."""

    _fields_ = [("weights", ctypes.c_void_p), *((name, ctypes.c_long) for name in (
        "signal", "kind", "channels", "width", "kernel", "stride", "padding", "rows", "columns", "outputs"))]


class _Layer(ctypes.Structure):
    """``struct layer``."""

    _fields_ = [("feeds", _Feed * 2), ("bias", ctypes.c_void_p), *((name, ctypes.c_long) for name in (
        "heard", "size", "shift", "theta", "step"))]


class _Signal(ctypes.Structure):
    """``struct signal``."""

    _fields_ = [("memory", ctypes.c_void_p), ("list", ctypes.c_void_p), ("fan_out", ctypes.c_void_p),
                ("elements", ctypes.c_long), ("events", ctypes.c_long)]


class Spikes(NamedTuple):
    """int32: ``logits`` (T, B, classes), ``events`` (T, B, signals), ``weights`` (T, B) that were read, without those
    of biases."""

    logits: np.ndarray
    events: np.ndarray
    weights: np.ndarray


def runs_events(network: Network) -> bool:
    """Whether spikes.c runs this network here: layers of the cell unit with the activation identity that consume one or
    two signals made before them, and all signals spike, with a reset that subtracts and no leak."""
    rules = [network.rule(s) for s in range(network.signals)]
    plain = all(rule is not None and rule == Diffuse(rule.step, 0, 1) for rule in rules)
    return plain and network.classifier.consumes and all(
        layer.activation == "identity" and not layer.recurrent and layer.consumes and len(network.heard(l)) <= 2
        and max(network.heard(l)) <= l for l, layer in enumerate(network.layers)) and kernel.found()


class SpikingNetwork:
    """A model as spikes.c takes it; ``runs_events`` says whether there is one."""

    def __init__(self, model: Model):
        self.network, self._kept = model.network, list[np.ndarray]()
        net, count = self.network, len(self.network.layers) + 1
        self._layers = (_Layer * count)()
        for l, layer in enumerate((*net.layers, net.classifier)):
            last = l == count - 1
            name = "classifier.{}" if last else tensor_name(layer, l, "{}")
            weight = model.tensors[name.format("weight" if last else "weight_ih")].astype(np.int32)
            bias = np.resize(model.tensors[name.format("bias")].astype(np.int32).ravel(), layer.size)
            made, heard, column = self._layers[l], (l,) if last else net.heard(l), 0
            for k, s in enumerate(heard):
                columns = layer.convs[k].columns if layer.conv else net.elements(s)
                made.feeds[k] = self._feed(layer, k, s, weight[:, column : column + columns])
                column += columns
            made.bias, made.heard, made.size, made.shift = self._at(bias), len(heard), layer.size, layer.weight_frac
            if not last:
                rule = net.rule(l + 1)
                assert rule is not None
                made.theta, made.step = net.thresholds[l + 1], rule.step

    def _feed(self, layer: Layer, k: int, signal: int, weight: np.ndarray) -> _Feed:
        rule = self.network.rule(signal)
        assert rule is not None
        conv, weight = layer.convs[k] if layer.conv else None, weight * rule.step
        if conv is None:
            return _Feed(self._at(weight.T), signal, _DENSE, outputs=layer.size)
        kernels = weight.reshape(layer.channels, -1, conv.kernel, conv.kernel)[..., ::-1].transpose(1, 2, 3, 0)
        kind = _DEPTHWISE if conv.depthwise else _CONVOLUTION
        return _Feed(self._at(kernels), signal, kind, conv.channels, conv.width, conv.kernel, conv.stride, conv.padding,
                     conv.out_height, conv.out_width, layer.channels)

    def _at(self, array: np.ndarray) -> int:
        """Address of a copy that is kept."""
        self._kept.append(np.ascontiguousarray(array, np.int32))
        return self._kept[-1].ctypes.data

    def run(self, frames: np.ndarray) -> Spikes:
        """Sequences (T, B, features) of SIGNAL integers from reset."""
        net, count = self.network, len(self._layers)
        frames = np.ascontiguousarray(np.asarray(frames).swapaxes(0, 1), np.int32)       # (B, T, features)
        batch, steps, features = frames.shape
        signals, work = (_Signal * count)(), []
        for s in range(count):
            work.append([np.empty(net.elements(s), np.int32), np.empty(net.elements(s), np.int32),
                         net.fan_out(s).astype(np.int32)])
            signals[s] = _Signal(*(x.ctypes.data for x in work[-1]), net.elements(s))
        sums = np.empty(max(layer.size for layer in net.layers), np.int32)
        fired = np.zeros(max(net.elements(s) for s in range(count)) + 8, np.uint8)
        logits, events = np.empty((batch, steps, net.classes), np.int32), np.empty((batch, steps, count), np.int32)
        weights, rule = np.zeros((batch, steps), np.int32), net.rule(0)
        assert rule is not None
        for b in range(batch):
            kernel.run_spikes(self._layers, count, signals, frames[b].ctypes.data, features, steps, net.thresholds[0],
                              rule.step, sums.ctypes.data, fired.ctypes.data, logits[b].ctypes.data,
                              events[b].ctypes.data, weights[b].ctypes.data)
        return Spikes(logits.swapaxes(0, 1), events.swapaxes(0, 1), weights.swapaxes(0, 1))
