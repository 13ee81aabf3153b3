"""Float-tensor twins of ``spec/fixed.py`` and the straight-through quantisers of training.

Integers are held in float tensors.  Scaling by a power of two and sums of integers below 2**24 (float64:
2**53) are exact, so every function here returns the same integers as its twin in ``spec``.
"""

from functools import lru_cache
from typing import cast

import torch
from torch import Tensor

from ..spec.fixed import Q
from ..spec.formats import BIAS_MAX, CANDIDATE, CANDIDATE_ARG, GATE_ARG, GATE_FRAC, WEIGHT_BITS, acc_frac, weight_max


def round_shift(x: Tensor, shift: int) -> Tensor:
    """floor(x / 2**shift + 1/2) of integers held in floats."""
    return torch.floor((x + (1 << shift) / 2) * 2.0**-shift) if shift else x


def saturate(x: Tensor, bits: int) -> Tensor:
    """Clip to ±(2**(bits-1) - 1)."""
    limit = (1 << (bits - 1)) - 1
    return x.clamp(-limit, limit)


def requantise(x: Tensor, frac: int, to: Q) -> Tensor:
    """``to.requantise(x, frac)`` of integers held in floats."""
    return saturate(round_shift(x, frac - to.frac), to.bits)


@lru_cache
def scalar(value: float, dtype: torch.dtype) -> Tensor:
    """A constant as a tensor without dimensions: torch converts a Python number anew in every operation (2 µs)."""
    return torch.tensor(value, dtype=dtype)


@lru_cache
def grid_magic(dtype: torch.dtype) -> Tensor:
    """The number whose last place is 2**-8: adding and subtracting it rounds |x| <= 1 to that grid.

    It rounds ties to even, where the project rounds them up; ``spec/activation.py`` shows that σ and tanh have no
    ties but their exact values at 0.
    """
    digits = {torch.float32: 23, torch.float64: 52}[dtype]
    return scalar(1.5 * 2.0 ** (digits - GATE_FRAC), dtype)


def sigmoid_(x: Tensor) -> Tensor:
    """σ in place: integers in GATE_ARG (not necessarily saturated) → 1/256..255/256, on the grid of 2**-8."""
    magic, lsb = grid_magic(x.dtype), 2.0**-GATE_FRAC
    return x.mul_(scalar(2.0**-GATE_ARG.frac, x.dtype)).sigmoid_().add_(magic).sub_(magic).clamp_(lsb, 1 - lsb)


def tanh_(x: Tensor) -> Tensor:
    """tanh in place: integers in CANDIDATE_ARG (not necessarily saturated) → ±255/256, on the grid of 2**-8."""
    magic, lsb = grid_magic(x.dtype), 2.0**-GATE_FRAC
    return x.mul_(scalar(2.0**-CANDIDATE_ARG.frac, x.dtype)).tanh_().add_(magic).sub_(magic).clamp_(lsb - 1, 1 - lsb)


class _Quantise(torch.autograd.Function):
    """clamp(floor(x·2**frac + 1/2), ±limit); the gradient passes straight through where nothing was clipped."""

    @staticmethod
    def forward(ctx, x: Tensor, frac: int, limit: int) -> Tensor:
        scaled = torch.floor(x * 2.0**frac + 0.5)
        ctx.save_for_backward(scaled.abs() <= limit)
        ctx.frac = frac
        return scaled.clamp_(-limit, limit)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (inside,) = ctx.saved_tensors
        return gradient * inside * 2.0**ctx.frac, None, None


def quantise(x: Tensor, frac: int, most: int) -> Tensor:
    """Real numbers → integers held in floats, with ``frac`` fraction bits, within ±``most``.

    The gradient is straight-through inside the range.
    """
    return _Quantise.apply(x, frac, most)


def quantise_weight(weight: Tensor, weight_frac: int, most: int = weight_max(WEIGHT_BITS)) -> Tensor:
    """Real weights → integers held in floats, ±``most``; straight-through gradient inside the range."""
    return quantise(weight, weight_frac, most)


def quantise_bias(bias: Tensor, weight_frac: int, grid: int = 1) -> Tensor:
    """Real biases → accumulator LSBs held in floats, ±BIAS_MAX, multiples of ``grid`` (a power of two).

    The gradient is straight-through inside the range.
    """
    shift = grid.bit_length() - 1
    return quantise(bias, acc_frac(weight_frac) - shift, BIAS_MAX >> shift) * float(grid)


class _Through(torch.autograd.Function):
    """The integers of ``requantise``; the gradient passes straight through rounding and saturation."""

    @staticmethod
    def forward(ctx, x: Tensor, frac: int, to: Q) -> Tensor:
        ctx.shift = frac - to.frac
        return requantise(x, frac, to)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return gradient * 2.0**-ctx.shift, None, None


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y = sigmoid_(x.clone())
        ctx.save_for_backward(y)
        return y * (1 << GATE_FRAC)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (y,) = ctx.saved_tensors
        return gradient * y * (1 - y) * 2.0 ** (GATE_FRAC - GATE_ARG.frac)


class _Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y = tanh_(x.clone())
        ctx.save_for_backward(y)
        return y * (1 << CANDIDATE.frac)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (y,) = ctx.saved_tensors
        return gradient * (1 - y * y) * 2.0 ** (CANDIDATE.frac - CANDIDATE_ARG.frac)


def through(x: Tensor, frac: int, to: Q) -> Tensor:
    """``requantise`` with a straight-through gradient."""
    return cast(Tensor, _Through.apply(x, frac, to))


def sigmoid(x: Tensor) -> Tensor:
    """σ of GATE_ARG integers as 1..255 of 256, held in floats, with the gradient of the smooth function."""
    return cast(Tensor, _Sigmoid.apply(x))


def tanh(x: Tensor) -> Tensor:
    """tanh of CANDIDATE_ARG integers in CANDIDATE, held in floats, with the gradient of the smooth function."""
    return cast(Tensor, _Tanh.apply(x))
