"""What a core is built with (``Design``) and what it says of itself when asked (``Identity``)."""

import struct
from dataclasses import dataclass, fields, replace

from .cells import CELLS, GRU, cell_of
from .errors import TidegateError
from .formats import ACC_BITS, DELTA_BITS, SIGNAL, STATE, WEIGHT_BITS
from .layer import whole
from .network import MAX_LAYERS, USUAL_LAYERS
from .packets import most_classes, most_features, payload_for
from .rules import RULES

# What the answer to "identify", the registers and the packets have room for.
_MOST = {"lanes": 1 << 15, "cell_rate": 1 << 7, "encoder_rate": 1 << 7, "weight_words": 1 << 24,
         "acc_words": (1 << 16) - 1, "features": most_features(), "neurons": (1 << 16) - 1, "classes": most_classes(),
         "layers": MAX_LAYERS}
_MOST_WEIGHT_BYTES = 1 << 32
ADDRESSERS = ("dense", "conv2d")
_LISTS = ("cells", "rules", "addressers")


@dataclass(frozen=True)
class Design:
    """Parameters of a core; TidegateError if no core or no link can have them.

    ``lanes``: weights fetched and multiplied per cycle (P).  ``cell_rate``: neurons per cycle (G), at most P.
    ``encoder_rate``: features examined per cycle (E), at most ``features``.  All three are powers of two.
    Capacities: ``weight_words`` words of P int8 weights, ``acc_words`` words of P accumulators, ``features``,
    ``neurons`` (a multiple of G, for all layers, each rounded up to such a multiple), ``classes``, ``layers``.
    ``snapshot``: there is memory for a copy of a layer's accumulators, so that the lanes go on while the cell works;
    without, the cell takes one gate of one neuron a cycle from the lanes, which wait.  ``cells``: names of the cells
    that a layer may have, in the order of ``spec/cells.py``.  ``rules``: names of the encoder rules that a signal may
    have, in the order of ``spec/rules.py``; with ``diffuse`` layers may consume their sums.  ``addressers``: how layers
    may find their weights: ``dense``, which all designs have, and ``conv2d`` (``spec/conv.py``), which needs a snapshot
    and the cell ``unit``.
    """

    lanes: int = 64
    cell_rate: int = 8
    encoder_rate: int = 8
    weight_words: int = 4096
    acc_words: int = 64
    features: int = 256
    neurons: int = 1024
    classes: int = 64
    layers: int = USUAL_LAYERS
    snapshot: bool = True
    cells: tuple[str, ...] = (GRU.name,)
    rules: tuple[str, ...] = RULES[:1]
    addressers: tuple[str, ...] = ADDRESSERS[:1]

    def __post_init__(self):
        for field in fields(self):
            if field.name not in ("snapshot", *_LISTS):
                object.__setattr__(self, field.name, whole(getattr(self, field.name), field.name))
        object.__setattr__(self, "snapshot", bool(self.snapshot))
        for name in _LISTS:
            if isinstance(value := getattr(self, name), str):
                raise TidegateError(f"{name} are a list of names, not '{value}'; write [\"{value}\"]")
        names = tuple(cell_of(name).name for name in self.cells)
        object.__setattr__(self, "cells", tuple(name for name in CELLS if name in names))
        if not names:
            raise TidegateError(f"a core needs a cell; give it {' or '.join(CELLS)}")
        if len({count for name in names if (count := len(CELLS[name].gates)) > 1}) > 1:
            raise TidegateError("the cells of a core need one gate, or as many as each other")
        if unknown := [name for name in self.rules if name not in RULES]:
            raise TidegateError(f"there is no encoder rule '{unknown[0]}'; this version has {', '.join(RULES)}")
        object.__setattr__(self, "rules", tuple(name for name in RULES if name in self.rules))
        if not self.rules:
            raise TidegateError(f"a core needs an encoder rule; give it {' or '.join(RULES)}")
        if unknown := [name for name in self.addressers if name not in ADDRESSERS]:
            raise TidegateError(f"there is no addresser '{unknown[0]}'; this version has {', '.join(ADDRESSERS)}")
        object.__setattr__(self, "addressers", tuple(n for n in ADDRESSERS if n in (*self.addressers, ADDRESSERS[0])))
        for name in ("lanes", "cell_rate", "encoder_rate"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise TidegateError(f"{name} must be a power of two, not {value}")
        for name, most in _MOST.items():
            if not 1 <= (value := getattr(self, name)) <= most:
                raise TidegateError(f"{name} must be 1 to {most}, not {value}")
        if self.weight_bytes > _MOST_WEIGHT_BYTES:
            raise TidegateError(f"{self.weight_words} weight words of {self.lanes} bytes are more than "
                                f"{_MOST_WEIGHT_BYTES} bytes, which a host can address; make one of them less")
        if self.cell_rate > self.lanes:
            raise TidegateError(f"cell_rate {self.cell_rate} is more than the {self.lanes} lanes")
        if self.neurons % self.cell_rate:
            raise TidegateError(f"neurons must be a multiple of the cell_rate {self.cell_rate}, not {self.neurons}")
        if self.encoder_rate > self.features:
            raise TidegateError(f"encoder_rate {self.encoder_rate} is more than the {self.features} features")
        if not self.snapshot and self.cell_rate > 1:
            raise TidegateError(f"without a snapshot the cell_rate is 1, not {self.cell_rate}")
        if self.convolves and not (self.snapshot and self.choices):
            raise TidegateError("the addresser conv2d needs a snapshot and the cell unit; add them, or leave it out")

    @property
    def gates(self) -> int:
        """Gates of the cell with the most; other cells have as many or one."""
        return max(len(CELLS[name].gates) for name in self.cells)

    @property
    def choices(self) -> bool:
        """It has a cell whose layers choose an activation."""
        return any(CELLS[name].activations for name in self.cells)

    @property
    def branches(self) -> bool:
        """The features may feed more than the first layer: there is a cell whose every gate hears its input."""
        return self.layers > 1 and any(len(CELLS[name].input_rows) == len(CELLS[name].gates) for name in self.cells)

    @property
    def diffuses(self) -> bool:
        """Signals may have the rule ``diffuse``, and layers may consume."""
        return "diffuse" in self.rules

    @property
    def convolves(self) -> bool:
        """Layers may be convolutions."""
        return "conv2d" in self.addressers

    @property
    def skips(self) -> bool:
        """An image may feed two convolutions."""
        return self.convolves and self.layers > 1

    @property
    def stages(self) -> int:
        """Integers of a neuron that a trace has room for."""
        return max(len(CELLS[name].stages) for name in self.cells)

    @property
    def close_words(self) -> int:
        """Words of the longest job that closes a layer, if its words must be told; else 0."""
        return self.acc_words if self.snapshot else 0

    @property
    def weight_bytes(self) -> int:
        return self.weight_words * self.lanes

    @property
    def payload(self) -> int:
        """Bytes of a request's payload."""
        return payload_for(self.features)


# The virtual board's designs: as much weight memory as an ECP5-85 has, whatever the lanes (128: half more), every cell
# and rule that there is, as many features as a request has room for, and eight layers.
SIMULATED = {design.lanes: replace(
    design, features=most_features(), layers=8, cells=tuple(CELLS), rules=RULES, addressers=ADDRESSERS)
    for design in (
    Design(lanes=8, cell_rate=2, encoder_rate=4, weight_words=32768, acc_words=512),
    Design(lanes=16, cell_rate=4, encoder_rate=4, weight_words=16384, acc_words=256),
    Design(lanes=64, cell_rate=8, encoder_rate=8, weight_words=4096, acc_words=64),
    Design(lanes=128, cell_rate=8, encoder_rate=8, weight_words=3072, acc_words=32),
)}
MEMORIES = (1, 4, 16, 64)       # how many times as much memory a virtual board can have
_MOST_WEIGHTS = 4               # ... for weights: more take Amaranth minutes and gigabytes to elaborate


def simulated(lanes: int, memory: int = 1) -> Design:
    """The virtual board's design with so many lanes, and ``memory`` times the usual accumulators and neurons (as far as
    addresses go), up to four times the weights, and then also room for as many layers as a network may have;
    TidegateError if there is none."""
    if lanes not in SIMULATED:
        raise TidegateError(f"there is no virtual board with {lanes} lanes; choose {', '.join(map(str, SIMULATED))}")
    if memory not in MEMORIES:
        raise TidegateError(f"a virtual board has {', '.join(map(str, MEMORIES))} times the usual memory, not "
                            f"{memory}; choose one of these")
    usual = SIMULATED[lanes]
    if memory == 1:
        return usual
    return replace(usual, weight_words=min(memory, _MOST_WEIGHTS) * usual.weight_words,
                   acc_words=min(memory * usual.acc_words, _MOST["acc_words"]), layers=MAX_LAYERS,
                   neurons=min(memory * usual.neurons, _MOST["neurons"] // usual.cell_rate * usual.cell_rate))


MAGIC = b"TIDE"
PROTOCOL = 6
FORMATS = (SIGNAL.bits, SIGNAL.frac, STATE.bits, WEIGHT_BITS, ACC_BITS, DELTA_BITS)
_DIFFUSE, _NO_DELTA, _CONV2D = 1 << 7, 1 << 6, 1 << 5     # in the byte that says which cells there are
_LAYOUT = struct.Struct("<4sB6BHBBIHHHHBBI16s")


@dataclass(frozen=True)
class Identity:
    """The answer to "identify": design, formats and the first 16 bytes of the RTL's digest."""

    design: Design
    digest: bytes

    def pack(self) -> bytes:
        numbers = [getattr(self.design, f.name) for f in fields(Design) if f.name not in _LISTS]
        cells = sum(1 << number for number, name in enumerate(CELLS) if name in self.design.cells)
        cells |= _DIFFUSE * self.design.diffuses | _NO_DELTA * ("delta" not in self.design.rules)
        cells |= _CONV2D * self.design.convolves
        return _LAYOUT.pack(MAGIC, PROTOCOL, *FORMATS, *numbers, cells, self.digest)

    @staticmethod
    def unpack(data: bytes) -> "Identity":
        """TidegateError if the answer is not that of a board this version can drive."""
        if len(data) != _LAYOUT.size or data[:4] != MAGIC:
            raise TidegateError("the device on this port is not a tidegate board; check the port")
        _, protocol, *rest = _LAYOUT.unpack(data)
        if protocol != PROTOCOL or tuple(rest[:6]) != FORMATS:
            raise TidegateError("the board speaks another protocol or number format; "
                                "rebuild its bitstream with this version")
        *numbers, snapshot, cells = rest[6:-1]
        known = tuple(name for number, name in enumerate(CELLS) if cells >> number & 1)
        rules = RULES[bool(cells & _NO_DELTA) : 1 + bool(cells & _DIFFUSE)]
        addressers = ADDRESSERS[: 1 + bool(cells & _CONV2D)]
        design = Design(*numbers, snapshot=bool(snapshot), cells=known, rules=rules, addressers=addressers)
        return Identity(design, rest[-1])


IDENTITY_BYTES = _LAYOUT.size
