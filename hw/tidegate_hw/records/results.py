"""A core's record of one frame."""

from amaranth.lib import data

from tidegate.spec.design import Design
from tidegate.spec.packets import core_signals


def result_layout(design: Design) -> data.StructLayout:
    """``frames``: number of frames before this one since the last clear.  ``cycles``: those in which it was the oldest
    frame in the core.  ``weight_words``: words read, of all columns.  ``events``: of each signal, of five at least.
    ``decision``: class + 1, or 0.
    """
    return data.StructLayout({
        "frames": 32, "cycles": 32, "weight_words": 32,
        "events": data.ArrayLayout(16, core_signals(design.layers)), "decision": 16,
    })
