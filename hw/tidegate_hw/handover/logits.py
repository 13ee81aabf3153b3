"""Logits: copies of the classifier's accumulators, handed out one at a time."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS

from ..fanout import leaf
from ..records.job import Copy, acc_range, copies_signature


class Logits(wiring.Component):
    """Takes the copies of the classifier's words and sends the accumulators in order.

    Parameters
    ----------
    design : Design

    Members
    -------
    copies : ``copies_signature(design)``; those of a frame follow each other, from the second cycle after
        ``done`` of the frame before on.
    classes : logits of a frame, may be 0; stable.
    o : stream of accumulators.
    more : strobe: the copy of the frame's next word may come; here all words come at once, so it never does.
    done : strobe: the last logit is taken.

    Latency: ``delay`` cycles from the first copy to the first logit; ``done`` comes with the last logit, or without
    classes one cycle after the copy.  Throughput: one logit per cycle.
    """

    delay = 3
    whole = True        # one job copies all words of the logits

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "copies": In(copies_signature(design)), "classes": In(range(design.classes + 1)),
            "o": Out(stream.Signature(signed(ACC_BITS))), "more": Out(1), "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        d, g = self.design, self.design.cell_rate
        # as wide as the classes need, in groups of G, which are fetched together
        lanes = min(d.lanes, -(-d.classes // g) * g)
        m.submodules.bank = bank = Memory(shape=ACC_BITS * lanes, depth=-(-d.classes // d.lanes), init=[])
        bank_r, bank_w = bank.read_port(), bank.write_port()

        word, taken, first, none, done_q1 = Signal(acc_range(d)), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            taken.eq(self.copies.copy == Copy.LOGITS), first.eq(taken & (word == 0)),
            bank_w.addr.eq(word), bank_w.data.eq(self.copies.data.as_value()), bank_w.en.eq(taken),
        ]
        m.d.sync += [none.eq(first & (self.classes == 0)), done_q1.eq(self.done)]
        with m.If(taken):
            m.d.sync += word.eq(word + 1)
        with m.If(done_q1):
            m.d.sync += word.eq(0)

        # address of a group, its word at the bank's output, its members one by one
        emitting, index = Signal(), Signal(range(d.classes + g))
        valid_q1, index_q1 = Signal(), Signal.like(index)
        # ``single``: no second is in the mask
        values = Signal(ACC_BITS * g)
        mask = Signal(g)
        single = Signal(init=1)
        free, advance = Signal(), Signal()
        m.d.comb += [
            free.eq(~mask[0] | (single & self.o.ready)), advance.eq(~valid_q1 | free),
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
        # members of the group at ``index_q1``; each has a select of its own, for they come from all over the lanes
        chosen = []
        for k in range(g):
            select = leaf(Signal(range(lanes // g)), f"select{k}")
            with m.If(advance):
                m.d.sync += select.eq(index // g % (d.lanes // g))
            chosen.append(Array(bank_r.data.word_select(s * g + k, ACC_BITS) for s in range(lanes // g))[select])
        with m.If(free):
            here = Cat(index_q1 + k < self.classes for k in range(g))
            m.d.sync += [
                values.eq(Cat(chosen)), mask.eq(here & valid_q1.replicate(g)), single.eq(~(here >> 1).any()),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += [values.eq(values >> ACC_BITS), mask.eq(mask >> 1), single.eq(mask >> 2 == 0)]
        return m


class WordLogits(wiring.Component):
    """Takes one copy of a classifier's word at a time and sends its accumulators, for a core without a snapshot.

    Parameters and members as those of ``Logits``, and

    more : strobe: the last logit of a word is taken, and there are others.

    Latency: ``delay`` cycles from copy to logit; without classes ``done`` comes one cycle after the copy.
    Throughput: one logit per cycle.
    """

    delay = 1
    whole = False       # each word of the logits is copied by a job of its own

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "copies": In(copies_signature(design)), "classes": In(range(design.classes + 1)),
            "o": Out(stream.Signature(signed(ACC_BITS))), "more": Out(1), "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        queue = Signal(ACC_BITS * self.design.lanes, reset_less=True)
        lane, number = Signal(range(max(self.design.lanes, 2))), Signal.like(self.classes)      # of the word, the frame
        taken, last, none, sent = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            taken.eq(self.copies.copy == Copy.LOGITS), last.eq(number + 1 >= self.classes),
            self.o.p.eq(queue[:ACC_BITS].as_signed()),
            sent.eq(self.o.valid & self.o.ready & (last | (lane == self.design.lanes - 1))),
            self.done.eq(none | (sent & last)), self.more.eq(sent & ~last),
        ]
        m.d.sync += none.eq(taken & (self.classes == 0))
        with m.If(taken):
            m.d.sync += [queue.eq(self.copies.data.as_value()), lane.eq(0), self.o.valid.eq(self.classes != 0)]
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += [queue.eq(queue >> ACC_BITS), lane.eq(lane + 1), number.eq(Mux(last, 0, number + 1))]
            with m.If(sent):
                m.d.sync += self.o.valid.eq(0)
        return m
