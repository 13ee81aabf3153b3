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
    look_up,
    magnitude,
    of_both_signs,
    pipelined_signature,
    place_of_group,
    place_of_neuron,
    serial_signature,
    take_copies,
    trace_stages,
)

IDENTITY, RELU, TANH, SIGMOID = range(len(UNIT.activations))


def argument_of(chosen, wide, frac: int):
    """An aligned sum rounded to the format of the activation that is ``chosen``.

    σ takes two fraction bits less; that bits are cut before a number is rounded does not change what it is rounded to.
    """
    fewer = SIGNAL.frac - GATE_ARG.frac
    rounded = requantise(Mux(chosen == SIGMOID, wide >> fewer, wide), frac, SIGNAL)
    squashed = Mux(chosen == TANH, saturate(rounded, CANDIDATE_ARG.bits), saturate(rounded, GATE_ARG.bits))
    return Mux(chosen <= RELU, rounded, squashed)


def value_of(chosen, argument, tanh, sigmoid):
    """The value of the activation that is ``chosen``; those of the tables are given."""
    straight = Mux((chosen == RELU) & (argument < 0), 0, argument)
    return Mux(chosen <= RELU, straight, Mux(chosen == TANH, tanh, sigmoid))


class UnitCell(wiring.Component):
    """A dense layer's neurons, or those of an Elman layer; it keeps no state.

        acc ─► shift ─► round ─► tables ─► ─► choose ─► v              each ─► has a register

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

    delay = 5
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
            argument = delayed(m, argument_of(chosen, delayed(m, wide, 1), frac), 1)
            (squashed,) = look_up(m, f"tanh_{k}", tanh, signed(CANDIDATE.bits),
                                  argument[: CANDIDATE_ARG.bits])
            (gate,) = look_up(m, f"sigmoid_{k}", sigmoid, GATE_FRAC, argument[: GATE_ARG.bits])
            squashed, gate, later = delayed(m, squashed, 1), delayed(m, gate, 1), delayed(m, argument, 2)
            args.append(delayed(m, later, 1))
            values.append(delayed(m, value_of(chosen, later, squashed, gate)[: SIGNAL.bits].as_signed(), 1, f"v{k}"))

        # the group leaves before its values
        left = self.delay - self.late
        group_out, number = self.o.payload, place_of_group(m, self.i.payload.last, valid, self.groups, left)
        m.d.comb += [
            self.o.valid.eq(valid[left - 1]),
            group_out.index.eq(number * g), group_out.address.eq(self.layer.state + number),
            group_out.mask.eq(delayed(m, self.i.payload.mask, left)),
            group_out.last.eq(delayed(m, self.i.payload.last, left)),
            *(self.values[k].eq(values[k]) for k in range(g)),
            self.trace.valid.eq(valid[-1]), self.trace.layer.eq(self.layer.number),
            self.trace.group.eq(delayed(m, (self.layer.state + number)[: len(group_out.address)], self.late)),
            self.trace.stages.eq(trace_stages(m, {"arg": args, "v": values})), self.busy.eq(valid != 0),
        ]
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
        argument = delayed(m, argument_of(chosen, delayed(m, wide, 1), frac), 1)
        # one table a function, for one sign
        near = argument[: CANDIDATE_ARG.bits].as_signed(), argument[: GATE_ARG.bits].as_signed()
        (squashed,) = look_up(m, "tanh", activation.tanh_table(), CANDIDATE.bits - 1, magnitude(near[0]))
        (gate,) = look_up(m, "sigmoid", activation.sigmoid_table(), GATE_FRAC, magnitude(near[1]))
        later = delayed(m, argument, 1)
        value = value_of(chosen, later, Mux(later < 0, -squashed, squashed),
                         Mux(later < 0, (1 << GATE_FRAC) - gate, gate))
        v = delayed(m, value[: SIGNAL.bits].as_signed(), 1, "v")

        number = place_of_neuron(m, self.layer.size, valid, self.design.neurons, self.delay - 1, "leaving")
        where = delayed(m, (self.layer.state + number)[: len(self.o.payload.address)], 1)
        m.d.comb += [
            self.o.valid.eq(valid[-2]), self.o.payload.index.eq(number),
            self.o.payload.address.eq(self.layer.state + number), self.o.payload.mask.eq(1),
            self.o.payload.last.eq(number + 1 >= self.layer.size), self.values[0].eq(v),
            self.trace.valid.eq(valid[-1]), self.trace.layer.eq(self.layer.number), self.trace.group.eq(where),
            self.trace.stages.eq(trace_stages(m, {"arg": [delayed(m, later, 1)], "v": [v]})),
            self.busy.eq(taken | (valid != 0)),
        ]
        return m
