"""P lanes: multiply one weight word by Δ and add it to one word of persistent accumulators."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import DELTA_BITS

from ..fanout import SPAN
from ..records.job import Copy, copies_signature, fetch_signature, weight_w_signature
from .bank import Bank


class Lanes(wiring.Component):
    """Weight memory, multipliers and accumulators.

        acc[target][p] ← acc[target][p] + weight[word][p] · Δ      (wraps at ACC_BITS; spec proves it never does)
        ... weight[word][p] · Δ alone, if the fetch is ``fresh``

    Consists of banks of at most SPAN lanes; this module holds the parts that they share.

    Parameters
    ----------
    design : Design

    Members
    -------
    fetch : ``fetch_signature(design)``
        The same target must not come in two successive cycles, unless the first adds nothing and is not ``fresh``.
    copies : ``copies_signature(design)``
        The new value of each accumulator word whose fetch asks for a copy.
    weight_w : ``weight_w_signature(design)``, while not busy.
    clear : strobe, while not busy: all accumulators become 0 (takes ``acc_words + 1`` cycles).
    busy : a word or a clear is under way.

    Latency: ``delay`` cycles from fetch to copy; the accumulator is up to date in the next.
    Throughput: one word per cycle.
    """

    delay = Bank.delay

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "fetch": In(fetch_signature(design)),
            "copies": Out(copies_signature(design)),
            "weight_w": In(weight_w_signature(design)),
            "clear": In(1),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        d, fetch, weight_w = self.design, self.fetch, self.weight_w

        # stages 1 to 3 of what the banks register once more, to 4 of the copies
        valid = Signal(self.delay)
        copy = [Signal(Copy, name=f"copy_q{k}") for k in range(1, self.delay + 1)]
        closes = Signal(self.delay - 1)
        targets = [Signal.like(fetch.target, name=f"target_q{k}", reset_less=True) for k in range(1, self.delay)]
        deltas = [Signal(signed(DELTA_BITS), name=f"delta_q{k}", reset_less=True) for k in range(1, 3)]
        m.d.sync += [
            valid.eq(Cat(fetch.valid, valid)), closes.eq(Cat(fetch.valid & fetch.last & fetch.tags.closes, closes)),
            copy[0].eq(Mux(fetch.valid, fetch.tags.copy, Copy.NONE)),
            targets[0].eq(fetch.target), deltas[0].eq(fetch.delta),
            *(q.eq(before) for signals in (copy, targets, deltas)
              for q, before in zip(signals[1:], signals, strict=False)),
        ]
        fresh = Signal(2) if d.diffuses else None       # stages 1 and 2
        if d.diffuses:
            m.d.sync += fresh.eq(Cat(fetch.valid & fetch.tags.fresh, fresh))
        # a clear stores the word that is always 0, read one stage before, to all others
        sweep, sweeping, sweeping_q1 = Signal.like(fetch.target), Signal(), Signal()
        of_zero = sweeping | fresh[-1] if d.diffuses else sweeping
        m.d.sync += sweeping_q1.eq(sweeping)
        m.d.comb += [
            self.copies.coming.eq(copy[-2]), self.copies.coming_closes.eq(closes[-1]), self.copies.copy.eq(copy[-1]),
            self.busy.eq(fetch.valid | (valid != 0) | sweeping | sweeping_q1),
        ]

        for first in range(0, d.lanes, SPAN):
            count = min(SPAN, d.lanes - first)
            m.submodules[f"bank{first // SPAN}"] = part = Bank(d, first, count)
            m.d.comb += [
                part.word.eq(Mux(weight_w.en, weight_w.word, fetch.word)),
                part.write.eq(weight_w.en), part.lane.eq(weight_w.lane), part.weight.eq(weight_w.data),
                part.delta.eq(Mux(sweeping, 0, deltas[1])), part.target.eq(Mux(of_zero, d.acc_words, targets[1])),
                part.store.eq(valid[2] | sweeping_q1), part.store_target.eq(Mux(sweeping_q1, sweep, targets[2])),
                *(self.copies.data[first + p].eq(part.total[p]) for p in range(count)),
            ]

        with m.If(self.clear):
            m.d.sync += [sweeping.eq(1), sweep.eq(0)]
        with m.If(sweeping_q1):
            m.d.sync += [sweep.eq(sweep + 1), sweeping.eq(sweep < d.acc_words - 2)]
        return m
