"""The LSTM in integers: a frame at a time, and over a whole sequence as one autograd function.

    i = σ(M_i)   f = σ(M_f)   o = σ(M_o)   g = tanh(M_g)   c ← f·c + i·g   v = round(o·tanh(c))

Accumulators lie in memory as on the core, ``[o | i | f | g]``; input and ĥ feed all four.  The state is c, the signal
is v.  Sequence and gradient are computed as in ``gru.py``: straight-through for every rounding and
saturation, an anchor's gradient goes to v where the element fired, else to the anchor's old value.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...spec import activation
from ...spec.fixed import round_shift
from ...spec.formats import CANDIDATE, CANDIDATE_ARG, CELL_STATE, GATE_ARG, GATE_FRAC, SIGNAL, acc_frac
from ...spec.layer import Layer
from .. import kernel
from ..arithmetic import REAL, Arithmetic, Observed
from ..encoder import at_ends, lag_gradient, lag_of, shrink, whole_threshold
from ..fixed import scalar, sigmoid, sigmoid_, tanh, tanh_, through

Module = torch.nn.LSTM
_PRODUCT_FRAC = GATE_FRAC + CELL_STATE.frac     # of f·c


class Stages(NamedTuple):
    """The numbers inside the cell, each (..., H): arguments of σ in GATE_ARG, of tanh in CANDIDATE_ARG, the new c in
    CELL_STATE, v in SIGNAL."""

    o_arg: np.ndarray
    i_arg: np.ndarray
    f_arg: np.ndarray
    g_arg: np.ndarray
    c: np.ndarray
    v: np.ndarray


def observed(sums: Tensor, state: Tensor, activation: str = "", number: Arithmetic = REAL) -> Observed:
    """The equations: sums (4, B, H) of o, i, f, g and c (B, H) → what is seen inside, the signal, and the new c."""
    o, i, f = (number.sigmoid(x) for x in sums[:3])
    g = number.tanh(sums[3])
    c = number.to(f * state + i * g, CELL_STATE, "state")
    v = number.to(o * number.tanh(c), SIGNAL, "signal")
    return Observed({"i": i, "f": f, "g": g, "c": c, "o": o, "v": v}, v, c)


def step(accumulators: np.ndarray, state: np.ndarray, layer: Layer) -> tuple[Stages, np.ndarray, np.ndarray]:
    """One frame: accumulators (B, 4, H) of o, i, f, g with acc_frac fraction bits, and c (B, H) in CELL_STATE → the
    numbers inside, the new c, and the signal v (SIGNAL) that it sends; all int64."""
    frac = acc_frac(layer.weight_frac)
    o, i, f, g = accumulators.swapaxes(0, 1)
    o_arg, i_arg, f_arg = (np.asarray(GATE_ARG.requantise(x, frac)) for x in (o, i, f))
    g_arg = np.asarray(CANDIDATE_ARG.requantise(g, frac))
    kept = activation.sigmoid(f_arg) * state
    added = (activation.sigmoid(i_arg) * activation.tanh(g_arg)) << (CELL_STATE.frac - CANDIDATE.frac)
    c = np.asarray(CELL_STATE.requantise(kept + added, _PRODUCT_FRAC))
    squashed = activation.tanh(CANDIDATE_ARG.requantise(c, CELL_STATE.frac))
    v = round_shift(activation.sigmoid(o_arg) * squashed, GATE_FRAC)
    return Stages(o_arg, i_arg, f_arg, g_arg, c, v), c, v


def frame(sums: Tensor, state: Tensor, layer: Layer) -> tuple[list[Tensor], Tensor, Tensor]:
    """``step`` on integers held in floats, with a gradient: straight-through for roundings and saturations."""
    frac = acc_frac(layer.weight_frac)
    o, i, f, g = sums.unbind(-2)
    o_arg, i_arg, f_arg = (through(x, frac, GATE_ARG) for x in (o, i, f))
    g_arg = through(g, frac, CANDIDATE_ARG)
    added = sigmoid(i_arg) * tanh(g_arg) * (1 << (CELL_STATE.frac - CANDIDATE.frac))
    c = through(sigmoid(f_arg) * state + added, _PRODUCT_FRAC, CELL_STATE)
    squashed = tanh(through(c, CELL_STATE.frac, CANDIDATE_ARG))
    v = through(sigmoid(o_arg) * squashed, GATE_FRAC + CANDIDATE.frac, SIGNAL)
    return [o_arg, i_arg, f_arg, g_arg, c, v], c, v


class Sequence(NamedTuple):
    """The tensors of a run of a layer, which the backward pass needs.

    ``anchors`` (T+1, B, H), SIGNAL integers, ``states`` (T+1, B, H), CELL_STATE integers: entry 0 is reset.
    ``cells`` (T, B, 4H): o, i, f, g in real units on the grid of 2**-8.  ``signals`` (T, B, H): v.
    ``args`` (T, B, 4, H) or None: the arguments of o, i, f, g *before* saturation.
    """

    anchors: Tensor
    states: Tensor
    cells: Tensor
    signals: Tensor
    args: Tensor | None


def _in_order(rows: Tensor) -> Tensor:
    """Rows i, f, g, o of PyTorch → o, i, f, g."""
    return rows.roll(rows.shape[0] // 4, 0)


def scaled(w_ih: Tensor, w_hh: Tensor, bias: Tensor, weight_frac: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (inputs, 4H) and (H, 4H) of o, i, f, g, and biases (4H,), whose accumulators need no more than ``floor``
    to be in their formats."""
    frac = acc_frac(weight_frac)
    gate, candidate = 2.0 ** (GATE_ARG.frac - frac), 2.0 ** (CANDIDATE_ARG.frac - frac)
    scale = w_hh.new_tensor([gate, gate, gate, candidate]).repeat_interleave(w_hh.shape[1])
    weights, recurrent = ((_in_order(w) * scale[:, None]).t().contiguous() for w in (w_ih, w_hh))
    return weights, recurrent, bias.flatten() * scale + 0.5


