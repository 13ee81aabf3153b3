"""GRU cell that takes one gate of one neuron a cycle: a quarter of ``Cell``, for a core without a snapshot."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec import activation
from tidegate.spec.design import Design
from tidegate.spec.formats import CANDIDATE, CANDIDATE_ARG, GATE_ARG, GATE_FRAC, PRE, SIGNAL, STATE

from .cell import TRACE_BITS, align, look_up, trace_signature
from .encoder import group_layout
from .fixed import product, requantise, round_shift
from .gates import GATES, ORDER, taken_signature
from .job import Copy
from .lanes import copies_signature


class SerialCell(wiring.Component):
    """The GRU of ``Cell`` with one rounding, one σ table and one half of a multiplier, which the gates use in turn.

        lanes ─► select ─► shift ─► round ─┬─► σ table ─► r, z ─► ×, + nx ─► round ─► tanh table ─► n
                            one gate a cycle └─► nh, nx            ×, + n ◄────────────── h − n ──────┘   ─► h

    Copies come as a job with a turn has them: r, z, nh and nx of the layer's first neuron, of the second, and so on.

    Parameters
    ----------
    design : Design
        Its cell_rate is 1.

    Members
    -------
    copies : ``copies_signature(design)``; those of a layer in successive cycles, 4 for each neuron.
    size : neurons of the layer, stable while busy.
    layer, state_base, weight_frac, o, values, trace, clear : as in ``Cell``.
    busy : a copy, a neuron or a clear is under way.

    Latency: ``delay`` cycles from r's copy to the values.  Throughput: one neuron in 4 cycles.
    Formats: as in ``Cell``.
    """

    delay = 13
    late = 1
    interval = len(GATES)

    def __init__(self, design: Design):
        self.design = design
        assert design.cell_rate == 1
        super().__init__({
            "copies": In(copies_signature(design)), "size": In(range(design.neurons + 1)),
            "layer": In(range(design.layers)), "state_base": In(16), "weight_frac": In(4),
            "o": Out(taken_signature(group_layout(1, design.neurons))),
            "values": Out(data.ArrayLayout(signed(SIGNAL.bits), 1)),
            "trace": Out(trace_signature(design)),
            "clear": In(1), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        d, neurons = self.design, self.design.neurons
        m.submodules.state = state = Memory(shape=signed(STATE.bits), depth=neurons, init=[])
        state_r, state_w = state.read_port(), state.write_port()

        def register(value, name: str):
            stage = Signal.like(value, name=name, reset_less=True)
            m.d.sync += stage.eq(value)
            return stage

        # which gate of which neuron is copied; ``valid[k]``: an r was, k + 1 cycles ago
        taken, turn, lane = Signal(), Signal(range(len(GATES))), Signal(range(d.lanes))
        valid = Signal(self.delay)
        m.d.comb += taken.eq(self.copies.copy == Copy.GATES)
        m.d.sync += valid.eq(valid << 1 | (taken & (turn == 0)))
        m.d.sync += turn.eq(Mux(taken, turn + 1, 0))
        with m.If(~taken):
            m.d.sync += lane.eq(0)
        with m.Elif(turn == len(GATES) - 1):
            m.d.sync += lane.eq(lane + 1)

        # stages 1-3: selected, shifted, rounded; r, z, nh and nx follow each other
        acc = register(Array(self.copies.data[p] for p in range(d.lanes))[lane], "acc")
        is_gate = valid[1] | valid[2]               # at stage 2: r or z
        wide, frac = align(m, acc, self.weight_frac)
        wide = register(wide, "wide")
        next_argument = Mux(is_gate, requantise(wide, frac, GATE_ARG), requantise(wide, frac, PRE))
        argument = register(next_argument, "argument")

        # stage 5: r, then z; stage 7: r·nh + nx; stage 8: the candidate's argument; stage 10: n
        def magnitude(arg):
            return Mux(arg < 0, -arg, arg)

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

        # neurons come in order, so their place is counted: where h is read, and at the end
        def place(stage: int, name: str):
            number = Signal(range(neurons + 1), name=name)
            with m.If(valid[stage - 1]):
                m.d.sync += number.eq(Mux(number + 1 >= self.size, 0, number + 1))
            return number

        number = place(self.delay - 1, "leaving")
        where = register((self.state_base + number)[: len(state_w.addr)], "where")
        m.d.comb += [
            state_r.addr.eq(self.state_base + place(9, "reading")),
            self.o.valid.eq(valid[-2]), self.o.payload.index.eq(number),
            self.o.payload.address.eq(self.state_base + number), self.o.payload.mask.eq(1),
            self.o.payload.last.eq(number + 1 >= self.size),
            self.values[0].eq(round_shift(h, STATE.frac - SIGNAL.frac)[: SIGNAL.bits].as_signed()),
            state_w.addr.eq(where), state_w.en.eq(valid[-1]), state_w.data.eq(h),
        ]
        self._trace(m, valid, argument, where, h)

        sweep, sweeping = Signal.like(state_w.addr), Signal()
        m.d.comb += self.busy.eq(taken | (valid != 0) | sweeping)
        with m.If(self.clear):
            m.d.sync += [sweeping.eq(1), sweep.eq(0)]
        with m.If(sweeping):
            m.d.comb += [state_w.addr.eq(sweep), state_w.en.eq(1), state_w.data.eq(0)]
            m.d.sync += [sweep.eq(sweep + 1), sweeping.eq(sweep != neurons - 1)]
        return m

    def _trace(self, m: Module, valid, argument, where, h) -> None:
        """The arguments of the neurons under way, first in first out, until their h is there; not part of a board."""
        trace, names = self.trace, ("nx", "r_arg", "z_arg", "nh")
        m.d.comb += [trace.valid.eq(valid[-1]), trace.layer.eq(self.layer), trace.group.eq(where), trace.h.eq(h)]
        for k, gate in enumerate(ORDER):
            held = []
            for n in range(-(-(self.delay - 3 - k) // self.interval)):
                here = Signal(signed(TRACE_BITS), name=f"trace_{names[gate]}{n}", reset_less=True)
                with m.If(valid[2 + k + self.interval * n]):
                    m.d.sync += here.eq(held[-1] if held else argument)
                held.append(here)
            m.d.comb += getattr(trace, names[gate]).eq(held[-1])
