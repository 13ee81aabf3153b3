"""P lanes: multiply one weight word by Δ and add it to one word of persistent accumulators."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS, DELTA_BITS, WEIGHT_BITS

from .column import fetch_signature
from .job import Copy


def weight_w_signature(design: Design) -> wiring.Signature:
    """Write ``data`` to the weight of ``lane`` in ``word``."""
    return wiring.Signature({
        "en": Out(1), "word": Out(range(design.weight_words)), "lane": Out(range(max(design.lanes, 2))),
        "data": Out(WEIGHT_BITS),
    })


def copies_signature(design: Design) -> wiring.Signature:
    """One word of accumulators, for whom ``copy`` says."""
    return wiring.Signature({"copy": Out(Copy), "data": Out(data.ArrayLayout(signed(ACC_BITS), design.lanes))})


class Lanes(wiring.Component):
    """Weight memory, multipliers and accumulators.

        acc[target][p] ← acc[target][p] + weight[word][p] · Δ      (wraps at ACC_BITS; spec proves it never does)

        word ─► weight RAM ─► register ─► × Δ ─► register ─┬► + ─┬► write
        target ─────────────────────────► accumulator RAM ─┘     └► copies

    Parameters
    ----------
    design : Design

    Members
    -------
    fetch : ``fetch_signature(design)``
        The same target must not come in two cycles running.
    copies : ``copies_signature(design)``
        The new value of each accumulator word whose fetch asks for a copy.
    weight_w : ``weight_w_signature(design)``, while not busy.
    clear : strobe, while not busy: all accumulators become 0 (takes ``acc_words`` cycles).
    busy : a word or a clear is under way.

    Latency: ``delay`` cycles from fetch to copy; the accumulator is up to date in the next.
    Throughput: one word per cycle.
    """

    delay = 3

    def __init__(self, design: Design):
        self.design = design
        self.acc_layout = data.ArrayLayout(signed(ACC_BITS), design.lanes)
        super().__init__({
            "fetch": In(fetch_signature(design)),
            "copies": Out(copies_signature(design)),
            "weight_w": In(weight_w_signature(design)),
            "clear": In(1),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        d, lanes = self.design, range(self.design.lanes)
        m.submodules.weights = weights = Memory(shape=WEIGHT_BITS * d.lanes, depth=d.weight_words, init=[])
        weight_r, weight_w = weights.read_port(), weights.write_port(granularity=WEIGHT_BITS)
        m.submodules.accumulators = accumulators = Memory(shape=self.acc_layout, depth=d.acc_words, init=[])
        acc_r, acc_w = accumulators.read_port(), accumulators.write_port()

        m.d.comb += [
            weight_w.addr.eq(self.weight_w.word),
            weight_w.data.eq(self.weight_w.data.replicate(d.lanes)),
            weight_w.en.eq(self.weight_w.en << self.weight_w.lane),
            weight_r.addr.eq(self.fetch.word),
        ]

        # q1: word at the RAM's output; q2: registered; q3: product and accumulator
        valid = Signal(3)
        targets = [Signal.like(self.fetch.target, name=f"target_q{k}", reset_less=True) for k in range(1, 4)]
        deltas = [Signal(signed(DELTA_BITS), name=f"delta_q{k}", reset_less=True) for k in range(1, 3)]
        copy = [Signal(Copy, name=f"copy_q{k}") for k in range(1, 4)]
        weight_q2 = Signal(data.ArrayLayout(signed(WEIGHT_BITS), d.lanes), reset_less=True)
        product_q3 = Signal(data.ArrayLayout(signed(WEIGHT_BITS + DELTA_BITS), d.lanes), reset_less=True)
        total = Signal(self.acc_layout)
        m.d.sync += [
            valid.eq(valid << 1 | self.fetch.valid),
            *(q.eq(before) for q, before in zip(targets, [self.fetch.target, *targets[:2]], strict=True)),
            *(q.eq(before) for q, before in zip(deltas, [self.fetch.delta, deltas[0]], strict=True)),
            copy[0].eq(Mux(self.fetch.valid, self.fetch.tags.copy, Copy.NONE)),
            copy[1].eq(copy[0]), copy[2].eq(copy[1]),
            weight_q2.eq(weight_r.data),
            *(product_q3[p].eq(weight_q2[p] * deltas[1]) for p in lanes),
        ]
        m.d.comb += [
            acc_r.addr.eq(targets[1]),
            *(total[p].eq(acc_r.data[p] + product_q3[p]) for p in lanes),
            self.copies.copy.eq(copy[2]), self.copies.data.eq(total),
        ]

        sweep, sweeping = Signal.like(acc_w.addr), Signal()
        m.d.comb += [
            acc_w.addr.eq(targets[2]), acc_w.data.eq(total), acc_w.en.eq(valid[2]),
            self.busy.eq(self.fetch.valid | (valid != 0) | sweeping),
        ]
        with m.If(self.clear):
            m.d.sync += [sweeping.eq(1), sweep.eq(0)]
        with m.If(sweeping):
            m.d.comb += [acc_w.addr.eq(sweep), acc_w.data.as_value().eq(0), acc_w.en.eq(1)]
            m.d.sync += [sweep.eq(sweep + 1), sweeping.eq(sweep != d.acc_words - 1)]
        return m
