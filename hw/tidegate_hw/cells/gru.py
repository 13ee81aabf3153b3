"""GRU cells: from copies of accumulators to the new state, G neurons per cycle, or one gate of a neuron per cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory

from tidegate.spec import activation
from tidegate.spec.cells import GRU
from tidegate.spec.design import Design
from tidegate.spec.fixed import Q
from tidegate.spec.formats import CANDIDATE, CANDIDATE_ARG, GATE_ARG, GATE_FRAC, PRE, SIGNAL, STATE

from ..fixed import product, requantise, round_shift
from ..records.gates import skew
from .contract import (
    align,
    clears,
    delayed,
    held,
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

NX, R, Z, NH = range(len(GRU.gates))        # gates in the order of their accumulators


class GRUCell(wiring.Component):
    """The GRU in PyTorch's form (reset after the matmul).

        r = σ(M_r)   z = σ(M_z)   n = tanh(M_nx + r·M_nh)   h ← n + z·(h − n)   v = round(h)

        acc ─► shift ─► round ─► σ table ─► r·nh ─► + nx ─► round ─► tanh table ─► h − n ─► z·(h − n) ─► + n ─► v

    2 multipliers for each of the G neurons; each ─► but the last has a register.

    Parameters
    ----------
    design : Design

    Members
    -------
    ``pipelined_signature(design)``

    Latency: ``delay`` cycles from a group to its values; the group leaves ``late`` cycles before them.
    Throughput: one group per cycle.
    Formats: see ``tidegate.spec.formats``; all roundings half up, h cannot overflow (a convex combination).
    """

    delay = 12
    late = 2

    def __init__(self, design: Design):
        self.design = design
        self.groups = design.neurons // design.cell_rate
        super().__init__(pipelined_signature(design))

    def elaborate(self, platform):
        m = Module()
        g = self.design.cell_rate
        state_layout = data.ArrayLayout(signed(STATE.bits), g)
        m.submodules.state = state = Memory(shape=state_layout, depth=self.groups, init=[])
        state_r, state_w = state.read_port(), state.write_port()

        valid = Signal(self.delay)
        m.d.sync += valid.eq(valid << 1 | self.i.valid)

        def place(stage: int):
            return place_of_group(m, self.i.payload.last, valid, self.groups, stage)

        m.d.comb += state_r.addr.eq(self.layer.state + place(7))        # for h, as n is there at stage 9

        # gate k's accumulators are shifted at stage 1 + skew(k), and then rounded
        def argument(gate: int, k: int, to: Q):
            wide, frac = align(m, self.acc[gate][k], self.layer.frac)
            return delayed(m, requantise(delayed(m, wide, 1), frac, to), 1)

        sigmoid, tanh = activation.sigmoid_table(), activation.tanh_table()
        sigmoid = of_both_signs(sigmoid, [(1 << GATE_FRAC) - x for x in sigmoid])
        tanh = of_both_signs(tanh, [-x for x in tanh])
        zs, n_args, args = [], [], {name: [] for name in ("r_arg", "z_arg", "nx", "nh")}
        for k in range(g):
            r_arg, z_arg = argument(R, k, GATE_ARG), argument(Z, k, GATE_ARG)
            nx, nh = argument(NX, k, PRE), argument(NH, k, PRE)
            # r at stage 4, with nh; z at 5
            gates = look_up(m, f"sigmoid_{k}", sigmoid, GATE_FRAC, r_arg.as_unsigned(), z_arg.as_unsigned())
            r, z = (delayed(m, gate, 1) for gate in gates)
            # stage 5, with nx; then the candidate's argument, and at 9 n
            r_nh = delayed(m, r * nh, 1, f"product{k}")
            total = delayed(m, (nx << GATE_FRAC) + r_nh, 1)
            n_args.append(delayed(m, requantise(total, PRE.frac + GATE_FRAC, CANDIDATE_ARG), 1).as_unsigned())
            zs.append(delayed(m, z, 5))
            for name, arg, gate in (("r_arg", r_arg, R), ("z_arg", z_arg, Z), ("nx", nx, NX), ("nh", nh, NH)):
                args[name].append(delayed(m, arg, self.delay - 2 - skew(self.design, gate)))
        ns = [n for k in range(0, g, 2)
              for n in look_up(m, f"tanh_{k}", tanh, signed(CANDIDATE.bits), *n_args[k : k + 2])]
        # stages 10-12: h ← n + z·(h − n)
        h_next, values = [], []
        for k, (n, z) in enumerate(zip(ns, zs, strict=True)):
            n15 = delayed(m, n, 1) << (STATE.frac - CANDIDATE.frac)
            difference = delayed(m, delayed(m, state_r.data[k], 1) - n15, 1)
            scaled = delayed(m, difference * z, 1, f"scaled{k}")
            h = delayed(m, (delayed(m, n15, 2) + round_shift(scaled, GATE_FRAC))[:STATE.bits].as_signed(), 1)
            h_next.append(h)
            values.append(round_shift(h, STATE.frac - SIGNAL.frac)[:SIGNAL.bits].as_signed())

        # the group leaves before its values
        left = self.delay - self.late
        group_out, leaving, number = self.o.payload, Signal(), place(left)
        where = delayed(m, (self.layer.state + number)[: len(state_w.addr)], self.late)
        m.d.comb += [
            self.o.valid.eq(valid[left - 1]),
            group_out.index.eq(number * g), group_out.address.eq(self.layer.state + number),
            group_out.mask.eq(delayed(m, self.i.payload.mask, left)),
            group_out.last.eq(delayed(m, self.i.payload.last, left)),
            *(self.values[k].eq(values[k]) for k in range(g)),
            leaving.eq(valid[-1]), state_w.addr.eq(where), state_w.en.eq(leaving),
            *(state_w.data[k].eq(h_next[k]) for k in range(g)),
        ]

        m.d.comb += [
            self.trace.valid.eq(leaving), self.trace.layer.eq(self.layer.number), self.trace.group.eq(where),
            self.trace.stages.eq(trace_stages(m, {**args, "h": h_next})),
        ]

        m.d.comb += self.busy.eq((valid != 0) | clears(m, self.clear, state_w, self.groups))
        return m


class SerialGRUCell(wiring.Component):
    """The GRU of ``GRUCell`` with one rounding, one σ table and one half of a multiplier, which the gates use in turn.

        lanes ─► select ─► shift ─► round ─┬─► σ table ─► r, z ─► ×, + nx ─► round ─► tanh table ─► n
                            one gate a cycle └─► nh, nx            ×, + n ◄────────────── h − n ──────┘   ─► h

    The copies come in this order: r, z, nh and nx of the layer's first neuron, then of the second, and so on.

    Parameters
    ----------
    design : Design
        Its cell_rate is 1.

    Members
    -------
    ``serial_signature(design)``

    Latency: ``delay`` cycles from r's copy to the values.  Throughput: one neuron in 4 cycles.
    Formats: as in ``GRUCell``.
    """

    delay = 13
    late = 1

    def __init__(self, design: Design):
        self.design = design
        assert design.cell_rate == 1
        super().__init__(serial_signature(design))

    def elaborate(self, platform):
        m = Module()
        neurons = self.design.neurons
        m.submodules.state = state = Memory(shape=signed(STATE.bits), depth=neurons, init=[])
        state_r, state_w = state.read_port(), state.write_port()

        def register(value, name: str):
            stage = Signal.like(value, name=name, reset_less=True)
            m.d.sync += stage.eq(value)
            return stage

        # stages 1-3: selected, shifted, rounded; r, z, nh and nx follow each other
        valid = Signal(self.delay)
        taken, acc = take_copies(m, self, valid, len(GRU.gates))
        is_gate = valid[1] | valid[2]               # at stage 2: r or z
        wide, frac = align(m, acc, self.layer.frac)
        wide = register(wide, "wide")
        next_argument = Mux(is_gate, requantise(wide, frac, GATE_ARG), requantise(wide, frac, PRE))
        argument = register(next_argument, "argument")

        # stage 5: r, then z; stage 7: r·nh + nx; stage 8: the candidate's argument; stage 10: n
        gate_arg, one = argument[: GATE_ARG.bits].as_signed(), 1 << GATE_FRAC
        (sigmoid,) = look_up(m, "sigmoid", activation.sigmoid_table(), GATE_FRAC, magnitude(gate_arg))
        next_gate = Mux(register(argument < 0, "gate_sign"), one - sigmoid, sigmoid)[:GATE_FRAC]
        gate = register(next_gate, "gate")
        z = Signal(GATE_FRAC, reset_less=True)
        total = Signal(signed(STATE.bits + 1 + GATE_FRAC), reset_less=True)
        n_arg = register(requantise(total, PRE.frac + GATE_FRAC, CANDIDATE_ARG), "n_arg")
        (tanh,) = look_up(m, "tanh", activation.tanh_table(), CANDIDATE.bits - 1, magnitude(n_arg))
        n, n_sign = Signal(signed(CANDIDATE.bits), reset_less=True), register(n_arg < 0, "n_sign")
        with m.If(valid[5]):
            m.d.sync += z.eq(gate)
        with m.If(valid[8]):
            m.d.sync += n.eq(Mux(n_sign, -tanh, tanh))

        # stage 11: h − n; stage 13: z·(h − n) + n + ½ LSB, whose upper bits are h
        n15 = n << (STATE.frac - CANDIDATE.frac)
        factor, by = Signal(signed(STATE.bits + 1), reset_less=True), Signal(GATE_FRAC, reset_less=True)
        with m.If(valid[3] | valid[9]):
            m.d.sync += [factor.eq(Mux(valid[9], state_r.data - n15, next_argument)),
                         by.eq(Mux(valid[9], z, next_gate))]
        # one multiplier takes half of a gate's bits in each of two cycles; in the second what is added comes in, too
        half, second = GATE_FRAC // 2, valid[5] | valid[11]
        high, addend = total[half:].as_signed(), Mux(valid[11], n15 << half | 1 << (half - 1), argument << half)
        part = product(factor, Mux(second, by[half:], by[:half]))
        m.d.sync += total.eq(Cat(high[:half], part + Mux(second, high >> half, 0) + Mux(second, addend, 0)))
        h = total[GATE_FRAC : GATE_FRAC + STATE.bits].as_signed()

        def place(stage: int, name: str):
            return place_of_neuron(m, self.layer.size, valid, neurons, stage, name)

        number = place(self.delay - 1, "leaving")
        where = register((self.layer.state + number)[: len(state_w.addr)], "where")
        m.d.comb += [
            state_r.addr.eq(self.layer.state + place(9, "reading")),
            self.o.valid.eq(valid[-2]), self.o.payload.index.eq(number),
            self.o.payload.address.eq(self.layer.state + number), self.o.payload.mask.eq(1),
            self.o.payload.last.eq(number + 1 >= self.layer.size),
            self.values[0].eq(round_shift(h, STATE.frac - SIGNAL.frac)[: SIGNAL.bits].as_signed()),
            state_w.addr.eq(where), state_w.en.eq(valid[-1]), state_w.data.eq(h),
        ]
        kept = held(m, valid, argument, len(GRU.gates), self.delay)
        args = dict(zip(("r_arg", "z_arg", "nh", "nx"), kept, strict=True))
        m.d.comb += [
            self.trace.valid.eq(valid[-1]), self.trace.layer.eq(self.layer.number), self.trace.group.eq(where),
            self.trace.stages.eq(trace_stages(m, {name: [(args | {"h": h})[name]] for name in GRU.stages})),
        ]

        m.d.comb += self.busy.eq(taken | (valid != 0) | clears(m, self.clear, state_w, neurons))
        return m
