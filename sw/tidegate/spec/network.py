"""A network is signals, layers that make them, and connections that say which layer hears which signal.

Signal 0 is the feature frame; signal l+1 is the hidden state of layer l (from 0).  Layer l hears signal l, its input,
and signal l+1, its own state; which of its gates hear which says its cell (``cells.py``).  The classifier hears the
last signal; its accumulators are the logits.
"""

from dataclasses import dataclass
from operator import index
from typing import Any

from .cells import GRU, Cell, cell_of
from .errors import ModelError
from .formats import SIGNAL, STATE, THETA_MAX, WEIGHT_BITS, WEIGHT_FRACS, WEIGHT_WIDTHS

MAX_LAYERS = 4
MAX_SIGNALS = MAX_LAYERS + 1


def whole(value: Any, what: str = "a number of a network") -> int:
    """A whole number as an int: Python's, numpy's or PyTorch's; ModelError for 20.0, infinity, true or text."""
    try:
        if "bool" not in str(getattr(value, "dtype", type(value))):
            return index(value)
    except TypeError:
        pass
    raise ModelError(f"{what} is a whole number, not {value!r:.40}; correct it")


@dataclass(frozen=True)
class Layer:
    """A layer of ``size`` neurons of a ``cell``, or the classifier with ``size`` classes.

    Weights are w / 2**weight_frac.
    ``weight_bits``: width of the weights in a model file.  A board holds all as int8.
    A classifier of size 0 is none: such a network has no logits, and runs on a core but on no board.
    """

    size: int
    weight_frac: int = 7
    weight_bits: int = WEIGHT_BITS
    cell: Cell = GRU

    def __post_init__(self):
        object.__setattr__(self, "size", whole(self.size, "the size of a layer"))
        for name in ("weight_frac", "weight_bits"):
            object.__setattr__(self, name, whole(getattr(self, name), name))
        if self.size < 0:
            raise ModelError(f"a layer cannot have {self.size} neurons")
        if self.weight_frac not in WEIGHT_FRACS:
            first, last = WEIGHT_FRACS.start, WEIGHT_FRACS.stop - 1
            raise ModelError(f"weight_frac must be in {first}..{last}, not {self.weight_frac}")
        if self.weight_bits not in WEIGHT_WIDTHS:
            raise ModelError(f"weight_bits must be {' or '.join(map(str, WEIGHT_WIDTHS))}, not {self.weight_bits}")

    def to_dict(self) -> dict:
        narrow = {} if self.weight_bits == WEIGHT_BITS else {"weight_bits": self.weight_bits}
        other = {} if self.cell == GRU else {"cell": self.cell.name}
        return {"size": self.size, "weight_frac": self.weight_frac, **narrow, **other}

    @staticmethod
    def from_dict(d: dict) -> "Layer":
        return Layer(d["size"], d["weight_frac"], d.get("weight_bits", WEIGHT_BITS), cell_of(d.get("cell", GRU.name)))


@dataclass(frozen=True)
class Connection:
    """A signal feeds gates of a layer, densely: every element feeds ``rows`` rows of weights.

    ``layer``: number of the layer, or of layers for the classifier.  ``gate``: the first of its gates that hear the
    signal.  ``tensor``: which of the layer's weights these are ("weight_ih", "weight_hh"; of the classifier "weight").
    ``blocks``: blocks of as many rows as the layer has neurons, in the order of the gates.
    """

    signal: int
    layer: int
    gate: int
    tensor: str
    blocks: tuple[int, ...]
    rows: int


