"""What travels from the encoders to the scheduler."""

from amaranth.hdl import signed
from amaranth.lib import data

from tidegate.spec.formats import DELTA_BITS


def event_layout(elements: int) -> data.StructLayout:
    """Element ``index`` of a signal has changed by ``delta``; or, with ``end``, the signal's frame is over."""
    return data.StructLayout({"index": range(elements), "delta": signed(DELTA_BITS), "end": 1})
