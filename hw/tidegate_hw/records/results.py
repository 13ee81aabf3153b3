"""A core's record of one frame."""

from amaranth.lib import data

from tidegate.spec.network import MAX_SIGNALS

# ``frames``: number of frames before this one since the last clear.  ``cycles``: those in which it was the oldest
# frame in the core.  ``weight_words``: words read, of all columns.  ``events``: of each signal.  ``decision``:
# class + 1, or 0.
RESULT_LAYOUT = data.StructLayout({
    "frames": 32, "cycles": 32, "weight_words": 32, "events": data.ArrayLayout(16, MAX_SIGNALS), "decision": 16,
})
