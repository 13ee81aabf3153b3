"""The same equations without rounding, to separate what Θ and the grid cost.

``FloatDelta`` is a float delta network, with Θ = 0 PyTorch's own module of its cell (as torch.nn.GRU); written for
clarity, in plain autograd, it trains nothing.  ``FloatNetwork`` trains such a module where ``DeltaNetwork`` would train
on the integer grid.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..spec.cells import CELLS, GRU, Cell
from ..spec.formats import SIGNAL
from ..spec.layer import Layer
from ..spec.model import Model
from ..spec.network import Network
from .cells import golden_of
from .convert import from_torch
from .integers import of_gates
from .network import Output


class FloatNetwork(nn.Module):
    """PyTorch's module of a cell and a classifier behind the interface of ``DeltaNetwork``.

    Dense and unrounded while it trains.

    ``thresholds`` are those of the exported model, Θ post hoc; the forward pass knows none.
    """

    def __init__(self, features: int, sizes: Sequence[int], classes: int, cell: Cell = GRU):
        super().__init__()
        if len(set(sizes)) != 1:
            raise ValueError("layers of a torch.nn.GRU or LSTM are all of one size")
        # named as the cell that was the first one, for checkpoints
        self.cell, self.gru = cell, golden_of(cell).Module(features, sizes[0], len(sizes))
        self.classifier = nn.Linear(sizes[-1], classes)
        self.thresholds = [0] * (len(sizes) + 1)

    @property
    def network(self) -> Network:
        """The description of the shape; the scales are chosen at export."""
        layers = (Layer(self.gru.hidden_size, cell=self.cell),) * self.gru.num_layers
        return Network(self.gru.input_size, layers, Layer(self.classifier.out_features), tuple(self.thresholds))

    def forward(self, frames: Tensor, thresholds=None, noise: float = 0.0, generator=None) -> Output:
        """``frames`` (T, B, features) SIGNAL integers; the anchors are features and last h, every element an event."""
        lsb = 2.0**-SIGNAL.frac
        h, _ = self.gru(frames * lsb)
        return Output(self.classifier(h), [frames, h / lsb], None)

    def get_extra_state(self) -> dict:
        return {"thresholds": list(self.thresholds)}

    def set_extra_state(self, state: dict) -> None:
        self.thresholds = list(state["thresholds"])

    def set_format(self, weight_fracs, weight_bits=None) -> None:
        raise ValueError("a float network has no formats")

    def clip_(self) -> None:
        """Nothing to clip: the export chooses a scale at which all weights fit."""

    def export(self, labels: Sequence[str], frontend: dict, mean, scale, card: dict | None = None) -> Model:
        """The rounded model, see ``from_torch``."""
        return from_torch(self.gru.state_dict(), self.classifier.state_dict(), self.thresholds, labels, frontend, mean,
                          scale, card)


class FloatDelta:
    """A float delta network around the weights of PyTorch's module of a cell and, if given, a ``torch.nn.Linear``.

    ``thresholds``: Θ per signal in real units, features first.  fire ⇔ |v − v̂| ≥ Θ and v ≠ v̂; v̂ ← v where fired.
    """

    def __init__(self, rnn: nn.RNNBase, classifier: nn.Linear | None = None, thresholds: Sequence[float] | None = None):
        self.rnn, self.classifier = rnn, classifier
        self.cell = next(cell for cell in CELLS.values() if isinstance(rnn, golden_of(cell).Module))
        self.thresholds = [0.0] * (rnn.num_layers + 1) if thresholds is None else list(thresholds)

    def __call__(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``frames`` (T, B, features) real → (logits, or the last ĥ without a classifier; v̂ of every signal)."""
        anchors = [self._encode(frames, self.thresholds[0])]
        for l in range(self.rnn.num_layers):
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
        hidden, weights = self.rnn.hidden_size, [getattr(self.rnn, f"weight_{side}_l{l}") for side in ("ih", "hh")]
        biases = [getattr(self.rnn, f"bias_{side}_l{l}") if self.rnn.bias else None for side in ("ih", "hh")]
        inputs = nn.functional.linear(x, weights[0], biases[0])
        state = anchor = x.new_zeros(x.shape[1], hidden)
        anchors = []
        for heard in inputs:
            sums = of_gates(self.cell, heard.t(), nn.functional.linear(anchor, weights[1], biases[1]).t())
            _, v, state = golden_of(self.cell).observed(sums.mT, state)
            anchor = self._fire(v, anchor, threshold)
            anchors.append(anchor)
        return torch.stack(anchors)
