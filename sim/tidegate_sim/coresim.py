"""The core alone, without link or driver, as a fast executable: every integer and every cycle of a stream of frames.

    run = simulate(SIMULATED[64], model, frames)            # frames back to back: throughput
    run = simulate(SIMULATED[64], model, frames, apart=True)        # one at a time: latency
"""

import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from tidegate.spec.design import Design
from tidegate.spec.errors import TidegateError
from tidegate.spec.layout import Layout
from tidegate.spec.model import Model
from tidegate.spec.packets import core_signals
from tidegate.spec.register_values import register_values
from tidegate.spec.registers import REGISTERS, stop_registers
from tidegate.spec.stage_times import RESULT
from tidegate.spec.stop import Stop

from .simulators import REGISTER_BYTES, executable
from .trace import Mismatch, Run, compare, decided, golden_run, golden_words, read_trace


@dataclass(frozen=True)
class CoreRun:
    """A core's answers to clips, joined: (T,) or (T, n) arrays over all T frames.

    ``logits`` (T, classes), ``events`` (T, signals), ``weight_words``, ``cycles``, ``decisions`` (class + 1, or 0): as
    the core reports them.  ``starts``: clock cycle in which a frame's first group was taken.  ``completions``: clock
    cycle after its last logit, in which its result is valid.  ``total``: Σ over the clips of the cycles from the first
    group to the last completion.  ``run``: all integers, for ``mismatches``; with those of the cell if ``traced``.
    """

    clips: tuple[int, ...]
    logits: np.ndarray
    events: np.ndarray
    weight_words: np.ndarray
    cycles: np.ndarray
    decisions: np.ndarray
    starts: np.ndarray
    completions: np.ndarray
    total: int
    traced: bool
    run: Run = field(repr=False)


def simulate(design: Design, model: Model, frames: np.ndarray | Sequence[np.ndarray], *, dense: bool = False,
             apart: bool = False, stalls: float = 0, seed: int = 0, waveform: str | Path | None = None,
             trace: bool = True, stop: Stop | None = None) -> CoreRun:
    """Stream frames through the simulated core.

    ``frames``: a clip (T, features) of SIGNAL integers or several; each starts from reset and idle, with its frames
    back to back: a group is offered in every cycle.  ``dense``: dense mode.  ``apart``: a frame is offered when the
    core is idle.  ``stalls``: probability that in a cycle no group is offered; the same, independently, that no
    logit is taken, and that no result is taken.  ``seed`` chooses the cycles.  ``waveform``: VCD file; needs another
    executable.  ``trace``: keep the cell's integers.  ``stop``: a rule with ``stream``, as every frame is run.  The
    first use of a design compiles it.

    CapacityError if the model does not fit; TidegateError if the core hangs or its answers cannot be told apart.
    """
    clips = [frames] if isinstance(frames, np.ndarray) else list(frames)
    if stop is not None and not stop.stream:
        raise TidegateError("the simulated core runs every frame; give it a stop rule with stream=True")
    layout = Layout(model.network, design)
    with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
        file = Path(folder) / "trace"
        command = [str(executable(design, waveform is not None, "core"))]
        command += ["--trace", str(file)] if trace else []
        command += ["--waveform", str(waveform)] if waveform is not None else []
        done = subprocess.run(command, input=_stimulus(layout, model, clips, dense, apart, stalls, seed, stop),
                              capture_output=True)
        if done.returncode:
            lines = done.stderr.decode(errors="replace").splitlines() or [f"exit status {done.returncode}"]
            raise TidegateError(f"the simulated core failed: {lines[-1]}")
        lengths = tuple(map(len, clips))
        run = read_trace(file, layout, sum(lengths)) if trace else {}
    return _core_run(done.stdout, lengths, design, model, run, trace)


