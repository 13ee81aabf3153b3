"""What the passes of a layer cost: counted for people, and once more with a gradient for a loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tidegate.golden.encoder import priced_events, whole_threshold
from tidegate.golden.figures import Figures, figures_of
from tidegate.spec.network import Network


@dataclass
class Pass:
    """One forward pass: per signal the anchors (T, B, elements), Θ, and the anchors (B, elements) before the first
    frame, or None at reset; ``valid`` (T, B), or None if no frame is padding."""

    anchors: Sequence[Tensor]
    thresholds: Sequence[Tensor | int]
    starts: Sequence[Tensor | None]
    valid: Tensor | None

    def events(self, s: int) -> Tensor:
        """Events of a signal, without dimensions, differentiable."""
        anchors = self.anchors[s] if s else self.anchors[0].detach()        # no price moves the input
        events = priced_events(anchors, self.thresholds[s], self.starts[s])
        return (events if self.valid is None else events * self.valid).sum()

    @property
    def frames(self) -> int:
        """Frames of all sequences, without padding."""
        steps, batch = self.anchors[0].shape[:2]
        return steps * batch if self.valid is None else int(self.valid.sum())

    @torch.no_grad()
    def counted(self) -> list[int]:
        """Events of each signal."""
        plain = Pass([a.detach() for a in self.anchors], [whole_threshold(t) for t in self.thresholds], self.starts,
                     self.valid)
        return [int(n) for n in torch.stack([plain.events(s) for s in range(len(self.anchors))]).tolist()]


class Meter:
    """Sums over passes, of the layers of a network without a classifier."""

    def __init__(self, network: Network):
        self.network = network
        self.columns = [network.column_weights(s) for s in range(network.signals)]
        self.reset()

    def reset(self) -> None:
        """Count from 0."""
        self.frames, self.events = 0, (0,) * self.network.signals

    def add(self, run: Pass) -> float:
        """Count a pass.  Its fetch reduction, infinite if it read no weight."""
        frames, events = run.frames, run.counted()
        self.frames += frames
        self.events = tuple(a + b for a, b in zip(self.events, events, strict=True))
        read = sum(n * c for n, c in zip(events, self.columns, strict=True))
        return self.network.dense_weights * frames / read if read else math.inf

    @property
    def figures(self) -> Figures:
        """Figures of all passes."""
        return figures_of(self.network, self.events, self.frames)

    def loss(self, run: Pass) -> Tensor:
        """Share of a dense network's weight reads that a pass made, 0 to 1, differentiable."""
        read = torch.stack([run.events(s) * c for s, c in enumerate(self.columns)]).sum()
        return read / (self.network.dense_weights * run.frames)
