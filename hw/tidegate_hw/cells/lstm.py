"""LSTM cells: from copies of accumulators to the new state, G neurons per cycle, or one gate of a neuron per cycle."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory

from tidegate.spec import activation
from tidegate.spec.cells import LSTM
from tidegate.spec.design import Design
from tidegate.spec.fixed import Q
from tidegate.spec.formats import CANDIDATE, CANDIDATE_ARG, CELL_STATE, GATE_ARG, GATE_FRAC, SIGNAL

from ..fixed import product, requantise, round_shift
from ..records.gates import skew
from .contract import (
    align,
    clears,
    delayed,
    group_leaves,
    held,
    look_up,
    magnitude,
    neuron_leaves,
    of_both_signs,
    pipelined_signature,
    place_of_group,
    place_of_neuron,
    serial_signature,
    take_copies,
)

O, I, F, G = range(len(LSTM.gates))
ALIGN = CELL_STATE.frac - CANDIDATE.frac    # between i·g and f·c
PRODUCT_FRAC = GATE_FRAC + CELL_STATE.frac  # of f·c


class LSTMCell(wiring.Component):
    """The LSTM in PyTorch's form.

        i = σ(M_i)   f = σ(M_f)   o = σ(M_o)   g = tanh(M_g)   c ← f·c + i·g   v = round(o·tanh(c))

        acc ─► shift ─► round ─► tables ─► f·c, i·g ─► + ─► round ─► round ─► tanh table ─► ─► o·tanh(c) ─► v

    3 multipliers for each of the G neurons; each ─► but the last has a register.

    Parameters
    ----------
    design : Design

    Members
    -------
    ``pipelined_signature(design)``

    Latency: ``delay`` cycles from a group to its values; the group leaves ``late`` cycles before them.
    Throughput: one group per cycle.
    Formats: see ``tidegate.spec.formats``; all roundings half up, c saturates to CELL_STATE.
    """

    delay = 13
    late = 2

    def __init__(self, design: Design):
        self.design = design
        self.groups = design.neurons // design.cell_rate
        super().__init__(pipelined_signature(design))

    def elaborate(self, platform):
        m = Module()
        g, delay = self.design.cell_rate, self.delay
        m.submodules.state = state = Memory(
            shape=data.ArrayLayout(signed(CELL_STATE.bits), g), depth=self.groups, init=[])
        state_r, state_w = state.read_port(), state.write_port()

        valid = Signal(delay)
        m.d.sync += valid.eq(valid << 1 | self.i.valid)

        def place(stage: int):
            return place_of_group(m, self.i.payload.last, valid, self.groups, stage)

        m.d.comb += state_r.addr.eq(self.layer.state + place(5))        # c is there with f, at stage 6

        def argument(gate: int, k: int, to: Q):
            """Shifted at stage 1 + skew(gate), then rounded."""
            wide, frac = align(m, self.acc[gate][k], self.layer.frac)
            return delayed(m, requantise(delayed(m, wide, 1), frac, to), 1)

        sigmoid, tanh = activation.sigmoid_table(), activation.tanh_table()
        sigmoid = of_both_signs(sigmoid, [(1 << GATE_FRAC) - x for x in sigmoid])
        tanh = of_both_signs(tanh, [-x for x in tanh])
        stages: dict[str, list] = {name: [] for name in LSTM.stages}
        values = []
        for k in range(g):
            args = {gate: argument(gate, k, CANDIDATE_ARG if gate == G else GATE_ARG) for gate in (O, I, F, G)}
            for name, gate in (("o_arg", O), ("i_arg", I), ("f_arg", F), ("g_arg", G)):
                stages[name].append(delayed(m, args[gate], delay - 2 - skew(self.design, gate)))
            # i at stage 4, f at 5, g at 6, o at 7
            i, f, o = (delayed(m, gate, 1) for gate in look_up(
                m, f"sigmoid_{k}", sigmoid, GATE_FRAC, *(args[gate].as_unsigned() for gate in (I, F, O))))
            c_arg = Signal(signed(CANDIDATE_ARG.bits), name=f"c_arg{k}", reset_less=True)
            candidate, squashed = (delayed(m, x, 1) for x in look_up(
                m, f"tanh_{k}", tanh, signed(CANDIDATE.bits), args[G].as_unsigned(), c_arg.as_unsigned()))
            # stages 7-9: c ← f·c + i·g; 10: rounded for tanh, which is there at 12; 13: o·tanh(c)
            kept = delayed(m, delayed(m, f, 1) * state_r.data[k], 1, f"kept{k}")
            added = delayed(m, delayed(m, i, 2) * candidate, 1, f"added{k}")
            total = delayed(m, kept + (added << ALIGN), 1)
            c = delayed(m, requantise(total, PRODUCT_FRAC, CELL_STATE), 1)
            m.d.sync += c_arg.eq(requantise(c, CELL_STATE.frac, CANDIDATE_ARG))
            stages["c"].append(delayed(m, c, delay - 9))
            scaled = delayed(m, delayed(m, o, 5) * squashed, 1, f"scaled{k}")
            values.append(round_shift(scaled, GATE_FRAC)[: SIGNAL.bits].as_signed())
        stages["v"] = values

        where = group_leaves(m, self, valid, values, stages)
        m.d.comb += [state_w.addr.eq(where), state_w.en.eq(valid[-1]),
                     *(state_w.data[k].eq(stages["c"][k]) for k in range(g))]
        m.d.comb += self.busy.eq((valid != 0) | clears(m, self.clear, state_w, self.groups))
        return m


class SerialLSTMCell(wiring.Component):
    """The LSTM of ``LSTMCell`` with one rounding, one table each and one multiplier, which the gates use in turn.

        lanes ─► select ─► shift ─► round ─┬─► σ table ─► i, f, o ─► × ─► f·c + i·g ─► c ─► round ─┐
                            one gate a cycle └─► tanh table ─► g, tanh(c) ◄────────────────────────┘   × ─► v

    The copies come in this order: i, f, g and o of the layer's first neuron, then of the second, and so on.

    Parameters
    ----------
    design : Design
        Its cell_rate is 1.

    Members
    -------
    ``serial_signature(design)``

    Latency: ``delay`` cycles from i's copy to the values.  Throughput: one neuron in 4 cycles.
    Formats: as in ``LSTMCell``.
    """

    delay = 13
    late = 1

    def __init__(self, design: Design):
        self.design = design
        assert design.cell_rate == 1
        super().__init__(serial_signature(design))

    def elaborate(self, platform):
        m = Module()
        neurons, gates = self.design.neurons, len(LSTM.gates)
        m.submodules.state = state = Memory(shape=signed(CELL_STATE.bits), depth=neurons, init=[])
        state_r, state_w = state.read_port(), state.write_port()

        def register(value, name: str):
            return delayed(m, value, 1, name)

        # stages 1-3: selected, shifted, rounded; i, f, g and o follow each other
        valid = Signal(self.delay)
        taken, acc = take_copies(m, self, valid, len(LSTM.gates))
        wide, frac = align(m, acc, self.layer.frac)
        wide = register(wide, "wide")
        is_candidate = valid[3]                     # g, which comes two after i, at stage 2 of its own
        argument = register(
            Mux(is_candidate, requantise(wide, frac, CANDIDATE_ARG), requantise(wide, frac, GATE_ARG)), "argument")

        # i at stage 5, f at 6, o at 8
        gate_arg, one = argument[: GATE_ARG.bits].as_signed(), 1 << GATE_FRAC
        (sigmoid,) = look_up(m, "sigmoid", activation.sigmoid_table(), GATE_FRAC, magnitude(gate_arg))
        gate = register(Mux(register(argument < 0, "gate_sign"), one - sigmoid, sigmoid)[:GATE_FRAC], "gate")
        i, o = Signal(GATE_FRAC, reset_less=True), Signal(GATE_FRAC, reset_less=True)
        with m.If(valid[4]):
            m.d.sync += i.eq(gate)
        with m.If(valid[7]):
            m.d.sync += o.eq(gate)

        # g's argument at stage 5, c's at 10; tanh two later
        c, c_arg = Signal(signed(CELL_STATE.bits), reset_less=True), Signal(signed(CANDIDATE_ARG.bits), reset_less=True)
        tanh_arg = Mux(valid[9], c_arg, argument[: CANDIDATE_ARG.bits].as_signed())
        (tanh,) = look_up(m, "tanh", activation.tanh_table(), CANDIDATE.bits - 1, magnitude(tanh_arg))
        tanh = register(Mux(register(tanh_arg < 0, "tanh_sign"), -tanh, tanh)[: CANDIDATE.bits].as_signed(), "tanh_q")

        # the multiplier makes f·c at stage 6, i·g at 7 and o·tanh(c) at 12
        factor = Signal(signed(CELL_STATE.bits))
        total = Signal(signed(CELL_STATE.bits + GATE_FRAC + 1), reset_less=True)
        by, scaled = Signal(GATE_FRAC), Signal(signed(CANDIDATE.bits + GATE_FRAC), reset_less=True)
        m.d.comb += [factor.eq(Mux(valid[5], state_r.data, tanh)), by.eq(Mux(valid[5], gate, Mux(valid[6], i, o)))]
        part = product(factor, by)
        with m.If(valid[5]):
            m.d.sync += total.eq(part)
        with m.If(valid[6]):
            m.d.sync += total.eq(total + (part << ALIGN))
        with m.If(valid[7]):
            m.d.sync += c.eq(requantise(total, PRODUCT_FRAC, CELL_STATE))
        with m.If(valid[8]):
            m.d.sync += c_arg.eq(requantise(c, CELL_STATE.frac, CANDIDATE_ARG))
        with m.If(valid[11]):
            m.d.sync += scaled.eq(part)
        v = round_shift(scaled, GATE_FRAC)[: SIGNAL.bits].as_signed()

        def place(stage: int, name: str):
            return place_of_neuron(m, self.layer.size, valid, neurons, stage, name)

        # c leaves at stage 12, for the next neuron's is there at 13
        kept = held(m, valid, argument, gates, self.delay)
        args = dict(zip(("i_arg", "f_arg", "g_arg", "o_arg"), kept, strict=True)) | {"c": register(c, "c_q"), "v": v}
        where = neuron_leaves(m, self, valid, v, {name: [args[name]] for name in LSTM.stages})
        m.d.comb += [state_r.addr.eq(self.layer.state + place(5, "reading")),
                     state_w.addr.eq(where), state_w.en.eq(valid[-2]), state_w.data.eq(c)]
        m.d.comb += self.busy.eq(taken | (valid != 0) | clears(m, self.clear, state_w, neurons))
        return m
