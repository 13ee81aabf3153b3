"""Handover gate by gate: the lanes wait while the cells take one gate of one neuron a cycle."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring

from tidegate.spec.design import Design

from ..cells import serial
from ..records.gates import at_work, is_single
from ..records.job import Copy, Kind
from ..records.registers import select
from .contract import Place, again, handover_signature
from .logits import WordLogits
from .share import any_of, share


class SerialHandover(wiring.Component):
    """The cells, fed straight from the lanes: for a core without memory for a snapshot.

        copies ─► the layer's cell ─► o, values

    CLOSE copies all gates of a layer, those of the first neuron in turn, then those of the second, and so on.

    Parameters
    ----------
    design : Design
        Its cell_rate is 1.

    Members
    -------
    ``handover_signature(design)``; ``room`` is ignored, because the encoder's queue holds a whole layer.

    Latency: the cell's ``delay`` from the first gate's first copy to the first neuron's value.
    Throughput: one neuron in as many cycles as there are gates.
    """

    fuses, rests, logits = False, False, WordLogits

    def __init__(self, design: Design):
        self.design = design
        self.cells = [cell(design) for cell in serial(design)]
        self.late = self.cells[0].late
        assert {cell.late for cell in self.cells} == {self.late}
        # all neurons of a layer come before the lanes take an event of theirs
        self.margin, self.depth = 0, design.neurons
        super().__init__(handover_signature(design))

    @staticmethod
    def places(design: Design, registers, layer, index) -> dict[Kind, Place]:
        """The places of the jobs that copy: those of ``layer``, and that of word ``index`` of the logits.

        That of BIAS: what a layer gets again.
        """
        target, words, size = (select(registers, name, design.layers, layer)
                               for name in ("LAYER_TARGET", "LAYER_WORDS", "LAYER_SIZE"))
        close, every = Place(target + words, size * design.gates, turn=words), words * design.gates
        if design.choices:
            single = is_single(design, select(registers, "LAYER_CELL", design.layers, layer))
            close = Place(Mux(single, target, close.target), Mux(single, size, close.length),
                          turn=Mux(single, 0, words), single=single)
            every = Mux(single, words, every)
        places = {Kind.CLOSE: close, Kind.LOGITS: Place(registers.LOGIT_TARGET + index, 1, gap=1)}
        if design.diffuses:
            places[Kind.BIAS] = again(design, layer, registers, target, every)
        return places

    @staticmethod
    def step(m: Module, design: Design, job, over):
        """The gates of a neuron lie a ``turn`` apart; they come as ``records.gates.order`` says, gate 1 first.

        After the neurons of one word come those of the next word.  With ``turn`` 0 one word follows the other; of a
        single gate, after as many neurons as a word has.
        """
        gates, neurons = design.gates, design.lanes
        turn, back = Signal.like(job.turn), Signal(len(job.turn) + (gates - 1).bit_length())
        step = Signal(signed(len(back) + 1))
        done = Signal(range(gates * neurons))         # steps since the word's first
        with m.If(over):
            m.d.sync += [turn.eq(job.turn), back.eq(job.turn * (gates - 1)), done.eq(0)]
        with m.Else():
            m.d.sync += done.eq(done + 1)
        m.d.comb += step.eq(turn)
        with m.If(turn == 0):
            m.d.comb += step.eq(1)
        with m.Elif(done % gates == gates - 2):
            m.d.comb += step.eq(-back)
        with m.Elif(done == gates * neurons - 1):
            m.d.comb += step.eq(turn + 1)
        if design.choices:
            single = Signal()
            with m.If(over):
                m.d.sync += single.eq(job.single)
            with m.If(single):
                m.d.comb += step.eq(done % neurons == neurons - 1)
        return step

    def elaborate(self, platform):
        m = Module()
        for number, cell in enumerate(self.cells):
            mine = at_work(self.design, self.layer.cell, number)
            copy = self.copies.copy if len(self.cells) == 1 else Mux(mine, self.copies.copy, Copy.NONE)
            m.d.comb += [cell.copies.copy.eq(copy), cell.copies.data.eq(self.copies.data)]
        share(m, self, self.cells)
        m.d.comb += self.busy.eq(any_of(cell.busy for cell in self.cells))
        return m