def mismatches(run: CoreRun, design: Design, model: Model, frames: np.ndarray | Sequence[np.ndarray],
               dense: bool = False, stop: Stop | None = None) -> tuple[int, Mismatch | None]:
    """Number of integers of a run that differ from golden's, and the first.

    Compared: the cell's integers if traced, events (0 for signals that the network does not have), weight words,
    logits, decisions by ``stop`` (0 without a rule), frame numbers, and the core's count of cycles with the
    simulator's.
    """
    clips = [frames] if isinstance(frames, np.ndarray) else list(frames)
    golden = golden_run(model, clips, dense)
    if stop is not None:
        golden |= decided(golden, clips, stop)
    golden |= golden_words(model, Layout(model.network, design), clips, golden, dense)
    golden.setdefault((None, "decision"), np.zeros((sum(run.clips), 1), np.int64))
    golden[None, "frame"] = np.concatenate([np.arange(n) for n in run.clips])[:, None]
    golden[None, "cycles"] = _observed_cycles(run)[:, None]
    golden[None, "events of no signal"] = np.zeros_like(run.run[None, "events of no signal"])
    if not run.traced:
        golden = {key: values for key, values in golden.items() if key[0] is None}
    return compare(golden, run.run, design.lanes, model.network.thresholds)


def _stimulus(layout: Layout, model: Model, clips: list[np.ndarray], dense: bool, apart: bool, stalls: float,
              seed: int, stop: Stop | None) -> bytes:
    """What ``core.cpp`` reads."""
    network, e = layout.network, layout.design.encoder_rate
    groups = -(-network.features // e)
    weights = layout.pack(model)
    values = register_values(layout) | stop_registers(stop, network.classes, dense)
    registers, offset = 0, 0
    for register in REGISTERS:
        if register.writable:
            registers |= values.get(register.name, 0) << offset
            offset += register.bits
    settings = struct.pack("<6IQ", len(weights), groups, network.classes, len(clips), apart,
                           min(int(stalls * 2**32), 2**32 - 1), seed)
    parts = [settings, registers.to_bytes(REGISTER_BYTES, "little"), weights.tobytes(),
             np.array([len(clip) for clip in clips], "<u4").tobytes()]
    for clip in clips:
        padded = np.zeros((len(clip), groups * e), "<i2")
        padded[:, : network.features] = clip
        parts.append(padded.tobytes())
    return b"".join(parts)


def counters(design: Design) -> list[tuple]:
    """Fields of a core's ``result``, as numpy describes them."""
    return [("frames", "<u4"), ("cycles", "<u4"), ("weight_words", "<u4"),
            ("events", "<u2", (core_signals(design.layers),)), ("decision", "<u2")]


def _core_run(output: bytes, clips: tuple[int, ...], design: Design, model: Model, run: Run, traced: bool) -> CoreRun:
    network = model.network
    record = np.dtype([("start", "<u8"), ("completion", "<u8"), *counters(design),
                       ("logits", "<i4", (network.classes,))])
    records = np.frombuffer(output, record)
    if len(records) != sum(clips):
        raise TidegateError(f"the simulated core answered {len(records)} of {sum(clips)} frames")
    starts, completions = (records[name].astype(np.int64) for name in ("start", "completion"))
    completions -= RESULT - 1
    first = np.cumsum([0, *clips])
    total = sum(int(completions[b - 1] - starts[a]) for a, b in pairwise(first) if b > a)
    events = records["events"].astype(np.int64)
    run = run | {
        (None, "events"): events[:, : network.signals], (None, "events of no signal"): events[:, network.signals :],
        (None, "logits"): records["logits"], (None, "weight words"): records["weight_words"][:, None],
        (None, "frame"): records["frames"][:, None], (None, "cycles"): records["cycles"][:, None],
        (None, "decision"): records["decision"][:, None],
    }
    return CoreRun(clips, records["logits"], events[:, : network.signals], records["weight_words"].astype(np.int64),
                   records["cycles"].astype(np.int64), records["decision"].astype(np.int64), starts, completions, total,
                   traced, run)


def _observed_cycles(run: CoreRun) -> np.ndarray:
    """Cycles in which each frame was the oldest under way, by the simulator's clock."""
    before = np.concatenate([[0], run.completions[:-1]])
    return run.completions - np.maximum(before, run.starts)
