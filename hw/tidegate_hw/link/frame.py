"""Frame buffer: gathers the feature frames of a request while it comes in, then hands them to the core at full rate."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import SIGNAL
from tidegate.spec.packets import FEATURE_BYTES, most_frames

from ..fixed import saturate

MOST_FRAMES = most_frames(1, 1)


class FrameBuffer(wiring.Component):
    """Bytes of int16 features to groups of E of them, each frame from a new group on.

        o[t][k // E][k % E] = saturate(i[t][2k] + 256 * i[t][2k + 1])       0 for ``features`` <= k < ceil to E

    Parameters
    ----------
    design : Design
        E is ``encoder_rate``.  There is room for the frames of any request.

    Members
    -------
    begin : 1, in
        Strobe, before the first byte: forget what is here.  Not while frames leave.
    features : range(design.features + 1), in
        Values of a frame, at least 1; stable from ``begin`` on.
    i : stream of unsigned(8), always ready, in
        int16, little-endian.
    frames : range(MOST_FRAMES + 1), out
        Frames that have come.  What comes after MOST_FRAMES is nonsense, and so are the frames then.
    gathered : 1, out
        Strobe: the last byte of a frame comes.
    whole : 1, out
        The last byte that came was a frame's last.
    start : 1, in
        Strobe, while ``whole``: hand all frames over.
    o : stream of ArrayLayout(signed(12), E), out

    Latency: 1 cycle from ``start`` to the first group.
    Throughput: 1 byte per cycle in, 1 group per cycle out, one after the other.
    Formats: int16 in SIGNAL's scale, saturated to ±2047.
    Tested: 1 to 21 features, 1 to 18 frames, at E = 1, 2, 4 and 8, all stalls.
    """

    def __init__(self, design: Design):
        self.design = design
        self.group_layout = data.ArrayLayout(signed(SIGNAL.bits), design.encoder_rate)
        super().__init__({
            "begin": In(1),
            "features": In(range(design.features + 1)),
            "i": In(stream.Signature(8, always_ready=True)),
            "frames": Out(range(MOST_FRAMES + 1)),
            "gathered": Out(1),
            "whole": Out(1),
            "start": In(1),
            "o": Out(stream.Signature(self.group_layout)),
        })

    def elaborate(self, platform):
        m = Module()
        rate = self.design.encoder_rate
        # a frame's last group may be partial
        depth = self.design.payload // FEATURE_BYTES // rate + (MOST_FRAMES if rate > 1 else 0)
        m.submodules.ram = ram = Memory(shape=self.group_layout, depth=depth, init=[])
        ram_w, ram_r = ram.write_port(granularity=1), ram.read_port()

        low, high = Signal(8), Signal()                 # first byte of a value; the second is due
        group, lane = Signal(range(depth + 1)), Signal(range(max(rate, 2)))
        left = Signal(range(self.design.features + 1))
        value = saturate(Cat(low, self.i.payload).as_signed(), SIGNAL.bits)
        store = Signal()
        m.d.comb += [
            store.eq(self.i.valid & high), self.gathered.eq(store & (left == 1)),
            # a group's first value clears the others
            ram_w.addr.eq(group), ram_w.en.eq(Mux(lane == 0, -1, 1 << lane) & store.replicate(rate)),
            *(ram_w.data[k].eq(value if k == 0 else Mux(lane == 0, 0, value)) for k in range(rate)),
        ]
        with m.If(self.i.valid):
            m.d.sync += [low.eq(self.i.payload), high.eq(~high), self.whole.eq(self.gathered)]
        with m.If(store):
            m.d.sync += [lane.eq(lane + 1), left.eq(left - 1)]
            with m.If((lane == rate - 1) | self.gathered):
                m.d.sync += [lane.eq(0), group.eq(group + 1)]
        with m.If(self.gathered):
            m.d.sync += [left.eq(self.features), self.frames.eq(self.frames + 1)]
        with m.If(self.begin):
            m.d.sync += [
                high.eq(0), lane.eq(0), group.eq(0), left.eq(self.features), self.frames.eq(0), self.whole.eq(0),
            ]

        following = Signal.like(group)          # the group that is read
        m.d.comb += [
            self.o.payload.eq(ram_r.data), ram_r.addr.eq(following), ram_r.en.eq(~self.o.valid | self.o.ready),
        ]
        with m.FSM():
            with m.State("WAIT"):
                with m.If(self.start):
                    m.d.sync += following.eq(1)
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += following.eq(following + 1)
                    with m.If(following == group):
                        m.d.sync += following.eq(0)
                        m.next = "WAIT"
        return m
