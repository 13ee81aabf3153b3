"""A trained network of linear layers, convolutions and ReLUs as integrate-and-fire neurons: thresholds balanced layer
by layer.

A ReLU's output becomes the rate of a neuron that spikes when its potential reaches a threshold, which the spike takes
off.  Weights divided by the threshold V of their layer give every neuron the threshold 1 (``step``), and biases are
divided by the thresholds of all layers so far, because the rates that they are added to are.

    balanced on    V of a layer
    spikes         the largest weighted sum that a neuron of the layer gets in one frame, in the spiking network as
                   far as it is converted (Spike-Norm, Sengupta et al. 2018, arXiv:1802.02627)
    activations    its largest activation / that of the layer before, in the trained network (Diehl et al. 2015)

Average pooling is a depthwise convolution of equal weights, with neurons of its own; batch normalisation becomes part
of the convolution before it.  Bias and weights are those of ``spec/network.py``: cell ``unit``, rule ``diffuse``, int8.
The classifier's neurons do
not spike: their logits are the weighted sums, and the mean over the frames is the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from ..spec.cells import UNIT
from ..spec.conv import Conv2d
from ..spec.errors import ModelError
from ..spec.formats import BIAS_DELTAS, SIGNAL, WEIGHT_BITS, acc_frac, weight_max
from ..spec.model import Model, tensor_name
from ..spec.network import MAX_LAYERS, Layer, Network
from ..spec.rules import Diffuse
from .general import convolution
from .judge import Golden
from .scale import rounded, scales

BALANCES = ("spikes", "activations")
STEP = 256          # a spike, and the threshold of every neuron, in LSBs of 2**-8
_BATCH = 128        # sequences that are run at once


@dataclass(frozen=True)
class WeightLayer:
    """Weights (rows, columns) and biases (rows,) in float64; ``conv``: of a convolution, as ``spec/model.py`` has them.
    """

    weight: Tensor
    bias: Tensor
    conv: Conv2d | None = None

    @property
    def size(self) -> int:
        return len(self.bias) * (self.conv.positions if self.conv else 1)

    def scaled(self, weight: float, bias: float) -> "WeightLayer":
        """The same with weights and biases divided by these."""
        return replace(self, weight=self.weight / weight, bias=self.bias / bias)

    def sums(self, x: Tensor) -> Tensor:
        """Weighted sums (T, B, size) of x (T, B, inputs)."""
        if self.conv is None:
            return torch.nn.functional.linear(x, self.weight, self.bias)
        return convolution(self.conv, self.weight, self.bias, x)


@dataclass(frozen=True)
class SpikingConversion:
    """``model``; ``thresholds``: V of each spiking layer, in the trained network's units; ``rates``: mean spikes of a
    neuron a frame on the calibration data, of the features and each layer."""

    model: Model
    thresholds: tuple[float, ...]
    rates: tuple[float, ...]


@torch.no_grad()
def spike_norm(module: nn.Module, frames: np.ndarray, labels: Sequence[str] | None = None, *,
               balance: str = "spikes", percentile: float = 100.0, image: tuple[int, int, int] | None = None,
               card: dict | None = None) -> SpikingConversion:
    """A spiking model of a ``torch.nn.Sequential`` of Linear, Conv2d, ReLU, AvgPool2d, BatchNorm2d, Flatten and
    Dropout, which ends with a Linear.

    ``frames`` (sequences, frames, features), 0..1: calibration data, as the model will hear them.  A feature spikes at
    the rate that it says; one that is 0 or 1 says where its spikes are.  ``image``: (channels, height, width) of what a
    module with convolutions hears; features are then in the order (y, x, channel).  For ``balance`` "activations" the
    trained network hears each sequence's mean frame.  ``percentile``: of the weighted sums or the activations above 0,
    to balance on in place of the largest.

    ModelError for any other module, too many layers, and weights that are no numbers.
    """
    layers = weight_layers(module, image)
    frames = np.asarray(frames)
    _check(layers, frames, balance, percentile)
    labels = tuple(map(str, range(len(layers[-1].bias)))) if labels is None else tuple(labels)
    thresholds = _activations(layers, frames, percentile) if balance == "activations" else []
    if not thresholds:
        for l in range(len(layers) - 1):
            thresholds.append(_largest_sum(layers[: l + 1], thresholds, frames, percentile))
    model = _model(layers, thresholds, labels, {"conversion": {
        "balance": balance, "percentile": percentile, "thresholds": thresholds}} | (card or {}))
    counts = [Golden(model).run(part).events.sum((0, 1)) for part in _batches(frames)]
    elements = np.array([model.network.elements(s) for s in range(model.network.signals)])
    rates = np.sum(counts, 0) / (frames.shape[0] * frames.shape[1] * elements)
    return SpikingConversion(model, tuple(thresholds), tuple(rates.tolist()))


def weight_layers(module: nn.Module, image: tuple[int, int, int] | None = None) -> list[WeightLayer]:
    """The layers of a module; ModelError if it is none that ``spike_norm`` converts."""
    layers, shape, open_layer = [], image, False         # ``open_layer``: the last one had no ReLU yet
    for part in (part for part in module.modules() if not list(part.children())):
        name = type(part).__name__
        if isinstance(part, nn.Dropout | nn.Dropout2d | nn.Flatten | nn.Identity):
            continue
        if isinstance(part, nn.ReLU):
            if not open_layer:
                raise ModelError("a ReLU follows no Linear or Conv2d; take it out")
            open_layer = False
            continue
        if isinstance(part, nn.BatchNorm2d) and open_layer and layers[-1].conv:
            layers[-1] = _normalised(layers[-1], part)
            continue
        if open_layer:
            raise ModelError(f"{name} is no ReLU, which stands behind every Linear and Conv2d but the last")
        if isinstance(part, nn.Linear):
            layers.append(_linear(part, shape))
            shape = None
        elif isinstance(part, nn.Conv2d | nn.AvgPool2d):
            if shape is None:
                raise ModelError(f"{name} needs an image; give image=(channels, height, width) of what the module "
                                 "hears")
            layers.append(_pooling(part, shape) if isinstance(part, nn.AvgPool2d) else _convolution(part, shape))
            conv = layers[-1].conv
            assert conv is not None
            shape = (len(layers[-1].bias), conv.out_height, conv.out_width)
        else:
            raise ModelError(f"{name} cannot be converted; use Linear, Conv2d, ReLU, AvgPool2d, BatchNorm2d, Flatten "
                             "and Dropout")
        open_layer = not isinstance(part, nn.AvgPool2d)
    if not layers or not open_layer or layers[-1].conv:
        raise ModelError("the last layer must be a Linear without ReLU, whose outputs are the classes")
    if len(layers) - 1 not in range(1, MAX_LAYERS + 1):
        raise ModelError(f"the module has {len(layers) - 1} layers before the last; 1 to {MAX_LAYERS} can be converted")
    return layers


def _bias(part: nn.Linear | nn.Conv2d) -> Tensor:
    return torch.zeros(len(part.weight)).double() if part.bias is None else part.bias.double()


def _linear(part: nn.Linear, shape: tuple[int, int, int] | None) -> WeightLayer:
    """Of an image the columns come in PyTorch's order (channel, y, x); here they are (y, x, channel)."""
    weight = part.weight.double()
    if shape is not None and weight.shape[1] == prod(shape):
        weight = weight.reshape(len(weight), *shape).permute(0, 2, 3, 1).reshape(len(weight), -1)
    return WeightLayer(weight, _bias(part))


