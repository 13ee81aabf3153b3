"""The same equations without rounding, to separate what Θ and the grid cost.

``FloatDelta`` is a float delta-GRU, with Θ = 0 torch.nn.GRU; written for clarity, in plain autograd, it trains nothing.
``FloatNetwork`` trains a plain torch.nn.GRU where ``DeltaNetwork`` would train on the integer grid.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..spec.formats import SIGNAL
from ..spec.model import Model
from ..spec.network import Layer, Network
from .convert import from_torch
from .network import Output


class FloatNetwork(nn.Module):
    """A torch.nn.GRU and a classifier behind the interface of ``DeltaNetwork``: dense and unrounded while it trains.

    ``thresholds`` are those of the exported model, Θ post hoc; the forward pass knows none.
    """

    def __init__(self, features: int, gru_sizes: Sequence[int], classes: int):
        super().__init__()
        if len(set(gru_sizes)) != 1:
            raise ValueError("layers of a torch.nn.GRU are all of one size")
        self.gru = nn.GRU(features, gru_sizes[0], len(gru_sizes))
        self.classifier = nn.Linear(gru_sizes[-1], classes)
        self.thresholds = [0] * (len(gru_sizes) + 1)

    @property
    def network(self) -> Network:
        """The description of the shape; the scales are chosen at export."""
        gru = (Layer(self.gru.hidden_size),) * self.gru.num_layers
        return Network(self.gru.input_size, gru, Layer(self.classifier.out_features), tuple(self.thresholds))

    def forward(self, frames: Tensor, thresholds=None, noise: float = 0.0, generator=None) -> Output:
        """``frames`` (T, B, features) SIGNAL integers; the anchors are features and last h, every element an event."""
        lsb = 2.0**-SIGNAL.frac
        h, _ = self.gru(frames * lsb)
        return Output(self.classifier(h), [frames, h / lsb], None)

    def set_format(self, weight_fracs, weight_bits=None) -> None:
        raise ValueError("a float network has no formats")

    def clip_(self) -> None:
        """Nothing to clip: the export chooses a scale at which all weights fit."""

    def export(self, labels: Sequence[str], frontend: dict, mean, scale, card: dict | None = None) -> Model:
        """The rounded model, see ``from_torch``."""
        return from_torch(self.gru.state_dict(), self.classifier.state_dict(), self.thresholds, labels, frontend, mean,
                          scale, card)


class FloatDelta:
    """A float delta network around the weights of a ``torch.nn.GRU`` and, if given, a ``torch.nn.Linear``.

    ``thresholds``: Θ per signal in real units, features first.  fire ⇔ |v − v̂| ≥ Θ and v ≠ v̂; v̂ ← v where fired.
    """

    def __init__(self, gru: nn.GRU, classifier: nn.Linear | None = None, thresholds: Sequence[float] | None = None):
        self.gru, self.classifier = gru, classifier
        self.thresholds = [0.0] * (gru.num_layers + 1) if thresholds is None else list(thresholds)

    def __call__(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``frames`` (T, B, features) real → (logits, or the last ĥ without a classifier; v̂ of every signal)."""
        anchors = [self._encode(frames, self.thresholds[0])]
        for l in range(self.gru.num_layers):
            anchors.append(self._layer(anchors[-1], l, self.thresholds[l + 1]))
        return (self.classifier(anchors[-1]) if self.classifier else anchors[-1]), anchors

    @staticmethod
    def _fire(v: Tensor, anchor: Tensor, threshold: float) -> Tensor:
        return torch.where((v - anchor).abs() >= threshold, v, anchor)

    def _encode(self, signal: Tensor, threshold: float) -> Tensor:
        anchor, anchors = torch.zeros_like(signal[0]), []
        for v in signal:
            anchor = self._fire(v, anchor, threshold)
            anchors.append(anchor)
        return torch.stack(anchors)

    def _layer(self, x: Tensor, l: int, threshold: float) -> Tensor:
        w_ih, w_hh = getattr(self.gru, f"weight_ih_l{l}"), getattr(self.gru, f"weight_hh_l{l}")
        b_ih = getattr(self.gru, f"bias_ih_l{l}") if self.gru.bias else None
        b_hh = getattr(self.gru, f"bias_hh_l{l}") if self.gru.bias else None
        inputs = nn.functional.linear(x, w_ih, b_ih)
        h = anchor = x.new_zeros(x.shape[1], self.gru.hidden_size)
        anchors = []
        for m in inputs:
            (xr, xz, xn), (hr, hz, hn) = m.chunk(3, 1), nn.functional.linear(anchor, w_hh, b_hh).chunk(3, 1)
            r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
            n = torch.tanh(xn + r * hn)
            h = n + z * (h - n)
            anchor = self._fire(h, anchor, threshold)
            anchors.append(anchor)
        return torch.stack(anchors)
