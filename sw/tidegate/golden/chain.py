"""A trained float network as the engine can hold one: layers of a cell in a row, and a classifier behind the last.

    features ─► layer 0 ─► layer 1 ─► … ─► classifier ─► logits

What reads a network (``state_dict.py``, ``tidegate.importers``) makes a ``FloatChain``, and ``convert`` takes it.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from ..spec.cells import Cell
from ..spec.errors import ModelError
from ..spec.formats import SIGNAL
from ..spec.network import MAX_LAYERS
from .cells import golden_of
from .integers import of_gates

READOUTS = ("frames", "last", "mean")


@dataclass(frozen=True)
class Firing:
    """Neurons that integrate what they hear, and send spikes of 1: u ← u − u·2**-leak + sum; fire ⇔ u ≥ Θ.

    ``theta``: Θ in LSBs of 2**-8.  ``leak``: 0 none.  ``zero``: a spike sets u to 0, in place of taking 1 from it.
    """

    theta: int
    leak: int = 0
    zero: bool = True

    def step(self, sums: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """(spikes, the new u) of one frame."""
        u = u * (1 - 2.0**-self.leak if self.leak else 1.0) + sums
        spikes = (u >= self.theta * 2.0**-SIGNAL.frac).to(u.dtype)
        return spikes, u * (1 - spikes) if self.zero else u - spikes

    def run(self, sums: Tensor, w_hh: Tensor | None = None) -> Tensor:
        """Spikes (T, N, H) of sums (T, N, H), from u = 0; ``w_hh`` (H, H): of the spikes of the frame before."""
        u = spikes = torch.zeros_like(sums[0])
        sent = []
        for now in sums:
            spikes, u = self.step(now if w_hh is None else now + nn.functional.linear(spikes, w_hh), u)
            sent.append(spikes)
        return torch.stack(sent)


@dataclass(frozen=True)
class FloatLayer:
    """A layer in real numbers, float64.

    ``w_ih`` (rows, inputs) and ``w_hh`` (rows, H), in the row order of PyTorch's module of the cell; ``w_hh`` None: the
    layer does not hear itself.  ``bias`` (gates, H) in the order of the cell's accumulators.  ``activation``: of the
    cell ``unit``.  ``name``: of the layer in the source, for messages.  ``firing``: of a layer that sends spikes, which
    is of the cell ``unit`` with the activation ``identity``.
    """

    cell: Cell
    w_ih: Tensor
    w_hh: Tensor | None
    bias: Tensor
    activation: str = ""
    name: str = ""
    firing: Firing | None = None

    @property
    def size(self) -> int:
        return self.bias.shape[1]

    @property
    def inputs(self) -> int:
        return self.w_ih.shape[1]

    @torch.no_grad()
    def run(self, x: Tensor) -> Tensor:
        """The signal (T, N, H) that the layer makes of its input (T, N, inputs), from a state of 0."""
        if self.firing is not None:
            return self.firing.run(nn.functional.linear(x, self.w_ih, self.bias[0]), self.w_hh)
        if self.w_hh is None:
            sums = nn.functional.linear(x, self.w_ih, self.bias[0])[None]
            return golden_of(self.cell).observed(sums, x, self.activation).signal
        more = {"nonlinearity": self.activation} if self.activation else {}
        module = golden_of(self.cell).Module(self.inputs, self.size, **more).double()
        b_ih, b_hh = (torch.zeros(len(w), dtype=torch.float64) for w in (self.w_ih, self.w_hh))
        for gate, bias in zip(self.cell.gates, self.bias, strict=True):
            if gate.input_row is not None:
                b_ih.view(-1, self.size)[gate.input_row] = bias
            elif gate.own_row is not None:
                b_hh.view(-1, self.size)[gate.own_row] = bias
        module.load_state_dict({"weight_ih_l0": self.w_ih, "weight_hh_l0": self.w_hh, "bias_ih_l0": b_ih,
                                "bias_hh_l0": b_hh})
        return module(x)[0]


@dataclass(frozen=True)
class FloatChain:
    """``weight`` (classes, H) and ``bias`` (classes,) of the classifier, float64.

    ``readout``: where the source takes its answer from: the last frame, the mean of all frames, or every frame; None:
    it does not say.  ``notes``: one line each of what was left out or folded.  ``features_firing``: the features are
    sent as spikes, too; ``features_scale`` (features,): what they are multiplied by before that.
    """

    layers: tuple[FloatLayer, ...]
    weight: Tensor
    bias: Tensor
    readout: str | None = None
    notes: tuple[str, ...] = ()
    features_firing: Firing | None = None
    features_scale: np.ndarray | None = None

    def __post_init__(self):
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise ModelError(f"the network has {len(self.layers)} layers before its classifier, tidegate runs 1 to "
                             f"{MAX_LAYERS}; train a network of fewer layers")
        below = self.features
        for l, layer in enumerate(self.layers):
            if layer.inputs != below:
                raise ModelError(f"layer {l} expects {layer.inputs} inputs, but gets {below}; correct the network")
            if layer.firing is not None and layer.w_hh is not None and not self.hears_spikes(l):
                raise ModelError(f"{self.names[l]} hears its own spikes and values that are none; the engine has such "
                                 "layers only behind a layer that spikes")
            below = layer.size
        if self.weight.shape[1] != below:
            raise ModelError(f"the classifier expects {self.weight.shape[1]} inputs, but gets {below}; "
                             "correct the network")

    @property
    def features(self) -> int:
        return self.layers[0].inputs

    @property
    def classes(self) -> int:
        return self.weight.shape[0]

    @property
    def spiking(self) -> bool:
        """Whether anything sends spikes."""
        return self.features_firing is not None or any(layer.firing is not None for layer in self.layers)

    def hears_spikes(self, layer: int) -> bool:
        """Whether a layer, or the classifier, has spikes as its input."""
        return (self.features_firing if layer == 0 else self.layers[layer - 1].firing) is not None

    @cached_property
    def names(self) -> list[str]:
        """Of layers and classifier, for messages."""
        return [*(f"layer {l}" + (f" ({layer.name})" if layer.name else "") for l, layer in enumerate(self.layers)),
                "the classifier"]

    def run(self, frames: np.ndarray) -> tuple[list[Tensor], Tensor]:
        """Frames (T, N, features), multiplied by ``features_scale``, → (each layer's signal (T, N, H), logits (T, N,
        classes)), float64."""
        x, signals = torch.from_numpy(np.ascontiguousarray(frames, np.float64)), []
        if self.features_firing is not None:
            x = self.features_firing.run(x)
        for layer in self.layers:
            x = layer.run(x)
            signals.append(x)
        return signals, nn.functional.linear(x, self.weight, self.bias)

    def on_normalised(self, mean: np.ndarray, scale: np.ndarray) -> "FloatChain":
        """The same network on features x' = (x − mean)·scale: W·x + b = (W / scale)·x' + (b + W·mean)."""
        first = self.layers[0]
        more = rows_to_gates(first.cell, first.w_ih @ torch.from_numpy(mean).double(), first.w_hh)
        changed = replace(first, w_ih=first.w_ih / torch.from_numpy(scale).double(), bias=first.bias + more)
        return replace(self, layers=(changed, *self.layers[1:]))


def rows_to_gates(cell: Cell, rows: Tensor, w_hh: Tensor | None) -> Tensor:
    """What rows (rows,) of ``w_ih`` add to each accumulator: (gates, H)."""
    return rows[None] if w_hh is None else of_gates(cell, rows, w_hh.new_zeros(w_hh.shape[0]))
