"""Snapshot: a layer's accumulators as they were, so that the lanes may go on while the cell works from the copy."""

from amaranth.hdl import Array, Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS

from .event import INDEX_BITS
from .job import ADDRESS_BITS, Copy
from .lanes import copies_signature

NX, R, Z, NH = GATES = range(4)     # parts of a GRU layer's accumulators


def gate_layout(design: Design) -> data.ArrayLayout:
    """Accumulators of one gate of ``cell_rate`` neurons."""
    return data.ArrayLayout(signed(ACC_BITS), design.cell_rate)


def accumulators_layout(design: Design) -> data.StructLayout:
    """``acc[gate][k]`` (nx, r, z) of ``cell_rate`` neurons from ``index`` on; ``mask``: which exist; ``last`` group."""
    g = design.cell_rate
    return data.StructLayout({
        "index": INDEX_BITS, "mask": g, "last": 1,
        "acc": data.ArrayLayout(gate_layout(design), len(GATES) - 1),
    })


def taken_signature(shape) -> wiring.Signature:
    """A stream without ready: what is valid is taken."""
    return wiring.Signature({"payload": Out(shape), "valid": Out(1)})


class Snapshot(wiring.Component):
    """Takes the copies of a layer's accumulators, one memory a gate, and hands them out G neurons a cycle.

    Copies come in the order nx, r, z, nh; the first group leaves when z is complete, and nh follows at its heels.

    Parameters
    ----------
    design : Design

    Members
    -------
    copies : ``copies_signature(design)``; from z's last word on in successive cycles.
    words : accumulator words of one gate.
    size : neurons of the layer; both stable from the first copy to the last group.
    room : the groups that leave from the next cycle on can be taken.
    o : ``taken_signature`` of ``accumulators_layout(design)``: ``ceil(size / G)`` groups in order.
    nh : ``gate_layout(design)``: the group's nh, in the next cycle.
    busy : a copy comes, or a group is left.

    Latency: ``delay`` cycles from nh's first copy to the first group.  (If z's last word does not come because the
    registers are nonsense, one more.)
    Throughput: one group per cycle while there is room.
    """

    delay = 1

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "copies": In(copies_signature(design)), "words": In(ADDRESS_BITS), "size": In(ADDRESS_BITS), "room": In(1),
            "o": Out(taken_signature(accumulators_layout(design))), "nh": Out(gate_layout(design)), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        d, g, o = self.design, self.design.cell_rate, self.o
        slots = d.lanes // g                        # groups in a word

        banks_r, banks_w = [], []
        for gate in GATES:
            bank = Memory(shape=ACC_BITS * d.lanes, depth=-(-d.acc_words // len(GATES)), init=[])
            m.submodules[f"bank{gate}"] = bank
            banks_r.append(bank.read_port())
            banks_w.append(bank.write_port())

        # nh's words are counted apart, so that its first is known whatever came before
        gate, word, word_nh = Signal(GATES), Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        last_z, begun, start = Signal(), Signal(), Signal()
        for k, bank_w in enumerate(banks_w):
            mine = self.copies.copy == Copy.NH if k == NH else (self.copies.copy == Copy.GATES) & (gate == k)
            m.d.comb += [
                bank_w.addr.eq(word_nh if k == NH else word), bank_w.data.eq(self.copies.data.as_value()),
                bank_w.en.eq(mine),
            ]
        m.d.comb += start.eq(last_z | ((self.copies.copy == Copy.NH) & (word_nh == 0) & ~begun))
        with m.If(self.copies.copy == Copy.GATES):
            m.d.sync += [word.eq(word + 1), word_nh.eq(0)]
            with m.If(word + 1 >= self.words):
                m.d.comb += last_z.eq((gate == Z) & ~begun)
                m.d.sync += [word.eq(0), gate.eq(gate + 1)]
        with m.If(self.copies.copy == Copy.NH):
            m.d.sync += [word_nh.eq(word_nh + 1), word.eq(0), gate.eq(0), begun.eq(0)]
        with m.If(last_z):
            m.d.sync += begun.eq(1)

        # hand out: address, then the banks' outputs, of which a group is selected
        emitting, index = Signal(), Signal(ADDRESS_BITS)
        index_q1, index_q2 = Signal.like(index, reset_less=True), Signal.like(index, reset_less=True)
        m.d.sync += [o.valid.eq(emitting & self.room), index_q1.eq(index), index_q2.eq(index_q1)]
        with m.If(emitting & self.room):
            m.d.sync += [index.eq(index + g), emitting.eq(index + g < self.size)]
        with m.If(start):
            m.d.sync += [emitting.eq(1), index.eq(0)]

        m.d.comb += [
            o.payload.index.eq(index_q1), o.payload.mask.eq(Cat(index_q1 + k < self.size for k in range(g))),
            o.payload.last.eq(index_q1 + g >= self.size),
            self.busy.eq((self.copies.copy != Copy.NONE) | emitting | o.valid),
        ]
        for k, bank_r in enumerate(banks_r):
            address, selected, acc = (index_q1, index_q2, self.nh) if k == NH else (index, index_q1, o.payload.acc[k])
            slices = Array(bank_r.data.word_select(s, ACC_BITS * g) for s in range(slots))
            m.d.comb += [
                bank_r.addr.eq(address // d.lanes), acc.as_value().eq(slices[(selected // g) % slots]),
            ]
        return m
