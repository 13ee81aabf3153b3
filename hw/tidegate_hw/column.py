"""Column fetch: one job becomes the words of one weight column."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import DELTA_BITS

from .job import ADDRESS_BITS, TAGS, job_layout


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
        target = target + k

    Parameters
    ----------
    design : Design

    Members
    -------
    i : stream of ``job_layout(design)``.
    o : ``fetch_signature(design)``; has no ready, the lanes take a word every cycle.
    busy : a job is under way.

    Latency: ``delay`` cycles from job to first word.  Throughput: one word per cycle without a gap between jobs
    (the next one's address is ready before the last word is read), but for one cycle before a job with ``gap``.
    A length of 0 counts as 1.
    """

    delay = 3

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
        job_a, valid_a = Signal(job_layout(self.design)), Signal()
        job_b, word_b, valid_b = Signal.like(job_a), Signal.like(o.word), Signal()
        left = Signal(ADDRESS_BITS)                 # words of the running column after this one

        over, free_b = Signal(), Signal()
        m.d.comb += [
            over.eq(~o.valid | (left == 0)), free_b.eq(~valid_b | (over & ~job_b.gap)),
            self.i.ready.eq(~valid_a | free_b), self.busy.eq(valid_a | valid_b | o.valid),
        ]
        with m.If(self.i.ready):
            m.d.sync += [valid_a.eq(self.i.valid), job_a.eq(self.i.p)]
        with m.If(free_b):
            m.d.sync += [valid_b.eq(valid_a), job_b.eq(job_a), word_b.eq(job_a.base + job_a.index * job_a.length)]
        with m.If(over):
            m.d.sync += [
                o.valid.eq(valid_b & ~job_b.gap), o.word.eq(word_b), o.target.eq(job_b.target),
                o.delta.eq(job_b.delta), o.tags.eq(job_b.tags), o.first.eq(1),
                left.eq(job_b.length - (job_b.length != 0)),
            ]
            with m.If(valid_b & job_b.gap):
                m.d.sync += job_b.gap.eq(0)
        with m.Else():
            m.d.sync += [o.word.eq(o.word + 1), o.target.eq(o.target + 1), o.first.eq(0), left.eq(left - 1)]
        return m
