"""The GRU in integers: a frame at a time, and over a whole sequence as one autograd function.

    r = σ(M_r)   z = σ(M_z)   n = tanh(M_nx + r·M_nh)   h ← n + z·(h − n)   v = round(h)

``step`` computes as the core does.  The sequence gives the same integers, and *is* the forward pass of training.

M = b + W·v̂ holds exactly at all times, so the sequence computes W·v̂ instead of accumulating events: the input
side of all frames in one matmul before the loop, the recurrent side in one matmul per frame.  Accumulators lie in
memory as on the core, ``[nx | r | z | nh]``: the input feeds the first three parts, ĥ the last three.  Weights
and biases are scaled by powers of two and a half is added to the bias, so that one ``floor`` rounds all
four parts to their formats.

Gradient: straight-through for every rounding and saturation inside the cell, σ' = r(1-r), tanh' = 1-n²; an
anchor's gradient goes to v where the element fired, else to the anchor's old value.  For Θ <= 1 the encoder is
the identity, v̂ = v, and so is its gradient.  Θ, if it is a tensor, learns by ``encoder.lag_gradient``.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...spec import activation
from ...spec.fixed import Q, round_shift
from ...spec.formats import (
    CANDIDATE,
    CANDIDATE_ARG,
    GATE_ARG,
    GATE_FRAC,
    PRE,
    SIGNAL,
    STATE,
    acc_frac,
)
from ...spec.layer import Layer
from .. import kernel
from ..arithmetic import REAL, Arithmetic, Observed
from ..encoder import at_ends, lag_gradient, lag_of, shrink, whole_threshold
from ..fixed import scalar, sigmoid, sigmoid_, tanh, tanh_, through

_STATE_SHIFT = STATE.frac - SIGNAL.frac
_CHANGE = Q(STATE.int_bits + 1, STATE.frac)         # z·(h − n) before h is the sum; never saturates


class Stages(NamedTuple):
    """The numbers inside the cell, each (..., H): arguments of σ in GATE_ARG, nx and nh in PRE, the new h in STATE."""

    r_arg: np.ndarray
    z_arg: np.ndarray
    nx: np.ndarray
    nh: np.ndarray
    h: np.ndarray


Module = torch.nn.GRU


def observed(sums: Tensor, state: Tensor, activation: str = "", number: Arithmetic = REAL) -> Observed:
    """The equations: sums (4, B, H) of nx, r, z, nh and h (B, H) → what is seen inside, the signal, and the new h."""
    nx, r, z, nh = sums
    r, z = number.sigmoid(r), number.sigmoid(z)
    nx, nh = number.to(nx, PRE, "sum"), number.to(nh, PRE, "sum")
    n = number.tanh(nx + r * nh)
    h = number.to(n + z * (state - n), STATE, "state")
    return Observed({"r": r, "z": z, "nx": nx, "nh": nh, "n": n, "h": h}, number.to(h, SIGNAL, "signal"), h)


def step(accumulators: np.ndarray, state: np.ndarray, layer: Layer) -> tuple[Stages, np.ndarray, np.ndarray]:
    """One frame: accumulators (B, 4, H) of nx, r, z, nh with acc_frac fraction bits, and h (B, H) in STATE → the
    numbers inside, the new h, and the signal v (SIGNAL) that it sends; all int64."""
    frac = acc_frac(layer.weight_frac)
    nx, r, z, nh = accumulators.swapaxes(0, 1)
    r_arg, z_arg = _requantise(r, frac, GATE_ARG), _requantise(z, frac, GATE_ARG)
    nx, nh = _requantise(nx, frac, PRE), _requantise(nh, frac, PRE)
    r, z = activation.sigmoid(r_arg), activation.sigmoid(z_arg)
    n = activation.tanh(CANDIDATE_ARG.requantise((nx << GATE_FRAC) + r * nh, PRE.frac + GATE_FRAC))
    n = n << (STATE.frac - CANDIDATE.frac)
    h = n + round_shift(z * (state - n), GATE_FRAC)
    return Stages(r_arg, z_arg, nx, nh, h), h, round_shift(h, _STATE_SHIFT)


def frame(sums: Tensor, state: Tensor, layer: Layer) -> tuple[list[Tensor], Tensor, Tensor]:
    """``step`` on integers held in floats, with a gradient: straight-through for roundings and saturations."""
    frac = acc_frac(layer.weight_frac)
    nx, r, z, nh = sums.unbind(-2)
    r_arg, z_arg = through(r, frac, GATE_ARG), through(z, frac, GATE_ARG)
    nx, nh = through(nx, frac, PRE), through(nh, frac, PRE)
    r, z = sigmoid(r_arg), sigmoid(z_arg)
    n = tanh(through(nx * (1 << GATE_FRAC) + r * nh, PRE.frac + GATE_FRAC, CANDIDATE_ARG))
    n = n * (1 << (STATE.frac - CANDIDATE.frac))
    h = n + through(z * (state - n), STATE.frac + GATE_FRAC, _CHANGE)
    return [r_arg, z_arg, nx, nh, h], h, through(h, STATE.frac, SIGNAL)


def _requantise(x: np.ndarray, frac: int, to: Q) -> np.ndarray:
    return np.asarray(to.requantise(x, frac))


class Sequence(NamedTuple):
    """The tensors of a run of a layer, which the backward pass needs.

    ``anchors`` (T+1, B, H), SIGNAL integers, ``states`` (T+1, B, H), STATE integers: entry 0 is reset.
    ``cells`` (T, B, 4H): n, r, z in real units on the grid of 2**-8, and nh in PRE.
    ``args`` (T, B, 4, H) or None: nx and nh in PRE, the arguments of r and z in GATE_ARG *before* saturation.
    """

    anchors: Tensor
    states: Tensor
    cells: Tensor
    args: Tensor | None


def _input_order(rows: Tensor) -> Tensor:
    """Rows r, z, n → nx, r, z."""
    return rows.roll(rows.shape[0] // 3, 0)


def scaled(w_ih: Tensor, w_hh: Tensor, bias: Tensor, weight_frac: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (inputs, 3H) of nx, r, z and (H, 3H) of r, z, nh, and biases (4H,), whose accumulators need no more than
    ``floor`` to be in their formats."""
    frac, hidden = acc_frac(weight_frac), w_hh.shape[1]
    gate, pre_scale = 2.0 ** (GATE_ARG.frac - frac), 2.0 ** (PRE.frac - frac)
    row = w_hh.new_tensor([gate, gate, pre_scale]).repeat_interleave(hidden)[:, None]
    b = (bias * bias.new_tensor([pre_scale, gate, gate, pre_scale])[:, None] + 0.5).flatten()
    return _input_order(w_ih * row).t().contiguous(), (w_hh * row).t().contiguous(), b


