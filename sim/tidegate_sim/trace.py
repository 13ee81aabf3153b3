"""The integers by which golden model and RTL are compared: all of a run, by layer and stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from tidegate.spec.errors import TidegateError
from tidegate.spec.layout import Layout
from tidegate.spec.model import Model
from tidegate.spec.stop import Stop, decisions

# One run, golden or RTL: (layer or None, stage) → integers (frames, n), in the order of computation.
Run = dict[tuple[int | None, str], np.ndarray]


@dataclass(frozen=True)
class Mismatch:
    """The first integer that differs: ``frame`` counts over all clips, ``layer`` from 0 (None: not of a layer).

    ``rtl``: what RTL, or another description of the hardware (``against``), makes of it.
    """

    lanes: int
    thresholds: tuple[int, ...]
    frame: int
    layer: int | None
    stage: str
    index: int
    golden: int
    rtl: int
    against: str = "RTL"

    def __str__(self):
        where = f"layer {self.layer} {self.stage}" if self.layer is not None else self.stage
        return (f"frame {self.frame}: {where}[{self.index}] is {self.rtl} in {self.against}, {self.golden} in golden "
                f"({self.lanes} lanes, thresholds {list(self.thresholds)})")


def golden_run(model: Model, clips: Sequence[np.ndarray], dense: bool = False) -> Run:
    """Golden's integers of clips (frames, features), each from reset.

    Weight words are not among them, because they depend on the lanes, nor decisions, which depend on a rule.
    """
    from tidegate.golden import Golden

    trace = Golden(model).run(padded_clips(clips), dense=dense, keep_layers=True)
    layers = trace.layers or []
    run: Run = {(l, stage): joined(values, clips)
                for l, layer in enumerate(layers) for stage, values in layer._asdict().items()}
    run[None, "events"] = joined(trace.events, clips)
    run[None, "logits"] = joined(trace.logits, clips)
    return run


def golden_words(model: Model, layout: Layout, clips: Sequence[np.ndarray], golden: Run, dense: bool = False) -> Run:
    """Golden's weight words (frames, 1) of clips on a design; ``golden``: what ``golden_run`` gave."""
    network = model.network
    if not any(map(network.convolves, range(network.signals))):
        return {(None, "weight words"): weight_words(layout, golden[None, "events"])}
    from tidegate.golden import Golden

    sent, words = Golden(model).run(padded_clips(clips), dense=dense, keep_sent=True).sent, 0
    assert sent is not None
    for s, values in enumerate(sent):
        words = words + joined((values != 0) | dense, clips) @ layout.words_read(s)
    return {(None, "weight words"): np.asarray(words)[:, None]}


def decided(golden: Run, clips: Sequence[np.ndarray], stop: Stop) -> Run:
    """``decision`` (frames, 1), class + 1 or 0, of clips by a rule; where it ends them, see ``run_until_decided``."""
    found = [decisions(logits, stop) for logits in logits_of(golden, clips)]
    return {(None, "decision"): 1 + np.concatenate(found)[:, None]}


def logits_of(golden: Run, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Accumulators (frames, classes) of each clip."""
    return np.split(golden[None, "logits"], np.cumsum([len(clip) for clip in clips])[:-1])


def run_until_decided(golden: Run, clips: Sequence[np.ndarray]) -> Run:
    """The answers of a board that runs no frame after a decision: the keys that belong to no layer, and ``run``, which
    is 1 for frames that were run.  In frames that were not run all values are 0."""
    starts = np.cumsum([0, *map(len, clips)])
    run = np.ones((starts[-1], 1), np.int64)
    for start, end in pairwise(starts):
        found = np.flatnonzero(golden[None, "decision"][start:end])
        if len(found):
            run[start + found[0] + 1 : end] = 0
    return {(None, "run"): run} | {key: values * run for key, values in golden.items() if key[0] is None}


def padded_clips(clips: Sequence[np.ndarray]) -> np.ndarray:
    """Clips (frames, features) as one batch (T, B, features), zeros behind the shorter ones."""
    frames = np.zeros((max(map(len, clips)), len(clips), clips[0].shape[1]), np.int64)
    for b, clip in enumerate(clips):
        frames[: len(clip), b] = clip
    return frames


def joined(values: np.ndarray, clips: Sequence[np.ndarray]) -> np.ndarray:
    """What a batch gave (T, B, ...) without the padding, clip after clip."""
    return np.concatenate([values[: len(clip), b] for b, clip in enumerate(clips)])


def weight_words(layout: Layout, events: np.ndarray) -> np.ndarray:
    """Weight words (frames, 1) that events (frames, signals) make a core read, if no layer is a convolution."""
    return events @ np.array([[column.length] for column in layout.columns])


def read_trace(path: Path, layout: Layout, frames: int) -> Run:
    """The cell's integers from a simulator's trace file (format: ``simulation.h``)."""
    network, g, stages = layout.network, layout.design.cell_rate, layout.design.stages
    groups = [-(-size // g) for size in layout.sizes]
    records = np.fromfile(path, "<i2").reshape(-1, 2 + stages * g)
    if len(records) != frames * sum(groups):
        raise TidegateError(f"the trace has {len(records)} groups, {frames} frames need {frames * sum(groups)}")
    records = records.reshape(frames, sum(groups), -1)
    run: Run = {}
    for l, layer in enumerate(network.layers):
        start = sum(groups[:l])
        mine = records[:, start : start + groups[l]]
        here = (mine[:, :, 0] == l).all() and (mine[:, :, 1] == layout.state_base[l] + np.arange(groups[l])).all()
        if not here:
            raise TidegateError(f"layer {l}: the cell worked on groups in another order than golden's")
        values = mine[:, :, 2:].reshape(frames, groups[l], stages, g).swapaxes(1, 2)
        for k, stage in enumerate(layer.cell.stages):
            run[l, stage] = values[:, k].reshape(frames, -1)[:, layout.numbers(l + 1)]
    return run


def compare(golden: Run, rtl: Run, lanes: int, theta: tuple[int, ...],
            against: str = "RTL") -> tuple[int, Mismatch | None]:
    """Number of integers that differ, and the first in time and order of computation."""
    count, first = 0, None
    for (layer, stage), expected in golden.items():
        got = rtl[layer, stage]
        if got.shape != expected.shape:
            raise TidegateError(f"{stage}: golden has {expected.shape} integers, {against} {got.shape}")
        wrong = np.argwhere(got != expected)
        count += len(wrong)
        if len(wrong) and (first is None or wrong[0][0] < first.frame):
            frame, index = map(int, wrong[0])
            first = Mismatch(lanes, theta, frame, layer, stage, index,
                             int(expected[frame, index]), int(got[frame, index]), against)
    return count, first
