"""The same equations without rounding: a float delta-GRU, to separate what Θ costs from what the grid costs.

With Θ = 0 it is torch.nn.GRU.  Written for clarity, in plain autograd; training uses ``gru.py``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


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
