"""The delta encoder of one signal.

    fire  ⇔  |v − v̂| ≥ Θ  and  v ≠ v̂        Δ = clip(v − v̂)        v̂ ← v̂ + Δ

On integers the condition is |v − v̂| ≥ max(Θ, 1).  The anchor moves by what was sent, so M = b + W·v̂ always
(delta networks: Neil et al. 2017, arXiv:1612.05571).
"""

import math

import numpy as np
import torch
from torch import Tensor

from ..spec.fixed import saturate
from ..spec.formats import DELTA_BITS

DELTA_MAX = (1 << (DELTA_BITS - 1)) - 1


def shrink(threshold: int) -> float:
    """The λ of ``hardshrink`` (keeps |d| > λ) that keeps exactly the integers that fire."""
    return max(threshold, 1) - 0.5


def near(change: Tensor, threshold: float) -> Tensor:
    """Surrogate slope of "fires" over |change|: a triangle of area 1 around Θ, Θ/2 (at least 2) to each side.

    A step has no slope, so a learned Θ and a price on events use this one in the backward pass (a surrogate gradient as
    of spiking networks: Neftci et al. 2019, arXiv:1901.09948).  ``change`` v − v̂ in LSBs; the result is positive.
    """
    width = max(threshold / 2, 2.0)
    return (change.abs() - threshold).abs_().mul_(-1 / width).add_(1).clamp_(min=0).div_(width)


def whole(threshold: Tensor | int) -> int:
    """The Θ that the hardware gets: a learned one rounded half up."""
    return threshold if isinstance(threshold, int) else max(0, math.floor(threshold.item() + 0.5))


class DeltaEncoder(torch.autograd.Function):
    """Anchors (T, B, n) and events a frame (T, B) of a signal (T, B, n) that nothing trains: the features.

    ``apply(signal, threshold)``; a 0-dim tensor as Θ (LSBs, a real number that is rounded) gets a gradient: to fire
    moves the anchor by v − v̂ and the number of events by 1, and ``near`` says how much of it is due to Θ.
    """

    @staticmethod
    def forward(ctx, signal: Tensor, threshold: Tensor | int):
        anchors = encode(signal, whole(threshold))
        ctx.save_for_backward(signal, anchors)
        ctx.threshold = threshold
        ctx.set_materialize_grads(False)
        return anchors, count_events(anchors).to(signal.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor | None, grad_events: Tensor | None):
        if not ctx.needs_input_grad[1]:
            return None, None
        signal, anchors = ctx.saved_tensors
        change = signal.clone()
        change[1:] -= anchors[:-1]
        slope = near(change, whole(ctx.threshold))
        total = signal.new_zeros(())
        if grad_events is not None:
            total += (slope.sum(-1) * grad_events).sum()
        if grad is not None:
            kept, carry = grad.clone(), torch.zeros_like(grad[0])
            still = anchors == torch.cat([torch.zeros_like(anchors[:1]), anchors[:-1]])
            for g, s in zip(reversed(kept.unbind(0)), reversed(still.unbind(0)), strict=True):
                torch.mul(g.add_(carry), s, out=carry)
            total += (slope.mul_(change) * kept).sum()
        return None, -total


@torch.no_grad()
def encode(signal: Tensor, threshold: int) -> Tensor:
    """Anchors v̂ (T, B, n) after each frame of a signal (T, B, n), from reset; SIGNAL integers held in floats."""
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
