"""From logits to detected words: what turns a network that answers every frame into one that says a word once.

    p[t, k]     softmax of frame t's logits
    s[t, k]     mean of p over the last ``smooth`` frames (before the first frame p counts as 0)
    rise        s[t, k] reaches ``threshold`` for the first time since it was below ``release`` · ``threshold``
    detection   a keyword's rise, unless a detection (of any keyword) was less than ``refractory_s`` ago

A rise that falls into the refractory time is dropped, not reported late: inside one word two keywords may well
be likely in turn, and the first is the answer.  A delta network holds what it heard while its input stands
still, so s may stay high for long after a word; it counts once.  ``unknown`` and ``silence`` take part in the
softmax and are never reported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..spec.errors import TidegateError
from ..spec.formats import acc_frac
from ..spec.model import Model
from ..spec.stop import HOLD_MAX, UNDECIDED, Stop, decisions
from .features import settings_of
from .frontend import FrontEndSettings

NEVER_REPORTED = ("unknown", "silence")


@dataclass(frozen=True)
class DetectorSettings:
    """``smooth`` in frames; ``threshold`` a probability in 0..1; ``release`` a share of it; ``refractory_s`` in s."""

    smooth: int = 16
    threshold: float = 0.8
    release: float = 0.5
    refractory_s: float = 0.75

    def __post_init__(self):
        if self.smooth < 1:
            raise TidegateError(f"a detector smooths over at least one frame, not {self.smooth}")
        if not 0 < self.threshold < 1:
            raise TidegateError(f"a detection threshold lies between 0 and 1, not at {self.threshold:g}")
        if not 0 < self.release <= 1:
            raise TidegateError(f"a detector's release is a share of its threshold, not {self.release:g}")
        if not self.refractory_s >= 0:
            raise TidegateError(f"a detector's refractory time cannot be {self.refractory_s:g} s")


DEFAULTS = DetectorSettings()


def listening_stop(model: Model, margin: float, settings: DetectorSettings = DEFAULTS) -> Stop:
    """The stop rule of a board that listens all the time: it re-arms, decides for keywords only, and holds off for the
    detector's refractory time after a reset or a decision (255 frames at most).  ``margin`` in units of the logits.

    TidegateError if ``unknown`` and ``silence`` are not the last labels: a board allows the first classes only.
    """
    keywords = [label not in NEVER_REPORTED for label in model.labels]
    if not all(keywords[: sum(keywords)]):
        raise TidegateError(f"the labels {' and '.join(NEVER_REPORTED)} must come last for a board to pass over them; "
                            "train it with these classes last")
    frontend = settings_of(model)
    hold = min(HOLD_MAX, round(settings.refractory_s * frontend.sample_rate / frontend.hop))
    rule = Stop.of(margin, model.network.classifier.weight_frac, model.labels, hold)
    return replace(rule, classes=sum(keywords), stream=True)


def stop_detections(model: Model, logits: np.ndarray, stop: Stop) -> list[Detection]:
    """What a board's stop unit detects in the logits (T, classes) of a stream from reset.

    ``probability``: the softmax of the frame, not smoothed.
    """
    frontend, real = settings_of(model), 2.0 ** -acc_frac(model.network.classifier.weight_frac)
    found = decisions(np.asarray(logits)[:, None], stop)[:, 0]
    return [Detection(int(t), frontend.heard(int(t) + 1), model.labels[found[t]],
                      float(1 / np.exp((logits[t] - logits[t].max()) * real).sum()))
            for t in np.flatnonzero(found != UNDECIDED)]


@dataclass(frozen=True)
class Detection:
    """``frame``: number since reset, from 0.  ``time_s``: when that frame's last sample was heard, in seconds since
    reset.  ``probability``: the smoothed one."""

    frame: int
    time_s: float
    label: str
    probability: float


class Detector:
    """Listens to one stream; the detections do not depend on how it is cut into blocks.

    ``labels``: one per class.  ``frontend`` gives the times of frames.  ``logit_frac``: fraction bits of integer
    logits, as a board or the golden model gives them; logits in floats are taken as they are.
    """

    def __init__(self, labels: tuple[str, ...], frontend: FrontEndSettings, settings: DetectorSettings = DEFAULTS,
                 logit_frac: int = 0):
        self.labels, self.settings, self.frontend, self.logit_frac = tuple(labels), settings, frontend, logit_frac
        self._keywords = [k for k, label in enumerate(self.labels) if label not in NEVER_REPORTED]
        if not self._keywords:
            raise TidegateError("a model without keywords detects nothing; choose another")
        self._refractory = settings.refractory_s * frontend.sample_rate / frontend.hop      # in frames
        self.reset()

    @classmethod
    def of(cls, model: Model, settings: DetectorSettings = DEFAULTS) -> Detector:
        """A detector for a model's logits; TidegateError if the model has no front end."""
        return cls(model.labels, settings_of(model), settings, acc_frac(model.network.classifier.weight_frac))

    def reset(self) -> None:
        """Forget what was heard; the next frame is frame 0."""
        self._frames = 0
        self._before = np.zeros((self.settings.smooth - 1, len(self._keywords)))
        self._risen = np.zeros(len(self._keywords), bool)
        self._silent_until = 0.0

    def accept(self, logits: np.ndarray) -> list[Detection]:
        """More frames' logits (n, classes), any n → detections in these frames, in order of time.

        TidegateError for another shape or NaN; nothing of such a block is taken in.
        """
        smoothed = self._smooth(self._probabilities(logits))
        found = []
        for t, k in self._rises(smoothed):
            frame = self._frames + t
            if frame >= self._silent_until:
                found.append(Detection(frame, self.frontend.heard(frame + 1), self.labels[self._keywords[k]],
                                       float(smoothed[t, k])))
                self._silent_until = frame + self._refractory
        self._frames += len(smoothed)
        return found

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Softmax in double precision, (n, keywords)."""
        logits = np.asarray(logits)
        if logits.ndim != 2 or logits.shape[1] != len(self.labels):
            raise TidegateError(f"logits of shape {logits.shape}: this detector takes (frames, {len(self.labels)})")
        scale = 1.0 if logits.dtype.kind == "f" else 2.0**-self.logit_frac
        logits = logits.astype(np.float64) * scale
        if not np.isfinite(logits).all():
            raise TidegateError("logits contain NaN or infinity; check what computed them")
        p = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf))
        return (p / p.sum(1, keepdims=True))[:, self._keywords]

    def _smooth(self, p: np.ndarray) -> np.ndarray:
        """Sums in a fixed order, not running ones: cutting the stream elsewhere must not move a last place."""
        smooth, padded = self.settings.smooth, np.concatenate([self._before, p])
        total = np.zeros_like(p)
        for k in range(smooth):
            total += padded[k : k + len(p)]
        self._before = padded[len(p) :].copy()
        return total / smooth

    def _rises(self, smoothed: np.ndarray) -> list[tuple[int, int]]:
        """(frame in the block, keyword) of all rises, by time, then the likelier one first."""
        high = smoothed >= self.settings.threshold
        decided = high | (smoothed < self.settings.release * self.settings.threshold)
        # Between the two levels a keyword stays as it was when it was last above or below both.
        last = np.where(decided, np.arange(1, len(smoothed) + 1)[:, None], 0)
        last = np.maximum.accumulate(last, 0)
        risen = np.where(last > 0, np.take_along_axis(high, np.maximum(last - 1, 0), 0), self._risen)
        before = np.concatenate([self._risen[None], risen])
        self._risen = before[-1]
        t, k = np.nonzero(before[1:] & ~before[:-1])
        order = np.lexsort((-smoothed[t, k], t))
        return list(zip(t[order].tolist(), k[order].tolist(), strict=True))
