"""A layer of a trained network as ``spike_norm`` takes it: what each signal feeds, added, with a bias."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..spec.conv import Conv2d
from .general import convolution


@dataclass(frozen=True)
class Feed:
    """``signal``: the one that is heard (0: the features, n: output of layer n - 1).  ``weight``: float64 (rows,
    columns); of a convolution (output channels, channel · ky · kx), of a depthwise one (channels, ky · kx).  ``conv``:
    its geometry, None of a dense layer."""

    signal: int
    weight: Tensor
    conv: Conv2d | None = None

    def of_outputs(self, factor: Tensor) -> "Feed":
        """The same with each output (row) multiplied by a factor (rows,)."""
        return replace(self, weight=self.weight * factor[:, None])

    def of_inputs(self, factor: Tensor) -> "Feed":
        """The same with what is heard multiplied by a factor (1,), or (channels,) of the image that is heard."""
        if self.conv is None:
            return replace(self, weight=self.weight * factor.repeat(self.weight.shape[1] // len(factor)))
        if self.conv.depthwise:
            return self.of_outputs(factor.expand(len(self.weight)))
        return replace(self, weight=self.weight * factor.expand(self.conv.channels).repeat_interleave(
            self.conv.kernel**2))

    def same(self, other: "Feed") -> bool:
        """Whether both hear the same with the same weights."""
        return (self.signal, self.conv) == (other.signal, other.conv) and torch.equal(self.weight, other.weight)

    def sums(self, x: Tensor) -> Tensor:
        """Weighted sums (T, B, size) of x (T, B, elements), in its type."""
        weight = self.weight.to(x.dtype)
        return torch.nn.functional.linear(x, weight) if self.conv is None else convolution(self.conv, weight, None, x)


@dataclass(frozen=True)
class WeightLayer:
    """``name``: for people.  ``feeds``: of each signal that is heard, ascending.  ``bias`` (rows,), float64: of each
    neuron, or of each channel of an image."""

    name: str
    feeds: tuple[Feed, ...]
    bias: Tensor

    @property
    def conv(self) -> Conv2d | None:
        """The convolution of the last signal that is heard."""
        return self.feeds[-1].conv

    @property
    def size(self) -> int:
        return len(self.bias) * (self.conv.positions if self.conv else 1)

    @property
    def weight(self) -> Tensor:
        """All weights (rows, columns), in the order of ``weight_ih``."""
        return torch.cat([feed.weight for feed in self.feeds], 1)

    def same(self, other: "WeightLayer") -> bool:
        """Whether both compute the same; their names may differ."""
        return (len(self.feeds) == len(other.feeds) and torch.equal(self.bias, other.bias)
                and all(one.same(two) for one, two in zip(self.feeds, other.feeds, strict=True)))

    def sums(self, heard: Sequence[Tensor]) -> Tensor:
        """Weighted sums (T, B, size) of what is heard, each (T, B, elements)."""
        total = self.bias.to(heard[0].dtype).repeat(self.size // len(self.bias))
        for feed, x in zip(self.feeds, heard, strict=True):
            total = total + feed.sums(x)
        return total


def trained_logits(layers: Sequence[WeightLayer], x: Tensor) -> Tensor:
    """Logits (B, classes) of the trained network that these layers are of, for features x (B, features)."""
    signals = [x[None]]
    for layer in layers[:-1]:
        signals.append(layer.sums([signals[feed.signal] for feed in layer.feeds]).relu())
    return layers[-1].sums([signals[feed.signal] for feed in layers[-1].feeds])[0]
