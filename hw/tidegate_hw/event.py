"""What travels from the encoders to the scheduler."""

from amaranth.hdl import signed
from amaranth.lib import data

from tidegate.spec.formats import DELTA_BITS

INDEX_BITS = 12

# element ``index`` of a signal has changed by ``delta``; or, with ``end``, the signal's frame is over
EVENT = data.StructLayout({"index": INDEX_BITS, "delta": signed(DELTA_BITS), "end": 1})
