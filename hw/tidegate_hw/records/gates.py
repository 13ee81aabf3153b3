"""A layer's gates on their way to its cell, and the description of the layer that a cell works on.

Gates are numbered in the order of their accumulators.  A cell takes them one after the other in that order, except
for gate 0, which it takes last: a GRU needs nx last of nx, r, z and nh; an LSTM needs o last of o, i, f and g.  A cell
with a single gate takes it when other cells of the design take their first.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Const, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from tidegate.spec.cells import CELLS
from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS
from tidegate.spec.network import USUAL_LAYERS


def order(design: Design) -> tuple[int, ...]:
    """The gates in the order in which a cell takes them."""
    return (*range(1, design.gates), 0)


def at_work(design: Design, cell, number: int):
    """Whether the layer's ``cell`` is the design's cell ``number``.

    A cell that there is not is taken for the last one, so that a core with nonsense in its registers comes to an end.
    """
    beyond = number == len(design.cells) - 1 and number & (number + 1)      # the register can hold such a number
    return cell >= number if beyond else cell == number


def is_single(design: Design, cell):
    """Whether the layer's ``cell`` has a single gate."""
    singles = [number for number, name in enumerate(design.cells) if len(CELLS[name].gates) == 1]
    if len(singles) == len(design.cells):
        return Const(1, 1)
    return reduce(or_, (at_work(design, cell, number) for number in singles), Const(0, 1))


def skew(design: Design, gate: int) -> int:
    """Cycles after its group in which a cell takes a gate."""
    return (gate - 1) % design.gates


def gates_layout(design: Design) -> data.ArrayLayout:
    """Accumulators ``[gate][k]`` of ``cell_rate`` neurons."""
    return data.ArrayLayout(data.ArrayLayout(signed(ACC_BITS), design.cell_rate), design.gates)


def neurons_layout(design: Design) -> data.StructLayout:
    """``cell_rate`` neurons of a layer from ``index`` on; ``mask``: which exist; ``last`` group."""
    return data.StructLayout({"index": range(design.neurons), "mask": design.cell_rate, "last": 1})


def taken_signature(shape) -> wiring.Signature:
    """A stream without ready: what is valid is taken."""
    return wiring.Signature({"payload": Out(shape), "valid": Out(1)})


def layer_layout(design: Design) -> data.StructLayout:
    """The layer at work: its ``number``; accumulator ``words`` of one gate; neurons (``size``).

    ``state``: its first group of neurons in the state memories.  ``frac``: fraction bits of its weights.  ``cell``:
    which of the design's cells it has.  ``activation``: which of the cell's activations, if the design has such a cell.
    ``lanes``: of each accumulator word, that neurons use, if the design convolves.
    """
    choice = {"activation": 2} if design.choices else {}
    used = {"lanes": range(design.lanes + 1)} if design.convolves else {}
    return data.StructLayout({
        "number": range(max(design.layers, USUAL_LAYERS)), "words": range(design.acc_words + 1),
        "size": range(design.neurons + 1), "state": 16, "frac": 4, "cell": range(len(design.cells)), **choice, **used,
    })