def _convolution(part: nn.Conv2d, shape: tuple[int, int, int]) -> WeightLayer:
    channels, height, width = shape
    depthwise = part.groups == part.in_channels == part.out_channels and part.groups > 1
    if (part.kernel_size[0] != part.kernel_size[1] or part.stride[0] != part.stride[1] or part.dilation != (1, 1)
            or isinstance(part.padding, str) or part.padding[0] != part.padding[1] or part.padding_mode != "zeros"
            or (part.groups > 1 and not depthwise)):
        raise ModelError(f"{part}: square kernels, strides and paddings of zeros can be converted, without dilation, "
                         "and groups only if there are as many as channels")
    if part.in_channels != channels:
        raise ModelError(f"{part} hears {part.in_channels} channels, the layer before it makes {channels}")
    conv = Conv2d(channels, height, width, part.kernel_size[0], part.stride[0], part.padding[0], depthwise)
    return WeightLayer(part.weight.double().flatten(1), _bias(part), conv)


def _pooling(part: nn.AvgPool2d, shape: tuple[int, int, int]) -> WeightLayer:
    kernel, stride, padding = (x if isinstance(x, int) else x[0] for x in (part.kernel_size, part.stride, part.padding))
    if any(not isinstance(x, int) and x[0] != x[1] for x in (part.kernel_size, part.stride, part.padding)) or (
            padding or part.ceil_mode or part.divisor_override):
        raise ModelError(f"{part}: square pooling without padding can be converted")
    channels, height, width = shape
    return WeightLayer(torch.full((channels, kernel**2), kernel**-2.0).double(), torch.zeros(channels).double(),
                       Conv2d(channels, height, width, kernel, stride, 0, True))


