"""How many cycles a frame takes: exactly, from the elements that fired, and in expectation, from their number.

The lanes serve one job at a time, in this order (``hw/scheduler.py``), each without a gap after the one before if it
was there in time:

    close layer 0 (4 words a gate word; takes the frame's last feature event along)
    the next frame's other feature events, then the hidden events of layer 0 as they come
    close layer 1, its hidden events, …
    copy the logits (one cycle of rest before)

An event is there when its group has passed the cell.  With lengths c of columns, n events, w words a gate and a group
number g_i for each event, that is for the hidden events of a layer, counted from the first cycle of nh's copy,

    end = max(w + x, LOOP + g_i + Σ of what follows …)            LOOP: see ``LOOP``

and so a frame that keeps the lanes busy costs its words and nothing else.  ``frame_cycles`` is this recurrence, job
by job, equal to the RTL's counter on every frame; ``steady_cycles`` its closed form for evenly spread events.
"""

from collections.abc import Sequence

import numpy as np

from .layout import Layout

# Latencies of the stages; the core's bench asserts what they add up to.
COLUMN = 3          # job selected → first word fetched
LANES = 3           # fetched → copied
SNAPSHOT = 2        # nh's first word copied → first group
CELL = 10           # group in → group out, a cycle before its values
ENCODER = 2         # group taken → first event
LOGITS = 3          # copied → first logit
LOOP = LANES + SNAPSHOT + CELL + ENCODER + COLUMN       # nh's first word fetched → first hidden event's word fetched
NEVER = 1 << 62


def _encode(taken: int, counts: Sequence[int]) -> tuple[list[int], int]:
    """When the events of a frame, and then its end, leave an encoder, and when it can take the next frame's group.

    ``taken``: cycle in which the first group may be taken; ``counts``: events of each group.
    """
    times, load = [], taken
    for j, count in enumerate(counts):
        last = j == len(counts) - 1
        load = max(load, taken + 1)
        times += range(load + 1, load + 1 + count + last)
        free = load + max(1, count + last)          # when the group after it can follow
        taken, load = load + last, free
    return times, taken


class _Lanes:
    """The column fetch: two jobs wait while one is served."""

    def __init__(self):
        self.selected, self.fetched, self.before, self.length = -1, -1, -1, 0

    def free(self) -> int:
        """First cycle in which the next job can be selected."""
        return max(self.selected + 1, self.before - 1)

    def serve(self, cycle: int, length: int, gap: int = 0) -> int:
        """Select a job in ``cycle`` (``free()`` or later); gives the cycle of its first word."""
        start = max(cycle + COLUMN, self.fetched + self.length) + gap
        self.selected, self.before, self.fetched, self.length = cycle, self.fetched, start, length
        return start
