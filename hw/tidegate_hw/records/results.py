"""What a core says of a frame."""

from amaranth.lib import data

from tidegate.spec.network import MAX_SIGNALS

# ``frames``: those before it since the last clear.  ``cycles`` in which it was the oldest frame under way.
# ``weight_words`` read, all columns.  ``events`` of each signal.  ``decision``: class + 1, or 0.
RESULT_LAYOUT = data.StructLayout({
    "frames": 32, "cycles": 32, "weight_words": 32, "events": data.ArrayLayout(16, MAX_SIGNALS), "decision": 16,
})
