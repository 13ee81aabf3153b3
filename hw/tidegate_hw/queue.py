"""Event queue: holds events until the lanes have time for them, and costs no cycle when they have."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .event import EVENT


class Queue(wiring.Component):
    """First in, first out.

    Parameters
    ----------
    depth : int
        Events that it holds.

    Members
    -------
    i, o : streams of ``EVENT``.

    Latency: 0 cycles while empty and ``o`` is ready; one that waits behind others can leave 2 cycles after it came.
    Throughput: one event per cycle.  ``i.ready`` does not depend on ``o.ready``.
    """

    def __init__(self, depth: int):
        self.depth = depth
        super().__init__({"i": In(stream.Signature(EVENT)), "o": Out(stream.Signature(EVENT))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=EVENT.size, depth=self.depth)
        # an event that was offered on its way past the empty memory, and not taken, stays offered
        held, held_valid, passing = Signal(EVENT), Signal(), Signal()
        m.d.comb += [
            passing.eq(~held_valid & (fifo.level == 0)),
            self.i.ready.eq(fifo.w_rdy), fifo.w_data.eq(self.i.p), fifo.w_en.eq(self.i.valid & ~passing),
            fifo.r_en.eq(self.o.ready & ~held_valid),
            self.o.valid.eq(fifo.r_rdy), self.o.p.eq(fifo.r_data),
        ]
        with m.If(held_valid):
            m.d.comb += [self.o.valid.eq(1), self.o.p.eq(held)]
            m.d.sync += held_valid.eq(~self.o.ready)
        with m.Elif(passing):
            m.d.comb += [self.o.valid.eq(self.i.valid), self.o.p.eq(self.i.p)]
            m.d.sync += [held.eq(self.i.p), held_valid.eq(self.i.valid & ~self.o.ready)]
        return m
