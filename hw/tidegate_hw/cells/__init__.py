"""The cells in gateware: of each one that works from a snapshot, and one that takes gate by gate.

A cell is a module with the name that it has in ``tidegate.spec.cells``; here is the table of all of them.  What both
kinds have in common, and how a handover uses them, says ``contract.py``.
"""

from .gru import GRUCell, SerialGRUCell
from .lstm import LSTMCell, SerialLSTMCell
from .unit import SerialUnitCell, UnitCell

# name in ``tidegate.spec.cells`` → the cell that takes G neurons a cycle, and the one that takes a gate a cycle
CELLS = {
    "gru": (GRUCell, SerialGRUCell),
    "lstm": (LSTMCell, SerialLSTMCell),
    "unit": (UnitCell, SerialUnitCell),
}


def pipelined(design) -> list[type]:
    """The cells of a ``Design`` with a snapshot."""
    return [CELLS[name][0] for name in design.cells]


def serial(design) -> list[type]:
    """The cells of a ``Design`` without."""
    return [CELLS[name][1] for name in design.cells]
