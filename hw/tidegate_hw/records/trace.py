"""The trace: the integers inside the cells, for verification."""

from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from tidegate.spec.design import Design
from tidegate.spec.network import USUAL_LAYERS

TRACE_BITS = 16


def trace_signature(design: Design) -> wiring.Signature:
    """What a cell did with one group of neurons: its integers, stage by stage.

    ``stages``: for each of the cell's ``stages`` (``tidegate.spec.cells``) ``cell_rate`` integers of TRACE_BITS, the
    first stage and the first neuron in the lowest bits.  ``layer``; ``group``: in the state memory.
    """
    return wiring.Signature({
        "valid": Out(1), "layer": Out(range(max(design.layers, USUAL_LAYERS))), "group": Out(16),
        "stages": Out(TRACE_BITS * design.cell_rate * design.stages),
    })