@torch.no_grad()
def advance(x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, weight_frac: int, threshold: int,
            start: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Anchors (T, B, H) after each frame and states (B, H) after the last one, from reset or from the last (anchors,
    states) of a run before; arguments as in ``layer``."""
    if kernel.usable(x):
        anchors, last, _ = kernel.forward(x, *scaled(w_ih, w_hh, bias, weight_frac), lag_of(threshold), None, start,
                                          keep=False)
        return anchors[1:], last
    run = sequence(x, w_ih, w_hh, bias, weight_frac, threshold, start=start)
    return run.anchors[1:], run.states[-1].clone()


@torch.no_grad()
def traced(x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, weight_frac: int,
           threshold: int) -> tuple[Tensor, list[Tensor]]:
    """Anchors (T, B, H) after each frame, and the integers of ``Stages`` (T, B, H); arguments as in ``layer``."""
    run = sequence(x, w_ih, w_hh, bias, weight_frac, threshold, keep_args=True)
    assert run.args is not None
    nx, r, z, nh = run.args.unbind(2)
    limit = GATE_ARG.max
    return run.anchors[1:], [r.clamp(-limit, limit), z.clamp(-limit, limit), nx, nh, run.states[1:]]


@torch.no_grad()
def sequence(x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, weight_frac: int, threshold: int,
             keep_args: bool = False, noise: Tensor | None = None,
             start: tuple[Tensor, Tensor] | None = None) -> Sequence:
    """Run a layer from reset, or from the last (anchors, states) of a run before; arguments as in ``layer``,
    dtype float32 or float64.

    Accumulators become gates where they lie: first touches of fresh memory cost as much as the arithmetic.
    """
    steps, batch, inputs = x.shape
    hidden = w_hh.shape[1]
    weights, recurrent, b = scaled(w_ih, w_hh, bias, weight_frac)
    cells = x.new_empty(steps, batch, 4 * hidden)
    cells[:, :, 3 * hidden :] = b[3 * hidden :]
    torch.addmm(b[: 3 * hidden], x.reshape(-1, inputs), weights,
                out=cells.view(-1, 4 * hidden)[:, : 3 * hidden])
    args = torch.empty_like(cells) if keep_args else None
    states = x.new_empty(steps + 1, batch, hidden)
    anchors = x.new_empty(steps + 1, batch, hidden)
    anchors[0], states[0] = (0, 0) if start is None else start

    fed, gates = cells[:, :, hidden:].unbind(0), cells[:, :, hidden : 3 * hidden].unbind(0)
    outer = cells.view(steps, batch, 4, hidden)[:, :, ::3].unbind(0)
    n, r, z, nh = (part.unbind(0) for part in cells.split(hidden, 2))
    a, h = anchors.unbind(0), states.unbind(0)
    half = x.new_full((batch, hidden), 0.5)
    n15, v = torch.empty_like(half), torch.empty_like(half)
    to_candidate, to_signal = 2.0 ** (CANDIDATE_ARG.frac - PRE.frac), 2.0**-_STATE_SHIFT
    half_lsb, one = scalar(0.5, x.dtype), scalar(float(1 << STATE.frac), x.dtype)

    for t, cell in enumerate(cells.unbind(0)):
        fed[t].addmm_(a[t], recurrent)
        cell.floor_()
        outer[t].clamp_(-PRE.max, PRE.max)
        if args is not None:
            args[t] = cell
        sigmoid_(gates[t])
        n[t].addcmul_(r[t], nh[t])
        tanh_(torch.add(half, n[t], alpha=to_candidate, out=n[t]).floor_())
        torch.mul(n[t], one, out=n15)
        torch.lerp(n15, h[t], z[t], out=h[t + 1]).add_(half_lsb).floor_()
        if threshold <= 1:
            torch.add(half, h[t + 1], alpha=to_signal, out=a[t + 1]).floor_()
            if noise is not None:
                a[t + 1].add_(noise[t])
        else:
            torch.add(half, h[t + 1], alpha=to_signal, out=v).floor_().sub_(a[t])
            if noise is not None:
                v.add_(noise[t])
            torch.add(a[t], torch.nn.functional.hardshrink(v, shrink(threshold)), out=a[t + 1])
    return Sequence(anchors, states, cells, None if args is None else args.view(steps, batch, 4, hidden))


def _lag(states: Tensor, anchors: Tensor, noise: Tensor | None) -> Tensor:
    """v − v̂ (T, B, H) after each frame."""
    v = torch.floor(states * 2.0**-_STATE_SHIFT + 0.5)
    return (v if noise is None else v.add_(noise)).sub_(anchors)


def _backward(grad: Tensor, w_hh: Tensor, run: Sequence, threshold: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients (T, B, 4H) with respect to the real accumulators [nx | r | z | nh], divided by 2**SIGNAL.frac, and
    (B, H) with respect to the anchors and states before the first frame, both in units of 2**-SIGNAL.frac.

    ``grad`` (T, B, H) belongs to the anchors in LSBs, ``w_hh`` is in real units.  The first result overwrites
    run.cells; what the next frame makes of each frame's anchors is added to ``grad``.
    """
    steps, batch, hidden = grad.shape
    n, r, z, nh = (part.unbind(0) for part in run.cells.split(hidden, 2))
    gates = run.cells[:, :, hidden : 3 * hidden].unbind(0)
    fed = run.cells[:, :, hidden:].unbind(0)
    a, h, grads = run.anchors.unbind(0), run.states.unbind(0), grad.unbind(0)
    ones, zeros = grad.new_ones(batch, hidden), grad.new_zeros(batch, hidden)
    held, carry_h = torch.zeros_like(zeros), torch.zeros_like(zeros)        # from step t + 1, for ĥ_t and h_t
    ga, gh, buffer = (torch.empty_like(zeros) for _ in range(3))
    slope = grad.new_empty(batch, 2 * hidden)
    slope_r, slope_z = slope.split(hidden, 1)
    zero, lsb = scalar(0.0, grad.dtype), scalar(2.0**-STATE.frac, grad.dtype)

    for t in range(steps - 1, -1, -1):
        if threshold <= 1:
            torch.add(grads[t], carry_h, out=gh)
        else:
            torch.add(grads[t], held, out=ga)
            fired = torch.sub(a[t + 1], a[t], out=buffer).ne_(zero)
            torch.addcmul(carry_h, ga, fired, out=gh)
            torch.addcmul(ga, ga, fired, value=-1, out=held)
        torch.addcmul(gates[t], gates[t], gates[t], value=-1, out=slope)
        torch.mul(gh, z[t], out=carry_h)
        torch.sub(h[t], n[t], alpha=1 << STATE.frac, out=buffer).mul_(lsb).mul_(gh)
        torch.mul(buffer, slope_z, out=z[t])
        torch.addcmul(ones, n[t], n[t], value=-1, out=buffer)
        torch.mul(torch.sub(gh, carry_h, out=gh), buffer, out=n[t])
        torch.addcmul(zeros, n[t], nh[t], value=2.0**-PRE.frac, out=buffer)
        torch.mul(n[t], r[t], out=nh[t])
        torch.mul(buffer, slope_r, out=r[t])
        if t:
            grads[t - 1].addmm_(fed[t], w_hh)
    return run.cells, held.addmm_(fed[0], w_hh), carry_h


class GRUFunction(torch.autograd.Function):
    """What ``layer`` computes: ``apply(x, w_ih, w_hh, bias, weight_frac, threshold, noise, anchors, states, ends)``.

    ``anchors``, ``states``: those before the first frame, or None for both.
    """

    @staticmethod
    def forward(ctx, x, w_ih, w_hh, bias, weight_frac: int, threshold: Tensor | int, noise: Tensor | None,
                anchors: Tensor | None, states: Tensor | None, ends: Tensor | None):
        theta, training = whole_threshold(threshold), any(ctx.needs_input_grad)
        start = None if anchors is None or states is None else (anchors, states)
        if kernel.usable(x):
            made, last, kept = kernel.forward(x, *scaled(w_ih, w_hh, bias, weight_frac), lag_of(theta), noise,
                                              start, training or ends is not None)
            saved, ctx.fast = (*kept, last) if kept else (), True
            if ends is not None and kept:
                last = at_ends(kept.states(last), ends)
        else:
            run = sequence(x, w_ih, w_hh, bias, weight_frac, theta, noise=noise, start=start)
            made, saved, ctx.fast = run.anchors, run[:3], False
            last = at_ends(run.states[1:], ends)
        if training:
            ctx.save_for_backward(x, w_ih, w_hh, *saved, noise)
            ctx.weight_frac, ctx.threshold, ctx.spent = weight_frac, theta, False
        ctx.mark_non_differentiable(last)
        return made[1:], last

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor, _):
        x, w_ih, w_hh, *saved, noise = ctx.saved_tensors
        scale, hidden, inputs = 2.0**-ctx.weight_frac, w_hh.shape[1], ctx.needs_input_grad[0]
        grad = grad.clone(memory_format=torch.contiguous_format)
        w_ih, w_hh = _input_order(w_ih * scale), w_hh * scale
        if ctx.fast:
            kept, last = kernel.Kept(*saved[:3]), saved[3]
            g_x, g_ih, g_hh, g_bias, g_anchors, g_states = kernel.backward(
                grad, x, w_ih, w_hh, kept, lag_of(ctx.threshold), inputs)
            anchors = kept.anchors
        else:
            if ctx.spent:
                raise RuntimeError("the backward pass of a GRU layer overwrites what it saved; run the forward pass "
                                   "again")
            ctx.spent = True
            run = Sequence(saved[0], saved[1], saved[2], None)
            g, g_anchors, g_states = _backward(grad, w_hh, run, ctx.threshold)
            g = g.view(-1, 4 * hidden)
            g_input, g_bias = g[:, : 3 * hidden], g.sum(0)
            g_x = (g_input @ w_ih).view(x.shape) if inputs else None
            g_ih = g_input.t() @ x.reshape(-1, x.shape[2])
            g_hh = g[:, hidden:].t() @ run.anchors[:-1].reshape(-1, hidden)
            anchors = run.anchors
        g_threshold = None
        if ctx.needs_input_grad[5]:
            states = kept.states(last) if ctx.fast else run.states[1:]
            g_threshold = lag_gradient(_lag(states, anchors[1:], noise), ctx.threshold, grad)
        begun = (g_anchors if ctx.needs_input_grad[7] else None,
                 g_states * 2.0**-_STATE_SHIFT if ctx.needs_input_grad[8] else None)
        return (g_x, g_ih.roll(-hidden, 0) * scale, g_hh * scale, g_bias.view(4, hidden) * scale, None, g_threshold,
                None, *begun, None)


