"""From logits to detected words: what turns a network that answers every frame into one that says a word once.

The rule is that of the board's stop unit in a stream (``tidegate.spec.stop``), integers and all, so that a host and a
board that hear the same sound detect the same words in the same frames.  Here it has a user's units:

    threshold   p = σ(lead): the probability of the best class against the second, from the smoothed logits
    release     share of the lead at the threshold below which a word has passed
    refractory  s after a detection in which no other is reported

``unknown`` and ``silence`` compete with the keywords and are never reported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..spec.errors import TidegateError
from ..spec.model import Model
from ..spec.stop import HOLD_MAX, MARGIN_MAX, SMOOTH_MAX, STOP_SHIFT, UNDECIDED, Decider, Stop, best_two
from .features import settings_of
from .frontend import FrontEndSettings

NEVER_REPORTED = ("unknown", "silence")


@dataclass(frozen=True)
class DetectorSettings:
    """``smooth``: logits are smoothed over about 2**smooth frames; ``threshold`` a probability in 0..1; ``release`` a
    share of the threshold's lead; ``refractory_s`` in s."""

    smooth: int = 3
    threshold: float = 0.8
    release: float = 0.5
    refractory_s: float = 0.75

    def __post_init__(self):
        if self.smooth not in range(SMOOTH_MAX + 1):
            raise TidegateError(f"a detector smooths by a whole number from 0 to {SMOOTH_MAX}, not by {self.smooth}")
        if not 0.5 <= self.threshold < 1:
            raise TidegateError(f"a detection threshold is at least 0.5 and below 1, not {self.threshold:g}")
        if not 0 <= self.release <= 1:
            raise TidegateError(f"a detector's release is a share of its threshold, not {self.release:g}")
        if not 0 <= self.refractory_s < math.inf:
            raise TidegateError(f"a detector's refractory time cannot be {self.refractory_s:g} s")

    @property
    def margin(self) -> float:
        """The lead at the threshold, in units of the logits."""
        return math.log(self.threshold / (1 - self.threshold))

    @staticmethod
    def of(model: Model) -> DetectorSettings:
        """The settings that a model was made with, or the defaults."""
        rule = model.detector
        if rule is None:
            return DEFAULTS
        lead = rule.margin / (1 << model.network.classifier.weight_frac)
        frontend = settings_of(model)
        return DetectorSettings(rule.smooth, 1 / (1 + math.exp(-lead)),
                                1.0 if rule.release is None or not rule.margin else rule.release / rule.margin,
                                rule.hold * frontend.hop / frontend.sample_rate)

    def rule(self, labels: tuple[str, ...], frontend: FrontEndSettings, weight_frac: int) -> Stop:
        """The rule that a board compares for a model with these labels, front end and classifier.

        TidegateError if there is no keyword, if ``unknown`` and ``silence`` are not the last labels (a board decides
        for the first classes only), or if a board cannot hold off or compare so much.
        """
        if len(labels) < 2:
            raise TidegateError("a model with one class detects nothing: it has nothing to compare; choose another")
        keywords = [label not in NEVER_REPORTED for label in labels]
        if not any(keywords):
            raise TidegateError("a model without keywords detects nothing; choose another")
        if not all(keywords[: sum(keywords)]):
            raise TidegateError(f"the labels {' and '.join(NEVER_REPORTED)} must come last; train the model with "
                                "these classes last")
        hold = round(self.refractory_s * frontend.sample_rate / frontend.hop)
        if hold > HOLD_MAX:
            most = HOLD_MAX * frontend.hop / frontend.sample_rate
            raise TidegateError(f"a refractory time of {self.refractory_s:g} s is more than the {most:.2f} s that a "
                                "board can hold off")
        margin = round(self.margin * (1 << weight_frac))
        if margin > MARGIN_MAX:
            raise TidegateError(f"a threshold of {self.threshold} is more than a board can compare; choose a lower one")
        return Stop(margin, hold, sum(keywords), True, self.smooth, round(self.release * margin))


DEFAULTS = DetectorSettings()


