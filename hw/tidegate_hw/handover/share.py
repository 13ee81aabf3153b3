"""Puts several cells, of which one works at a time, behind the members of one cell."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Value

from ..records.gates import at_work


def share(m: Module, handover, cells: list) -> None:
    """Make ``cells``, one per name in the design, submodules; the handover's outputs are those of the layer's cell."""
    layer, design = handover.layer, handover.design

    def said(what) -> Value:
        """The output of the layer's cell; with a single cell only a wire."""
        values = [Value.cast(what(cell)) for cell in cells]
        if len(values) == 1:
            return values[0]
        return reduce(or_, (Mux(at_work(design, layer.cell, number), value, 0) for number, value in enumerate(values)))

    for name, cell in zip(design.cells, cells, strict=True):
        m.submodules["cell" if len(cells) == 1 else f"cell_{name}"] = cell
        m.d.comb += [cell.layer.eq(layer), cell.clear.eq(handover.clear)]
    m.d.comb += [
        handover.o.payload.as_value().eq(said(lambda cell: cell.o.payload)),
        handover.o.valid.eq(said(lambda cell: cell.o.valid)),
        handover.values.as_value().eq(said(lambda cell: cell.values)),
        handover.trace.valid.eq(said(lambda cell: cell.trace.valid)),
        handover.trace.layer.eq(layer.number), handover.trace.group.eq(said(lambda cell: cell.trace.group)),
        handover.trace.stages.eq(said(lambda cell: cell.trace.stages)),
    ]


def any_of(signals) -> Value:
    """1 if any of the bits is 1."""
    return reduce(or_, signals)
