"""Work for the lanes: a job says what is to be done, a fetch is one weight word of it, a copy what came of that.

    scheduler ─ job ─► addresser ─ fetch ─► lanes ─ copy ─► handover
"""

from amaranth.hdl import signed
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import Out

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS, BIAS_DELTAS, DELTA_BITS, WEIGHT_BITS


class Kind(enum.Enum, shape=3):
    """What a job does.  All but the first two add nothing and only copy: their Δ is 0."""

    EVENT = 0       # adds the column of element ``index`` of signal ``signal``, times Δ
    BIAS = 1        # adds bias column ``index``, times Δ
    CLOSE = 2       # copies gates of layer ``signal`` for its cell: the first ones, or all (the handover says which)
    REST = 3        # copies the layer's other gates
    LOGITS = 4      # copies the logits: all words, or word ``index`` (the handover says which)


class Copy(enum.Enum, shape=2):
    """What becomes of a word's accumulators, besides being written back."""

    NONE = 0
    GATES = 1       # to the handover, which brings them to the layer's cell
    LOGITS = 2      # to the logits


def tags_layout(design: Design) -> data.StructLayout:
    """Of each word of a job.  ``closes``: the job's last word is the last that the layer's cell waits for."""
    return data.StructLayout({"copy": Copy, "closes": 1, "signal": range(design.layers + 1)})


def job_layout(design: Design) -> data.StructLayout:
    """A job, in symbols: where its words and accumulators lie is the addresser's business."""
    return data.StructLayout({
        "kind": Kind, "index": range(max(design.features, design.neurons, len(BIAS_DELTAS))),
        "delta": signed(DELTA_BITS), "tags": tags_layout(design),
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
    """One word of accumulators, for whom ``copy`` says.

    ``coming``: ``copy`` of the next cycle; ``coming_closes``: and the next is the last word that closes a layer.
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
