"""The delta encoder of one signal.

    fire  ⇔  |v − v̂| ≥ Θ  and  v ≠ v̂        Δ = clip(v − v̂)        v̂ ← v̂ + Δ

On integers the condition is |v − v̂| ≥ max(Θ, 1).  The anchor moves by what was sent, so M = b + W·v̂ always
(delta networks: Neil et al. 2017, arXiv:1612.05571).
"""

import numpy as np
import torch
from torch import Tensor

from ..spec.fixed import saturate
from ..spec.formats import DELTA_BITS

DELTA_MAX = (1 << (DELTA_BITS - 1)) - 1


def shrink(threshold: int) -> float:
    """The λ of ``hardshrink`` (keeps |d| > λ) that keeps exactly the integers that fire."""
    return max(threshold, 1) - 0.5


@torch.no_grad()
def encode(signal: Tensor, threshold: int) -> Tensor:
    """Anchors v̂ (T, B, n) after each frame of a signal (T, B, n), from reset; SIGNAL integers held in floats.

    There is no gradient: this is the encoder of the features, which nothing trains.
    """
    anchors = torch.empty_like(signal)
    anchor = signal.new_zeros(signal.shape[1:])
    lam, step = shrink(threshold), torch.empty_like(anchor)
    for v, out in zip(signal.unbind(0), anchors.unbind(0), strict=True):
        torch.sub(v, anchor, out=step)
        delta = torch.nn.functional.hardshrink(step, lam).clamp_(-DELTA_MAX, DELTA_MAX)
        anchor = torch.add(anchor, delta, out=out)
    return anchors


def count_events(anchors: Tensor, dense: bool = False) -> Tensor:
    """Events (T, B), int64, that made these anchors (T, B, n) from reset; in dense mode all n elements."""
    if dense:
        return torch.full(anchors.shape[:2], anchors.shape[2], dtype=torch.int64, device=anchors.device)
    anchors = anchors.detach()
    events = torch.empty(anchors.shape[:2], dtype=torch.int64, device=anchors.device)
    if len(anchors):
        events[0] = anchors[0].count_nonzero(-1)
        events[1:] = (anchors[1:] != anchors[:-1]).sum(-1)
    return events


def encode_step(v: np.ndarray, anchor: np.ndarray, threshold: int, dense: bool = False):
    """One frame in integers: (fired, Δ) of v (B, n) against its anchor; the caller adds Δ to the anchor.

    In dense mode every element fires, even with Δ = 0.
    """
    change = v - anchor
    fired = (np.abs(change) >= threshold) & (change != 0) | dense
    return fired, np.where(fired, saturate(change, DELTA_BITS), 0)