def listening_stop(model: Model, settings: DetectorSettings | None = None, threshold: float | None = None) -> Stop:
    """The stop rule of a board that listens all the time: the same decisions as a ``Detector`` with these settings.

    None: the model's own, but for ``threshold`` if that is given.  See ``DetectorSettings.rule`` for errors.
    """
    if model.tokens is not None:
        raise TidegateError("this model tells strings, and a detector waits for single words; give recordings to "
                            "`tidegate run`, or choose another model")
    own = model.detector if settings is None else None
    if own is not None and threshold is None:
        return own
    chosen = settings or DetectorSettings.of(model)
    if threshold is not None:
        chosen = replace(chosen, threshold=threshold)
    made = chosen.rule(model.labels, settings_of(model), model.network.classifier.weight_frac)
    return made if own is None else replace(own, margin=made.margin, release=made.release)


@dataclass(frozen=True)
class Detection:
    """``frame``: number since reset, from 0.  ``time_s``: when that frame's last sample was heard, in seconds since
    reset.  ``probability``: σ of the smoothed lead in that frame."""

    frame: int
    time_s: float
    label: str
    probability: float


class Detector:
    """Listens to one stream; the detections do not depend on how it is cut into blocks.

    ``labels``: one per class.  ``frontend`` gives the times of frames.  ``weight_frac``: of the classifier, fraction
    bits of the numbers that the rule compares.  Integer logits are accumulators, as a board or the golden model gives
    them; logits in floats are in real units and are rounded down to that grid.  ``stop``: the rule, in place of the
    one that ``settings`` come to.
    """

    def __init__(self, labels: tuple[str, ...], frontend: FrontEndSettings, settings: DetectorSettings = DEFAULTS,
                 weight_frac: int = 7, stop: Stop | None = None):
        self.labels, self.frontend, self.weight_frac = tuple(labels), frontend, weight_frac
        self.stop = stop or settings.rule(self.labels, frontend, weight_frac)
        self._rule = Decider(self.stop)
        self.reset()

    @classmethod
    def of(cls, model: Model, settings: DetectorSettings | None = None, threshold: float | None = None) -> Detector:
        """A detector for a model's logits, by ``listening_stop``; TidegateError if the model has no front end."""
        return cls(model.labels, settings_of(model), DEFAULTS, model.network.classifier.weight_frac,
                   listening_stop(model, settings, threshold))

    def reset(self) -> None:
        """Forget what was heard; the next frame is frame 0."""
        self._frames = 0
        self._rule.reset()

    def accept(self, logits: np.ndarray) -> list[Detection]:
        """More frames' logits (n, classes), any n → detections in these frames, in order of time.

        TidegateError for another shape or NaN; nothing of such a block is taken in.
        """
        lead, best = best_two(self._rule.smooth(self._values(logits)))
        found = self._rule.decide(lead, best)
        first, self._frames = self._frames, self._frames + len(found)
        return [self._detection(first + int(t), self.labels[found[t]], int(lead[t]))
                for t in np.flatnonzero(found != UNDECIDED)]

    def _detection(self, frame: int, label: str, lead: int) -> Detection:
        probability = 1 / (1 + math.exp(-lead / (1 << self.weight_frac)))
        return Detection(frame, self.frontend.heard(frame + 1), label, probability)

    def _values(self, logits: np.ndarray) -> np.ndarray:
        """The numbers that the rule compares, int64 (n, classes)."""
        logits = np.asarray(logits)
        if logits.ndim != 2 or logits.shape[1] != len(self.labels):
            raise TidegateError(f"logits of shape {logits.shape}: this detector takes (frames, {len(self.labels)})")
        if logits.dtype.kind in "iu":
            return logits.astype(np.int64) >> STOP_SHIFT
        scaled = np.floor(logits.astype(np.float64) * (1 << self.weight_frac))
        if not np.isfinite(scaled).all():
            raise TidegateError("logits contain NaN or infinity; check what computed them")
        return np.clip(scaled, -MARGIN_MAX - 1, MARGIN_MAX).astype(np.int64)
