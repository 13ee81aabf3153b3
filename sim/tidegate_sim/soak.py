"""A long listen: hours of made sound through ``Board.listen`` on the virtual board, every frame checked.

    python -m tidegate_sim.soak --hours 10

A second computation runs beside the board.  It computes M = b + W·v̂ from the anchors v̂ for every frame, where the RTL
only ever adds W·Δ.  Logits and events of each frame must be equal, and after the last frame also all integers inside
the cell.  No frame may be missing from the summary, and memory must not grow after the first hour.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tidegate import Board, load_model
from tidegate.clips import clips
from tidegate.golden.cells import golden_of
from tidegate.host.audio import read_audio
from tidegate.host.listen import Heard, Listener, Totals
from tidegate.spec.errors import ModelError, TidegateError
from tidegate.spec.layout import Layout
from tidegate.spec.model import Model, tensor_name
from tidegate.spec.rules import delta

from .trace import read_trace

BLOCK_S = 1.0
SETTLED_H = 1.0             # hours after which memory is compared
GROWTH_MIB = 4.0            # between then and the end, at most, of both processes together


def made_sound(rate: int, hours: float, seed: int) -> Iterator[np.ndarray]:
    """Bundled words at random times and levels, over noise whose level wanders; float32 blocks of ``BLOCK_S``."""
    rng = np.random.default_rng(seed)
    words = [read_audio(clip.path, rate) for clip in clips()]
    block, rest, level = round(rate * BLOCK_S), np.zeros(0, np.float32), -50.0
    for _ in range(round(hours * 3600 / BLOCK_S)):
        level = float(np.clip(level + rng.normal(0, 2), -80, -25))
        sound = (10 ** (level / 20) * rng.standard_normal(block)).astype(np.float32)
        if not len(rest) and rng.random() < 0.25:
            rest = words[rng.integers(len(words))] * np.float32(10 ** (rng.uniform(-20, 3) / 20))
        part, rest = rest[:block], rest[block:]
        start = rng.integers(block - len(part) + 1)
        sound[start : start + len(part)] += part
        yield np.clip(sound, -1, 1)


class Anew:
    """Frames computed from the anchors alone; ``accept`` gives the events and logits of a frame.

    ``stages``: of the last frame, per layer.  Sums are exact: integers below 2**53 in float64.
    ModelError if the sums of the model are not b + W·v̂ of the layer before and its own.
    """

    def __init__(self, model: Model):
        net, tensors = model.network, model.tensors
        if not net.plain:
            raise ModelError("a long listen compares sums with b + W·v̂, which only a plain chain of gru or lstm layers "
                             "with the rule delta holds; choose another model")
        self.network = net
        self.anchors = [np.zeros((1, net.elements(s)), np.int64) for s in range(net.signals)]
        self.states = [np.zeros((1, layer.size), np.int64) for layer in net.layers]
        self.stages: list[Any] = []
        self._w = {name: tensors[name].T.astype(np.float64) for name in tensors if ".weight" in name}
        self._b = {name: tensors[name].astype(np.int64) for name in tensors if name.endswith(".bias")}

    def accept(self, frame: np.ndarray) -> tuple[list[int], np.ndarray]:
        net, events, self.stages = self.network, [], []
        v = frame[None].astype(np.int64)
        for s in range(net.signals):
            fired, _, self.anchors[s] = delta(v, self.anchors[s], net.thresholds[s])
            events.append(int(fired.sum()))
            if s < len(net.layers):
                layer = net.layers[s]
                from_input, from_own = (self._product(tensor_name(layer, s, what), s + k).reshape(-1, layer.size)
                                        for k, what in enumerate(("weight_ih", "weight_hh")))
                sums = self._b[tensor_name(layer, s, "bias")].copy()
                for gate, total in zip(layer.cell.gates, sums, strict=True):
                    total += 0 if gate.input_row is None else from_input[gate.input_row]
                    total += 0 if gate.own_row is None else from_own[gate.own_row]
                stages, self.states[s], v = golden_of(layer.cell).step(sums[None], self.states[s], layer)
                self.stages.append(stages)
        return events, self._product("classifier.weight", net.signals - 1)[0] + self._b["classifier.bias"]

    def _product(self, name: str, signal: int) -> np.ndarray:
        return (self.anchors[signal].astype(np.float64) @ self._w[name]).astype(np.int64)


class LastFrame:
    """Reads a simulator's trace from a named pipe and keeps the last frame of it."""

    def __init__(self, path: Path, layout: Layout):
        self.path, self.layout, self.total, self.last = path, layout, 0, b""
        groups = sum(-(-layer.size // layout.design.cell_rate) for layer in layout.network.layers)
        self.bytes = groups * 2 * (2 + layout.design.stages * layout.design.cell_rate)
        os.mkfifo(path)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with open(self.path, "rb", buffering=0) as pipe:
            while more := pipe.read(1 << 16):
                self.last = (self.last + more)[-self.bytes :]
                self.total += len(more)

    def stages(self, frames: int) -> dict:
        """Of the last of so many frames."""
        end = time.monotonic() + 10
        while self.total < frames * self.bytes and time.monotonic() < end:
            time.sleep(0.01)
        if self.total != frames * self.bytes:
            raise SystemExit(f"the trace has {self.total} bytes, {frames} frames have {frames * self.bytes}")
        kept = self.path.with_suffix(".last")
        kept.write_bytes(self.last)
        return read_trace(kept, self.layout, 1)


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Soak:
    """One run; ``report`` after it.  ``mismatches``: frames whose logits or events differ."""

    def __init__(self, name: str, lanes: int, hours: float, seed: int):
        self.name, self.lanes, self.hours, self.seed = name, lanes, hours, seed
        self.model = load_model(name)
        self.anew = Anew(self.model)
        self.mismatches = self.frames = 0
        self.memory: list[tuple[float, float, float]] = []      # hours, MiB of this process, of the simulator
        self._next = 0.0

    def run(self) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            return self._run(Path(folder) / "trace")

    def _run(self, trace: Path) -> dict:
        from tidegate.spec.design import SIMULATED

        last = LastFrame(trace, Layout(self.model.network, SIMULATED[self.lanes]))
        began = time.monotonic()
        with Board.open(lanes=self.lanes, trace=trace) as board:
            board.load(self.model)
            self._child = board._virtual._process.pid if board._virtual else 0
            rate = self.model.frontend["sample_rate"]
            listener: Listener = board.listen(made_sound(rate, self.hours, self.seed), watch=self._watch)
            for _ in listener:
                pass
            seconds = time.monotonic() - began
            got, drift = last.stages(self.frames), 0
            for l, stages in enumerate(self.anew.stages):
                drift += sum(int((got[l, stage][0] != values[0]).sum()) for stage, values in stages._asdict().items())
            self._sample()
        return self._report(listener.totals, listener.frontend.frames(round(self.hours * 3600 / BLOCK_S)
                                                                      * round(rate * BLOCK_S)), drift, seconds)

    def _watch(self, heard: Heard) -> None:
        for frame, result in zip(heard.frames, heard.results, strict=True):
            events, logits = self.anew.accept(frame)
            self.mismatches += events != list(result.events) or logits.tolist() != list(result.logits)
        self.frames += len(heard.frames)
        if self.frames * 0.016 / 3600 >= self._next:
            self._sample()
            self._next += min(0.5, self.hours / 20)

    def _sample(self) -> None:
        now = (self.frames * 0.016 / 3600, memory_mib(os.getpid()), memory_mib(self._child))
        self.memory.append(now)
        print(f"{now[0]:6.2f} h  {now[1]:.1f} + {now[2]:.1f} MiB  {self.frames} frames, {self.mismatches} mismatches",
              file=sys.stderr, flush=True)

    def _report(self, totals: Totals, due: int, drift: int, seconds: float) -> dict[str, Any]:
        settled = next((m for m in self.memory if m[0] >= min(SETTLED_H, self.hours / 4)), self.memory[-1])
        growth = sum(self.memory[-1][1:]) - sum(settled[1:])
        unaccounted = due - totals.frames - totals.frames_lost
        return {
            "model": self.name, "lanes": self.lanes, "hours": self.hours, "seed": self.seed, "seconds": seconds,
            "times_real_time": self.hours * 3600 / seconds, "frames": totals.frames, "words": totals.words,
            "frames_lost": totals.frames_lost, "frames_unaccounted": unaccounted, "mismatches": self.mismatches,
            "differences_from_b_plus_Wv": drift, "memory_mib_settled": settled, "memory_mib_end": self.memory[-1],
            "growth_mib": growth,
            "passed": not (unaccounted or totals.frames_lost or self.mismatches or drift or growth > GROWTH_MIB),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--model", default="commands")
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        report = Soak(options.model, options.lanes, options.hours, options.seed).run()
    except TidegateError as error:
        sys.exit(str(error))
    print(json.dumps(report, indent=2))
    sys.exit(not report["passed"])


if __name__ == "__main__":
    main()
