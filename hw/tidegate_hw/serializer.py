"""Serializer: groups of logits become single ones."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS

from .snapshot import accumulators_layout


class Serializer(wiring.Component):
    """Sends the first part of each group, one accumulator at a time.

    Parameters
    ----------
    design : Design

    Members
    -------
    i : stream of ``accumulators_layout(design)``; masked-off members are not sent.
    o : stream of accumulators.
    busy : a logit is waiting.

    Latency: 1 cycle.  Throughput: a group of G takes G cycles.
    """

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "i": In(stream.Signature(accumulators_layout(design))),
            "o": Out(stream.Signature(signed(ACC_BITS))),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.design.cell_rate
        values, mask = Signal(ACC_BITS * g), Signal(g)
        free = (mask >> 1 == 0) & (~mask[0] | self.o.ready)
        m.d.comb += [
            self.o.valid.eq(mask[0]), self.o.p.eq(values[:ACC_BITS].as_signed()), self.i.ready.eq(free),
            self.busy.eq(mask != 0),
        ]
        with m.If(free):
            m.d.sync += [values.eq(self.i.p.acc[0].as_value()), mask.eq(self.i.p.mask & self.i.valid.replicate(g))]
        with m.Elif(~mask[0] | self.o.ready):
            m.d.sync += [values.eq(values >> ACC_BITS), mask.eq(mask >> 1)]
        return m
