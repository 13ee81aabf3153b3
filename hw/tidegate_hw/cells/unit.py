"""Unit cells: one sum through one function, G neurons per cycle, or one neuron per cycle."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring

from tidegate.spec import activation
from tidegate.spec.cells import UNIT
from tidegate.spec.design import Design
from tidegate.spec.formats import CANDIDATE, CANDIDATE_ARG, GATE_ARG, GATE_FRAC, SIGNAL

from ..fixed import requantise, saturate
from ..records.gates import order
from .contract import (
    align,
    delayed,
    group_leaves,
    look_up,
    magnitude,
    neuron_leaves,
    of_both_signs,
    pipelined_signature,
    serial_signature,
    take_copies,
)

IDENTITY, RELU, TANH, SIGMOID = range(len(UNIT.activations))


def rounded_for(chosen, wide, frac: int):
    """An aligned sum rounded to the fraction bits of the argument of the activation that is ``chosen``.

    σ takes two less; that bits are cut before a number is rounded does not change what it is rounded to.
    """
    fewer = SIGNAL.frac - GATE_ARG.frac
    return requantise(Mux(chosen == SIGMOID, wide >> fewer, wide), frac, SIGNAL)


def argument_of(chosen, rounded):
    """What is rounded, in the format of the argument of the activation that is ``chosen``."""
    squashed = Mux(chosen == TANH, saturate(rounded, CANDIDATE_ARG.bits), saturate(rounded, GATE_ARG.bits))
    return Mux(chosen <= RELU, rounded, squashed)


def value_of(chosen, argument, tanh, sigmoid):
    """The value of the activation that is ``chosen``; those of the tables are given."""
    straight = Mux((chosen == RELU) & (argument < 0), 0, argument)
    return Mux(chosen <= RELU, straight, Mux(chosen == TANH, tanh, sigmoid))


class UnitCell(wiring.Component):
    """A dense layer's neurons, or those of an Elman layer; it keeps no state.

        acc ─► shift ─► round ─► clip ─► tables ─► ─► choose ─► v              each ─► has a register

    Parameters
    ----------
    design : Design

    Members
    -------
    ``pipelined_signature(design)``; its only gate comes with the group, as other cells' first one does.

    Latency: ``delay`` cycles from a group to its values; the group leaves ``late`` cycles before them.
    Throughput: one group per cycle.
    Formats: see ``tidegate.golden.cells.unit``; all roundings half up.
    """

    delay = 6
    late = 2

    def __init__(self, design: Design):
        self.design = design
        self.groups = design.neurons // design.cell_rate
        super().__init__(pipelined_signature(design))

    def elaborate(self, platform):
        m = Module()
        g, chosen = self.design.cell_rate, self.layer.activation
        valid = Signal(self.delay)
        m.d.sync += valid.eq(valid << 1 | self.i.valid)

        sigmoid, tanh = activation.sigmoid_table(), activation.tanh_table()
        sigmoid = of_both_signs(sigmoid, [(1 << GATE_FRAC) - x for x in sigmoid])
        tanh = of_both_signs(tanh, [-x for x in tanh])
        args, values = [], []
        for k in range(g):
            wide, frac = align(m, self.acc[order(self.design)[0]][k], self.layer.frac)
            rounded = delayed(m, rounded_for(chosen, delayed(m, wide, 1), frac), 1)
            argument = delayed(m, argument_of(chosen, rounded), 1)
            (squashed,) = look_up(m, f"tanh_{k}", tanh, signed(CANDIDATE.bits),
                                  argument[: CANDIDATE_ARG.bits])
            (gate,) = look_up(m, f"sigmoid_{k}", sigmoid, GATE_FRAC, argument[: GATE_ARG.bits])
            squashed, gate, later = delayed(m, squashed, 1), delayed(m, gate, 1), delayed(m, argument, 2)
            args.append(delayed(m, later, 1))
            values.append(delayed(m, value_of(chosen, later, squashed, gate)[: SIGNAL.bits].as_signed(), 1, f"v{k}"))

        group_leaves(m, self, valid, values, {"arg": args, "v": values})
        m.d.comb += self.busy.eq(valid != 0)
        return m


class SerialUnitCell(wiring.Component):
    """The unit of ``UnitCell`` for the single gate of one neuron after the other.

        lanes ─► select ─► shift ─► round ─► tables ─► choose ─► v              each ─► has a register

    Parameters
    ----------
    design : Design
        Its cell_rate is 1.

    Members
    -------
    ``serial_signature(design)``

    Latency: ``delay`` cycles from a neuron's copy to its value.  Throughput: one neuron per cycle.
    Formats: as in ``UnitCell``.
    """

    delay = 5
    late = 1

    def __init__(self, design: Design):
        self.design = design
        assert design.cell_rate == 1
        super().__init__(serial_signature(design))

    def elaborate(self, platform):
        m = Module()
        chosen, valid = self.layer.activation, Signal(self.delay)
        taken, acc = take_copies(m, self, valid, len(UNIT.gates))
        wide, frac = align(m, acc, self.layer.frac)
        argument = delayed(m, argument_of(chosen, rounded_for(chosen, delayed(m, wide, 1), frac)), 1)
        # one table a function, for one sign
        near = argument[: CANDIDATE_ARG.bits].as_signed(), argument[: GATE_ARG.bits].as_signed()
        (squashed,) = look_up(m, "tanh", activation.tanh_table(), CANDIDATE.bits - 1, magnitude(near[0]))
        (gate,) = look_up(m, "sigmoid", activation.sigmoid_table(), GATE_FRAC, magnitude(near[1]))
        later = delayed(m, argument, 1)
        value = value_of(chosen, later, Mux(later < 0, -squashed, squashed),
                         Mux(later < 0, (1 << GATE_FRAC) - gate, gate))
        v = delayed(m, value[: SIGNAL.bits].as_signed(), 1, "v")

        neuron_leaves(m, self, valid, v, {"arg": [delayed(m, later, 1)], "v": [v]})
        m.d.comb += self.busy.eq(taken | (valid != 0))
        return m
