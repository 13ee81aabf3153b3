"""A trained network as integrate-and-fire neurons: thresholds balanced layer by layer.

A ReLU's output becomes the rate of a neuron that spikes when its potential reaches a threshold, which the spike takes
off.  The threshold λ of a layer is the activation that one spike per frame stands for.  A layer l that hears the
signals s has the weights and biases

    W[s] · λ[s] / λ[l]          b / λ[l]

so that the threshold of every neuron is 1 (``STEP``).  These are the conditions of Sengupta et al. 2018 (Spike-Norm,
arXiv:1802.02627) for a junction of a residual network, in the weights: both of its paths are scaled to the one
threshold of the junction, and a path that only passes its signal on, by neurons of threshold 1, has the weight
λ[s] / λ[l].

    balanced on    λ of a layer
    spikes         the largest weighted sum that a neuron of the layer gets in one frame, in the spiking network as far
                   as it is converted (Spike-Norm)
    activations    its largest activation in the trained network (Diehl et al. 2015)

``by_channel``: every channel of a layer has a λ of its own.  ``initial``: the potential with which neurons begin, as a
share of the threshold: 0 as in the papers, or 1/2, so that a neuron's spikes are its rate times the frames, rounded and
not cut off.  The rule ``diffuse`` does the same with Θ that much below its step.

Bias and weights are those of ``spec/network.py``: cell ``unit``, rule ``diffuse``, int8.  The classifier's neurons do
not spike: their logits are the weighted sums, and the mean over the frames is the answer.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite

import numpy as np
import torch
from torch import Tensor, nn

from ..progress import Progress
from ..spec.cells import UNIT
from ..spec.errors import ModelError
from ..spec.formats import BIAS_MAX, SIGNAL, WEIGHT_BITS, acc_frac, weight_max
from ..spec.layer import Layer
from ..spec.model import Model, tensor_name
from ..spec.network import Network
from ..spec.rules import Diffuse
from .cells import golden_of
from .convert import ConversionWarning
from .graph_check import check_logits
from .module_graph import module_layers
from .scale import rounded, scales
from .signals import HYBRID, diffuse_of
from .weight_layer import Feed, WeightLayer, trained_logits

BALANCES = ("spikes", "activations")
STEP = 256          # a spike, and the threshold of every neuron, in LSBs of 2**-8
_SUMS = 1 << 26     # weighted sums that are held at once
_JUDGED = 256       # images at once
_BIAS = BIAS_MAX / 2.0 ** acc_frac(7)       # the largest where weights are up to 1
_FLOOR = 0.05       # of the layer's largest: the least threshold of a channel
_COMPARED = 4       # images on which the layers that were read are compared with the network
_MUCH = 0.3         # error of the weights in int8, relative, that is worth a warning


@dataclass(frozen=True)
class LayerReport:
    """A spiking layer on the calibration data.

    ``threshold``: λ, of channels the largest.  ``rate``: mean spikes of a neuron per frame.  ``error``: λ · rates of
    single neurons against the activations of the trained network: root mean square of the difference / of the
    activations.  ``weight_error``: the same of the weights in int8.
    """

    name: str
    neurons: int
    threshold: float
    rate: float
    error: float
    weight_error: float

    def to_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class SpikingConversion:
    """``model``; ``rates``: mean spikes of an element per frame on the calibration data, of the features and each
    layer; ``logit_scale``, ``logit_offset``: a mean logit times the scale, plus the offset, is the trained network's;
    ``layers``: of each spiking layer; ``classifier_error``: of the classifier's weights in int8, see ``weight_error``;
    ``trained``: the layers of the trained network."""

    model: Model
    rates: tuple[float, ...]
    logit_scale: float
    logit_offset: float
    layers: tuple[LayerReport, ...]
    classifier_error: float
    trained: tuple[WeightLayer, ...]

    @property
    def thresholds(self) -> tuple[float, ...]:
        """λ of each spiking layer."""
        return tuple(layer.threshold for layer in self.layers)

    @torch.no_grad()
    def float_logits(self, x: np.ndarray) -> np.ndarray:
        """Logits (n, classes) of the trained network for features (n, features)."""
        return np.concatenate([
            trained_logits(self.trained, torch.from_numpy(part.astype(np.result_type(part, np.float32)))).numpy()
            for part in np.split(x, range(_JUDGED, len(x), _JUDGED))])


@torch.no_grad()
def spike_norm(module: nn.Module | torch.export.ExportedProgram, frames: np.ndarray,
               labels: Sequence[str] | None = None, *, balance: str = "activations", percentile: float = 99.9,
               image: tuple[int, int, int] | None = None, by_channel: bool = True, initial: float = 0.5,
               card: dict | None = None, progress: Progress | None = None) -> SpikingConversion:
    """Convert a trained network to integrate-and-fire neurons.

    ``module``: linear layers, convolutions, ReLUs, average pooling, batch normalisation, dropout, sums of two branches;
    it ends with a linear layer (``module_graph.py``).  ``frames``: calibration data (sequences, frames, features),
    0..1.  A feature spikes in a share of the frames that equals its value; 0 and 1 give its spikes exactly.  The
    trained network gets each sequence's mean frame.  ``image``: (channels, height, width) of what a module with
    convolutions gets; features are then in the order (y, x, channel).  ``percentile``: 50 to 100, of the positive sums
    or activations, on which to balance.  ``by_channel``: a threshold per channel.  ``initial``: first potential, a
    share of the threshold in [0, 1).  Source: Sengupta et al. 2018.

    ModelError for an operation that cannot be converted, layers that no core can run or whose logits are not those of
    the module, a wrong shape or range of ``frames``, labels that do not match, weights that are no numbers, and too
    many layers.  ConversionWarning for each layer whose weights int8 changes by more than 30 %.
    """
    frames = np.asarray(frames)
    _check_options(balance, percentile, initial)
    features = int(np.prod(image)) if image else frames.shape[-1] if frames.ndim else 0
    if frames.ndim != 3 or not frames.size or frames.shape[2] != features:
        raise ModelError(f"calibration data of shape {frames.shape}: give (sequences, frames, {features})")
    if frames.dtype.kind not in "buif" or not (0 <= frames.min() and frames.max() <= 1):
        raise ModelError("calibration data must lie within 0..1, the share of frames in which a feature spikes")
    layers = module_layers(module, image or (features,))
    if not all(isfinite(float(x.abs().sum())) for layer in layers for x in (layer.weight, layer.bias)):
        raise ModelError("a weight or bias is NaN or infinite; train again, with a lower learning rate")
    labels = tuple(map(str, range(len(layers[-1].bias)))) if labels is None else tuple(labels)
    if len(labels) != len(layers[-1].bias):
        raise ModelError(f"the network has {len(layers[-1].bias)} classes, not {len(labels)}; give each a label")
    check_logits(layers, module, frames[:_COMPARED].mean(1, np.float64), image)
    theta = max(1, round(STEP * (1 - initial)))
    made = _Conversion(layers, frames, balance, percentile, by_channel, theta).made(
        labels, card or {}, progress or (lambda done, total: None), image or (features,))
    errors = {f"layer '{layer.name}'": layer.weight_error for layer in made.layers}
    for name, error in (errors | {"classifier": made.classifier_error}).items():
        if error > _MUCH:
            advice = "try by_channel=False, or train" if by_channel and name in errors else "train"
            warnings.warn(ConversionWarning(f"int8 changes the weights of the {name} by {error:.0%}, as few weights or "
                                            f"biases are far larger than the others; {advice} with weight decay"),
                          stacklevel=3)
    return made


def _check_options(balance: str, percentile: float, initial: float) -> None:
    if balance not in BALANCES:
        raise ModelError(f"thresholds are balanced on {' or '.join(BALANCES)}, not on '{balance}'")
    if not 50 <= percentile <= 100:
        raise ModelError(f"the percentile is 50 to 100, not {percentile}")
    if not 0 <= initial < 1:
        raise ModelError(f"neurons begin with 0 to less than 1 of their threshold, not {initial}")


@dataclass(frozen=True)
class _Integers:
    """A layer on the grid of the engine: ``layer`` with integers held in float64.  ``weight_error``: see
    ``LayerReport``."""

    shape: Layer
    layer: WeightLayer
    weight_error: float


class _Conversion:
    """What is known so far: of each signal its spikes (T, B, elements), λ and the trained network's activations."""

    def __init__(self, layers: Sequence[WeightLayer], frames: np.ndarray, balance: str, percentile: float,
                 by_channel: bool, theta: int):
        self.layers, self.theta, self.rule = layers, theta, Diffuse(STEP, 0, 1)
        self.balance, self.percentile, self.by_channel = balance, percentile, by_channel
        self.features = frames.shape[2]
        self._network([_shape_of(layer, 7, 0, layer is not layers[-1]) for layer in layers])    # ModelError early
        held = torch.from_numpy(np.array(frames.swapaxes(0, 1), order="C"))
        self.spikes: dict[int, Tensor] = {0: self._spiking(lambda part: torch.floor(
            held[:, part].float() * 2**SIGNAL.frac + 0.5), held.shape)}
        self.activations = {0: held.double().mean(0)}
        self.scales = {0: torch.ones(1, dtype=torch.float64)}
        self.rates = [_mean(self.spikes[0])]

    def made(self, labels: tuple[str, ...], card: dict, progress: Progress,
             image: tuple[int, ...]) -> SpikingConversion:
        made, reports, held = [], [], self.spikes[0].shape
        for l, layer in enumerate(self.layers[:-1]):
            progress(l, len(self.layers))
            activations = self._activations(layer).relu()
            self.scales[l + 1] = self._threshold(layer, activations)
            made.append(self._integers(self._scaled(layer, self.scales[l + 1]), True))
            self._simulate(l, made[-1])
            self.activations[l + 1] = activations
            reports.append(self._report(l, made[-1], layer))
            self._forget(l)
        last, scale, offset = self._classifier()
        made.append(self._integers(last, False))
        progress(len(self.layers), len(self.layers))
        found = {"recipe": {"readout_frames": 0}, "conversion": {
            "balance": self.balance, "percentile": self.percentile, "by_channel": self.by_channel,
            "initial": 1 - self.theta / STEP, "thresholds": [report.threshold for report in reports],
            "logit_scale": scale, "logit_offset": offset, "image": list(image), "steps": held[0], "images": held[1],
            "occupancy": list(self.rates), "layers": [report.to_dict() for report in reports]}}
        return SpikingConversion(self._model(made, labels, found | card), tuple(self.rates), scale, offset,
                                 tuple(reports), made[-1].weight_error, tuple(self.layers))

    def _forget(self, l: int) -> None:
        """What no later layer hears."""
        later = {feed.signal for layer in self.layers[l + 1 :] for feed in layer.feeds}
        for s in [s for s in self.spikes if s not in later]:
            del self.spikes[s], self.activations[s]

    def _activations(self, layer: WeightLayer) -> Tensor:
        """Sums (B, size) in the trained network."""
        return layer.sums([self.activations[feed.signal][None] for feed in layer.feeds])[0]

    def _parts(self, layer: WeightLayer) -> Iterator[slice]:
        """Sequences, some at a time."""
        steps, count, _ = self.spikes[layer.feeds[0].signal].shape
        most = max(1, _SUMS // (steps * max(layer.size, *(self.spikes[f.signal].shape[2] for f in layer.feeds))))
        for first in range(0, count, most):
            yield slice(first, first + most)

    def _threshold(self, layer: WeightLayer, activations: Tensor) -> Tensor:
        """λ (1,), or (channels,) of each channel."""
        channels = len(layer.bias)
        if self.balance == "activations":
            return self._top([activations], channels)
        of_spikes = replace(layer, feeds=self._of_spikes(layer))
        return self._top((of_spikes.sums([self.spikes[f.signal][:, part].float() for f in layer.feeds])
                          for part in self._parts(layer)), channels)

    def _top(self, sums: Iterable[Tensor], channels: int) -> Tensor:
        """The percentile of the sums above 0, of parts (..., size) in the order (position, channel).  A channel without
        any, which will never spike, takes the largest of the layer, and a layer without any takes 1."""
        held: list[list[np.ndarray]] = []
        for part in sums:
            rows = part.reshape(-1, channels).t() if self.by_channel else part.reshape(1, -1)
            above = [row[row > 0] for row in rows.numpy()]
            held.append([row.max(keepdims=True) if self.percentile == 100 and row.size else row for row in above])
        values = [np.concatenate(parts) for parts in zip(*held, strict=True)]
        tops = [float(np.percentile(above, self.percentile)) if above.size else 0.0 for above in values]
        largest = max(tops)
        return torch.tensor([max(top, _FLOOR * largest) if top > 0 else largest or 1.0 for top in tops],
                            dtype=torch.float64)

    def _of_spikes(self, layer: WeightLayer) -> tuple[Feed, ...]:
        """What a layer hears, if that are spikes in place of activations."""
        return tuple(feed.of_inputs(self.scales[feed.signal]) for feed in layer.feeds)

    def _scaled(self, layer: WeightLayer, scale: Tensor | float) -> WeightLayer:
        """A layer that hears spikes and has the threshold 1 in place of ``scale`` (1,), (channels,) or a number."""
        outputs = 1 / torch.as_tensor(scale, dtype=torch.float64).expand(len(layer.bias))
        return replace(layer, feeds=tuple(feed.of_outputs(outputs) for feed in self._of_spikes(layer)),
                       bias=layer.bias * outputs)

    def _classifier(self) -> tuple[WeightLayer, float, float]:
        """The last layer in a scale that its weights and biases fill, that scale, and what was taken from all biases:
        where biases would set the scale, their middle, which changes no answer."""
        last, most, offset = self.layers[-1], float(self._scaled(self.layers[-1], 1.0).weight.abs().max()), 0.0
        if len(last.bias) > 1 and float(last.bias.abs().max()) / _BIAS > most:
            offset = float(last.bias.max() + last.bias.min()) / 2
            last = replace(last, bias=last.bias - offset)
        scale = max(most, float(last.bias.abs().max()) / _BIAS) or 1.0
        return self._scaled(last, scale), scale, offset

    @staticmethod
    def _integers(layer: WeightLayer, hidden: bool) -> _Integers:
        weight, most = layer.weight, weight_max(WEIGHT_BITS)
        frac = _weight_frac([feed.weight for feed in layer.feeds], layer.bias, layer.name)
        columns = 2 if layer.bias.any() else 0
        ints = rounded(weight, frac).clamp(-most, most)
        shape = _shape_of(layer, frac, columns, hidden)
        bias = rounded(layer.bias / (shape.bias_grid or 1), acc_frac(frac)) * shape.bias_grid
        parts = ints.split([feed.weight.shape[1] for feed in layer.feeds], 1)
        feeds = tuple(replace(feed, weight=part) for feed, part in zip(layer.feeds, parts, strict=True))
        error = float((ints * 2.0**-frac - weight).square().sum() / weight.square().sum().clamp_min(1e-30)) ** 0.5
        return _Integers(shape, replace(layer, feeds=feeds, bias=bias), error)

    def _simulate(self, l: int, ints: _Integers) -> None:
        """The spikes of layer l, the integers of ``Golden``."""
        heard, cell = [self.spikes[feed.signal] for feed in ints.layer.feeds], golden_of(UNIT)
        state = torch.zeros(0)

        def values(part: slice) -> Tensor:
            sums = ints.layer.sums([x[:, part].float() * STEP for x in heard])
            return cell.frame(sums.unsqueeze(-2), state, ints.shape)[2]

        self.spikes[l + 1] = self._spiking(values, (*heard[0].shape[:2], ints.shape.size), self._parts(ints.layer))
        self.rates.append(_mean(self.spikes[l + 1]))

    def _spiking(self, values, shape: Sequence[int], parts: Iterator[slice] | None = None) -> Tensor:
        """Where (T, B, elements) elements spike whose values (T, B, elements) are these, part by part."""
        spikes = torch.empty(*shape, dtype=torch.bool)
        for part in parts or [slice(first, first + 16) for first in range(0, shape[1], 16)]:
            v = values(part)
            spikes[:, part] = diffuse_of(v, torch.zeros_like(v[0]), self.rule, self.theta, HYBRID)[0] != 0
        return spikes

    def _report(self, l: int, ints: _Integers, layer: WeightLayer) -> LayerReport:
        spikes, wanted, scale = self.spikes[l + 1], self.activations[l + 1], self.scales[l + 1]
        rate = torch.stack([spikes[:, b].double().mean(0) for b in range(spikes.shape[1])])
        got = rate * scale.repeat(wanted.shape[1] // len(scale))
        size = float(wanted.square().mean()) or 1.0
        error = (float((got - wanted).square().mean()) / size) ** 0.5
        return LayerReport(layer.name, layer.size, float(scale.max()), self.rates[-1], error, ints.weight_error)

    def _model(self, made: Sequence[_Integers], labels: tuple[str, ...], card: dict) -> Model:
        tensors: dict[str, np.ndarray] = {}
        for l, ints in enumerate(made):
            last = l == len(made) - 1
            name = "classifier.{}" if last else tensor_name(ints.shape, l, "{}")
            tensors[name.format("weight" if last else "weight_ih")] = ints.layer.weight.numpy().astype(np.int8)
            bias = ints.layer.bias.numpy().astype(np.int32)
            tensors[name.format("bias")] = bias if last else bias[None]
        tensors |= {"frontend.mean": np.zeros(self.features, np.float32),
                    "frontend.scale": np.ones(self.features, np.float32)}
        return Model(self._network([ints.shape for ints in made]), tensors, labels, {}, card)

    def _network(self, shapes: Sequence[Layer]) -> Network:
        return Network(self.features, tuple(shapes[:-1]), shapes[-1], (self.theta,) * len(shapes),
                       (self.rule,) * len(shapes))


def _mean(spikes: Tensor) -> float:
    return int(spikes.sum()) / spikes.numel()


def _shape_of(layer: WeightLayer, frac: int, bias_columns: int, hidden: bool) -> Layer:
    """A spiking layer, or the classifier, as a network describes it."""
    convs = [feed.conv for feed in layer.feeds if feed.conv is not None]
    signals = tuple(feed.signal for feed in layer.feeds)
    made: dict = {"cell": UNIT, "activation": "identity", "recurrent": False, "hears": signals} if hidden else {}
    if convs:
        made |= {"conv": convs[-1], "skip": convs[0] if len(convs) > 1 else None}
    return Layer(layer.size, frac, consumes=True, bias_columns=bias_columns, **made)


def _weight_frac(weights: Sequence[Tensor], bias: Tensor, name: str) -> int:
    """The weight_frac with the least squared error of rounded and clipped weights, at which the biases fit."""
    most = weight_max(WEIGHT_BITS)

    def error(frac: int) -> float:
        return sum(float(((rounded(w, frac).clamp(-most, most) * 2.0**-frac - w) ** 2).sum()) for w in weights)

    fit = [frac for frac, safe in scales(UNIT, weights, bias[None], [STEP] * len(weights), clip=True) if safe]
    if not fit:
        raise ModelError(f"the layer '{name}' has biases of up to {float(bias.abs().max()):.3g} of its threshold, for "
                         "which an accumulator has no room; train with smaller biases, or without")
    return min(fit, key=error)
