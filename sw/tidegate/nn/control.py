"""Θ that follows a wish: so many fewer weight reads, whatever the data and the weights are.

    wanted = goal^(passes / anneal), at most goal        log scale ← log scale + gain · log(wanted / measured)

All Θ have one scale, in proportion to ``theta`` if that is given, else to the standard deviation of each signal.
Every training pass measures the fetch reduction of its batch and moves the scale a little.  So Θ begins near 0, where
the network learns as a dense one does, and grows while the network learns.
"""

import math
from collections.abc import Sequence

from tidegate.spec.formats import SIGNAL, THETA_MAX

from .errors import LayerError

_LSB = 2.0**-SIGNAL.frac
_GAIN = 0.1             # per pass
_MOST = 1.0             # of log(wanted / measured) that counts
_MEMORY = 0.9           # of the mean of the standard deviations over passes
_LEAST = 1e-3           # standard deviation of a signal, for one that is silent


class ThetaControl:
    """Moves Θ so that a layer reads ``goal`` times fewer weights than a dense one.

    ``theta``: per signal, what Θ is in proportion to, or None for the standard deviations of the signals.  ``anneal``:
    passes over which the wish grows from 1 to ``goal``.  ``rising``: Θ begins at ``theta`` and is never less, as those
    of spiking neurons, which are not exact at Θ = 0.  LayerError for a goal below 1 or an ``anneal`` below 0.
    """

    def __init__(self, signals: int, goal: float, anneal: int, theta: Sequence[float] | None, rising: bool = False):
        if not goal >= 1 or not math.isfinite(goal):
            raise LayerError(f"fetch_reduction is 1 or more, such as 8 for an eighth of the weight reads, not {goal}")
        if anneal < 0:
            raise LayerError(f"anneal is a number of training passes, 0 or more, not {anneal}")
        if theta is not None and not all(t > 0 for t in theta):
            raise LayerError(f"with fetch_reduction, theta says in which proportion Θ grows, so all are above 0, not "
                             f"{tuple(theta)}")
        self.goal, self.anneal, self.fixed, self.rising = float(goal), int(anneal), theta is not None, rising
        self.shares = [1.0] * signals if theta is None else list(theta)
        self.passes, self.log_scale = 0, None if theta is None else self._first_scale()

    def _first_scale(self) -> float:
        """The least scale: the largest Θ is one LSB, or all are what is given."""
        return 0.0 if self.rising else math.log(_LSB / max(self.shares))

    @property
    def theta(self) -> list[float]:
        """Θ of each signal, in its units."""
        if self.log_scale is None:
            return [0.0] * len(self.shares)
        return [min(math.exp(self.log_scale) * share, THETA_MAX * _LSB) for share in self.shares]

    def seen(self, reduction: float, deviations: Sequence[float] | None) -> None:
        """A training pass is over: its fetch reduction (infinite if nothing was read), and the standard deviation of
        each signal, which is not needed if ``fixed``."""
        if deviations is not None and not self.fixed:
            deviations = [max(d, _LEAST) for d in deviations]
            self.shares = deviations if self.log_scale is None else [
                _MEMORY * old + (1 - _MEMORY) * new for old, new in zip(self.shares, deviations, strict=True)]
        if self.log_scale is None:
            self.log_scale = self._first_scale()
        self.passes += 1
        wanted = self.goal ** min(1.0, self.passes / max(self.anneal, 1))
        error = math.log(wanted / reduction) if math.isfinite(reduction) else -_MOST
        change = _GAIN * max(-_MOST, min(_MOST, error))
        highest = math.log(THETA_MAX * _LSB / max(self.shares))
        self.log_scale = min(max(self.log_scale + change, self._first_scale()), highest)

    def state(self) -> dict:
        """What a state dict keeps."""
        return {"passes": self.passes, "log_scale": self.log_scale, "shares": list(self.shares)}

    def restore(self, state: dict) -> None:
        self.passes, self.log_scale, self.shares = state["passes"], state["log_scale"], list(state["shares"])
