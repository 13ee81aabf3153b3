"""Snapshot: copies a layer's accumulators, so that the lanes may go on while the cell works from the copy."""

from amaranth.hdl import Array, Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS

from .event import INDEX_BITS

GATES = 4       # accumulator parts of a GRU layer: nx, r, z, nh


def accumulators_layout(design: Design) -> data.StructLayout:
    """``acc[gate][k]`` of ``cell_rate`` neighbouring neurons from ``index`` on; ``mask``: which exist."""
    g = design.cell_rate
    return data.StructLayout({
        "index": INDEX_BITS, "mask": g,
        "acc": data.ArrayLayout(data.ArrayLayout(signed(ACC_BITS), g), GATES),
    })


class Snapshot(wiring.Component):
    """Copies ``gates`` parts of ``words`` accumulator words and hands them out G neurons a cycle.

    Parameters
    ----------
    design : Design

    Members
    -------
    start : strobe, while not busy; the next five are read from then on, stable while busy.
    target : first accumulator word.
    words : accumulator words of one part.
    size : neurons in a part.
    single : copy only the first part (a classifier's logits) instead of four.
    acc_r : read port of the lanes, in use while ``copying``.
    o : stream of ``accumulators_layout(design)``, ``ceil(size / G)`` groups in order.
    copying : the lanes must not work on these accumulators yet.
    busy : copying, or groups left.

    Latency: words·parts + 4 cycles from start to the first group.  Throughput: one group per cycle.
    """

    def __init__(self, design: Design):
        self.design = design
        self.acc_layout = data.ArrayLayout(signed(ACC_BITS), design.lanes)
        super().__init__({
            "start": In(1), "target": In(16), "words": In(16), "size": In(16), "single": In(1),
            "acc_r": Out(wiring.Signature({"address": Out(range(design.acc_words)), "data": In(self.acc_layout)})),
            "o": Out(stream.Signature(accumulators_layout(design))),
            "copying": Out(1), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        d, g, o = self.design, self.design.cell_rate, self.o
        parts = d.lanes // g                        # groups in a word
        depth = max(-(-d.acc_words // GATES), -(-d.classes // d.lanes))

        banks_r, banks_w = [], []
        for gate in range(GATES):
            bank = Memory(shape=ACC_BITS * d.lanes, depth=depth, init=[])
            m.submodules[f"bank{gate}"] = bank
            banks_r.append(bank.read_port())
            banks_w.append(bank.write_port())

        # copy: address in one cycle, word into its bank in the next
        gate, word = Signal(range(GATES)), Signal(16)
        gate_q1, word_q1, valid_q1 = Signal.like(gate), Signal.like(word), Signal()
        reading = Signal()
        last_word = word + 1 >= self.words
        m.d.comb += self.copying.eq(reading | valid_q1)
        m.d.sync += [valid_q1.eq(reading), gate_q1.eq(gate), word_q1.eq(word)]
        for k, bank_w in enumerate(banks_w):
            m.d.comb += [
                bank_w.addr.eq(word_q1), bank_w.data.eq(self.acc_r.data.as_value()),
                bank_w.en.eq(valid_q1 & (gate_q1 == k)),
            ]
        with m.If(reading):
            m.d.sync += [self.acc_r.address.eq(self.acc_r.address + 1), word.eq(word + 1)]
            with m.If(last_word):
                m.d.sync += [word.eq(0), gate.eq(gate + 1)]
                with m.If(self.single | (gate == GATES - 1)):
                    m.d.sync += reading.eq(0)

        # hand out: bank address → bank output → selected group
        emitting = Signal()
        index, index_q1, valid_q2 = Signal(16), Signal(16), Signal()
        advance = ~o.valid | o.ready
        part = Signal(range(max(parts, 2)))
        m.d.comb += part.eq((index_q1 // g) % parts)
        for bank_r in banks_r:
            m.d.comb += [bank_r.addr.eq(index // d.lanes), bank_r.en.eq(advance)]
        with m.If(advance):
            m.d.sync += [
                valid_q2.eq(emitting), index_q1.eq(index), o.valid.eq(valid_q2),
                o.p.index.eq(index_q1), o.p.mask.eq(Cat(index_q1 + k < self.size for k in range(g))),
            ]
            for k, bank_r in enumerate(banks_r):
                slices = Array(bank_r.data.word_select(s, ACC_BITS * g) for s in range(parts))
                m.d.sync += o.p.acc[k].as_value().eq(slices[part])
            with m.If(emitting):
                m.d.sync += [index.eq(index + g), emitting.eq(index + g < self.size)]

        m.d.comb += self.busy.eq(self.copying | emitting | valid_q2 | o.valid)
        with m.If(valid_q1 & ~reading):
            m.d.sync += [emitting.eq(1), index.eq(0)]
        with m.If(self.start):
            m.d.sync += [reading.eq(1), self.acc_r.address.eq(self.target), gate.eq(0), word.eq(0)]
        return m
