"""Event queue: holds events until the lanes have time for them, and costs no cycle when they have."""

from amaranth.hdl import Module
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

    Latency: 0 cycles while empty and ``o`` is ready; an event that had to wait can leave 2 cycles after it came.
    Throughput: one event per cycle.  ``i.ready`` does not depend on ``o.ready``.
    """

    def __init__(self, depth: int):
        self.depth = depth
        super().__init__({"i": In(stream.Signature(EVENT)), "o": Out(stream.Signature(EVENT))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=EVENT.size, depth=self.depth)
        m.d.comb += [
            self.i.ready.eq(fifo.w_rdy), fifo.w_data.eq(self.i.p), fifo.w_en.eq(self.i.valid),
            self.o.valid.eq(fifo.r_rdy), self.o.p.eq(fifo.r_data), fifo.r_en.eq(self.o.ready),
        ]
        with m.If(fifo.level == 0):
            m.d.comb += [
                self.o.valid.eq(self.i.valid), self.o.p.eq(self.i.p), fifo.w_en.eq(self.i.valid & ~self.o.ready),
            ]
        return m
