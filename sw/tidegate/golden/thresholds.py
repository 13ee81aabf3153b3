"""Θ of a converted network: the quickest search that keeps the answers.

Θ of signal s is k · balance[s].  A larger k sends less; the balance says which signal should give way first.  For a
wanted fetch reduction, k is found by bisection, and the balance by coordinate search, for the least loss: cross-entropy
where the right classes are known, else the Kullback-Leibler divergence from the float network's answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf, log

import numpy as np

from ..spec.errors import ModelError
from ..spec.formats import THETA_MAX, whole_theta
from ..spec.model import Model
from .calibration import CalibrationBatch
from .figures import Figures, figures
from .judge import Golden, Trace

_LEAST_REDUCTION, _MOST_REDUCTION = 1.0, 1000.0
_CLOSE = 0.01               # share by which a fetch reduction may miss the wanted one
_STEPS = (1.5, 1.2)         # by which Θ of one signal is moved against the others
_FLAT = 1e-4                # improvements of the loss that are none


@dataclass(frozen=True)
class ThetaPoint:
    """What thresholds make of calibration data.

    ``fetch_reduction``: None if no weight was read.  ``agreement``: share of the answers whose best class is the float
    network's.  ``accuracy``: share that are right, if it is known what is right.  ``loss``: see above.
    """

    thresholds: tuple[int, ...]
    fetch_reduction: float | None
    agreement: float
    accuracy: float | None
    loss: float

    @property
    def reduction(self) -> float:
        return inf if self.fetch_reduction is None else self.fetch_reduction


class Trial:
    """A model on calibration data beside the float network that it was made of.

    ``float_logits`` (T, N, classes).
    """

    def __init__(self, model: Model, sequences: CalibrationBatch, float_logits: np.ndarray):
        self.model, self.sequences = model, sequences
        self.frames = model.quantise(sequences.frames)
        self.expected = sequences.answers(float_logits)
        self.right = sequences.right
        self._points: dict[tuple[int, ...], ThetaPoint] = {}

    @cached_property
    def float_accuracy(self) -> float | None:
        return None if self.right is None else float((self.expected.argmax(1) == self.right).mean())

    def trace(self, thresholds: Sequence[int], keep: bool = False) -> Trace:
        """The golden model's run; ``keep``: with anchors."""
        return Golden(self.model.with_thresholds(*thresholds)).run(self.frames, keep_anchors=keep)

    def figures(self, trace: Trace) -> Figures:
        return figures(self.model.network, trace.events, self.sequences.lengths)

    def real(self, logits: np.ndarray) -> np.ndarray:
        """Logits of a trace in real units."""
        return logits * 2.0 ** -Golden(self.model).logit_frac

    def point(self, thresholds: Sequence[int]) -> ThetaPoint:
        """What these thresholds make of the data; evaluated once."""
        key = tuple(thresholds)
        if key not in self._points:
            trace = self.trace(key)
            answers = self.sequences.answers(self.real(trace.logits))
            got, said = _log_softmax(answers), _log_softmax(self.expected)
            if self.right is None:
                loss = (np.exp(said) * (said - got)).sum(1).mean()
                accuracy = None
            else:
                loss = -got[np.arange(len(got)), self.right].mean()
                accuracy = float((answers.argmax(1) == self.right).mean())
            self._points[key] = ThetaPoint(key, self.figures(trace).fetch_reduction,
                                      float((answers.argmax(1) == self.expected.argmax(1)).mean()), accuracy,
                                      float(loss))
        return self._points[key]

    def lost(self, point: ThetaPoint) -> float:
        """Percentage points of accuracy below the float network's; where that is not known, of agreement below 100."""
        if point.accuracy is None or self.float_accuracy is None:
            return 100 * (1 - point.agreement)
        return 100 * (self.float_accuracy - point.accuracy)


class ThetaSearch:
    """Finds thresholds of a ``Trial``; ``spread``: standard deviation of each signal in units of 1, to begin with."""

    def __init__(self, trial: Trial, spread: Sequence[float]):
        self.trial = trial
        self.balance = [max(s, 1e-3) for s in spread]
        self.factor = 64.0

    def for_reduction(self, wanted: float) -> ThetaPoint:
        """The point of least loss at this fetch reduction; ModelError if it is not from 1 to 1000."""
        if not _LEAST_REDUCTION <= wanted <= _MOST_REDUCTION:
            raise ModelError(f"a fetch reduction of {wanted:g} cannot be had; choose one from {_LEAST_REDUCTION:g} to "
                             f"{_MOST_REDUCTION:g}")
        best = self._at(self.balance, wanted)
        for step in _STEPS:
            for s in range(len(self.balance)):
                for move in (step, 1 / step):
                    while True:
                        balance = [b * move if i == s else b for i, b in enumerate(self.balance)]
                        point = self._at(balance, wanted)
                        if point.loss >= best.loss - _FLAT * abs(best.loss):
                            break
                        best, self.balance = point, balance
        return best

    def along(self, wanted: float) -> ThetaPoint:
        """The point at this fetch reduction with the balance as it is."""
        return self._at(self.balance, wanted)

    def for_loss(self, most: float) -> ThetaPoint:
        """The point of the largest fetch reduction that loses at most ``most`` percentage points (``Trial.lost``)."""
        if not most >= 0:
            raise ModelError(f"a loss of {most:g} points cannot be had; choose one from 0 up, such as 0.5")
        self.for_reduction(4.0)
        best = self._largest(most)
        if best.reduction > 1.2 and best.reduction < _MOST_REDUCTION:
            self.for_reduction(best.reduction)
            best = max(best, self._largest(most), key=lambda point: point.reduction)
        return best

    def _largest(self, most: float) -> ThetaPoint:
        """Bisection of the fetch reduction, with the balance as it is."""
        best, low, high = self.trial.point((0,) * len(self.balance)), log(1.0), log(64.0)
        for _ in range(7):
            middle = (low + high) / 2
            point = self._at(self.balance, exp(middle))
            if self.trial.lost(point) <= most:
                best, low = max(best, point, key=lambda p: p.reduction), middle
            else:
                high = middle
        return best

    def _at(self, balance: Sequence[float], wanted: float) -> ThetaPoint:
        """The point on the line k · balance that reaches a fetch reduction with the least k."""
        def thetas(factor: float) -> tuple[int, ...]:
            return tuple(whole_theta(factor * b) for b in balance)

        found = _bisect(lambda factor: self.trial.point(thetas(factor)), self.factor, wanted,
                        THETA_MAX / min(balance))
        self.factor = found[0]
        return found[1]


def _bisect(point: Callable[[float], ThetaPoint], start: float, wanted: float,
            largest: float) -> tuple[float, ThetaPoint]:
    """(factor, point) with a fetch reduction of ``wanted`` or a little more."""
    low, high, factor, best = 0.0, largest, min(start, largest), None
    for _ in range(24):
        at = point(factor)
        if at.reduction >= wanted:
            high, best = factor, (factor, at)
            if at.reduction <= wanted * (1 + _CLOSE):
                break
        else:
            low = factor
        if best is None:
            factor = min(2 * factor, largest)
            if low == largest:
                break
        elif low == 0:
            factor = factor / 2
            if factor < 0.1:
                break
        elif high / low < 1.003 or high - low < 0.25:
            break
        else:
            factor = (low * high) ** 0.5
    return best or (largest, point(largest))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
