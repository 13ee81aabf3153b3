"""What training adds by chance: noise and dropout."""

import torch
from torch import Tensor

from ..spec.formats import SIGNAL


def noise_of(shape: tuple[int, ...], noise: float, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Gaussian noise of this standard deviation (in units of 1) as whole SIGNAL integers."""
    drawn = torch.randn(shape, dtype=like.dtype, generator=generator)
    return drawn.mul_(noise * (1 << SIGNAL.frac)).round_().to(like.device)


def dropout_of(shape: tuple[int, ...], share: float, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Factors of dropout: 0 for this share of the elements, 1 / (1 − share) for the others."""
    kept = torch.rand(shape, dtype=like.dtype, generator=generator) >= share
    return (kept.to(like.dtype) / (1 - share)).to(like.device)
