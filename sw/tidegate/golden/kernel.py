"""A delta-GRU or delta-LSTM layer over a sequence, forward and backward, with the element-wise half of each step in C.

A step is one matrix product and some thirty element-wise operations on small tensors, each of which torch passes
through memory by itself.  ``kernel.c`` does them in one pass, and what the way back needs is kept in less than half
the bytes.  It is compiled for this machine when it is first used.  The
integers are the same, so nothing depends on it: without a C compiler, on a GPU, in float64, or with
TIDEGATE_KERNEL=0, ``gru.py``, ``lstm.py`` and ``encoder.py`` do the same in
torch.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..spec import activation
from ..spec.cache import cache_folder
from ..spec.formats import CANDIDATE_ARG, CELL_STATE, GATE_ARG, GATE_FRAC, PRE, SIGNAL, STATE
from ..spec.rules import DELTA_MAX

_SOURCES = [Path(__file__).with_name(name) for name in ("kernel.c", "spikes.c")]
_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", "-std=gnu11",
          f"-DSIGMOID_MAX={GATE_ARG.max}", f"-DTANH_MAX={CANDIDATE_ARG.max}",
          f"-DDELTA_MAX={DELTA_MAX}", f"-DSIGNAL_MAX={SIGNAL.max}", f"-DGATE_ONE={1 << GATE_FRAC}.0f")
_off: ContextVar[bool] = ContextVar("off", default=False)
_GROUP = 8      # frames whose sums are made at once: they stay in the processor's cache


class _Sizes(ctypes.Structure):
    """``struct sizes`` of kernel.c."""

    _fields_ = [("batch", ctypes.c_long), ("hidden", ctypes.c_long),
                *((name, ctypes.c_float) for name in ("lag", "pre_max", "to_candidate", "to_signal", "one", "lsb",
                                                      "pre_lsb", "cell_max", "cell_one", "cell_to_tanh",
                                                      "cell_lsb")),
                ("sigmoid", ctypes.c_void_p), ("tanh", ctypes.c_void_p)]


class Kept(NamedTuple):
    """What the way back needs.

    ``anchors`` (T+1, B, H), entry 0 before the first frame.  ``words`` (T, B, 3, H) int16: of a GRU n, nh and h before
    the frame, of an LSTM g, tanh(c) after the frame and c before it.  ``bytes_`` uint8: (T, B, 2, H) of r and z, or
    (T, B, 3, H) of o, i and f.
    """

    anchors: Tensor
    words: Tensor
    bytes_: Tensor

    def states(self, last: Tensor) -> Tensor:
        """The states (T, B, H) after each frame, in the type of those after the last one."""
        return torch.cat([self.words[1:, :, 2].to(last.dtype), last[None]])


class _Steps(NamedTuple):
    """The names of a cell's functions in kernel.c, and how many of its numbers are kept in bytes."""

    forward: str
    backward: str
    bytes_: int


_STEPS = {"gru": _Steps("tidegate_step", "tidegate_step_back", 2),
          "lstm": _Steps("tidegate_lstm_step", "tidegate_lstm_step_back", 3)}


