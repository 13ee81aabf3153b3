"""A delta-GRU layer over a whole sequence, as one autograd function: the training forward *is* the golden model.

M = b + W·v̂ holds exactly at all times, so the layer computes W·v̂ instead of accumulating events: the input
side of all frames in one matmul before the loop, the recurrent side in one a step.  Accumulators lie in
memory as on the core, ``[nx | r | z | nh]``: the input feeds the first three parts, ĥ the last three.  Weights
and biases are scaled by powers of two and a half is added to the bias, so that one ``floor`` rounds all
four parts to their formats.

Gradient: straight-through for every rounding and saturation inside the cell, σ' = r(1-r), tanh' = 1-n²; an
anchor's gradient goes to v where the element fired, else to the anchor's old value.  For Θ <= 1 the encoder is
the identity, v̂ = v, and so is its gradient.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..spec.formats import CANDIDATE_ARG, GATE_ARG, GATE_FRAC, PRE, SIGNAL, STATE, acc_frac
from .encoder import shrink
from .fixed import sigmoid_, tanh_

_STATE_SHIFT = STATE.frac - SIGNAL.frac


class Sequence(NamedTuple):
    """What a layer leaves behind.

    ``anchors`` (T+1, B, H), SIGNAL integers, ``states`` (T+1, B, H), STATE integers: entry 0 is reset.
    ``pre`` (T, B, 4, H): nx and nh in PRE, the arguments of r and z in GATE_ARG *before* saturation.
    ``gates`` (T, B, 2H), ``candidates`` (T, B, H): r, z and n in real units, on the grid of 2**-8.
    """

    anchors: Tensor
    states: Tensor
    pre: Tensor
    gates: Tensor
    candidates: Tensor


def _input_order(rows: Tensor) -> Tensor:
    """Rows r, z, n → nx, r, z."""
    return rows.roll(rows.shape[0] // 3, 0)


@torch.no_grad()
def sequence(x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, weight_frac: int, threshold: int) -> Sequence:
    """Run a layer from reset; arguments as in ``DeltaGRU``, dtype float32 or float64."""
    steps, batch, inputs = x.shape
    hidden = w_hh.shape[1]
    frac = acc_frac(weight_frac)
    gate, pre_scale = 2.0 ** (GATE_ARG.frac - frac), 2.0 ** (PRE.frac - frac)
    row = x.new_tensor([gate, gate, pre_scale]).repeat_interleave(hidden)[:, None]
    b = (bias * x.new_tensor([pre_scale, gate, gate, pre_scale])[:, None] + 0.5).flatten()
    recurrent = (w_hh * row).t()

    pre = x.new_empty(steps, batch, 4 * hidden)
    pre[:, :, 3 * hidden :] = b[3 * hidden :]
    torch.addmm(b[: 3 * hidden], x.reshape(-1, inputs), _input_order(w_ih * row).t(),
                out=pre.view(-1, 4 * hidden)[:, : 3 * hidden])
    gates = x.new_empty(steps, batch, 2 * hidden)
    candidates = x.new_empty(steps, batch, hidden)
    states = x.new_empty(steps + 1, batch, hidden)
    anchors = x.new_empty(steps + 1, batch, hidden)
    states[0] = anchors[0] = 0

    fed, args = pre[:, :, hidden:].unbind(0), pre[:, :, hidden : 3 * hidden].unbind(0)
    parts = pre.view(steps, batch, 4, hidden)
    outer = parts[:, :, ::3].unbind(0)
    nx, nh = parts[:, :, 0].unbind(0), parts[:, :, 3].unbind(0)
    r, z = gates[:, :, :hidden].unbind(0), gates[:, :, hidden:].unbind(0)
    a, h = anchors.unbind(0), states.unbind(0)
    half = x.new_full((batch, hidden), 0.5)
    n15, v = torch.empty_like(half), torch.empty_like(half)
    to_candidate, to_signal = 2.0 ** (CANDIDATE_ARG.frac - PRE.frac), 2.0**-_STATE_SHIFT

    for t, (p, g, n) in enumerate(zip(pre.unbind(0), gates.unbind(0), candidates.unbind(0), strict=True)):
        fed[t].addmm_(a[t], recurrent)
        p.floor_()
        outer[t].clamp_(-PRE.max, PRE.max)
        sigmoid_(g.copy_(args[t]))
        torch.addcmul(nx[t], r[t], nh[t], out=n)
        tanh_(torch.add(half, n, alpha=to_candidate, out=n).floor_())
        torch.mul(n, 1 << STATE.frac, out=n15)
        torch.lerp(n15, h[t], z[t], out=h[t + 1]).add_(0.5).floor_()
        if threshold <= 1:
            torch.add(half, h[t + 1], alpha=to_signal, out=a[t + 1]).floor_()
        else:
            torch.add(half, h[t + 1], alpha=to_signal, out=v).floor_().sub_(a[t])
            torch.add(a[t], torch.nn.functional.hardshrink(v, shrink(threshold)), out=a[t + 1])
    return Sequence(anchors, states, parts, gates, candidates)


def _backward(grad: Tensor, w_hh: Tensor, run: Sequence, threshold: int) -> Tensor:
    """Gradients (T, B, 4H) with respect to the real accumulators [nx | r | z | nh], divided by 2**SIGNAL.frac.

    ``grad`` (T, B, H) belongs to the anchors in LSBs, ``w_hh`` is in real units.
    """
    steps, batch, hidden = grad.shape
    out = grad.new_empty(steps, batch, 4 * hidden)
    g_nx, g_r, g_z, g_nh = (part.unbind(0) for part in out.split(hidden, 2))
    fed = out[:, :, hidden:].unbind(0)
    r, z = (part.unbind(0) for part in run.gates.split(hidden, 2))
    gates, candidates, nh = run.gates.unbind(0), run.candidates.unbind(0), run.pre[:, :, 3].unbind(0)
    a, h, grads = run.anchors.unbind(0), run.states.unbind(0), grad.unbind(0)
    one, zero = grad.new_ones(batch, hidden), grad.new_zeros(batch, hidden)
    carry_a, carry_h = torch.zeros_like(zero), torch.zeros_like(zero)   # from step t + 1, for ĥ_t and h_t
    ga, gh, buffer = (torch.empty_like(zero) for _ in range(3))
    slope = grad.new_empty(batch, 2 * hidden)
    slope_r, slope_z = slope.split(hidden, 1)

    for t in range(steps - 1, -1, -1):
        n = candidates[t]
        if threshold <= 1:
            gh = torch.add(grads[t], carry_a, out=gh).add_(carry_h)
            carry_a.zero_()
        else:
            fired = torch.sub(a[t + 1], a[t], out=buffer).ne_(0)
            torch.add(grads[t], carry_a, out=ga)
            torch.addcmul(carry_h, ga, fired, out=gh)
            torch.addcmul(ga, ga, fired, value=-1, out=carry_a)
        torch.addcmul(gates[t], gates[t], gates[t], value=-1, out=slope)
        torch.mul(gh, z[t], out=carry_h)
        torch.addcmul(one, n, n, value=-1, out=buffer)
        torch.mul(torch.sub(gh, carry_h, out=ga), buffer, out=g_nx[t])
        torch.sub(h[t], n, alpha=1 << STATE.frac, out=buffer).mul_(2.0**-STATE.frac).mul_(gh)
        torch.mul(buffer, slope_z, out=g_z[t])
        torch.addcmul(zero, g_nx[t], nh[t], value=2.0**-PRE.frac, out=buffer)
        torch.mul(buffer, slope_r, out=g_r[t])
        torch.mul(g_nx[t], r[t], out=g_nh[t])
        carry_a.addmm_(fed[t], w_hh)
    return out


class DeltaGRU(torch.autograd.Function):
    """Anchors ĥ (T, B, H) of a delta-GRU layer from reset, SIGNAL integers held in floats.

    ``apply(x, w_ih, w_hh, bias, weight_frac, threshold)``: ``x`` (T, B, inputs) anchors of the signal below;
    ``w_ih`` (3H, inputs), ``w_hh`` (3H, H) int8 integers, rows r, z, n; ``bias`` (4, H) accumulator LSBs, nx, r, z,
    nh; ``threshold`` Θ in LSBs.  All in one float dtype.  Exact while |b| + Σ|w|·max|v̂| < 2**24 in float32.
    """

    @staticmethod
    def forward(ctx, x, w_ih, w_hh, bias, weight_frac: int, threshold: int) -> Tensor:
        run = sequence(x, w_ih, w_hh, bias, weight_frac, threshold)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, w_ih, w_hh, *run)
            ctx.weight_frac, ctx.threshold = weight_frac, threshold
        return run.anchors[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        x, w_ih, w_hh, *saved = ctx.saved_tensors
        run, scale = Sequence(*saved), 2.0**-ctx.weight_frac
        hidden = w_hh.shape[1]
        g = _backward(grad, w_hh * scale, run, ctx.threshold).view(-1, 4 * hidden)
        g_input, g_recurrent = g[:, : 3 * hidden], g[:, hidden:]
        inputs = x.reshape(-1, x.shape[2])
        g_x = (g_input @ _input_order(w_ih * scale)).view(x.shape) if ctx.needs_input_grad[0] else None
        g_ih = (g_input.t() @ inputs).roll(-hidden, 0) * scale
        g_hh = (g_recurrent.t() @ run.anchors[:-1].reshape(-1, hidden)) * scale
        return g_x, g_ih, g_hh, g.sum(0).view(4, hidden) * scale, None, None


assert GATE_FRAC == SIGNAL.frac    # r, z, n and anchors share one grid; sigmoid_ and tanh_ count on it
