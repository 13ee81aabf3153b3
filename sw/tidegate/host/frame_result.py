"""What a board answers to a frame."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..spec.formats import acc_frac
from ..spec.model import Model
from ..spec.packets import events_of


@dataclass(frozen=True)
class FrameResult:
    """A board's answer to one frame.

    ``frame``: number since reset, from 0.  ``label``, ``label_index``: of the largest logit, the first of
    equals.  ``logits``: accumulator integers, in LSBs of 2**-(8 + weight_frac).  ``confidence``: softmax of
    the logits at ``label_index``, 0..1.  ``cycles``: clock cycles spent.  ``events``: per signal, features
    first.  ``weight_words``: words of weights read.  ``decided``: whether this frame decides, by the board's stop
    rule; ``label`` is then the decided class.  ``decided_at``: number of the last frame of this ``stream`` that
    decided, or None.
    """

    frame: int
    label: str
    label_index: int
    logits: tuple[int, ...]
    confidence: float
    cycles: int
    events: tuple[int, ...]
    weight_words: int
    decided: bool = False
    decided_at: int | None = None


def frame_results(results: np.ndarray, model: Model, decided_at: int | None) -> Iterator[FrameResult]:
    """The results of packets (``packets.result_dtype``).  ``decided_at``: of the frame before the first."""
    network = model.network
    logits = results["logits"] / float(1 << acc_frac(network.classifier.weight_frac))
    # with smoothed logits the board may decide for another class than this frame's best
    decision = results["decision"].astype(np.int64)
    best = np.where(decision > 0, decision - 1, logits.argmax(1))
    odds = np.exp(logits - logits.max(1, keepdims=True))
    confidence = np.take_along_axis(odds, best[:, None], 1)[:, 0] / odds.sum(1)
    columns = (results["frame"], best, results["logits"], confidence, results["cycles"],
               events_of(results)[:, : network.signals], results["weight_words"], decision > 0)
    for frame, index, integers, sure, cycles, events, words, decided in zip(
            *(c.tolist() for c in columns), strict=True):
        decided_at = frame if decided else decided_at
        yield FrameResult(frame, model.labels[index], index, tuple(integers), sure, cycles, tuple(events), words,
                          decided, decided_at)
