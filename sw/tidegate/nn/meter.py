"""What the passes of a layer cost: counted for people, and once more with a gradient for a loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tidegate.golden.encoder import whole_threshold
from tidegate.golden.figures import Figures, figures_of
from tidegate.golden.general import Signal
from tidegate.host.figures import weights_read
from tidegate.spec.network import Network


@dataclass
class Pass:
    """One forward pass: its signals, and Θ of each; ``valid`` (T, B), or None if no frame is padding."""

    signals: Sequence[Signal]
    thresholds: Sequence[Tensor | int]
    valid: Tensor | None

    def events(self, s: int) -> Tensor:
        """Events of a signal, without dimensions, differentiable."""
        signal = self.signals[s] if s else self.signals[0].detached         # no price moves the input
        events = signal.priced_events(self.thresholds[s])
        return (events if self.valid is None else events * self.valid).sum()

    @property
    def frames(self) -> int:
        """Frames of all sequences, without padding."""
        steps, batch = self.signals[0].memory.shape[:2]
        return steps * batch if self.valid is None else int(self.valid.sum())

    @torch.no_grad()
    def counted(self) -> list[int]:
        """Events of each signal."""
        plain = Pass([s.detached for s in self.signals], [whole_threshold(t) for t in self.thresholds], self.valid)
        return [int(n) for n in torch.stack([plain.events(s) for s in range(len(self.signals))]).tolist()]


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
        read = weights_read(self.network, events, frames)
        return self.network.dense_weights * frames / read if read else math.inf

    @property
    def figures(self) -> Figures:
        """Figures of all passes."""
        return figures_of(self.network, self.events, self.frames)

    def loss(self, run: Pass) -> Tensor:
        """Share of a dense network's weight reads that a pass made, 0 to 1, differentiable."""
        read = torch.stack([run.events(s) * c for s, c in enumerate(self.columns)]).sum()
        read = read + self.network.replayed_weights * run.frames
        return read / (self.network.dense_weights * run.frames)