@dataclass(frozen=True)
class Network:
    """Shapes, scales and thresholds.  ``thresholds[s]`` is Θ of signal s in LSBs of 2**-8 (0 sends every change)."""

    features: int
    layers: tuple[Layer, ...]
    classifier: Layer
    thresholds: tuple[int, ...]

    def __post_init__(self):
        object.__setattr__(self, "features", whole(self.features, "the number of features"))
        object.__setattr__(self, "thresholds", tuple(whole(theta, "a threshold") for theta in self.thresholds))
        if self.features < 1:
            raise ModelError(f"a network needs at least one feature, not {self.features}")
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise ModelError(f"a network has 1 to {MAX_LAYERS} layers, not {len(self.layers)}")
        if any(layer.size < 1 for layer in self.layers):
            raise ModelError("a layer needs at least one neuron")
        if len(self.thresholds) != self.signals:
            raise ModelError(f"{self.signals} signals need {self.signals} thresholds, not {len(self.thresholds)}")
        if any(not 0 <= t <= THETA_MAX for t in self.thresholds):
            raise ModelError(f"thresholds must be in 0..{THETA_MAX} LSBs of 1/256, not {self.thresholds}")

    @property
    def signals(self) -> int:
        """Number of encoded signals: the features and each layer's hidden state."""
        return 1 + len(self.layers)

    @property
    def classes(self) -> int:
        return self.classifier.size

    def elements(self, signal: int) -> int:
        """Number of elements of a signal."""
        return self.features if signal == 0 else self.layers[signal - 1].size

    def column_weights(self, signal: int) -> int:
        """Weights in one column of a signal: the rows of all its consumers (no padding)."""
        return sum(connection.rows for connection in self.connections(signal))

    def connections(self, signal: int) -> tuple[Connection, ...]:
        """What a signal feeds, in the order of the accumulators: its own layer, then the next one or the classifier."""
        found = []
        if signal:
            layer = self.layers[signal - 1]
            rows = layer.cell.own_rows
            gate, size = layer.cell.first_own, layer.size
            found.append(Connection(signal, signal - 1, gate, "weight_hh", rows, len(rows) * size))
        if signal < len(self.layers):
            rows, size = self.layers[signal].cell.input_rows, self.layers[signal].size
            found.append(Connection(signal, signal, 0, "weight_ih", rows, len(rows) * size))
        else:
            found.append(Connection(signal, signal, 0, "weight", (0,), self.classes))
        return tuple(found)

    @property
    def dense_weights(self) -> int:
        """Weights a dense network reads each frame: every column once."""
        return sum(self.elements(s) * self.column_weights(s) for s in range(self.signals))

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, each at its layer's width (biases and scales come on top)."""
        bits = sum(x.size * (len(x.cell.input_rows) * self.elements(l) + len(x.cell.own_rows) * x.size) * x.weight_bits
                   for l, x in enumerate(self.layers))
        bits += self.classifier.size * self.layers[-1].size * self.classifier.weight_bits
        return -(-bits // 8)

    @property
    def widths(self) -> str:
        """As "int8", or "int4 and int8"."""
        return " and ".join(f"int{bits}" for bits in sorted({x.weight_bits for x in (*self.layers, self.classifier)}))

    @property
    def shape(self) -> str:
        """As "GRU 104 + 88"."""
        parts, before = [], None
        for layer in self.layers:
            parts.append(str(layer.size) if layer.cell == before else f"{layer.cell.title} {layer.size}")
            before = layer.cell
        return " + ".join(parts)

    def max_anchor(self, signal: int) -> int:
        """Largest |v̂| that a signal can reach, in LSBs."""
        h_max = (STATE.max + 1) // (1 << (STATE.frac - SIGNAL.frac)) - 1
        return SIGNAL.max if signal == 0 else h_max

    def to_dict(self) -> dict:
        return {
            "features": self.features,
            "gru": [layer.to_dict() for layer in self.layers],      # named so in all files, whatever the cells
            "classifier": self.classifier.to_dict(),
            "thresholds": list(self.thresholds),
        }

    @staticmethod
    def from_dict(d: dict) -> "Network":
        return Network(
            features=d["features"],
            layers=tuple(Layer.from_dict(layer) for layer in d["gru"]),
            classifier=Layer.from_dict(d["classifier"]),
            thresholds=tuple(d["thresholds"]),
        )