def _normalised(layer: WeightLayer, norm: nn.BatchNorm2d) -> WeightLayer:
    """A convolution with the batch normalisation behind it, as it is after training."""
    if norm.running_mean is None or norm.running_var is None:
        raise ModelError("a BatchNorm2d without running statistics depends on the batch; train it with them")
    factor = (norm.running_var.double() + norm.eps).rsqrt()
    offset = -norm.running_mean.double() * factor
    if norm.affine:
        factor, offset = factor * norm.weight.double(), offset * norm.weight.double() + norm.bias.double()
    return replace(layer, weight=layer.weight * factor[:, None], bias=layer.bias * factor + offset)


def _check(layers: list[WeightLayer], frames: np.ndarray, balance: str, percentile: float) -> None:
    if balance not in BALANCES:
        raise ModelError(f"thresholds are balanced on {' or '.join(BALANCES)}, not on '{balance}'")
    if not 50 <= percentile <= 100:
        raise ModelError(f"the percentile is 50 to 100, not {percentile}")
    for layer, before in zip(layers, [None, *layers], strict=False):
        if before is not None and not layer.conv and layer.weight.shape[1] != before.size:
            raise ModelError(f"a Linear of {layer.weight.shape[1]} inputs follows a layer of {before.size} outputs")
        if not torch.isfinite(layer.weight).all() or not torch.isfinite(layer.bias).all():
            raise ModelError("a weight or bias is NaN or infinite; train again, with a lower learning rate")
    features = _inputs(layers[0])
    if frames.ndim != 3 or not frames.size or frames.shape[2] != features:
        raise ModelError(f"calibration data of shape {frames.shape}: give (sequences, frames, {features})")
    if not (0 <= frames.min() and frames.max() <= 1):
        raise ModelError("calibration data must lie within 0..1, the share of frames in which a feature spikes")


def _inputs(layer: WeightLayer) -> int:
    return layer.conv.inputs if layer.conv else layer.weight.shape[1]


def _activations(layers: list[WeightLayer], frames: np.ndarray, percentile: float) -> list[float]:
    """V of each spiking layer by the activations of the trained network."""
    x, largest = torch.from_numpy(frames.mean(1, dtype=np.float64))[None], [1.0]
    for layer in layers[:-1]:
        x = layer.sums(x).relu()
        largest.append(_top(x.numpy(), percentile))
    return [after / before for before, after in pairwise(largest)]


def _largest_sum(layers: list[WeightLayer], thresholds: list[float], frames: np.ndarray, percentile: float) -> float:
    """V of the last of these layers: what its neurons get in a frame from the spiking layers before it."""
    last = layers[-1].scaled(1.0, float(np.prod(thresholds)))
    golden = None
    if thresholds:      # the layers before it, and a classifier that nobody reads
        unread = WeightLayer(torch.zeros(1, layers[-2].size).double(), torch.zeros(1).double())
        golden = Golden(_model([*layers[:-1], unread], thresholds, ["unread"], {}))
    sums = []
    for part in _batches(frames):
        if golden is None:
            sent = _spikes(part)
        else:
            kept = golden.run(part, keep_sent=True).sent
            assert kept is not None
            sent = kept[-1] / STEP
        found = last.sums(torch.from_numpy(sent).double()).numpy()
        sums.append(found[found > 0] if percentile < 100 else np.array([_top(found, 100.0)]))
    return _top(np.concatenate(sums), percentile)


