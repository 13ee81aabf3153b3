"""Column fetch: one job becomes the words of one weight column."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import DELTA_BITS

from .fixed import product
from .gates import GATES
from .job import TAGS, job_layout


def fetch_signature(design: Design) -> wiring.Signature:
    """One weight word a cycle: read ``word``, multiply by ``delta``, add to accumulator word ``target``.

    ``first`` of its job; ``tags``: those of the job.
    """
    return wiring.Signature({
        "valid": Out(1), "word": Out(range(design.weight_words)), "target": Out(range(design.acc_words)),
        "delta": Out(signed(DELTA_BITS)), "tags": Out(TAGS), "first": Out(1),
    })


class Column(wiring.Component):
    """Walks through the column of each job.

        word   = base + index · length + k,   k = 0 .. length − 1
        target = target + k                   (for a job with a turn see ``job_layout``)

    Parameters
    ----------
    design : Design

    Members
    -------
    i : stream of ``job_layout(design)``.
    o : ``fetch_signature(design)``; has no ready, the lanes take a word every cycle.
    busy : a job is under way.

    Latency: ``delay`` cycles from job to first word.  Throughput: one job in two cycles; one word per cycle without a
    gap between jobs (the next one's address is ready before the last word is read), but for one cycle before a job
    with ``gap``.
    A length of 0 counts as 1.
    """

    delay = 4

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "i": In(stream.Signature(job_layout(design))),
            "o": Out(fetch_signature(design)),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        o = self.o
        # three jobs wait: as it came, with its place among the columns, and with its first word
        job_a, valid_a = Signal(job_layout(self.design)), Signal()
        job_b, place_b, valid_b = Signal.like(job_a), Signal.like(o.word), Signal()
        job_c, word_c, valid_c = Signal.like(job_a), Signal.like(o.word), Signal()
        left_c, left = Signal.like(job_a.length), Signal.like(job_a.length)     # words after the first, the running one
        last = Signal()                             # none is left
        # what has an index is no longer than all accumulators
        column_length = job_a.length[: self.design.acc_words.bit_length()]

        over, free_b, free_c = Signal(), Signal(), Signal()
        step = self._step(m, job_c, over)
        m.d.comb += [
            over.eq(~o.valid | last), free_c.eq(~valid_c | (over & ~job_c.gap)), free_b.eq(~valid_b | free_c),
            # a register, for it goes on to the encoders and their queues
            self.i.ready.eq(~valid_a), self.busy.eq(valid_a | valid_b | valid_c | o.valid),
        ]
        with m.If(self.i.ready):
            m.d.sync += [valid_a.eq(self.i.valid), job_a.eq(self.i.p)]
        with m.Elif(free_b):
            m.d.sync += valid_a.eq(0)
        with m.If(free_b):
            m.d.sync += [valid_b.eq(valid_a), job_b.eq(job_a), place_b.eq(product(job_a.index, column_length))]
        with m.If(free_c):
            m.d.sync += [
                valid_c.eq(valid_b), job_c.eq(job_b), word_c.eq(job_b.base + place_b),
                left_c.eq(job_b.length - (job_b.length != 0)),
            ]
        with m.If(over):
            m.d.sync += [
                o.valid.eq(valid_c & ~job_c.gap), o.word.eq(word_c), o.target.eq(job_c.target),
                o.delta.eq(job_c.delta), o.tags.eq(job_c.tags), o.first.eq(1), left.eq(left_c), last.eq(left_c == 0),
            ]
            with m.If(valid_c & job_c.gap):
                m.d.sync += job_c.gap.eq(0)
        with m.Else():
            m.d.sync += [
                o.word.eq(o.word + 1), o.target.eq(o.target + step), o.first.eq(0), left.eq(left - 1),
                last.eq(left == 1),
            ]
        return m

    def _step(self, m: Module, job, over):
        """From one target of the running job to the next."""
        if self.design.snapshot:
            return 1
        gates, neurons = len(GATES), self.design.lanes
        turn, thrice, step = Signal.like(job.turn), Signal(len(job.turn) + 2), Signal(signed(len(job.turn) + 3))
        done = Signal(range(gates * neurons))         # steps since the word's first
        with m.If(over):
            m.d.sync += [turn.eq(job.turn), thrice.eq((job.turn << 1) + job.turn), done.eq(0)]
        with m.Else():
            m.d.sync += done.eq(done + 1)
        m.d.comb += step.eq(turn)
        with m.If(turn == 0):
            m.d.comb += step.eq(1)
        with m.Elif(done % gates == gates - 2):
            m.d.comb += step.eq(-thrice)
        with m.Elif(done == gates * neurons - 1):
            m.d.comb += step.eq(turn + 1)
        return step