def layer(x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, weight_frac: int, threshold: Tensor | int,
          noise: Tensor | None = None, start: tuple[Tensor, Tensor] | None = None,
          ends: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Anchors ĥ (T, B, H) of a delta-GRU layer, SIGNAL integers held in floats, and without gradient the states (B, H)
    after the last frame.

    ``x`` (T, B, inputs) anchors of the signal below; ``w_ih`` (3H, inputs), ``w_hh`` (3H, H) integers, rows r, z, n;
    ``bias`` (4, H) accumulator LSBs, nx, r, z, nh; ``threshold`` Θ in LSBs, an int or (learned, rounded in the forward
    pass) a 0-dim tensor; ``noise`` None or (T, B, H), integers added to v in training; ``start`` None (reset) or
    (anchors, states) (B, H) before the first frame; ``ends`` None or (B,), the number of the last frame of each
    sequence, after which the states are taken.  All floats in one dtype.  Exact while |b| + Σ|w|·max|v̂| < 2**24 in
    float32.
    """
    anchors, states = start or (None, None)
    return GRUFunction.apply(x, w_ih, w_hh, bias, weight_frac, threshold, noise, anchors, states, ends)


assert GATE_FRAC == SIGNAL.frac    # r, z, n and anchors share one grid; sigmoid_ and tanh_ count on it
