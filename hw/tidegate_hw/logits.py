"""Logits: copies of the classifier's accumulators, handed out one at a time."""

from amaranth.hdl import Array, Cat, Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS

from .job import ADDRESS_BITS, Copy
from .lanes import copies_signature


class Logits(wiring.Component):
    """Takes the copies of the classifier's words and sends the accumulators in order.

    Parameters
    ----------
    design : Design

    Members
    -------
    copies : ``copies_signature(design)``; those of a frame follow each other, after ``done`` of the frame before.
    classes : logits of a frame, may be 0; stable.
    o : stream of accumulators.
    done : strobe: the last logit is taken.

    Latency: ``delay`` cycles from the first copy to the first logit; ``done`` comes with the last logit, or without
    classes one cycle after the copy.  Throughput: one logit per cycle.
    """

    delay = 3

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "copies": In(copies_signature(design)), "classes": In(ADDRESS_BITS),
            "o": Out(stream.Signature(signed(ACC_BITS))), "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        d, g = self.design, self.design.cell_rate
        # as wide as the classes need, in groups of G, which are fetched together
        lanes = min(d.lanes, -(-d.classes // g) * g)
        m.submodules.bank = bank = Memory(shape=ACC_BITS * lanes, depth=-(-d.classes // d.lanes), init=[])
        bank_r, bank_w = bank.read_port(), bank.write_port()

        word, taken, first, none = Signal(ADDRESS_BITS), Signal(), Signal(), Signal()
        m.d.comb += [
            taken.eq(self.copies.copy == Copy.LOGITS), first.eq(taken & (word == 0)),
            bank_w.addr.eq(word), bank_w.data.eq(self.copies.data.as_value()), bank_w.en.eq(taken),
        ]
        m.d.sync += none.eq(first & (self.classes == 0))
        with m.If(taken):
            m.d.sync += word.eq(word + 1)
        with m.If(self.done):
            m.d.sync += word.eq(0)

        # address of a group, its word at the bank's output, its members one by one
        emitting, index = Signal(), Signal(ADDRESS_BITS)
        valid_q1, index_q1 = Signal(), Signal.like(index)
        values, mask = Signal(ACC_BITS * g), Signal(g)
        free, advance = Signal(), Signal()
        m.d.comb += [
            free.eq((mask >> 1 == 0) & (~mask[0] | self.o.ready)), advance.eq(~valid_q1 | free),
            bank_r.addr.eq(index // d.lanes), bank_r.en.eq(advance),
            self.o.valid.eq(mask[0]), self.o.p.eq(values[:ACC_BITS].as_signed()),
            self.done.eq(none | (self.o.valid & free & ~valid_q1 & ~emitting)),
        ]
        with m.If(advance):
            m.d.sync += [valid_q1.eq(emitting), index_q1.eq(index)]
            with m.If(emitting):
                m.d.sync += [index.eq(index + g), emitting.eq(index + g < self.classes)]
        with m.If(first):
            m.d.sync += [emitting.eq(self.classes != 0), index.eq(0)]
        slices = Array(bank_r.data.word_select(s, ACC_BITS * g) for s in range(lanes // g))
        with m.If(free):
            here = Cat(index_q1 + k < self.classes for k in range(g))
            m.d.sync += [
                values.eq(slices[(index_q1 // g) % (d.lanes // g)]), mask.eq(here & valid_q1.replicate(g)),
            ]
        with m.Elif(~mask[0] | self.o.ready):
            m.d.sync += [values.eq(values >> ACC_BITS), mask.eq(mask >> 1)]
        return m
