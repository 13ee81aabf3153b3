"""The cells, declared: the gates of each, in the order in which their accumulators lie, and what a neuron costs.

    accumulators of a layer    [ gates that hear the layer's input … | … gates that hear its own state ]

A gate is one accumulator for each neuron.  Events of the layer's input feed the first gates, and events of the layer's
own hidden state feed the last gates (most gates hear both).  So a weight column is one contiguous run of gates.
``Layout`` packs by this table, and ``Network``, ``Model``, the proof of bounds, cycle model and energy derive from it.

A cell may let each layer choose the function that its sum goes through (``activations``), and do without its own
state (``own_optional``): so ``unit``, which has one gate and no memory, is a dense layer or an Elman layer, and with
the rule ``diffuse`` (``rules.py``) a layer of spiking neurons.

PyTorch's tensors have another order: blocks of as many rows as there are neurons, one block per gate.
``Gate.input_row`` and ``own_row`` are numbers of such blocks.
"""

from dataclasses import dataclass

from .errors import ModelError
from .formats import CANDIDATE, CELL_STATE, GATE_FRAC, PRE, STATE


@dataclass(frozen=True)
class Gate:
    """``name`` of the accumulator; which block of rows of ``weight_ih`` and of ``weight_hh`` feeds it (None: none)."""

    name: str
    input_row: int | None = None
    own_row: int | None = None


@dataclass(frozen=True)
class Work:
    """What one neuron costs per frame, for the estimate of energy.

    ``looked_up``: bits read from tables.  ``state``: bits of its state that are read and written.  ``added``: bits of
    all sums.  ``products``: Σ over the multiplications of the product of both operands' bits.
    """

    looked_up: int
    state: int
    added: int
    products: int


@dataclass(frozen=True)
class Cell:
    """``name`` as in model files and recipes; ``title`` for people; ``gates`` in the order of their accumulators.

    ``stages``: the integers of a neuron by which golden model and RTL are compared, in the order in which they are
    made.  ``work``: of a neuron in a frame.  ``activations``: those that a layer may choose from; empty: it has no
    choice.  ``own_optional``: a layer may do without its own state.  ``delay``, ``serial_delay``: cycles of
    the two components in ``hw/tidegate_hw/cells/``, from a group of neurons, or from a neuron's first gate, to its
    values.
    """

    name: str
    title: str
    gates: tuple[Gate, ...]
    stages: tuple[str, ...]
    work: Work
    delay: int
    serial_delay: int
    activations: tuple[str, ...] = ()
    own_optional: bool = False

    def __post_init__(self) -> None:
        hears_input = [gate.input_row is not None for gate in self.gates]
        hears_own = [gate.own_row is not None for gate in self.gates]
        assert hears_input == sorted(hears_input, reverse=True) and hears_own == sorted(hears_own)
        for rows in (self.input_rows, self.own_rows):
            assert sorted(rows) == list(range(len(rows)))

    @property
    def input_rows(self) -> tuple[int, ...]:
        """Blocks of ``weight_ih`` in the order of the first gates, which they feed."""
        return tuple(gate.input_row for gate in self.gates if gate.input_row is not None)

    @property
    def own_rows(self) -> tuple[int, ...]:
        """Blocks of ``weight_hh`` in the order of the last gates, which they feed."""
        return tuple(gate.own_row for gate in self.gates if gate.own_row is not None)

    @property
    def first_own(self) -> int:
        """Number of the first gate that hears the layer's own state."""
        return len(self.gates) - len(self.own_rows)


# σ twice and tanh from tables; h read and written; r·nh and z·(h − n); nx + r·nh, h − n and n + z·(h − n)
GRU = Cell("gru", "GRU", (Gate("nx", input_row=2), Gate("r", 0, 0), Gate("z", 1, 1), Gate("nh", own_row=2)),
           ("r_arg", "z_arg", "nx", "nh", "h"),
           Work(looked_up=2 * GATE_FRAC + CANDIDATE.bits, state=2 * STATE.bits, added=PRE.bits + 2 * STATE.bits,
                products=GATE_FRAC * (PRE.bits + STATE.bits)),
           delay=12, serial_delay=13)
# σ three times and tanh twice; c read and written; f·c, i·g and o·tanh(c); f·c + i·g
LSTM = Cell("lstm", "LSTM", (Gate("o", 3, 3), Gate("i", 0, 0), Gate("f", 1, 1), Gate("g", 2, 2)),
            ("o_arg", "i_arg", "f_arg", "g_arg", "c", "v"),
            Work(looked_up=3 * GATE_FRAC + 2 * CANDIDATE.bits, state=2 * CELL_STATE.bits,
                 added=GATE_FRAC + CELL_STATE.bits, products=GATE_FRAC * (CELL_STATE.bits + 2 * CANDIDATE.bits)),
            delay=13, serial_delay=13)
# one sum through one function; nothing is kept but the sum
UNIT = Cell("unit", "unit", (Gate("m", 0, 0),), ("arg", "v"),
            Work(looked_up=CANDIDATE.bits, state=0, added=0, products=0),
            delay=6, serial_delay=5, activations=("identity", "relu", "tanh", "sigmoid"), own_optional=True)
CELLS = {cell.name: cell for cell in (GRU, LSTM, UNIT)}


def cell_of(name: str) -> Cell:
    """The cell of this name; ModelError if there is none."""
    if name not in CELLS:
        raise ModelError(f"there is no cell '{name}'; this version has {', '.join(CELLS)}")
    return CELLS[name]
