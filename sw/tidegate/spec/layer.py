"""A layer of a network: its neurons, weights and what it hears.  What consuming means: ``network.py``."""

from dataclasses import dataclass
from operator import index
from typing import Any

from .cells import GRU, Cell, cell_of
from .conv import Conv2d
from .errors import ModelError
from .formats import BIAS_DELTAS, WEIGHT_BITS, WEIGHT_FRACS, WEIGHT_WIDTHS


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
    ``activation``: one of the cell's, if it has any.  ``recurrent``: it hears its own state.  ``consumes``: see
    ``network.py``.
    ``hears``: the numbers of the signals that are its input, ascending, without its own; () for the signal before it.
    ``bias_columns``: of a layer that consumes: 0: its biases are 0; 1, 2: they are multiples of 1024 or 32 LSBs of the
    accumulators; 3: they are any.
    ``conv``: its input is an image, of which it computes a convolution; ``size`` is then the number of all its neurons,
    one for each position and output channel.  ``skip``: it hears two signals and adds a convolution of each: this one
    of the first of ``hears``, ``conv`` of the second.
    """

    size: int
    weight_frac: int = 7
    weight_bits: int = WEIGHT_BITS
    cell: Cell = GRU
    activation: str = ""
    recurrent: bool = True
    consumes: bool = False
    hears: tuple[int, ...] = ()
    bias_columns: int = 0
    conv: Conv2d | None = None
    skip: Conv2d | None = None

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
        if self.activation not in (self.cell.activations or ("",)):
            choice = " or ".join(self.cell.activations) or "none"
            raise ModelError(f"the activation of the cell {self.cell.name} is {choice}, not '{self.activation}'")
        if not self.recurrent and not self.cell.own_optional:
            raise ModelError(f"a layer of the cell {self.cell.name} always hears its own state; leave 'recurrent' out")
        object.__setattr__(self, "bias_columns", whole(self.bias_columns, "bias_columns"))
        if not 0 <= self.bias_columns <= (len(BIAS_DELTAS) if self.consumes else 0):
            raise ModelError(f"bias_columns are 0 to {len(BIAS_DELTAS)}, and 0 in a layer that does not consume, not "
                             f"{self.bias_columns}")
        object.__setattr__(self, "hears", tuple(whole(s, "the number of a signal") for s in self.hears))
        if list(self.hears) != sorted(set(self.hears)):
            raise ModelError(f"the signals that a layer hears are given once each, ascending, not {self.hears}")
        if self.skip is not None and self.conv is None:
            raise ModelError("a layer with 'skip' is a convolution, too; give it 'conv'")
        if self.conv is not None:
            self._check_conv(self.conv)

    def _check_conv(self, conv: Conv2d) -> None:
        if not self.cell.own_optional or self.recurrent:
            raise ModelError("a convolution is of the cell unit and not recurrent; set 'recurrent' to false")
        if self.skip is None and len(self.hears) > 1:
            raise ModelError(f"a convolution hears one signal, not {len(self.hears)}; leave the others out, or give "
                             "'skip', the convolution of the first of two")
        if self.skip is not None:
            sides = [(x.out_height, x.out_width) for x in self.convs]
            if len(self.hears) != 2:
                raise ModelError(f"a layer with 'skip' hears two signals, not {len(self.hears)}; correct 'hears'")
            if sides[0] != sides[1]:
                raise ModelError("the two convolutions of a layer have outputs of {} x {} and {} x {}; give them the "
                                 "same".format(*sides[0], *sides[1]))
        if self.size % conv.positions:
            raise ModelError(f"{self.size} neurons are no whole number of channels at {conv.out_height} x "
                             f"{conv.out_width} positions; correct the size of the layer")
        for x in self.convs:
            if x.depthwise and self.channels != x.channels:
                raise ModelError(f"a depthwise convolution of {x.channels} channels has as many, not {self.channels}")

    @property
    def convs(self) -> tuple[Conv2d, ...]:
        """The convolution of each signal that the layer hears, in their order; () if it is no convolution."""
        return tuple(conv for conv in (self.skip, self.conv) if conv is not None)

    @property
    def fan_in(self) -> int:
        """Columns of ``weight_ih`` of a convolution; 0 of another layer."""
        return sum(conv.columns for conv in self.convs)

    @property
    def channels(self) -> int:
        """Output channels of a convolution; of another layer, its neurons."""
        return self.size // self.conv.positions if self.conv else self.size

    @property
    def own_rows(self) -> tuple[int, ...]:
        """Blocks of ``weight_hh``, see ``Cell``; none if the layer does not hear its own state."""
        return self.cell.own_rows if self.recurrent else ()

    @property
    def columns_again(self) -> int:
        """Bias columns that a core reads for this layer in every frame; without a bias one, to make the sums 0."""
        return max(1, self.bias_columns) if self.consumes else 0

    @property
    def bias_grid(self) -> int:
        """What the biases are multiples of, in LSBs of the accumulators; 0: they are 0."""
        return (0, *reversed(BIAS_DELTAS))[self.bias_columns] if self.consumes else 1

    @property
    def title(self) -> str:
        """The kind of layer, for people: as "GRU", "relu" or "relu conv 3x3"."""
        kernel = f" conv {self.conv.kernel}x{self.conv.kernel}" if self.conv else ""
        kernel += " + skip" if self.skip else ""
        return (self.activation or self.cell.title) + kernel

    def to_dict(self) -> dict:
        narrow = {} if self.weight_bits == WEIGHT_BITS else {"weight_bits": self.weight_bits}
        other: dict = {} if self.cell == GRU else {"cell": self.cell.name}
        said = {name: value for name in ("activation", "recurrent", "consumes", "hears", "bias_columns")
                if (value := getattr(self, name)) != getattr(Layer, name)}
        other |= {name: conv.to_dict() for name in ("conv", "skip") if (conv := getattr(self, name)) is not None}
        return {"size": self.size, "weight_frac": self.weight_frac, **narrow, **other,
                **{name: list(value) if name == "hears" else value for name, value in said.items()}}

    @staticmethod
    def from_dict(d: dict) -> "Layer":
        convs = {name: Conv2d.from_dict(d[name]) for name in ("conv", "skip") if name in d}
        flags = {name: d[name] for name in ("activation", "recurrent", "consumes") if name in d}
        if any(type(value) is not type(getattr(Layer, name)) for name, value in flags.items()):
            raise ModelError(f"a layer is described by {flags}, which are not a name and true or false; correct them")
        return Layer(d["size"], d["weight_frac"], d.get("weight_bits", WEIGHT_BITS), cell_of(d.get("cell", GRU.name)),
                     **flags, hears=tuple(d.get("hears", ())), bias_columns=d.get("bias_columns", 0),
                     conv=convs.get("conv"), skip=convs.get("skip"))
