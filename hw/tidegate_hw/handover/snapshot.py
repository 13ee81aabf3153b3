"""Handover by snapshot: the lanes go on while the cells work from a copy of the accumulators."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from tidegate.spec.design import Design

from ..cells import pipelined
from ..records.gates import at_work, is_single
from ..records.job import Kind
from ..records.registers import logit_words, select
from .contract import Place, again, handover_signature
from .copy import Snapshot
from .logits import Logits
from .share import any_of, share


class SnapshotHandover(wiring.Component):
    """A snapshot and the cells that work from it, G neurons a cycle.

        copies ─► snapshot ─► the layer's cell ─► o, values

    The gates that a layer's input feeds are copied by the column of its last event (or by CLOSE), and the others by
    REST, if there are others.

    Parameters
    ----------
    design : Design

    Members
    -------
    ``handover_signature(design)``

    Latency: ``Snapshot.delay`` and the cell's ``delay`` from the last gate's first copy to the first values.
    Throughput: one group of neurons per cycle while there is room.
    """

    fuses, rests, logits = True, True, Logits

    def __init__(self, design: Design):
        self.design = design
        self.cells = [cell(design) for cell in pipelined(design)]
        self.late = self.cells[0].late
        assert {cell.late for cell in self.cells} == {self.late}
        # groups in cell and snapshot when the encoder's room falls
        self.margin, self.depth = max(cell.delay for cell in self.cells) + 3, 0
        super().__init__(handover_signature(design))

    @staticmethod
    def places(design: Design, registers, layer, index) -> dict[Kind, Place]:
        """The places of the jobs that copy, of ``layer`` and of the logits; ``index`` is not used.

        That of BIAS: what a layer gets again.
        """
        target, fed, rest = (select(registers, name, design.layers, layer)
                             for name in ("LAYER_TARGET", "LAYER_CLOSE", "LAYER_REST"))
        logits = Place(registers.LOGIT_TARGET, logit_words(design, registers), gap=1)
        places = {Kind.CLOSE: Place(target, fed), Kind.REST: Place(target + fed, rest), Kind.LOGITS: logits}
        if design.diffuses:
            places[Kind.BIAS] = again(design, layer, registers, target, fed + rest)
        return places

    @staticmethod
    def step(m: Module, design: Design, job, over):
        """One accumulator word after the other."""
        return 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.snapshot = snapshot = Snapshot(self.design)
        connect(m, flipped(self.copies), snapshot.copies)
        m.d.comb += [snapshot.words.eq(self.layer.words), snapshot.size.eq(self.layer.size),
                     snapshot.room.eq(self.room)]
        if self.design.choices:
            m.d.comb += snapshot.single.eq(is_single(self.design, self.layer.cell))
        if self.design.convolves:
            m.d.comb += snapshot.used.eq(self.layer.lanes)
        for number, cell in enumerate(self.cells):
            mine = at_work(self.design, self.layer.cell, number)
            m.d.comb += [cell.acc.eq(snapshot.acc), cell.i.payload.eq(snapshot.o.payload),
                         cell.i.valid.eq(snapshot.o.valid & mine if len(self.cells) > 1 else snapshot.o.valid)]
        share(m, self, self.cells)
        m.d.comb += self.busy.eq(snapshot.busy | any_of(cell.busy for cell in self.cells))
        return m
