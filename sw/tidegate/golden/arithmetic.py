"""The arithmetic of a cell, on real numbers: with all its steps it gives the engine's integers, with none PyTorch's.

A cell's equations (``cells.GoldenCell.observed``) are written once, for any ``Arithmetic``.  So what one step costs is
found by running a network without that step.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..spec.fixed import Q
from ..spec.formats import CANDIDATE_ARG, GATE_ARG, GATE_FRAC


class Observed(NamedTuple):
    """A cell's frame: ``values`` by name, in the order in which they are made; ``signal``; the new ``state``."""

    values: dict[str, Tensor]
    signal: Tensor
    state: Tensor


ROUNDINGS = ("sum", "function", "state", "signal")


@dataclass(frozen=True)
class Arithmetic:
    """Which steps are taken.

    ``rounds``: of ``ROUNDINGS``, what lies on its grid: the arguments of functions, what σ and tanh give (steps of
    1/256, ending at 255/256), the state that a cell keeps, the signal that it sends.  ``saturates``: a number ends at
    the ends of its format.
    """

    rounds: frozenset[str] = frozenset()
    saturates: bool = False

    def without(self, *roundings: str) -> "Arithmetic":
        """The same without these roundings."""
        return replace(self, rounds=self.rounds - set(roundings))

    def to(self, x: Tensor, q: Q, what: str) -> Tensor:
        """Real numbers as a format holds them; ``what``: one of ``ROUNDINGS``."""
        if what in self.rounds:
            x = torch.floor(x * 2.0**q.frac + 0.5) * 2.0**-q.frac
        if self.saturates:
            most = q.max * 2.0**-q.frac
            x = x.clamp(-most, most)
        return x

    def sigmoid(self, x: Tensor) -> Tensor:
        """σ, by table if functions are rounded."""
        return self._function(torch.sigmoid(self.to(x, GATE_ARG, "sum")), 2.0**-GATE_FRAC)

    def tanh(self, x: Tensor) -> Tensor:
        """tanh, by table if functions are rounded."""
        return self._function(torch.tanh(self.to(x, CANDIDATE_ARG, "sum")), 2.0**-GATE_FRAC - 1)

    def _function(self, y: Tensor, least: float) -> Tensor:
        if "function" not in self.rounds:
            return y
        lsb = 2.0**-GATE_FRAC
        return (torch.floor(y / lsb + 0.5) * lsb).clamp(least, 1 - lsb)


REAL = Arithmetic()
INTEGER = Arithmetic(frozenset(ROUNDINGS), True)