def _top(values: np.ndarray, percentile: float) -> float:
    """A percentile of the values above 0; 1 if there are none, as nothing will ever spike."""
    above = values[values > 0]
    return float(np.percentile(above, percentile)) if above.size else 1.0


def _spikes(frames: np.ndarray) -> np.ndarray:
    """0 or 1 of each feature in each frame (T, B, features) of SIGNAL integers, by the rule of the features."""
    rule, memory, sent = _rule(), np.zeros(frames.shape[1:], np.int64), np.empty(frames.shape)
    for t, frame in enumerate(frames):
        _, spikes, memory = rule(frame, memory, STEP)
        sent[t] = spikes / STEP
    return sent


def _rule() -> Diffuse:
    return Diffuse(STEP, 0, 1)


def _batches(frames: np.ndarray) -> list[np.ndarray]:
    """(frames, sequences, features) SIGNAL integers, some sequences at a time."""
    return [np.floor(part.astype(np.float64) * 2**SIGNAL.frac + 0.5).astype(np.int64).swapaxes(0, 1)
            for part in np.split(frames, range(_BATCH, len(frames), _BATCH))]


def _model(layers: list[WeightLayer], thresholds: Sequence[float], labels: Sequence[str], card: dict) -> Model:
    """The spiking model of layers, of which the last one is the classifier."""
    shapes, tensors, before = [], {}, 1.0
    for l, (layer, v) in enumerate(zip(layers, [*thresholds, 1.0], strict=True)):
        before *= v
        scaled, last = layer.scaled(v, before), l == len(layers) - 1
        frac = _weight_frac(scaled.weight, scaled.bias, l)
        columns = 2 if scaled.bias.any() else 0
        grid = (1, *BIAS_DELTAS[::-1])[columns] if columns else 0
        made = {} if last else {"cell": UNIT, "activation": "identity", "recurrent": False, "conv": layer.conv}
        shape = Layer(layer.size, frac, consumes=True, bias_columns=columns, **made)
        ints = rounded(scaled.bias / (grid or 1), acc_frac(frac)) * grid
        name = "classifier.{}" if last else tensor_name(shape, l, "{}")
        w = rounded(scaled.weight, frac).clamp(-weight_max(WEIGHT_BITS), weight_max(WEIGHT_BITS))
        tensors[name.format("weight" if last else "weight_ih")] = w.numpy().astype(np.int8)
        tensors[name.format("bias")] = (ints if last else ints[None]).numpy().astype(np.int32)
        shapes.append(shape)
    features = _inputs(layers[0])
    tensors |= {"frontend.mean": np.zeros(features, np.float32), "frontend.scale": np.ones(features, np.float32)}
    *hidden, classifier = shapes
    network = Network(features, tuple(hidden), classifier, (STEP,) * len(shapes), (_rule(),) * len(shapes))
    return Model(network, tensors, tuple(labels), {}, card)


def _weight_frac(weight: Tensor, bias: Tensor, layer: int) -> int:
    """The weight_frac with the least squared error of rounded and clipped weights, at which the biases fit."""
    most = weight_max(WEIGHT_BITS)

    def error(frac: int) -> float:
        return float(((rounded(weight, frac).clamp(-most, most) * 2.0**-frac - weight) ** 2).sum())

    fit = [frac for frac, safe in scales(UNIT, [weight], bias[None], [STEP], clip=True) if safe]
    if not fit:
        raise ModelError(f"layer {layer} has biases of up to {float(bias.abs().max()):.3g} of its threshold, for which "
                         "an accumulator has no room; train with smaller biases, or without")
    return min(fit, key=error)
