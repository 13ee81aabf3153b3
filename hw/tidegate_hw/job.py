"""What the scheduler has the lanes do: one column, or one copy, at a time."""

from amaranth.hdl import signed
from amaranth.lib import data, enum

from tidegate.spec.design import Design
from tidegate.spec.formats import DELTA_BITS
from tidegate.spec.network import MAX_SIGNALS


def acc_range(design: Design) -> range:
    """Accumulator words, and numbers of them."""
    return range(design.acc_words + 1)


class Copy(enum.Enum, shape=2):
    """What becomes of a word's accumulators, besides being written back."""

    NONE = 0
    GATES = 1       # nx, r, z of a layer, to the snapshot; or without one all its gates, to the cell
    NH = 2          # nh of the layer, which completes the snapshot
    LOGITS = 3      # to the logits


# ``weights``: the column of an event of ``signal``, which counts as read; ``signal`` of a copy: what its layer hears
TAGS = data.StructLayout({"copy": Copy, "weights": 1, "signal": range(MAX_SIGNALS)})


def job_layout(design: Design) -> data.StructLayout:
    """``length`` words from weight word ``base + index * length`` on, times ``delta``, to accumulator words from
    ``target`` on; ``gap``: not at once after another.

    ``turn`` (in a design without a snapshot): the targets are instead, in turn, ``target``, ``target + turn``,
    ``target + 2 turn`` and ``target - turn``; as often for each word from ``target`` on as it holds neurons.
    """
    return data.StructLayout({
        "base": range(design.weight_words), "index": range(max(design.features, design.neurons)),
        "length": range(max(design.acc_words + 1, 0 if design.snapshot else 4 * design.neurons + 1)),
        "target": acc_range(design), "turn": 0 if design.snapshot else acc_range(design),
        "delta": signed(DELTA_BITS), "gap": 1, "tags": TAGS,
    })
