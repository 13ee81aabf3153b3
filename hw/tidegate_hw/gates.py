"""The gates of a GRU layer's accumulators, and how they travel from the lanes to the cell."""

from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS

NX, R, Z, NH = GATES = range(4)     # parts of a GRU layer's accumulators


SKEW = (3, 0, 1, 2)                 # cycles after its group in which the cell takes each gate
ORDER = sorted(GATES, key=SKEW.__getitem__)     # in which the cell takes them


def gates_layout(design: Design) -> data.ArrayLayout:
    """Accumulators ``[gate][k]`` of ``cell_rate`` neurons."""
    return data.ArrayLayout(data.ArrayLayout(signed(ACC_BITS), design.cell_rate), len(GATES))


def neurons_layout(design: Design) -> data.StructLayout:
    """``cell_rate`` neurons of a layer from ``index`` on; ``mask``: which exist; ``last`` group."""
    return data.StructLayout({"index": range(design.neurons), "mask": design.cell_rate, "last": 1})


def taken_signature(shape) -> wiring.Signature:
    """A stream without ready: what is valid is taken."""
    return wiring.Signature({"payload": Out(shape), "valid": Out(1)})
