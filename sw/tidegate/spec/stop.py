"""The stop rule: when a network has decided, by a comparison of integers that a board makes after every frame.

    v[k]    = logit[k] >> STOP_SHIFT                    floor; LSBs of 2**-weight_frac of the classifier
    S[k]    ← S[k] + v[k] − (S[k] >> smooth)            0 after a reset; smooth = 0: S = v
    y[k]    = S[k] >> smooth                            the logit, smoothed over about 2**smooth frames
    lead    = y[best] − y[second]                       best: the first of the largest y
    clear   ⇔ lead > margin  and  best < classes

The rule compares a margin and not the level of a logit: cross-entropy sees differences of logits only, so that their
level means nothing.  With C classes a lead of m bounds the softmax of the best, p ≥ 1 / (1 + (C − 1)·exp(−m)).

**On a clip** (``stream`` off) the first clear frame decides, but not within the first ``hold`` frames.  Nothing is
computed after it until the next reset.  ``silence``, where it is the last class, is told by hearing a clip to its
end, because every word begins with some silence: ``classes`` are those before it.

**In a stream** the network goes on, and the rule reports each word once:

    risen   the class of the last clear frame, until a frame in which another class is best or lead ≤ release
    decided ⇔ clear, best ≠ risen (as it was before this frame), and no decision in the last ``hold`` frames

A rise within the ``hold`` frames after a decision is dropped and not reported late: while one word is spoken, two
classes may lead in turn, and the first is the answer.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np

from .errors import ModelError
from .formats import ACC_BITS

STOP_SHIFT = 8
STOP_BITS = ACC_BITS - STOP_SHIFT
MARGIN_MAX, HOLD_MAX, SMOOTH_MAX = (1 << STOP_BITS) - 1, 255, 3
UNDECIDED = -1
SILENCE = "silence"


@dataclass(frozen=True)
class Stop:
    """A rule.

    ``margin``, ``release`` in LSBs of 2**-weight_frac of the classifier; ``release`` None: as the margin.  ``hold`` in
    frames.  ``classes``: classes from this one on are never decided (None: all may be).  ``stream``: go on after a
    decision.  ``smooth``: logits are smoothed over about 2**smooth frames.
    """

    margin: int
    hold: int = 0
    classes: int | None = None
    stream: bool = False
    smooth: int = 0
    release: int | None = None

    def __post_init__(self):
        optional = [name for name in ("classes", "release") if getattr(self, name) is not None]
        for name in ("margin", "hold", "smooth", *optional):
            if type(value := getattr(self, name)) is not int:
                raise ModelError(f"the {name} of a stop rule is a whole number, not {value!r}")
        if self.classes is not None and self.classes < 0:
            raise ModelError(f"a stop rule decides for the first 0 or more classes, not for {self.classes}")
        if not 0 <= self.margin <= MARGIN_MAX:
            raise ModelError(f"a stop margin must be in 0..{MARGIN_MAX} LSBs of the classifier's weights, "
                             f"not {self.margin}")
        if not 0 <= self.hold <= HOLD_MAX:
            raise ModelError(f"a stop rule can hold off 0 to {HOLD_MAX} frames, not {self.hold}")
        if not 0 <= self.smooth <= SMOOTH_MAX:
            raise ModelError(f"a stop rule smooths by 0 to {SMOOTH_MAX}, not by {self.smooth}")
        if self.release is not None and not 0 <= self.release <= self.margin:
            raise ModelError(f"a stop rule's release must be in 0..{self.margin}, its margin, not {self.release}")
        if self.release is not None and not self.stream:
            raise ModelError("only a stop rule for streams has a release; leave it out")

    @staticmethod
    def of(margin: float, weight_frac: int, labels: Sequence[str], hold: int = 0) -> "Stop":
        """A rule for clips; ``margin`` in units of the logits, rounded to the grid of the classifier's weights.

        ModelError if a board cannot compare it.
        """
        most = MARGIN_MAX / (1 << weight_frac)
        if not 0 <= margin <= most:
            raise ModelError(f"a stop margin is a lead from 0 to {most:g} in units of the logits, not {margin:g}")
        return Stop(round(margin * (1 << weight_frac)), hold, len(labels) - 1 if labels[-1] == SILENCE else None)

    def to_dict(self) -> dict:
        """As JSON; what is not set is left out."""
        return {f.name: value for f in fields(self) if (value := asdict(self)[f.name]) != f.default}

    @staticmethod
    def from_dict(d: dict) -> "Stop":
        """The inverse of ``to_dict``; ModelError on what makes no rule."""
        return Stop(d.get("margin", "missing"), d.get("hold", 0), d.get("classes"), bool(d.get("stream", False)),
                    d.get("smooth", 0), d.get("release"))


def leads(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lead, best) of raw accumulators (..., classes) that are not smoothed, at least two classes; int64."""
    return best_two(np.asarray(logits, np.int64) >> STOP_SHIFT)