def usable(x: Tensor) -> bool:
    """Whether the kernel can compute with tensors like this one here."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and found()


def found() -> bool:
    """Whether there is a kernel here, and it is not switched off."""
    return not _off.get() and _found() is not None


@contextmanager
def switched_off() -> Iterator[None]:
    """Everything in torch, as on a machine without a C compiler."""
    token = _off.set(True)
    try:
        yield
    finally:
        _off.reset(token)


def run_spikes(*arguments: Any) -> None:
    """``tidegate_spikes`` of spikes.c."""
    _library().tidegate_spikes(*arguments)


def encode_anchors(signal: Tensor, start: Tensor | None, lag: float) -> Tensor:
    """Anchors (T, ...) of a signal (T, ...) from reset or from ``start`` (...); it fires where it is further away than
    ``lag``."""
    library, signal = _library(), signal.contiguous()
    anchors = torch.empty_like(signal)
    if anchors.numel():
        first = torch.zeros_like(signal[0]) if start is None else start.contiguous()
        library.tidegate_encode(_at(signal), _at(first), _at(anchors), len(signal), first.numel(), lag)
    return anchors


class CountEvents(torch.autograd.Function):
    """Events (T, B) that made anchors (T, B, n) from ``start`` (B, n): ``apply(anchors, start, threshold)``.

    Its slope is that of the distance that they move over ``threshold``; see ``encoder.priced_events``.
    """

    @staticmethod
    def forward(ctx, anchors: Tensor, start: Tensor | None, threshold: int) -> Tensor:
        anchors = anchors.contiguous()
        start = torch.zeros_like(anchors[0]) if start is None else start.contiguous()
        counts = anchors.new_empty(anchors.shape[:2])
        _library().tidegate_count(_at(anchors), _at(start), _at(counts), *anchors.shape)
        ctx.save_for_backward(anchors, start)
        ctx.threshold = threshold
        return counts

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        anchors, start = ctx.saved_tensors
        made, price = torch.empty_like(anchors), grad.div(max(ctx.threshold, 1)).contiguous()
        _library().tidegate_price(_at(anchors), _at(start), _at(price), _at(made), *anchors.shape)
        return made, None, None


@torch.no_grad()
def forward(x: Tensor, weights: Tensor, recurrent: Tensor, bias: Tensor, lag: float, noise: Tensor | None,
            start: tuple[Tensor, Tensor] | None, keep: bool, cell: str = "gru") -> tuple[Tensor, Tensor, Kept | None]:
    """Anchors (T+1, B, H), entry 0 before the first frame, the states (B, H) after the last one, and with ``keep`` what
    ``backward`` needs.

    ``weights`` (inputs, n·H) of the first gates, ``recurrent`` (H, n·H) of the last ones, ``bias`` (4H,): scaled, and a
    half added, as in ``scaled`` of the cell.  ``lag``: fires if further away from the anchor, below 0 always.
    """
    (steps, batch, inputs), hidden, steps_of = x.shape, len(recurrent), _STEPS[cell]
    anchors, h = x.new_empty(steps + 1, batch, hidden), x.new_zeros(batch, hidden)
    anchors[0] = 0 if start is None else start[0]
    if start is not None:
        h.copy_(start[1])
    kept = Kept(anchors, torch.empty(steps, batch, 3, hidden, dtype=torch.int16),
                torch.empty(steps, batch, steps_of.bytes_, hidden, dtype=torch.uint8)) if keep else None
    words, bytes_ = (0, 0) if kept is None else (_at(kept.words), _at(kept.bytes_))
    noise_step = 0 if noise is None else hidden
    noise = x.new_zeros(hidden) if noise is None else noise.contiguous()
    library, sizes, size = _library(), _sizes(batch, hidden, lag), batch * hidden
    sums, x, rows = x.new_empty(_GROUP, batch, 4 * hidden), x.reshape(steps, batch, inputs), weights.shape[1]
    fed, step = sums[:, :, 4 * hidden - recurrent.shape[1] :].unbind(0), getattr(library, steps_of.forward)
    for first in range(0, steps, _GROUP):
        group = min(_GROUP, steps - first)
        torch.addmm(bias[:rows], x[first : first + group].reshape(-1, inputs), weights,
                    out=sums.view(-1, 4 * hidden)[: group * batch, :rows])
        sums[:group, :, rows:] = bias[rows:]
        for k, before in enumerate(anchors[first : first + group].unbind(0)):
            fed[k].addmm_(before, recurrent)
            t = first + k
            step(ctypes.byref(sizes), _at(sums, 4 * k * size), _at(anchors, t * size), _at(anchors, (t + 1) * size),
                 _at(h), _at(noise, t * size if noise_step else 0), noise_step,
                 words and words + 6 * t * size, bytes_ and bytes_ + steps_of.bytes_ * t * size)
    return anchors, h, kept


@torch.no_grad()
def backward(grad: Tensor, x: Tensor, w_ih: Tensor, w_hh: Tensor, kept: Kept, lag: float, inputs: bool,
             cell: str = "gru", grad_last: Tensor | None = None, ends: Tensor | None = None
             ) -> tuple[Tensor | None, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x (or None), of the weights (n·H, inputs) and (n·H, H) in the order of the accumulators, and of the
    accumulators' biases (4H,), divided by 2**SIGNAL.frac; and of the anchors and states (B, H) before the first frame,
    both in units of 2**-SIGNAL.frac.

    ``grad`` (T, B, H) belongs to the anchors in LSBs; what the next frame makes of each frame's anchors is added to it.
    ``w_ih``, ``w_hh`` in the order of the accumulators, in real units.  ``grad_last`` (B, H): of the states after the
    frames ``ends`` (B,) or after the last one, in units of 2**-SIGNAL.frac.
    """
    steps, batch, hidden = grad.shape
    library, sizes, size, steps_of = _library(), _sizes(batch, hidden, lag), batch * hidden, _STEPS[cell]
    sums, step = grad.new_empty(_GROUP, batch, 4 * hidden), getattr(library, steps_of.backward)
    heard, own = len(w_ih), 4 * hidden - len(w_hh)          # rows that hear the input, and the first that hears h
    fed, rows = sums[:, :, own:].unbind(0), sums.view(-1, 4 * hidden)
    held, carry = grad.new_zeros(2, batch, hidden).unbind(0)
    if grad_last is not None and ends is None:
        carry.copy_(grad_last)
    g_ih, g_hh = grad.new_zeros(x.shape[2], heard), grad.new_zeros(hidden, len(w_hh))
    g_bias, g_x = grad.new_zeros(4 * hidden), torch.empty_like(x) if inputs else None
    anchors, words, bytes_ = kept
    grads = grad.unbind(0)
    for first in reversed(range(0, steps, _GROUP)):
        group = min(_GROUP, steps - first)
        for k in reversed(range(group)):
            t = first + k
            if grad_last is not None and ends is not None:
                carry.addcmul_(grad_last, (ends == t).to(grad.dtype)[:, None])
            step(ctypes.byref(sizes), _at(grad, t * size), _at(anchors, t * size), _at(anchors, (t + 1) * size),
                 _at(words) + 6 * t * size, _at(bytes_) + steps_of.bytes_ * t * size, _at(held), _at(carry),
                 _at(sums, 4 * k * size))
            if t:
                grads[t - 1].addmm_(fed[k], w_hh)
        made = rows[: group * batch]
        here = slice(first, first + group)
        g_ih.addmm_(x[here].reshape(-1, x.shape[2]).t(), made[:, :heard])
        g_hh.addmm_(anchors[here].view(-1, hidden).t(), made[:, own:])
        g_bias += made.sum(0)
        if g_x is not None:
            g_x[here] = (made[:, :heard] @ w_ih).view(group, batch, -1)
    return g_x, g_ih.t(), g_hh.t(), g_bias, held.addmm_(fed[0], w_hh), carry


