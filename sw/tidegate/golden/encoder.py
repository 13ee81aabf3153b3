"""The rule ``delta`` of ``spec/rules.py`` over whole sequences of a signal, with a gradient."""

from typing import cast

import torch
from torch import Tensor

from ..spec.formats import whole_theta
from ..spec.rules import DELTA_MAX
from . import kernel


def shrink(threshold: int) -> float:
    """The λ of ``hardshrink`` (keeps |d| > λ) that keeps exactly the integers that fire."""
    return max(threshold, 1) - 0.5


def lag_of(threshold: int) -> float:
    """The largest distance from its anchor at which an element of a layer's signal does not fire; -1 if the anchor
    follows every change."""
    return shrink(threshold) if threshold > 1 else -1.0


def whole_threshold(threshold: Tensor | int) -> int:
    """The Θ that the hardware gets, of a learned one too."""
    return threshold if isinstance(threshold, int) else whole_theta(threshold.item())


def near(change: Tensor, threshold: int) -> Tensor:
    """Slope of "fires" over |change|: a triangle of area 1 around Θ, Θ/2 (at least 2) to each side.

    A surrogate gradient as of spiking networks (Neftci et al. 2019, arXiv:1901.09948); ``change`` v − v̂ in LSBs.
    """
    width = max(threshold / 2, 2.0)
    return (change.abs() - threshold).abs_().mul_(-1 / width).add_(1).clamp_(min=0).div_(width)


def lag_gradient(lag: Tensor, threshold: int, grad: Tensor) -> Tensor:
    """Gradient of Θ (no dimensions): how far anchors lag behind is in proportion to Θ, d(v − v̂)/dΘ = (v − v̂)/Θ.

    ``lag``: v − v̂ (T, B, n) after each frame; ``grad``: gradient of v̂ as each frame alone uses it.  Firing is a step,
    so this is a model: that of a smooth signal sampled on a grid of Θ, as h is.  For it, the slope of the step
    (``near``) takes an event that comes a few frames later for one that never comes, and overrates Θ several times.
    """
    return -(lag * grad).sum() / max(threshold, 1)


class DeltaEncoder(torch.autograd.Function):
    """Anchors (T, B, n) of a signal (T, B, n) that no layer here makes: the features.

    ``apply(signal, threshold, start)``, as in ``encode``; a 0-dim tensor as Θ (LSBs, a real number that is rounded)
    gets a gradient.  Features jump, so it is that of the step: to fire moves the anchor by v − v̂, and ``near`` says
    where Θ decides it.  A signal that is trained gets an anchor's gradient where it fired, for as long as the anchor is
    held; for Θ <= 1 the encoder is the identity, and so is its gradient.
    """

    @staticmethod
    def forward(ctx, signal: Tensor, threshold: Tensor | int, start: Tensor | None = None) -> Tensor:
        anchors = encode(signal, whole_threshold(threshold), start)
        ctx.save_for_backward(signal, anchors, start)
        ctx.threshold = threshold
        return anchors

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        theta, (of_signal, of_threshold) = whole_threshold(ctx.threshold), ctx.needs_input_grad[:2]
        if of_signal and not of_threshold and theta <= 1:
            return grad, None, None
        signal, anchors, start = ctx.saved_tensors
        before = earlier(anchors, start)
        kept, carry = grad.clone(), torch.zeros_like(grad[0])
        for g, still in zip(reversed(kept.unbind(0)), reversed((anchors == before).unbind(0)), strict=True):
            torch.mul(g.add_(carry), still, out=carry)
        g_signal = g_threshold = None
        if of_signal:
            g_signal = grad if theta <= 1 else kept * (anchors != before)
        if of_threshold:
            change = signal - before
            g_threshold = -(near(change, theta) * change * kept).sum()
        return g_signal, g_threshold, None


@torch.no_grad()
def encode(signal: Tensor, threshold: int, start: Tensor | None = None) -> Tensor:
    """Anchors v̂ (T, B, n) after each frame of a signal (T, B, n), from reset or from the anchors ``start`` (B, n);
    SIGNAL integers held in floats."""
    if kernel.usable(signal):
        return kernel.encode_anchors(signal, start, shrink(threshold))
    anchors = torch.empty_like(signal)
    anchor = signal.new_zeros(signal.shape[1:]) if start is None else start
    lam, step = shrink(threshold), torch.empty_like(anchor)
    for v, out in zip(signal.unbind(0), anchors.unbind(0), strict=True):
        torch.sub(v, anchor, out=step)
        delta = torch.nn.functional.hardshrink(step, lam).clamp_(-DELTA_MAX, DELTA_MAX)
        anchor = torch.add(anchor, delta, out=out)
    return anchors


def earlier(anchors: Tensor, start: Tensor | None = None) -> Tensor:
    """The anchors (T, B, n) before each frame: ``start`` (B, n), or those of a reset, before the first."""
    return torch.cat([torch.zeros_like(anchors[:1]) if start is None else start[None], anchors[:-1]])


def at_ends(states: Tensor, ends: Tensor | None) -> Tensor:
    """(B, H) of states (T, B, H): after the frames ``ends`` (B,), or after the last one."""
    return states[-1].clone() if ends is None else states[ends, torch.arange(states.shape[1], device=states.device)]


def count_events(anchors: Tensor, dense: bool = False, start: Tensor | None = None) -> Tensor:
    """Events (T, B), int64, that made these anchors (T, B, n) from reset or from ``start`` (B, n); in dense mode all n
    elements."""
    if dense:
        return torch.full(anchors.shape[:2], anchors.shape[2], dtype=torch.int64, device=anchors.device)
    anchors = anchors.detach()
    events = torch.empty(anchors.shape[:2], dtype=torch.int64, device=anchors.device)
    if len(anchors):
        events[0] = anchors[0].count_nonzero(-1) if start is None else (anchors[0] != start).sum(-1)
        events[1:] = (anchors[1:] != anchors[:-1]).sum(-1)
    return events


def priced_events(anchors: Tensor, threshold: Tensor | int, start: Tensor | None = None) -> Tensor:
    """``count_events`` in floats, (T, B), with the slope of distance / Θ: what makes events cost something.

    A signal that moves by some distance fires about distance / Θ times, so the gradient is that of Σ|Δ|/Θ, the L1 cost
    of delta networks, and for a learned Θ that of a count in proportion to 1/Θ.
    """
    if len(anchors) and kernel.usable(anchors):
        count = cast(Tensor, kernel.CountEvents.apply(anchors, start, whole_threshold(threshold)))
        return count if isinstance(threshold, int) else count * (threshold.detach() / threshold)
    count = count_events(anchors, start=start).to(anchors.dtype)
    if anchors.requires_grad:
        moved = (anchors - earlier(anchors, start)).abs().sum(-1) / max(whole_threshold(threshold), 1)
        count = count + (moved - moved.detach())
    return count if isinstance(threshold, int) else count * (threshold.detach() / threshold)
