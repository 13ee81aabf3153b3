"""Encoder rules: when an element of a signal is sent, which change is sent, and which value is remembered.

    delta      fire ⇔ |v − v̂| ≥ Θ and v ≠ v̂        Δ = clip(v − v̂)        v̂ ← v̂ + Δ

The memory of ``delta`` is the anchor v̂, which moves by exactly the Δ that was sent.  So the sums of a consumer stay
M = b + W·v̂ exactly, for ever (delta networks: Neil et al. 2017, arXiv:1612.05571).  On integers the condition is
|v − v̂| ≥ max(Θ, 1).

A rule is one function, ``rule(v, memory, theta, dense) → (fired, Δ, memory')``, of integers or arrays of them.  Golden
model, benches and test doubles call it; ``hw/tidegate_hw/stages/encoder.py`` is its twin in hardware, and
``golden/encoder.py`` runs it over whole sequences, with a gradient.
"""

from typing import Any

import numpy as np

from .fixed import saturate
from .formats import DELTA_BITS


def delta(v: Any, memory: Any, theta: int, dense: bool = False) -> tuple[Any, Any, Any]:
    """(fired, Δ, the new anchor) of v against its anchor, SIGNAL integers of any shape; Δ is 0 where nothing fired.

    ``dense``: every element fires, even with Δ = 0.
    """
    change = np.subtract(v, memory)
    fired = (np.abs(change) >= theta) & (change != 0) | dense
    sent = np.where(fired, saturate(change, DELTA_BITS), 0)
    return fired, sent, memory + sent