@torch.no_grad()
def sequence(x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, weight_frac: int, threshold: int,
             keep_args: bool = False, noise: Tensor | None = None,
             start: tuple[Tensor, Tensor] | None = None) -> Sequence:
    """Run a layer from reset, or from the last (anchors, states) of a run before; arguments as in ``layer``."""
    steps, batch, inputs = x.shape
    hidden = w_hh.shape[1]
    weights, recurrent, b = scaled(w_ih, w_hh, bias, weight_frac)
    cells = torch.addmm(b, x.reshape(-1, inputs), weights).view(steps, batch, 4 * hidden)
    args = torch.empty_like(cells) if keep_args else None
    states, anchors = (x.new_empty(steps + 1, batch, hidden) for _ in range(2))
    signals = x.new_empty(steps, batch, hidden)
    anchors[0], states[0] = (0, 0) if start is None else start

    gates, tanhs = cells[:, :, : 3 * hidden].unbind(0), cells[:, :, 3 * hidden :].unbind(0)
    o, i, f, g = (part.unbind(0) for part in cells.split(hidden, 2))
    half_lsb = scalar(0.5, x.dtype)
    one, to_arg = float(1 << CELL_STATE.frac), 2.0 ** (CANDIDATE_ARG.frac - CELL_STATE.frac)
    for t, cell in enumerate(cells.unbind(0)):
        cell.addmm_(anchors[t], recurrent).floor_()
        if args is not None:
            args[t] = cell
        sigmoid_(gates[t])
        tanh_(tanhs[t])
        c, v = states[t + 1], signals[t]
        torch.mul(f[t], states[t], out=c).addcmul_(i[t], g[t], value=one).add_(half_lsb).floor_()
        c.clamp_(-CELL_STATE.max, CELL_STATE.max)
        tanh_(torch.mul(c, to_arg, out=v).add_(half_lsb).floor_())
        v.mul_(o[t]).mul_(1 << CANDIDATE.frac).add_(half_lsb).floor_()
        if noise is not None:
            v.add_(noise[t])
        if threshold <= 1:
            anchors[t + 1] = v
        else:
            torch.add(anchors[t], torch.nn.functional.hardshrink(v - anchors[t], shrink(threshold)), out=anchors[t + 1])
    return Sequence(anchors, states, cells, signals, None if args is None else args.view(steps, batch, 4, hidden))


