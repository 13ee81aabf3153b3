"""Encoder rules: when an element of a signal is sent, what is sent, and what is remembered.

    delta      fire ⇔ |v − v̂| ≥ Θ and v ≠ v̂        Δ = clip(v − v̂)        v̂ ← v̂ + Δ

    diffuse    u = v + e − (e >> leak)              s = step · clip(⌊(u + step − Θ) / step⌋, lowest .. highest)
               fire ⇔ s ≠ 0        Δ = s            e ← clip(u − s), or 0 where fired if the reset is to zero

The memory of ``delta`` is the anchor v̂, which moves by exactly the Δ that was sent.  So the sums of a consumer stay
M = b + W·v̂ exactly, for ever (delta networks: Neil et al. 2017, arXiv:1612.05571).  On integers the condition is
|v − v̂| ≥ max(Θ, 1).

The memory of ``diffuse`` is the error e, what was not sent yet.  With the levels 0..1 that is an integrate-and-fire
neuron: v is its input current, e its membrane potential, Θ its threshold, and a spike takes ``step`` from the
potential.  It leaks with ``leak`` > 0 (a share of 2**-leak a frame).  With Θ = step / 2 the rule rounds: with the
levels −L..L it is the quantiser with temporally diffused error of hybrid-spiking networks (Voelker et al. 2020,
arXiv:2002.03553).  ``step`` is a power of two.  Consumers add each s once (``Layer.consumes``).

A rule is one function, ``rule(v, memory, theta, dense) → (fired, Δ, memory')``, of integers or arrays of them.  Golden
model, benches and test doubles call it; ``hw/tidegate_hw/stages/encoder.py`` is its twin in hardware, and
``golden/encoder.py`` and ``golden/signals.py`` run the rules over whole sequences, with a gradient.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from .errors import ModelError
from .fixed import saturate
from .formats import DELTA_BITS, SIGNAL

RULES = ("delta", "diffuse")
DELTA_MAX = (1 << (DELTA_BITS - 1)) - 1
STEP_MAX = 1 << (DELTA_BITS - 2)
LEAK_MAX = 7


@dataclass(frozen=True)
class Diffuse:
    """The rule ``diffuse`` of a signal; Θ is one of the network's thresholds.

    ``step``: a power of two, in LSBs of 2**-8.  ``lowest``, ``highest``: levels, in steps.  ``leak``: 0 none, else e
    loses a share of 2**-leak a frame.  ``zero``: a spike sets e to 0, instead of taking s from it.
    ModelError if no encoder can do that.
    """

    step: int
    lowest: int = 0
    highest: int = 1
    leak: int = 0
    zero: bool = False

    def __post_init__(self):
        for name in ("step", "lowest", "highest", "leak"):
            if type(value := getattr(self, name)) is not int:
                raise ModelError(f"the {name} of a rule 'diffuse' is a whole number, not {value!r:.40}; correct it")
        if type(self.zero) is not bool:
            raise ModelError(f"'zero' of a rule 'diffuse' is true or false, not {self.zero!r:.40}; correct it")
        if not 1 <= self.step <= STEP_MAX or self.step & (self.step - 1):
            raise ModelError(f"the step of a rule 'diffuse' is a power of two, 1 to {STEP_MAX}, not {self.step}")
        if not self.lowest <= 0 <= self.highest or self.lowest == self.highest:
            raise ModelError(f"the levels of a rule 'diffuse' go from 0 or less to 0 or more, not {self.lowest} to "
                             f"{self.highest}; correct them")
        if self.reach > DELTA_MAX:
            raise ModelError(f"the rule 'diffuse' would send ±{self.reach}, an event holds ±{DELTA_MAX}; make the step "
                             "smaller or the levels fewer")
        if not 0 <= self.leak <= LEAK_MAX:
            raise ModelError(f"the leak of a rule 'diffuse' is 0 to {LEAK_MAX}, not {self.leak}")

    @property
    def reach(self) -> int:
        """Largest |Δ|."""
        return max(-self.lowest, self.highest) * self.step

    @property
    def log2_step(self) -> int:
        return self.step.bit_length() - 1

    def __call__(self, v: Any, memory: Any, theta: int, dense: bool = False) -> tuple[Any, Any, Any]:
        """(fired, s, the new error) of v and the error so far, SIGNAL integers of any shape.

        s is 0 where nothing fired.  ``dense``: every element fires, even with s = 0.
        """
        u = np.add(v, memory - (memory >> self.leak if self.leak else 0))
        sent = np.clip((u + self.step - theta) >> self.log2_step, self.lowest, self.highest) * self.step
        spiked = sent != 0
        left = saturate(u - sent, SIGNAL.bits)
        return spiked | dense, sent, np.where(spiked, 0, left) if self.zero else left

    def to_dict(self) -> dict:
        return {"rule": "diffuse", **asdict(self)}

    @staticmethod
    def from_dict(d: dict) -> "Diffuse":
        """ModelError if the description is not one of a rule."""
        if not isinstance(d, dict) or d.get("rule") != "diffuse" or d.keys() - {"rule", *(
                field.name for field in fields(Diffuse))} or "step" not in d:
            raise ModelError(f"{d!r:.80} describes no rule 'diffuse'; correct it")
        return Diffuse(**{name: value for name, value in d.items() if name != "rule"})


def delta(v: Any, memory: Any, theta: int, dense: bool = False) -> tuple[Any, Any, Any]:
    """(fired, Δ, the new anchor) of v against its anchor, SIGNAL integers of any shape; Δ is 0 where nothing fired.

    ``dense``: every element fires, even with Δ = 0.
    """
    change = np.subtract(v, memory)
    fired = (np.abs(change) >= theta) & (change != 0) | dense
    sent = np.where(fired, saturate(change, DELTA_BITS), 0)
    return fired, sent, memory + sent


def rule_of(rule: Diffuse | None):
    """The function of a signal's rule; None is ``delta``."""
    return delta if rule is None else rule
