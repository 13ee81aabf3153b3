"""Work for the lanes: a job is one task, a fetch is one weight word of a job, a copy is the result of a fetch.

    scheduler ─ job ─► addresser ─ fetch ─► lanes ─ copy ─► handover
"""

from amaranth.hdl import signed
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import Out

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS, BIAS_DELTAS, DELTA_BITS, WEIGHT_BITS


class Kind(enum.Enum, shape=3):
    """Kinds of jobs.  CLOSE, REST and LOGITS add nothing and only copy: their Δ is 0."""

    EVENT = 0       # adds the column of element ``index`` of signal ``signal``, times Δ
    BIAS = 1        # adds bias column ``index``, times Δ: all of it, or the part of one layer (``again``)
    CLOSE = 2       # copies gates of layer ``signal`` for its cell: the first ones, or all (the handover says which)
    REST = 3        # copies the layer's other gates
    LOGITS = 4      # copies the logits: all words, or word ``index`` (the handover says which)


class Copy(enum.Enum, shape=2):
    """Where a word's accumulators go, besides being written back."""

    NONE = 0
    GATES = 1       # to the handover, which brings them to the layer's cell
    LOGITS = 2      # to the logits


def tags_layout(design: Design) -> data.StructLayout:
    """Tags of each word of a job.

    ``closes``: the job's last word is the last one that the layer's cell waits for.  ``fresh``: what is added is added
    to 0, so that what was there is consumed; there in a design that diffuses.
    """
    fresh = {"fresh": 1} if design.diffuses else {}
    return data.StructLayout({"copy": Copy, "closes": 1, "signal": range(design.layers + 1), **fresh})


def job_layout(design: Design) -> data.StructLayout:
    """A job, without addresses: the addresser looks up where its words and accumulators lie.

    ``again``: of a job BIAS for layer ``signal``, or, one further than all layers, the logits, because what they had
    was consumed; there in a design that diffuses.
    """
    again = {"again": 1} if design.diffuses else {}
    logit_words = -(-design.classes // design.lanes)
    return data.StructLayout({
        "kind": Kind, "index": range(max(design.features, design.neurons, len(BIAS_DELTAS), logit_words)),
        "delta": signed(DELTA_BITS), "tags": tags_layout(design), **again,
    })


def offer_layout(design: Design) -> data.StructLayout:
    """A job as a convolver offers it to the addresser.

    ``conv``: it is a run of ``length`` weight words from ``word`` on, for accumulator words from ``target`` on, and one
    of several of an event, of which it is the ``first``.  The job's index is then of no use.
    """
    return data.StructLayout({
        "job": job_layout(design), "conv": 1, "first": 1, "word": range(design.weight_words),
        "length": acc_range(design), "target": acc_range(design),
    })


def acc_range(design: Design) -> range:
    """Accumulator words, and numbers of them."""
    return range(design.acc_words + 1)


def fetch_signature(design: Design) -> wiring.Signature:
    """One weight word a cycle: read ``word``, multiply by ``delta``, add to accumulator word ``target``.

    ``first``, ``last`` of its job; ``tags``: those of the job; ``event``: the job is an event's column.
    """
    return wiring.Signature({
        "valid": Out(1), "word": Out(range(design.weight_words)), "target": Out(range(design.acc_words)),
        "delta": Out(signed(DELTA_BITS)), "tags": Out(tags_layout(design)), "event": Out(1),
        "first": Out(1), "last": Out(1),
    })


def copies_signature(design: Design) -> wiring.Signature:
    """A copy of one word of accumulators; ``copy`` says who receives it.

    ``coming``: ``copy`` of the next cycle.  ``coming_closes``: the word of the next cycle is the last one that closes a
    layer.
    """
    return wiring.Signature({
        "copy": Out(Copy), "coming": Out(Copy), "coming_closes": Out(1),
        "data": Out(data.ArrayLayout(signed(ACC_BITS), design.lanes)),
    })


def weight_w_signature(design: Design) -> wiring.Signature:
    """Write ``data`` to the weight of ``lane`` in ``word``."""
    return wiring.Signature({
        "en": Out(1), "word": Out(range(design.weight_words)), "lane": Out(range(max(design.lanes, 2))),
        "data": Out(WEIGHT_BITS),
    })
