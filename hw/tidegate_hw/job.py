"""What the scheduler has the lanes do: one column, or one copy, at a time."""

from amaranth.hdl import signed
from amaranth.lib import data, enum

from tidegate.spec.design import Design
from tidegate.spec.formats import DELTA_BITS
from tidegate.spec.network import MAX_SIGNALS

from .event import INDEX_BITS

ADDRESS_BITS = 16               # of accumulator words, and lengths in words


class Copy(enum.Enum, shape=2):
    """What becomes of a word's accumulators, besides being written back."""

    NONE = 0
    GATES = 1       # nx, r, z of a layer, to the snapshot
    NH = 2          # nh of the layer, which completes the snapshot
    LOGITS = 3      # to the logits


# ``weights``: the column of an event of ``signal``, which counts as read; ``signal`` of a copy: what its layer hears
TAGS = data.StructLayout({"copy": Copy, "weights": 1, "signal": range(MAX_SIGNALS)})


def job_layout(design: Design) -> data.StructLayout:
    """``length`` words from weight word ``base + index * length`` on, times ``delta``, to accumulator words from
    ``target`` on; ``gap``: not at once after another.
    """
    return data.StructLayout({
        "base": range(design.weight_words), "index": INDEX_BITS, "length": ADDRESS_BITS, "target": ADDRESS_BITS,
        "delta": signed(DELTA_BITS), "gap": 1, "tags": TAGS,
    })
