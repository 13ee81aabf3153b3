"""Scales of a layer's weights: which of them hold the weights, and at which of them no accumulator can wrap."""

from collections.abc import Iterator, Sequence
from math import floor, isfinite

import torch
from torch import Tensor

from ..spec.cells import Cell
from ..spec.errors import ModelError
from ..spec.formats import ACC_BITS, BIAS_MAX, WEIGHT_BITS, WEIGHT_FRACS, acc_frac, weight_max
from .integers import of_gates

_WEIGHT_MAX = weight_max(WEIGHT_BITS)


def rounded(x: Tensor, frac: int) -> Tensor:
    """Real numbers as integers held in floats, ``frac`` fraction bits, half up."""
    return torch.floor(x * 2.0**frac + 0.5)


@torch.no_grad()
def scales(cell: Cell, weights: Sequence[Tensor], bias: Tensor, reach: Sequence[int],
           clip: bool = False) -> Iterator[tuple[int, bool]]:
    """(weight_frac, whether no accumulator can wrap) from the finest on, where all weights and biases are in range.

    ``weights``: a layer's (rows, inputs) and (rows, H), or the classifier's alone, real, or of a cell of one gate
    (rows, elements) of each signal; ``bias`` (gates, H) or (classes,), real; ``reach``: the largest |v̂| of the signal
    of each of the weights, in LSBs.  ``clip``: weights need not be in range.  ModelError if a number is NaN or
    infinite.
    """
    ranges, of_bias = [_range(w) for w in weights], _range(bias)
    if not isfinite(sum(map(abs, sum((*ranges, of_bias), ())))):
        raise ModelError("a weight or bias is NaN or infinite; train again, with a lower learning rate")
    for frac in reversed(WEIGHT_FRACS):
        fits = all(_within(edges, frac, _WEIGHT_MAX) for edges in ranges)
        if not (clip or fits) or not _within(of_bias, acc_frac(frac), BIAS_MAX):
            continue
        sums = [rounded(w, frac).abs_().clamp_(max=_WEIGHT_MAX).sum(1) * most
                for w, most in zip(weights, reach, strict=True)]
        total = torch.stack(sums).sum(0) if len(sums) == 1 or len(cell.gates) == 1 else of_gates(cell, *sums)
        bound = (total + rounded(bias, acc_frac(frac)).abs()).max()
        yield frac, bool(bound < 1 << (ACC_BITS - 1))


def finest(cell: Cell, weights: Sequence[Tensor], bias: Tensor, reach: Sequence[int]) -> int:
    """The largest weight_frac at which weights and biases are in range and no accumulator can wrap; if there is none,
    the least at which they are in range, or that there is."""
    least = WEIGHT_FRACS.start
    for frac, safe in scales(cell, weights, bias, reach):
        if safe:
            return frac
        least = frac
    return least


def _range(x: Tensor) -> tuple[float, float]:
    low, high = x.aminmax()
    return low.item(), high.item()


def _within(edges: tuple[float, float], frac: int, most: int) -> bool:
    """Whether real numbers between these two round to integers within ±most."""
    low, high = edges
    return floor(high * 2.0**frac + 0.5) <= most and floor(low * 2.0**frac + 0.5) >= -most