@torch.no_grad()
def advance(x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, weight_frac: int, threshold: int,
            start: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Anchors (T, B, H) after each frame and states (B, H) after the last one, from reset or from the last (anchors,
    states) of a run before; arguments as in ``layer``."""
    if kernel.usable(x):
        anchors, last, _ = kernel.forward(x, *scaled(w_ih, w_hh, bias, weight_frac), lag_of(threshold), None, start,
                                          keep=False, cell="lstm")
        return anchors[1:], last
    run = sequence(x, w_ih, w_hh, bias, weight_frac, threshold, start=start)
    return run.anchors[1:], run.states[-1].clone()


def traced(x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, weight_frac: int,
           threshold: int) -> tuple[Tensor, list[Tensor]]:
    """Anchors (T, B, H) after each frame, and the integers of ``Stages`` (T, B, H); arguments as in ``layer``."""
    run = sequence(x, w_ih, w_hh, bias, weight_frac, threshold, keep_args=True)
    assert run.args is not None
    o, i, f, g = run.args.unbind(2)
    most, widest = GATE_ARG.max, CANDIDATE_ARG.max
    return run.anchors[1:], [*(x.clamp(-most, most) for x in (o, i, f)), g.clamp(-widest, widest), run.states[1:],
                             run.signals]


@torch.no_grad()
def _backward(grad: Tensor, grad_last: Tensor | None, w_hh: Tensor, run: Sequence, threshold: int,
              ends: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients (T, B, 4H) with respect to the real accumulators [o | i | f | g], divided by 2**SIGNAL.frac, and (B, H)
    with respect to the anchors and states before the first frame, both in units of 2**-SIGNAL.frac.

    ``grad`` (T, B, H) belongs to the anchors in LSBs, ``grad_last`` (B, H) to the states after the frames ``ends`` (B,)
    or after the last one, in the same units, ``w_hh`` (4H, H) is in real units and in that order.  What the next frame
    makes of each frame's anchors is added to ``grad``.
    """
    steps, batch, hidden = grad.shape
    result = torch.empty_like(run.cells)
    states = run.states * 2.0**-CELL_STATE.frac
    held = carry = grad.new_zeros(batch, hidden)
    if grad_last is not None and ends is None:
        carry = grad_last
    for t in range(steps - 1, -1, -1):
        if grad_last is not None and ends is not None:
            carry = carry + grad_last * (ends == t)[:, None]
        o, i, f, g = run.cells[t].split(hidden, 1)
        squashed = tanh_(torch.floor(states[t + 1] * 2.0**CANDIDATE_ARG.frac + 0.5))
        sent = grad[t] + held
        if threshold > 1:
            fired = (run.anchors[t + 1] != run.anchors[t]).to(grad.dtype)
            sent, held = sent * fired, sent * (1 - fired)
        d_c = carry + sent * o * (1 - squashed * squashed)
        torch.cat([sent * squashed * o * (1 - o), d_c * g * i * (1 - i), d_c * states[t] * f * (1 - f),
                   d_c * i * (1 - g * g)], 1, out=result[t])
        carry = d_c * f
        if t:
            grad[t - 1].addmm_(result[t], w_hh)
    return result, torch.addmm(held, result[0], w_hh), carry


class LSTMFunction(torch.autograd.Function):
    """What ``layer`` computes: ``apply(x, w_ih, w_hh, bias, weight_frac, threshold, noise, anchors, states, ends)``.

    ``anchors``, ``states``: those before the first frame, or None for both.
    """

    @staticmethod
    def forward(ctx, x, w_ih, w_hh, bias, weight_frac: int, threshold: Tensor | int, noise: Tensor | None,
                anchors: Tensor | None, states: Tensor | None, ends: Tensor | None):
        theta, training = whole_threshold(threshold), any(ctx.needs_input_grad)
        start = None if anchors is None or states is None else (anchors, states)
        ctx.set_materialize_grads(False)
        if kernel.usable(x):
            made, last, kept = kernel.forward(x, *scaled(w_ih, w_hh, bias, weight_frac), lag_of(theta), noise, start,
                                              training or ends is not None, "lstm")
            saved, ctx.fast = kept or (), True
            if ends is not None and kept:
                last = at_ends(kept.states(last), ends)
        else:
            run = sequence(x, w_ih, w_hh, bias, weight_frac, theta, noise=noise, start=start)
            made, saved, ctx.fast = run.anchors, run[:4], False
            last = at_ends(run.states[1:], ends)
        if training:
            ctx.save_for_backward(x, w_ih, w_hh, noise, ends, *saved)
            ctx.weight_frac, ctx.threshold = weight_frac, theta
        return made[1:], last

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor | None, grad_last: Tensor | None):
        x, w_ih, w_hh, noise, ends, *saved = ctx.saved_tensors
        scale, hidden, inputs = 2.0**-ctx.weight_frac, w_hh.shape[1], ctx.needs_input_grad[0]
        grad = x.new_zeros(*x.shape[:2], hidden) if grad is None else grad.clone(memory_format=torch.contiguous_format)
        w_ih, w_hh = _in_order(w_ih) * scale, _in_order(w_hh) * scale
        if grad_last is not None:
            grad_last = grad_last * 2.0 ** (CELL_STATE.frac - SIGNAL.frac)
        if ctx.fast:
            kept = kernel.Kept(*saved)
            g_x, g_ih, g_hh, g_bias, g_anchors, g_states = kernel.backward(
                grad, x, w_ih, w_hh, kept, lag_of(ctx.threshold), inputs, "lstm", grad_last, ends)
            anchors = kept.anchors
        else:
            run = Sequence(saved[0], saved[1], saved[2], saved[3], None)
            g, g_anchors, g_states = _backward(grad, grad_last, w_hh, run, ctx.threshold, ends)
            g = g.view(-1, 4 * hidden)
            g_x, g_bias = (g @ w_ih).view(x.shape) if inputs else None, g.sum(0)
            g_ih, g_hh = (g.t() @ heard.reshape(g.shape[0], -1) for heard in (x, run.anchors[:-1]))
            anchors = run.anchors
        g_threshold = None
        if ctx.needs_input_grad[5]:
            signals = _sent(kept, noise) if ctx.fast else run.signals
            g_threshold = lag_gradient(signals - anchors[1:], ctx.threshold, grad)
        g_ih, g_hh = (rows.roll(-hidden, 0) * scale for rows in (g_ih, g_hh))
        begun = (g_anchors if ctx.needs_input_grad[7] else None,
                 g_states * 2.0 ** (SIGNAL.frac - CELL_STATE.frac) if ctx.needs_input_grad[8] else None)
        return g_x, g_ih, g_hh, g_bias.view(4, hidden) * scale, None, g_threshold, None, *begun, None


def _sent(kept: kernel.Kept, noise: Tensor | None) -> Tensor:
    """v (T, B, H), with noise, of what the kernel kept."""
    v = torch.floor(kept.words[:, :, 1].to(kept.anchors.dtype) * kept.bytes_[:, :, 0] * 2.0**-GATE_FRAC + 0.5)
    return v if noise is None else v.add_(noise)


def layer(x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, weight_frac: int, threshold: Tensor | int,
          noise: Tensor | None = None, start: tuple[Tensor, Tensor] | None = None,
          ends: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Anchors ĥ (T, B, H) of a delta-LSTM layer, SIGNAL integers held in floats, and the states c (B, H) after the last
    frame, or after the frames ``ends`` (B,).

    Arguments as in ``gru.layer``, but ``w_ih`` (4H, inputs), ``w_hh`` (4H, H) with rows i, f, g, o as in torch.nn.LSTM;
    ``bias`` (4, H) of o, i, f, g.
    """
    anchors, states = start or (None, None)
    return LSTMFunction.apply(x, w_ih, w_hh, bias, weight_frac, threshold, noise, anchors, states, ends)
