"""The encoder rules of ``spec/rules.py`` over sequences of a signal that a layer makes, with a gradient for that layer.

For the rule ``diffuse`` there are three gradients, by name (``SLOPES``); s is what is sent, u the membrane potential:

    hybrid      ∂s/∂v = 1 where v is within the levels.  The quantiser's error is noise, and what it diffuses to the
                next frame changes nothing (Voelker et al. 2020, arXiv:2002.03553).
    membrane    ∂s/∂v = step / Θ for a neuron that fires in the sequence, else 0.  The potential is differentiable, its
                jumps at spikes are noise (Lee, Delbruck, Pfeiffer 2016, arXiv:1608.08782, by whose equations a neuron's
                spikes and its input decay alike).
    surrogate   ∂s/∂u is a triangle around Θ, as wide as a step to each side; from u it goes back through the errors of
                all frames before, but not through the jumps (Neftci et al. 2019, arXiv:1901.09948).

Θ of the last two has a gradient: ∂s/∂Θ = −s / Θ, and −∂s/∂u in the frame of the spike.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor

from ..spec.formats import SIGNAL
from ..spec.rules import Diffuse
from .encoder import encode, lag_gradient, whole_threshold

SLOPES = ("hybrid", "membrane", "surrogate")


class Slope(NamedTuple):
    """``name``: one of SLOPES.  ``scaled``: the gradient of a frame's or a sequence's spikes is multiplied by
    √(neurons / neurons that fired), so that layers with few spikes learn as fast as others (Lee et al. 2016)."""

    name: str = SLOPES[0]
    scaled: bool = False


HYBRID = Slope()


class _Delta(torch.autograd.Function):
    """Anchors (T, B, n) of ``apply(v (T, B, n), start (B, n), threshold)``.

    An anchor's gradient goes to v where the element fired, else to the anchor before; Θ <= 1 is the identity.
    """

    @staticmethod
    def forward(ctx, v: Tensor, start: Tensor, threshold: Tensor | int) -> Tensor:
        theta = whole_threshold(threshold)
        anchors = encode(v, theta, start)
        ctx.theta = theta
        if theta > 1 or ctx.needs_input_grad[2]:
            ctx.save_for_backward(v, start, anchors)
        return anchors

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        if ctx.theta <= 1 and not ctx.needs_input_grad[2]:
            return gradient, None, None
        v, start, anchors = ctx.saved_tensors
        slope = lag_gradient(v - anchors, ctx.theta, gradient) if ctx.needs_input_grad[2] else None
        made, carry = torch.empty_like(gradient), torch.zeros_like(start)
        for t in range(len(v) - 1, -1, -1):
            fired = anchors[t] != (anchors[t - 1] if t else start)
            g = gradient[t] + carry
            torch.mul(g, fired, out=made[t])
            carry = g - made[t]
        return made, carry, slope


class _Diffuse(torch.autograd.Function):
    """(s, e), each (T, B, n), of ``apply(v (T, B, n), e (B, n) before the first frame, rule, Θ, slope)``."""

    @staticmethod
    def forward(ctx, v: Tensor, start: Tensor, rule: Diffuse, threshold: Tensor | int,
                slope: Slope) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        training, theta = ctx.needs_input_grad[0] or ctx.needs_input_grad[3], whole_threshold(threshold)
        sent, errors, e = torch.empty_like(v), torch.empty_like(v), start
        step, u = float(rule.step), torch.empty_like(start)
        keep = torch.empty_like(v) if training and slope.name == "surrogate" else None
        for t, (now, out, left) in enumerate(zip(v.unbind(0), sent.unbind(0), errors.unbind(0), strict=True)):
            torch.add(now, e, out=u)
            if rule.leak:
                u.sub_(torch.mul(e, 2.0**-rule.leak).floor_())
            if keep is not None:
                keep[t] = u
            torch.add(u, step - theta, out=out).mul_(1 / step).floor_().clamp_(rule.lowest, rule.highest).mul_(step)
            torch.sub(u, out, out=left).clamp_(-SIGNAL.max, SIGNAL.max)
            if rule.zero:
                left.mul_(out == 0)
            e = left
        ctx.rule, ctx.theta, ctx.slope = rule, theta, slope
        if training:
            ctx.save_for_backward(v if slope.name == "hybrid" else None, sent, keep)
        return sent, errors

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor | None, carried: Tensor | None):
        v, sent, u = ctx.saved_tensors
        rule, slope = ctx.rule, ctx.slope
        if slope.scaled and gradient is not None:
            fired = (sent != 0).any(0).sum(-1, keepdim=True).clamp_min(1)
            gradient = gradient * (sent.shape[-1] / fired).sqrt()
        if slope.name == "surrogate":
            made, first, of_theta = _through_time(gradient, carried, sent, u, rule, ctx.theta)
            return made, first, None, of_theta if ctx.needs_input_grad[3] else None, None
        if gradient is None:
            return None, None, None, None, None
        if slope.name == "hybrid":
            inside = (v >= rule.lowest * rule.step) & (v <= rule.highest * rule.step)
            return gradient * inside, None, None, None, None
        share = rule.step / max(ctx.theta, 1)
        of_theta = -(gradient * sent).sum() / max(ctx.theta, 1) if ctx.needs_input_grad[3] else None
        if len(sent) > 1:
            return gradient * (share * (sent != 0).any(0)), None, None, of_theta, None
        return gradient * share, None, None, of_theta, None


def _through_time(gradient: Tensor | None, carried: Tensor | None, sent: Tensor, u: Tensor, rule: Diffuse,
                  theta: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of v (T, B, n), of the first error (B, n) and of Θ; ``u`` is overwritten with the slope of s."""
    lowest, highest = theta + rule.lowest * rule.step, theta + (rule.highest - 1) * rule.step
    middle, half = (lowest + highest) / 2, (highest - lowest) / 2
    slope = u.sub_(middle).abs_().sub_(half).clamp_(min=0).mul_(-1 / rule.step).add_(1).clamp_(min=0)
    made = slope if gradient is None else slope.mul_(gradient)
    if gradient is None:
        made.zero_()
    of_theta = -made.sum()
    keeps = 1 - 2.0**-rule.leak if rule.leak else 1.0
    later = torch.zeros_like(made[0])
    for t in range(len(made) - 1, -1, -1):
        if carried is not None:
            later = later + carried[t]
        if rule.zero:
            later = later * (sent[t] == 0)
        later = made[t].add_(later) * keeps
    return made, later, of_theta


def delta_of(v: Tensor, start: Tensor, threshold: Tensor | int) -> Tensor:
    """Anchors (T, B, n) of a signal (T, B, n) after each frame, from the anchors ``start`` (B, n); SIGNAL integers held
    in floats.  A 0-dim tensor as Θ learns as in ``encoder.lag_gradient``."""
    return cast(Tensor, _Delta.apply(v, start, threshold))


def diffuse_of(v: Tensor, start: Tensor, rule: Diffuse, threshold: Tensor | int, slope: Slope) -> tuple[Tensor, Tensor]:
    """What is sent (T, B, n) of a signal (T, B, n) and the errors after each frame, from the errors ``start`` (B, n);
    SIGNAL integers held in floats.  A 0-dim tensor as Θ learns if the slope is "membrane" or "surrogate"."""
    return cast(tuple[Tensor, Tensor], _Diffuse.apply(v, start, rule, threshold, slope))