def best_two(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lead of the best over the second, best) of ``y`` (..., classes), at least two classes; int64."""
    two = np.partition(values, -2, axis=-1)[..., -2:]
    return two[..., 1] - two[..., 0], values.argmax(-1)


class Decider:
    """The board's stop unit in software: applies the rule to the frames of one or more sequences as they come.

    ``shape``: of the sequences that run side by side, () for one.  The decisions do not depend on how the frames are
    cut into blocks.
    """

    def __init__(self, stop: Stop, shape: tuple[int, ...] = ()):
        self.stop, self.shape = stop, shape
        self.reset()

    def reset(self) -> None:
        """Forget all sequences; the next frame is the first of each."""
        stop = self.stop
        self._sums: np.ndarray | None = None
        self._risen = np.full(self.shape, UNDECIDED, np.int64)
        self._left = np.full(self.shape, 0 if stop.stream else stop.hold, np.int64)

    def accept(self, logits: np.ndarray) -> np.ndarray:
        """Raw accumulators (n, ..., classes) of the next frames → class decided in each, or UNDECIDED, (n, ...)."""
        return self.decide(*best_two(self.smooth(np.asarray(logits, np.int64) >> STOP_SHIFT)))

    def smooth(self, values: np.ndarray) -> np.ndarray:
        """v (n, ..., classes) of the next frames → y, of the same shape."""
        shift = self.stop.smooth
        if not shift:
            return values
        sums = np.zeros(values.shape[1:], np.int64) if self._sums is None else self._sums
        smoothed = np.empty_like(values)
        for v, y in zip(values, smoothed, strict=True):
            sums = sums + v - (sums >> shift)
            y[...] = sums >> shift
        self._sums = sums
        return smoothed

    def decide(self, lead: np.ndarray, best: np.ndarray) -> np.ndarray:
        """Leads and best classes (n, ...) of the next frames → class decided in each, or UNDECIDED, (n, ...)."""
        stop, found = self.stop, np.full(best.shape, UNDECIDED, np.int64)
        clear = lead > stop.margin
        if stop.classes is not None:
            clear &= best < stop.classes
        low = lead <= (stop.margin if stop.release is None else stop.release)
        busy = (clear | ~low).any(tuple(range(1, best.ndim)))
        last = -1                       # between busy frames only time passes
        for t in np.flatnonzero(busy):
            self._pass(int(t) - last - 1)
            last = int(t)
            fresh = clear[t] & (best[t] != self._risen)
            decided = fresh & (self._left == 0)
            if not stop.stream:
                fresh, decided = decided, decided & (self._risen == UNDECIDED)
            found[t] = np.where(decided, best[t], UNDECIDED)
            self._left = np.where(decided, stop.hold, np.maximum(self._left - 1, 0))
            if stop.stream:
                gone = low[t] | (best[t] != self._risen)
                self._risen = np.where(clear[t], best[t], np.where(gone, UNDECIDED, self._risen))
            else:
                self._risen = np.where(decided, best[t], self._risen)
        self._pass(len(found) - last - 1)
        return found

    def _pass(self, frames: int) -> None:
        """Frames in which nothing leads."""
        if frames > 0:
            self._left = np.maximum(self._left - frames, 0)
            if self.stop.stream:
                self._risen = np.full(self.shape, UNDECIDED, np.int64)


def clearest(logits: np.ndarray, stop: Stop) -> tuple[int, int]:
    """(frame, class) that a network which listens answers to one recording, from its raw accumulators (T, classes).

    The class, of those that may be decided, that leads by most in any frame; logits are smoothed as the rule smooths.
    If none of them ever leads, the answer is the best of the other classes in the last frame.
    """
    values = Decider(stop).smooth(np.asarray(logits, np.int64) >> STOP_SHIFT)
    lead, best = best_two(values)
    classes = values.shape[1] if stop.classes is None else stop.classes
    lead = np.where(best < classes, lead, 0)
    frame = int(lead.argmax())
    if lead[frame] > 0 or classes == values.shape[1]:
        return frame, int(best[frame])
    return len(values) - 1, classes + int(values[-1, classes:].argmax())


def decisions(logits: np.ndarray, stop: Stop) -> np.ndarray:
    """Class decided in each frame, or UNDECIDED: (T, ...) from raw accumulators (T, ..., classes) since a reset.

    Without ``stop.stream`` at most one frame of each sequence has one.
    """
    logits = np.asarray(logits)
    return Decider(stop, logits.shape[1:-1]).accept(logits)


def first_decisions(logits: np.ndarray, lengths: np.ndarray, stop: Stop) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of clips (T, B, classes), each of ``lengths`` (B,) frames: (frame, class, decided), each (B,).

    Without a decision it is the last frame and its largest logit.
    """
    clips, frames = np.arange(len(lengths)), np.arange(len(logits))[:, None]
    made = decisions(logits, stop)
    there = (made != UNDECIDED) & (frames < lengths)
    decided = there.any(0)
    frame = np.where(decided, there.argmax(0), lengths - 1)
    return frame, np.where(decided, made[frame, clips], logits[frame, clips].argmax(-1)), decided
