"""What travels from the encoders to the column fetch."""

from amaranth.hdl import signed
from amaranth.lib import data

from tidegate.spec.formats import DELTA_BITS
from tidegate.spec.network import MAX_SIGNALS

SIGNAL_BITS = 3
INDEX_BITS = 12
BIAS_SIGNAL = MAX_SIGNALS       # the constant signal whose columns are played at reset

# element ``index`` of signal ``signal`` has changed by ``delta``
EVENT = data.StructLayout({"signal": SIGNAL_BITS, "index": INDEX_BITS, "delta": signed(DELTA_BITS)})
