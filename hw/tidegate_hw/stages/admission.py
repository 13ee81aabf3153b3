"""Admission: which frames are run, and when they may begin."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import SIGNAL

from ..records.event import group_layout


class Admission(wiring.Component):
    """Gives the groups of feature frames an address, and lets frames in, waits with them, or drops them.

        frame ─► (runs) ─► o, values        (drops: after a decision) ─► nothing

    Parameters
    ----------
    design : Design

    Members
    -------
    features : elements of a frame, stable while a frame is under way.
    running : frames may come.
    apart : a frame begins only when none is under way (``busy`` low).
    drop : a frame that comes is not run.
    busy : a frame is under way.
    frame : stream of ``encoder_rate`` features (SIGNAL); ceil(features / encoder_rate) groups make a frame.
    o : stream of ``group_layout(encoder_rate, groups)``.
    values : the features of the group, one cycle after it was taken.
    begin : strobe: the first group of a frame that is run is taken.
    skip : strobe: a frame has been dropped.

    Latency: none to ``o``.  Throughput: a group per cycle.
    """

    def __init__(self, design: Design):
        self.design = design
        self.groups = -(-design.features // design.encoder_rate)
        values = data.ArrayLayout(signed(SIGNAL.bits), design.encoder_rate)
        super().__init__({
            "features": In(range(design.features + 1)), "running": In(1), "apart": In(1), "drop": In(1), "busy": In(1),
            "frame": In(stream.Signature(values)),
            "o": Out(stream.Signature(group_layout(design.encoder_rate, self.groups))), "values": Out(values),
            "begin": Out(1), "skip": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        e, group = self.design.encoder_rate, Signal(range(self.groups + 1))
        begins, may, runs, drops = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            begins.eq(group == 0), may.eq(self.running & ~(self.apart & begins & self.busy)),
            runs.eq(may & ~self.drop), drops.eq(may & self.drop),
            self.o.valid.eq(self.frame.valid & runs), self.frame.ready.eq((self.o.ready & runs) | drops),
            self.o.p.index.eq(group * e), self.o.p.address.eq(group),
            self.o.p.mask.eq(Cat(group * e + k < self.features for k in range(e))),
            self.o.p.last.eq((group + 1) * e >= self.features),
            self.begin.eq(self.frame.valid & self.o.ready & runs & begins),
            self.skip.eq(self.frame.valid & drops & self.o.p.last),
        ]
        with m.If(self.frame.valid & self.frame.ready):
            m.d.sync += [self.values.eq(self.frame.p), group.eq(group + 1)]
            with m.If(self.o.p.last):
                m.d.sync += group.eq(0)
        return m
