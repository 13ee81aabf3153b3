"""A trained network of linear and ReLU layers as integrate-and-fire neurons: thresholds balanced layer by layer.

A ReLU's output becomes the rate of a neuron that spikes when its potential reaches a threshold, which the spike takes
off.  Weights divided by the threshold V of their layer give every neuron the threshold 1 (``step``), and biases are
divided by the thresholds of all layers so far, because the rates that they are added to are.

    balanced on    V of a layer
    spikes         the largest weighted sum that a neuron of the layer gets in one frame, in the spiking network as
                   far as it is converted (Spike-Norm, Sengupta et al. 2018, arXiv:1802.02627)
    activations    its largest activation / that of the layer before, in the trained network (Diehl et al. 2015)

Bias and weights are those of ``spec/network.py``: cell ``unit``, rule ``diffuse``, int8.  The classifier's neurons do
not spike: their logits are the weighted sums, and the mean over the frames is the answer.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..spec.cells import UNIT
from ..spec.errors import ModelError
from ..spec.formats import BIAS_DELTAS, SIGNAL, WEIGHT_BITS, acc_frac, weight_max
from ..spec.model import Model, tensor_name
from ..spec.network import MAX_LAYERS, Layer, Network
from ..spec.rules import Diffuse
from .judge import Golden
from .scale import rounded, scales

BALANCES = ("spikes", "activations")
STEP = 256          # a spike, and the threshold of every neuron, in LSBs of 2**-8
_BATCH = 128        # sequences that are run at once
_Linear = tuple[Tensor, Tensor]     # weight (rows, columns) and bias (rows,) in float64


@dataclass(frozen=True)
class SpikingConversion:
    """``model``; ``thresholds``: V of each spiking layer, in the trained network's units; ``rates``: mean spikes of a
    neuron a frame on the calibration data, of the features and each layer."""

    model: Model
    thresholds: tuple[float, ...]
    rates: tuple[float, ...]


@torch.no_grad()
def spike_norm(module: nn.Module, frames: np.ndarray, labels: Sequence[str] | None = None, *,
               balance: str = "spikes", percentile: float = 100.0, card: dict | None = None) -> SpikingConversion:
    """A spiking model of a ``torch.nn.Sequential`` of Linear, ReLU, Flatten and Dropout, which ends with a Linear.

    ``frames`` (sequences, frames, features), 0..1: calibration data, as the model will hear them.  A feature spikes at
    the rate that it says; one that is 0 or 1 says where its spikes are.  For ``balance``
    "activations" the trained network hears each sequence's mean frame.  ``percentile``: of the weighted sums or the
    activations above 0, to balance on in place of the largest.

    ModelError for any other module, too many layers, and weights that are no numbers.
    """
    layers = linear_layers(module)
    frames = np.asarray(frames)
    _check(layers, frames, balance, percentile)
    labels = tuple(map(str, range(len(layers[-1][1])))) if labels is None else tuple(labels)
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


def linear_layers(module: nn.Module) -> list[_Linear]:
    """Weight and bias of each linear layer; ModelError if something else than ReLU stands between them."""
    parts = [part for part in module.modules() if not list(part.children())]
    kept = [part for part in parts if not isinstance(part, (nn.Dropout, nn.Flatten, nn.Identity))]
    for i, part in enumerate(kept):
        if not isinstance(part, (nn.Linear, nn.ReLU)[i % 2]):
            raise ModelError(f"{type(part).__name__} is no {('Linear', 'ReLU')[i % 2]}; a module can be converted in "
                             "which Linear and ReLU take turns, with Flatten and Dropout anywhere")
    if len(kept) % 2 == 0:
        raise ModelError("the last layer must be a Linear without ReLU, whose outputs are the classes")
    if len(kept) // 2 not in range(1, MAX_LAYERS + 1):
        raise ModelError(f"the module has {len(kept) // 2} layers with ReLU; 1 to {MAX_LAYERS} can be converted")
    return [(part.weight.double(), torch.zeros(len(part.weight)).double() if part.bias is None else part.bias.double())
            for part in kept if isinstance(part, nn.Linear)]


def _check(layers: list[_Linear], frames: np.ndarray, balance: str, percentile: float) -> None:
    if balance not in BALANCES:
        raise ModelError(f"thresholds are balanced on {' or '.join(BALANCES)}, not on '{balance}'")
    if not 50 <= percentile <= 100:
        raise ModelError(f"the percentile is 50 to 100, not {percentile}")
    for (weight, bias), before in zip(layers, [None, *layers], strict=False):
        if before is not None and weight.shape[1] != len(before[1]):
            raise ModelError(f"a Linear of {weight.shape[1]} inputs follows one of {len(before[1])} outputs")
        if not torch.isfinite(weight).all() or not torch.isfinite(bias).all():
            raise ModelError("a weight or bias is NaN or infinite; train again, with a lower learning rate")
    features = layers[0][0].shape[1]
    if frames.ndim != 3 or not frames.size or frames.shape[2] != features:
        raise ModelError(f"calibration data of shape {frames.shape}: give (sequences, frames, {features})")
    if not (0 <= frames.min() and frames.max() <= 1):
        raise ModelError("calibration data must lie within 0..1, the share of frames in which a feature spikes")


def _activations(layers: list[_Linear], frames: np.ndarray, percentile: float) -> list[float]:
    """V of each spiking layer by the activations of the trained network."""
    x, largest = torch.from_numpy(frames.mean(1, dtype=np.float64)), [1.0]
    for weight, bias in layers[:-1]:
        x = torch.nn.functional.linear(x, weight, bias).relu()
        largest.append(_top(x.numpy(), percentile))
    return [after / before for before, after in itertools.pairwise(largest)]


def _largest_sum(layers: list[_Linear], thresholds: list[float], frames: np.ndarray, percentile: float) -> float:
    """V of the last of these layers: what its neurons get in a frame from the spiking layers before it."""
    weight, bias = layers[-1]
    before = float(np.prod(thresholds))
    if not thresholds:      # the features' own spikes: no layer is before it, so a model of it has none
        sent = [_spikes(part) for part in _batches(frames)]
    else:
        golden = Golden(_model(layers, thresholds, [str(k) for k in range(len(bias))], {}))
        sent = []
        for part in _batches(frames):
            kept = golden.run(part, keep_sent=True).sent
            assert kept is not None
            sent.append(kept[-1] / STEP)
    sums = [torch.nn.functional.linear(torch.from_numpy(s).double(), weight, bias / before).numpy() for s in sent]
    return max(_top(s, percentile) for s in sums) if percentile == 100 else _top(np.concatenate(sums, 1), percentile)


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


def _model(layers: list[_Linear], thresholds: Sequence[float], labels: Sequence[str], card: dict) -> Model:
    """The spiking model of linear layers, of which the last one is the classifier."""
    scaled, before = [], 1.0
    for (weight, bias), v in zip(layers, [*thresholds, 1.0], strict=True):
        before *= v
        scaled.append((weight / v, bias / before))
    shapes, tensors = [], {}
    for l, (weight, bias) in enumerate(scaled):
        last = l == len(scaled) - 1
        frac = _weight_frac(weight, bias, l)
        columns = 2 if bias.any() else 0
        grid = (1, *BIAS_DELTAS[::-1])[columns] if columns else 0
        made = {} if last else {"cell": UNIT, "activation": "identity", "recurrent": False}
        shape = Layer(len(bias), frac, consumes=True, bias_columns=columns, **made)
        ints = rounded(bias / (grid or 1), acc_frac(frac)) * grid
        name = "classifier.{}" if last else tensor_name(shape, l, "{}")
        w = rounded(weight, frac).clamp(-weight_max(WEIGHT_BITS), weight_max(WEIGHT_BITS))
        tensors[name.format("weight" if last else "weight_ih")] = w.numpy().astype(np.int8)
        tensors[name.format("bias")] = (ints if last else ints[None]).numpy().astype(np.int32)
        shapes.append(shape)
    features = layers[0][0].shape[1]
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
