"""A chain of layers in any arithmetic, with all that is inside: float, the engine's integers, and all between.

A model's weights are real numbers on a grid, so a model is a ``FloatChain``, too (``chain_of_model``).  With
``INTEGER`` arithmetic, its own Θ and its own weights it gives the integers of ``Golden``; a test holds that.  A run
without one thing, such as Θ, a rounding, or the difference of some weights, shows what that thing costs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from ..spec.errors import ModelError
from ..spec.formats import SIGNAL, acc_frac
from ..spec.layer import Layer
from ..spec.model import Model, tensor_name
from ..spec.rules import DELTA_MAX
from .arithmetic import REAL, Arithmetic
from .cells import golden_of
from .chain import FloatChain, FloatLayer
from .integers import of_gates

_LSB = 2.0**-SIGNAL.frac
SENT = "as sent"


class Site(NamedTuple):
    """What is compared: ``layer`` -1 for the features, the number of layers for the classifier; ``name`` of a value
    that the layer's cell shows, or ``SENT`` for what the next layer hears."""

    layer: int
    name: str


Seen = dict[Site, Tensor]       # in the order of computation; each (T, N, elements), float64


@dataclass(frozen=True)
class Switches:
    """How a chain is run.

    ``thresholds``: Θ per signal, in LSBs of 2**-8.  ``features``, ``layers``: the arithmetic of each; a classifier has
    none.  ``heard``: what layers hear (T, N, inputs) in place of what the layer before sends; by layer.
    """

    thresholds: tuple[int, ...]
    features: Arithmetic
    layers: tuple[Arithmetic, ...]
    heard: Mapping[int, Tensor] = field(default_factory=dict)

    @staticmethod
    def all(chain: FloatChain, number: Arithmetic, thresholds: Sequence[int] | None = None) -> "Switches":
        """The same arithmetic everywhere; Θ = 0 if it is not given."""
        count = len(chain.layers)
        return Switches(tuple(thresholds or (0,) * (count + 1)), number, (number,) * count)

    def at(self, layer: int) -> Arithmetic:
        """The arithmetic of the features (-1) or of a layer."""
        return self.features if layer < 0 else self.layers[layer] if layer < len(self.layers) else REAL

    def having(self, layer: int, number: Arithmetic) -> "Switches":
        """With another arithmetic in one layer, or of the features (-1)."""
        if layer < 0:
            return replace(self, features=number)
        return replace(self, layers=(*self.layers[:layer], number, *self.layers[layer + 1 :]))


@torch.no_grad()
def stepwise(chain: FloatChain, frames: Tensor, switches: Switches) -> Seen:
    """All values of a chain on normalised features (T, N, features), float64, from reset."""
    x = switches.features.to(frames, SIGNAL, "signal")
    seen = {Site(-1, "value"): x}
    x = seen[Site(-1, SENT)] = _sent(x, switches.thresholds[0], switches.features)
    for l, layer in enumerate(chain.layers):
        x = switches.heard.get(l, x)
        values, x = _layer(layer, x, switches.thresholds[l + 1], switches.layers[l])
        seen |= {Site(l, name): value for name, value in values.items()}
        seen[Site(l, SENT)] = x
    count = len(chain.layers)
    seen[Site(count, "logits")] = linear(switches.heard.get(count, x), chain.weight, chain.bias)
    return seen


def _layer(layer: FloatLayer, x: Tensor, threshold: int, number: Arithmetic) -> tuple[dict[str, Tensor], Tensor]:
    """(values, what is sent (T, N, H)) of a layer that hears x (T, N, inputs)."""
    cell, size = golden_of(layer.cell), layer.size
    if layer.w_hh is None:
        fed = linear(x, layer.w_ih, layer.bias[0])
        seen = cell.observed(fed[None], fed, layer.activation, number)
        return seen.values, _sent(seen.signal, threshold, number)
    rows = linear(x, layer.w_ih)
    state = anchor = x.new_zeros(x.shape[1], size)
    kept: list[dict[str, Tensor]] = []
    sent: list[Tensor] = []
    for heard in rows:
        sums = of_gates(layer.cell, heard.t(), linear(anchor, layer.w_hh).t()).mT + layer.bias[:, None]
        seen = cell.observed(sums, state, layer.activation, number)
        state = seen.state
        anchor = _moved(anchor, seen.signal, threshold, number)
        kept.append(seen.values)
        sent.append(anchor)
    return {name: torch.stack([values[name] for values in kept]) for name in kept[0]}, torch.stack(sent)


