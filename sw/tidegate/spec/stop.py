"""The stop rule: when a network has decided, by a comparison of integers that a board makes after every frame.

    v[k]    = logit[k] >> STOP_SHIFT                    floor; LSBs of 2**-weight_frac of the classifier
    lead    = v[best] − v[second]                       best: the first of the largest logits
    clear   ⇔ lead > margin  and  best < classes
    decided ⇔ clear, armed, and no decision (or reset) in the last ``hold`` frames

A margin and no threshold on a logit: cross-entropy sees differences of logits only, so that their level means nothing,
and with C classes a lead of m bounds the softmax of the best, p ≥ 1 / (1 + (C − 1)·exp(−m)).

``silence``, where it is the last class, is told by hearing a clip to its end, for every word begins with some: its
``classes`` are those before it.

A reset arms.  A decision disarms: on a clip nothing is computed any more until the next reset; with ``stream`` the
network goes on, and the first frame that is not clear, when the keyword has passed, arms again.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np

from .errors import ModelError
from .formats import ACC_BITS

STOP_SHIFT = 8
STOP_BITS = ACC_BITS - STOP_SHIFT
MARGIN_MAX, HOLD_MAX = (1 << STOP_BITS) - 1, 255
UNDECIDED = -1
SILENCE = "silence"


@dataclass(frozen=True)
class Stop:
    """A rule.  ``margin`` in LSBs of 2**-weight_frac of the classifier; ``hold`` in frames; ``classes``: classes from
    this one on are never decided (None: all may be); ``stream``: re-arm instead of ending."""

    margin: int
    hold: int = 0
    classes: int | None = None
    stream: bool = False

    def __post_init__(self):
        for name in ("margin", "hold", *(() if self.classes is None else ("classes",))):
            if type(value := getattr(self, name)) is not int:
                raise ModelError(f"the {name} of a stop rule is a whole number, not {value!r}")
        if self.classes is not None and self.classes < 0:
            raise ModelError(f"a stop rule decides for the first 0 or more classes, not for {self.classes}")
        if not 0 <= self.margin <= MARGIN_MAX:
            raise ModelError(f"a stop margin must be in 0..{MARGIN_MAX} LSBs of the classifier's weights, "
                             f"not {self.margin}")
        if not 0 <= self.hold <= HOLD_MAX:
            raise ModelError(f"a stop rule can hold off 0 to {HOLD_MAX} frames, not {self.hold}")

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
        return Stop(d.get("margin", "missing"), d.get("hold", 0), d.get("classes"), bool(d.get("stream", False)))


def leads(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lead, best) of raw accumulators (..., classes), at least two classes; int64."""
    logits = np.asarray(logits, np.int64)
    best = logits.argmax(-1)
    two = np.partition(logits >> STOP_SHIFT, -2, axis=-1)[..., -2:]
    return two[..., 1] - two[..., 0], best


def decisions(logits: np.ndarray, stop: Stop) -> np.ndarray:
    """Class decided in each frame, or UNDECIDED: (T, ...) from raw accumulators (T, ..., classes) since a reset.

    Without ``stop.stream`` at most one frame of each sequence has one.
    """
    lead, best = leads(logits)
    clear = lead > stop.margin
    if stop.classes is not None:
        clear &= best < stop.classes
    found = np.full(clear.shape, UNDECIDED, np.int64)
    armed, hold = np.ones(clear.shape[1:], bool), np.full(clear.shape[1:], stop.hold)
    for t, here in enumerate(clear):
        decided = here & armed & (hold == 0)
        found[t] = np.where(decided, best[t], UNDECIDED)
        hold = np.where(decided, stop.hold, np.maximum(hold - 1, 0))
        armed = (armed | (stop.stream & ~here)) & ~decided
    return found


def first_decisions(logits: np.ndarray, lengths: np.ndarray, stop: Stop) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of clips (T, B, classes), each of ``lengths`` (B,) frames: (frame, class, decided), each (B,).

    Without a decision it is the last frame and its largest logit.
    """
    clips, frames = np.arange(len(lengths)), np.arange(len(logits))[:, None]
    there = (decisions(logits, stop) != UNDECIDED) & (frames < lengths)
    decided = there.any(0)
    frame = np.where(decided, there.argmax(0), lengths - 1)
    return frame, logits[frame, clips].argmax(-1), decided