def _at(tensor: Tensor, element: int = 0) -> int:
    """Address of an element of a tensor of floats."""
    return tensor.data_ptr() + 4 * element


def _sizes(batch: int, hidden: int, lag: float) -> _Sizes:
    return _Sizes(batch, hidden, lag, PRE.max, 2.0 ** (CANDIDATE_ARG.frac - PRE.frac),
                  2.0 ** (SIGNAL.frac - STATE.frac), 1 << STATE.frac, 2.0**-STATE.frac, 2.0**-PRE.frac,
                  CELL_STATE.max, 1 << CELL_STATE.frac, 2.0 ** (CANDIDATE_ARG.frac - CELL_STATE.frac),
                  2.0**-CELL_STATE.frac,
                  *(table.data_ptr() for table in _tables()))


@lru_cache
def _tables() -> tuple[Tensor, Tensor]:
    """σ and tanh in real units, of the arguments -max..max."""
    whole = (activation.sigmoid(torch.arange(-GATE_ARG.max, GATE_ARG.max + 1).numpy()),
             activation.tanh(torch.arange(-CANDIDATE_ARG.max, CANDIDATE_ARG.max + 1).numpy()))
    sigmoid, tanh = (torch.from_numpy(t).float() * 2.0**-GATE_FRAC for t in whole)
    return sigmoid, tanh


def _library() -> ctypes.CDLL:
    """The compiled kernel, where it is ``usable``."""
    library = _found()
    assert library is not None
    return library


@lru_cache
def _found() -> ctypes.CDLL | None:
    """The compiled kernel; None without a compiler, or with TIDEGATE_KERNEL=0."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if os.environ.get("TIDEGATE_KERNEL") == "0" or compiler is None:
        return None
    try:
        path = _compiled(compiler)
        if not _whole(path):            # a disk was full, or a copy was cut short
            path.unlink(missing_ok=True)
            path = _compiled(compiler)
        library = ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError):
        return None
    p, n = ctypes.c_void_p, ctypes.c_long
    for name, arguments in (("encode", (p, p, p, n, n, ctypes.c_float)), ("step", (p, p, p, p, p, p, n, p, p)),
                            ("step_back", (p,) * 9), ("lstm_step", (p, p, p, p, p, p, n, p, p)),
                            ("lstm_step_back", (p,) * 9), ("count", (p, p, p, n, n, n)),
                            ("price", (p, p, p, p, n, n, n)),
                            ("spikes", (p, n, p, p, n, n, ctypes.c_int, ctypes.c_int, p, p, p, p, p))):
        function = getattr(library, f"tidegate_{name}")
        function.argtypes, function.restype = arguments, None
    return library


def _compiled(compiler: str) -> Path:
    """The shared library in the cache, made if it is not there; its name tells source, compiler and processor."""
    target = subprocess.run([compiler, "-march=native", "-Q", "--help=target"], capture_output=True).stdout
    parts = (*(source.read_bytes() for source in _SOURCES), " ".join(_FLAGS).encode(), compiler.encode(), target)
    kept = cache_folder() / "kernel" / f"{sha256(b'|'.join(parts)).hexdigest()[:24]}.so"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            made = Path(folder) / kept.name
            subprocess.run([compiler, *_FLAGS, *map(str, _SOURCES), "-o", str(made), "-lm"], check=True,
                           capture_output=True)
            _sum_of(kept).write_text(sha256(made.read_bytes()).hexdigest(), encoding="utf-8")
            os.replace(made, kept)
    return kept


def _sum_of(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _whole(library: Path) -> bool:
    """Whether the library is as it was compiled: one that was cut short may load, and crash when it is called."""
    try:
        return _sum_of(library).read_text(encoding="utf-8") == sha256(library.read_bytes()).hexdigest()
    except (OSError, ValueError):
        return False
