"""Signals on their way: groups of values to an encoder, events from it."""

from amaranth.hdl import signed
from amaranth.lib import data

from tidegate.spec.formats import DELTA_BITS


def group_layout(rate: int, depth: int) -> data.StructLayout:
    """``rate`` neighbouring elements of a signal, from ``index`` on.

    ``address``: number of the group, below ``depth``.  ``mask``: which elements exist.  ``last``: of the frame.
    """
    return data.StructLayout({"index": range(rate * depth), "address": range(depth), "mask": rate, "last": 1})


def event_layout(elements: int) -> data.StructLayout:
    """Element ``index`` of a signal has changed by ``delta``; or, with ``end``, the frame has no more events of it."""
    return data.StructLayout({"index": range(elements), "delta": signed(DELTA_BITS), "end": 1})