def _sent(v: Tensor, threshold: int, number: Arithmetic) -> Tensor:
    """Anchors (T, N, n) of a signal (T, N, n)."""
    if threshold <= 1 and not number.saturates:
        return v
    anchor, anchors = torch.zeros_like(v[0]), []
    for now in v:
        anchor = _moved(anchor, now, threshold, number)
        anchors.append(anchor)
    return torch.stack(anchors)


def _moved(anchor: Tensor, v: Tensor, threshold: int, number: Arithmetic) -> Tensor:
    """The rule ``delta``; a Δ saturates where numbers do."""
    change = v - anchor
    if number.saturates:
        change = change.clamp(-DELTA_MAX * _LSB, DELTA_MAX * _LSB)
    if threshold > 1:
        change = torch.where((v - anchor).abs() >= threshold * _LSB, change, 0.0)
    return anchor + change


def chain_of_model(model: Model) -> FloatChain:
    """A model's integers as real numbers; ModelError if it is no chain of layers with the rule ``delta``."""
    net = model.network
    if net.rules or any(layer.consumes or layer.hears for layer in (*net.layers, net.classifier)):
        raise ModelError("only chains of layers with the rule 'delta' are compared with a float network; this model "
                         "spikes, or has layers that hear others than the one before")

    def real(name: str, frac: int) -> Tensor:
        return torch.from_numpy(model.tensors[name].astype(np.float64)) * 2.0**-frac

    layers = []
    for l, layer in enumerate(net.layers):
        names = [tensor_name(layer, l, what) for what in ("weight_ih", "weight_hh", "bias")]
        own = real(names[1], layer.weight_frac) if layer.own_rows else None
        layers.append(FloatLayer(layer.cell, real(names[0], layer.weight_frac), own,
                                 real(names[2], acc_frac(layer.weight_frac)), layer.activation))
    frac = net.classifier.weight_frac
    return FloatChain(tuple(layers), real("classifier.weight", frac), real("classifier.bias", acc_frac(frac)))


def check_same_shape(model: Model, chain: FloatChain) -> None:
    """ModelError of one line if a model cannot have been made of this network."""
    def shape(features: int, layers: Sequence[Layer | FloatLayer], classes: int) -> str:
        kinds = (f"{layer.cell.title if not layer.activation else layer.activation} {layer.size}" for layer in layers)
        return f"{features} features, {' + '.join(kinds)}, {classes} classes"

    net = model.network
    mine, other = shape(net.features, net.layers, net.classes), shape(chain.features, chain.layers, chain.classes)
    own = [bool(layer.own_rows) for layer in net.layers], [layer.w_hh is not None for layer in chain.layers]
    if mine != other or own[0] != own[1]:
        raise ModelError(f"the model has {mine}, the float network {other}; give the network that the model was made "
                         "of")


def on_grid(chain: FloatChain, fracs: Sequence[int]) -> FloatChain:
    """The weights and biases of layers and classifier rounded to grids of so many fraction bits, nothing clipped."""
    def grid(x: Tensor, frac: int) -> Tensor:
        return torch.floor(x * 2.0**frac + 0.5) * 2.0**-frac

    layers = tuple(
        replace(layer, w_ih=grid(layer.w_ih, f), w_hh=None if layer.w_hh is None else grid(layer.w_hh, f),
                bias=grid(layer.bias, acc_frac(f)))
        for layer, f in zip(chain.layers, fracs, strict=False))
    return replace(chain, layers=layers, weight=grid(chain.weight, fracs[-1]),
                   bias=grid(chain.bias, acc_frac(fracs[-1])))


def real_of(chain: FloatChain, frames: Tensor) -> Seen:
    """All values of the float network."""
    return stepwise(chain, frames, Switches.all(chain, REAL))


