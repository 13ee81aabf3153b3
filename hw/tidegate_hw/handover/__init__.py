"""How a layer's accumulators get from the lanes to its cell, in one of two ways: with a snapshot, or gate by gate.

Both are components with the same members (``handover_signature``), and say the same of themselves:

    fuses     whether the column of a frame's last feature event copies gates on its way (its job then replaces CLOSE)
    rests     whether REST follows for gates that are not copied yet
    places    accumulator words of the jobs that copy: see ``Place``
    step      from one accumulator word of a job to the next
    logits    the component that takes the copies of the logits
    margin    groups of neurons that may still come out when the encoder's ``room`` falls
    depth     groups of neurons that the encoder must be able to hold
    late      cycles from a group of neurons to its values

``handover_of`` is the only place that chooses.
"""

from .contract import Place, handover_signature
from .serial import SerialHandover
from .snapshot import SnapshotHandover

__all__ = ["Place", "SerialHandover", "SnapshotHandover", "handover_of", "handover_signature"]


def handover_of(design) -> type[SnapshotHandover] | type[SerialHandover]:
    """The handover of a ``Design``."""
    return SnapshotHandover if design.snapshot else SerialHandover
