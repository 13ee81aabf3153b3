"""Frame buffer: gathers the values of a feature frame from the link, then hands them to the core at full rate."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import SIGNAL

from .fixed import saturate


class FrameBuffer(wiring.Component):
    """Bytes of int16 features to groups of E of them.

        o[k // E][k % E] = saturate(i[2k] + 256 * i[2k + 1])        0 for ``features`` <= k < ceil to a multiple of E

    Parameters
    ----------
    design : Design
        E is ``encoder_rate``; holds up to ``features`` values.

    Members
    -------
    start : 1, in
        Strobe, while no frame is under way: take a frame.
    features : range(design.features + 1), in
        Values of a frame, at least 1; stable until the frame has left.
    i : stream of unsigned(8), in
        int16, little-endian.
    o : stream of ArrayLayout(signed(12), E), out
        All groups of a frame, one per cycle when ready; it begins after all values have come.

    Latency: 2 features + padding + 2 cycles from ``start`` to the first group, if bytes come at once.
    Throughput: 1 byte per cycle in, 1 group per cycle out, one after the other.
    Formats: int16 in SIGNAL's scale, saturated to ±2047.
    Tested: 1 to 21 features at E = 1, 2, 4 and 8, all stalls.
    """

    def __init__(self, design: Design):
        self.design = design
        self.group_layout = data.ArrayLayout(signed(SIGNAL.bits), design.encoder_rate)
        super().__init__({
            "start": In(1),
            "features": In(range(design.features + 1)),
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(self.group_layout)),
        })

    def elaborate(self, platform):
        m = Module()
        rate = self.design.encoder_rate
        depth = -(-self.design.features // rate)
        m.submodules.ram = ram = Memory(shape=self.group_layout, depth=depth, init=[])
        ram_w, ram_r = ram.write_port(granularity=1), ram.read_port()

        low, high = Signal(8), Signal()                 # first byte of a value; the second is due
        group, lane = Signal(range(depth + 1)), Signal(range(max(rate, 2)))
        left = Signal(range(self.design.features + 1))
        value = saturate(Cat(low, self.i.payload).as_signed(), SIGNAL.bits)
        store = Signal()
        m.d.comb += [
            ram_w.addr.eq(group), ram_w.en.eq(store << lane),
            *(ram_w.data[k].eq(Mux(left == 0, 0, value)) for k in range(rate)),
            ram_r.addr.eq(0),
            self.o.payload.eq(ram_r.data),
        ]
        with m.If(store):
            m.d.sync += [lane.eq(lane + 1), left.eq(Mux(left == 0, 0, left - 1))]
            with m.If(lane == rate - 1):
                m.d.sync += [lane.eq(0), group.eq(group + 1)]
        with m.FSM():
            with m.State("WAIT"):
                m.d.sync += [group.eq(0), lane.eq(0), high.eq(0), left.eq(self.features)]
                with m.If(self.start):
                    m.next = "FILL"
            with m.State("FILL"):
                with m.If(left != 0):
                    m.d.comb += [self.i.ready.eq(1), store.eq(self.i.valid & high)]
                    with m.If(self.i.valid):
                        m.d.sync += [low.eq(self.i.payload), high.eq(~high)]
                with m.Elif(lane != 0):
                    m.d.comb += store.eq(1)
                with m.Else():
                    m.d.sync += [group.eq(0), left.eq(group)]       # now groups that are left to send
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += [self.o.valid.eq(1), ram_r.addr.eq(group + self.o.ready)]
                with m.If(self.o.ready):
                    m.d.sync += [group.eq(group + 1), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "WAIT"
        return m
