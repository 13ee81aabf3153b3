"""A float network in the engine's integers: a scale per layer, weights rounded, no accumulator that could wrap."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..spec.errors import ModelError
from ..spec.formats import BIAS_DELTAS, BIAS_MAX, SIGNAL, WEIGHT_BITS, WEIGHT_FRACS, acc_frac, weight_max
from ..spec.layer import Layer
from ..spec.model import Model, tensor_name
from ..spec.network import Network
from ..spec.rules import Diffuse
from .chain import FloatChain, FloatLayer
from .scale import rounded as _round
from .scale import scales as scales_of

_WEIGHT_MAX = weight_max(WEIGHT_BITS)
_OUTLIERS = 0.005           # share of weights that may be called a few


@dataclass(frozen=True)
class Scale:
    """``weight_frac`` of a layer; ``lost``: what rounding takes of the weights, as a share of their magnitude;
    ``warning``: one line, "" if all is well; ``of_bias``: it is about biases that are too large."""

    weight_frac: int
    lost: float
    warning: str
    of_bias: bool = False


def rounded_model(chain: FloatChain, thresholds: Sequence[int] | None, labels: Sequence[str] | None,
                  frontend: dict | None, mean, scale, card: dict | None, clip: bool) -> tuple[Model, list[Scale]]:
    """The model of a network, and the scales of its layers and classifier; arguments as of ``from_torch``."""
    features, count = chain.features, len(chain.layers)
    layers = [*chain.layers, FloatLayer(chain.layers[0].cell, chain.weight, None, chain.bias[None])]

    firing = [chain.features_firing, *(layer.firing for layer in chain.layers)]
    rules = tuple(f and Diffuse(1 << SIGNAL.frac, leak=f.leak, zero=f.zero) for f in firing)
    consumes = [chain.hears_spikes(l) for l in range(count + 1)]
    columns = [len(BIAS_DELTAS) if c and bool(layer.bias.any()) else 0
               for c, layer in zip(consumes, layers, strict=True)]

    def network(fracs: Sequence[int], thresholds: Sequence[int]) -> Network:
        shapes = tuple(Layer(layer.size, frac, cell=layer.cell, activation=layer.activation,
                             recurrent=layer.w_hh is not None, consumes=c, bias_columns=b)
                       for layer, frac, c, b in zip(chain.layers, fracs, consumes, columns, strict=False))
        classifier = Layer(chain.classes, fracs[-1], consumes=consumes[-1], bias_columns=columns[-1])
        return Network(features, shapes, classifier, tuple(thresholds), rules)

    own = tuple(f.theta if f else 0 for f in firing)
    shape = network([WEIGHT_FRACS.start] * (count + 1), own)
    reach = [[shape.reach(s, c) for s in range(l, min(l + 2, shape.signals))] for l, c in enumerate(consumes)]
    scales = [_scale(layer, reach[l], chain.names[l], clip) for l, layer in enumerate(layers)]
    run = network([s.weight_frac for s in scales], own if thresholds is None else tuple(thresholds))
    tensors = {
        "frontend.mean": np.asarray(np.zeros(features) if mean is None else mean, np.float32),
        "frontend.scale": np.asarray(np.ones(features) if scale is None else scale, np.float32),
    }
    for l, (layer, s) in enumerate(zip(layers, scales, strict=True)):
        ints = {what: _round(w, s.weight_frac).clamp(-_WEIGHT_MAX, _WEIGHT_MAX).numpy().astype(np.int8)
                for what, w in (("weight_ih", layer.w_ih), ("weight_hh", layer.w_hh)) if w is not None}
        bias = _round(layer.bias, acc_frac(s.weight_frac)).numpy().astype(np.int32)
        if l < count:
            tensors |= {tensor_name(run.layers[l], l, what): value for what, value in (*ints.items(), ("bias", bias))}
        else:
            tensors |= {"classifier.weight": ints["weight_ih"], "classifier.bias": bias[0]}
    labels = tuple(map(str, range(chain.classes))) if labels is None else tuple(labels)
    return Model(run, tensors, labels, dict(frontend or {}), dict(card or {})), scales


def _scale(layer: FloatLayer, reach: list[int], name: str, clip: bool) -> Scale:
    """The largest weight_frac at which weights and biases fit and, with signals up to ``reach``, no accumulator wraps.

    If only the accumulators do not fit, the coarsest is returned, and ``Model`` names the row.  ``clip``: weights need
    not fit, and of all weight_fracs that one is returned at which their squared error is least.
    """
    weights, bias = [w for w in (layer.w_ih, layer.w_hh) if w is not None], layer.bias
    flat = torch.cat([w.flatten() for w in weights])
    largest = float(torch.cat([flat, bias.flatten()]).abs().max())
    if not np.isfinite(largest):
        raise ModelError(f"{name} has a weight or bias that is NaN or infinite; train it again")
    fitting, safe = None, []
    for frac, holds in scales_of(layer.cell, weights, bias, reach[: len(weights)], clip):
        fitting = frac
        if holds:
            safe.append(frac)
    if fitting is None:
        raise ModelError(f"{name} has a weight or bias of magnitude {largest:.4g}, int8 weights reach "
                         f"{_WEIGHT_MAX / (1 << WEIGHT_FRACS.start):g}; train with weight decay or rescale")
    norm = float((flat**2).sum()) or 1.0

    def lost(frac: int) -> float:
        return float(_error(flat, frac) / norm) ** 0.5

    if clip:
        frac = min(safe or [fitting], key=lost)
        return Scale(frac, lost(frac), "")
    frac = safe[0] if safe else fitting
    return Scale(frac, lost(frac), *_outliers(flat, bias, frac, name))


def _error(weights: Tensor, frac: int) -> Tensor:
    """Squared error of rounded and clipped weights."""
    return ((_round(weights, frac).clamp(-_WEIGHT_MAX, _WEIGHT_MAX) * 2.0**-frac - weights) ** 2).sum()


def usual_frac(weights: Tensor, most: int = _WEIGHT_MAX) -> int:
    """The finest weight_frac at which all but a few of a layer's weights are within ±``most``; the coarsest if there is
    none."""
    few = int(_OUTLIERS * weights.numel())
    return next((f for f in reversed(WEIGHT_FRACS) if int((_round(weights, f).abs() > most).sum()) <= few),
                WEIGHT_FRACS.start)


def _outliers(weights: Tensor, bias: Tensor, frac: int, name: str) -> tuple[str, bool]:
    """A warning if a few weights, or the biases, make all weights two bits or more coarser, else ""; and whether it is
    about the biases."""
    usual = usual_frac(weights)
    if usual < frac + 2:
        return "", False
    beyond = int((_round(weights, usual).abs() > _WEIGHT_MAX).sum())
    norm = float((weights**2).sum()) or 1.0
    now, least = (float(_error(weights, f) / norm) ** 0.5
                  for f in (frac, min(WEIGHT_FRACS, key=lambda f: float(_error(weights, f)))))
    of_bias = False
    if float(_round(weights, frac + 1).abs().max()) > _WEIGHT_MAX:
        cause = f"{beyond} of {len(weights)} weights reach {float(weights.abs().max()):.3g} and take all"
        cure = f"clip=True loses {least:.1%}"
    elif float(_round(bias, acc_frac(frac + 1)).abs().max()) > BIAS_MAX:
        of_bias = True
        cause = f"biases reach {float(bias.abs().max()):.3g} and take the weights"
        cure = "train with smaller biases"
    else:
        cause = "sums of weights that an accumulator could not hold take them"
        cure = "use fewer inputs or train with weight decay"
    return (f"{name}: {cause} from {usual} to {frac} fraction bits, so that rounding loses {now:.1%} of their "
            f"magnitude; {cure}"), of_bias
