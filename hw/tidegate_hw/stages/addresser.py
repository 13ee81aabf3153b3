"""Addresser: from jobs, which name no addresses, to the words of weights and accumulators that they need."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import DELTA_BITS

from ..fixed import product
from ..handover import Place, handover_of
from ..records.job import Kind, acc_range, fetch_signature, job_layout, offer_layout, tags_layout
from ..records.registers import registers_layout, select


def run_layout(design: Design) -> data.StructLayout:
    """A run of ``length`` weight words from ``base + index * length`` on, for accumulator words from ``target`` on.

    ``gap``: the run begins with a cycle without a word.  ``turn``: see ``Place``.  ``first``: of its event.
    """
    lengths = range(max(design.acc_words, 0 if design.snapshot else design.gates * design.neurons) + 1)
    single = {"single": 1} if design.choices and not design.snapshot else {}
    first = {"first": 1} if design.convolves else {}
    return data.StructLayout({
        "base": range(design.weight_words), "index": job_layout(design)["index"].shape, "length": lengths,
        "target": acc_range(design), "turn": 0 if design.snapshot else acc_range(design), "delta": signed(DELTA_BITS),
        "gap": 1, "event": 1, "tags": tags_layout(design),
        **single, **first,
    })


class Addresser(wiring.Component):
    """Walks through the words of each job: the column of an event, a bias column, or accumulators that are copied.

        word   = base + index · length + k,   k = 0 .. length − 1
        target = target + k                   (or as the handover's ``step`` says)

    Base, length and target come from the registers: those of the signal for an event, those of the bias, or a
    ``Place`` of the handover for a job that copies.  In a design with a convolver, they come from that for the events
    of a convolution.

    Parameters
    ----------
    design : Design

    Members
    -------
    registers : ``registers_layout(design)``, stable while busy.
    i : stream of ``job_layout(design)``, or of ``offer_layout(design)`` in a design with a convolver.
    o : ``fetch_signature(design)``; has no ready, the lanes take a word every cycle.
    busy : a job is under way.

    Latency: ``delay`` cycles from job to first word.  Throughput: one job in two cycles, and one word per cycle.  There
    is no gap between jobs, because the next job's address is ready before the last word is read.  A job is preceded by
    one cycle without a word if it copies logits, or if it begins with the accumulator word that the job before ends
    with (looked for in designs with single gates, as only their columns can be so short).  A length of 0 counts as 1.
    """

    delay = 4

    def __init__(self, design: Design):
        self.design, self.handover = design, handover_of(design)
        super().__init__({
            "registers": In(registers_layout(design)),
            "i": In(stream.Signature(offer_layout(design) if design.convolves else job_layout(design))),
            "o": Out(fetch_signature(design)), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        o = self.o
        # three runs wait: as the job came, with its place among the columns, and with its first word
        run_a, valid_a = Signal(run_layout(self.design)), Signal()
        run_b, place_b, valid_b = Signal.like(run_a), Signal.like(o.word), Signal()
        run_c, word_c, valid_c = Signal.like(run_a), Signal.like(o.word), Signal()
        left_c, left = Signal.like(run_a.length), Signal.like(run_a.length)     # words after the first, the running one
        # jobs that copy read words that do not matter, so a column's length is all that is multiplied
        column_length = run_a.length[: self.design.acc_words.bit_length()]
        if self.design.diffuses:        # bias columns are as long as all accumulators, however much of one is added
            column_length = Mux(run_a.event, column_length, self.registers.ACC_WORDS)

        over, free_b, free_c = Signal(), Signal(), Signal()
        waits = run_c.gap
        step = self.handover.step(m, self.design, run_c, over)
        if self.design.choices:
            waits = Signal()
            m.d.comb += waits.eq(run_c.gap | (o.valid & (o.target == run_c.target)))
        m.d.comb += [
            over.eq(~o.valid | o.last), free_c.eq(~valid_c | (over & ~waits)), free_b.eq(~valid_b | free_c),
            # a register, for it goes on to the encoders and their queues
            self.i.ready.eq(~valid_a), self.busy.eq(valid_a | valid_b | valid_c | o.valid),
        ]
        with m.If(self.i.ready):
            m.d.sync += [valid_a.eq(self.i.valid), run_a.eq(self._run(m))]
        with m.Elif(free_b):
            m.d.sync += valid_a.eq(0)
        with m.If(free_b):
            m.d.sync += [valid_b.eq(valid_a), run_b.eq(run_a), place_b.eq(product(run_a.index, column_length))]
        with m.If(free_c):
            m.d.sync += [
                valid_c.eq(valid_b), run_c.eq(run_b), word_c.eq(run_b.base + place_b),
                left_c.eq(run_b.length - (run_b.length != 0)),
            ]
        with m.If(over):
            m.d.sync += [
                o.valid.eq(valid_c & ~waits), o.word.eq(word_c), o.target.eq(run_c.target), o.delta.eq(run_c.delta),
                o.tags.eq(run_c.tags), o.event.eq(run_c.event),
                o.first.eq(run_c.first if self.design.convolves else 1), left.eq(left_c), o.last.eq(left_c == 0),
            ]
            with m.If(valid_c & run_c.gap):
                m.d.sync += run_c.gap.eq(0)
        with m.Else():
            m.d.sync += [
                o.word.eq(o.word + 1), o.target.eq(o.target + step), o.first.eq(0), left.eq(left - 1),
                o.last.eq(left == 1),
            ]
        return m

    def _run(self, m: Module):
        """The run of the job that is offered."""
        regs, job, signals = self.registers, self.i.p, self.design.layers + 1
        if self.design.convolves:
            job = self.i.p.job
        run = Signal(run_layout(self.design))
        places = self.handover.places(self.design, regs, job.tags.signal, job.index)
        base, length, target = (select(regs, f"COLUMN_{name}", signals, job.tags.signal)
                                for name in ("BASE", "LENGTH", "TARGET"))
        m.d.comb += [run.index.eq(job.index), run.delta.eq(job.delta), run.tags.eq(job.tags), run.base.eq(base),
                     run.event.eq(job.kind == Kind.EVENT)]

        def at(place: Place) -> list[Any]:
            single = [run.single.eq(place.single)] if "single" in dict(run_layout(self.design)) else []
            return [run.target.eq(place.target), run.length.eq(place.length), run.turn.eq(place.turn),
                    run.gap.eq(place.gap), *single]

        with m.Switch(job.kind):
            with m.Case(Kind.BIAS):
                m.d.comb += [*at(Place(0, regs.ACC_WORDS)), run.base.eq(regs.BIAS_BASE)]
                if self.design.diffuses:
                    place = places.pop(Kind.BIAS)
                    with m.If(job.again):
                        m.d.comb += [*at(place), run.base.eq(regs.BIAS_BASE + place.target)]
            for kind, place in places.items():
                with m.Case(kind):
                    m.d.comb += at(place)
            with m.Default():
                m.d.comb += at(Place(target, length))
        if self.design.convolves:
            m.d.comb += run.first.eq(self.i.p.first)
            with m.If(self.i.p.conv):
                m.d.comb += [*at(Place(self.i.p.target, self.i.p.length)), run.base.eq(self.i.p.word), run.index.eq(0)]
        return run
