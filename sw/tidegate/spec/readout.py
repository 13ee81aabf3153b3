"""The readout of a regression: which numbers the logits of a network stand for.

    value[k] = offset[k] + scale[k] · logit[k] · 2**-acc_frac          acc_frac: ``spec.formats.acc_frac``

A board computes the logits, as integers, like those of any other model.  Only the host turns them into numbers, and by
this one formula.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite

import numpy as np

from .errors import ModelError
from .formats import acc_frac


@dataclass(frozen=True)
class Readout:
    """One entry per output in ``units`` ("" without one), ``offset`` and ``scale`` (both in these units).

    ``rate``: frames per second that the model was trained for, or None if nobody said.  ModelError if these are of
    different lengths, if a number is not finite, or if a scale or the rate is not above 0.
    """

    units: tuple[str, ...]
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    rate: float | None = None

    def __post_init__(self):
        if not len(self.units) == len(self.offset) == len(self.scale):
            raise ModelError(f"a readout has units, offset and scale for each output, not {len(self.units)}, "
                             f"{len(self.offset)} and {len(self.scale)}")
        for name, least in (("offset", None), ("scale", 0)):
            for value in getattr(self, name):
                if not _number(value) or (least is not None and value <= least):
                    raise ModelError(f"the {name} of a readout is a number{' above 0' * (least is not None)}, "
                                     f"not {value!r}")
        if self.rate is not None and (not _number(self.rate) or self.rate <= 0):
            raise ModelError(f"the rate of a readout is in frames per second, above 0, not {self.rate!r}")

    def values(self, logits: np.ndarray, weight_frac: int) -> np.ndarray:
        """float64 (..., outputs) in the outputs' units, of raw accumulators of that shape; ``weight_frac``: of the
        classifier."""
        logits = np.asarray(logits, np.float64) * 2.0 ** -acc_frac(weight_frac)
        return np.array(self.offset) + np.array(self.scale) * logits

    def text(self, labels: Sequence[str], values: Sequence[float]) -> str:
        """Values (outputs,) of one frame for a reader, such as "angle -1.204 deg"."""
        return ", ".join(f"{label} {value:.4g}{unit and ' ' + unit}"
                         for label, value, unit in zip(labels, values, self.units, strict=True))

    def to_dict(self) -> dict:
        """As JSON; a rate that nobody said is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @staticmethod
    def from_dict(d: dict) -> "Readout":
        """The inverse of ``to_dict``; ModelError on what makes no readout."""
        return Readout(tuple(map(str, d["units"])), tuple(d["offset"]), tuple(d["scale"]), d.get("rate"))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
