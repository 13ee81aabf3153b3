"""GRU cell: from copies of accumulators to the new state, G neurons a cycle."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec import activation
from tidegate.spec.design import Design
from tidegate.spec.fixed import Q
from tidegate.spec.formats import (
    CANDIDATE,
    CANDIDATE_ARG,
    GATE_ARG,
    GATE_FRAC,
    PRE,
    SIGNAL,
    STATE,
    WEIGHT_FRACS,
    acc_frac,
)

from .encoder import group_layout
from .fanout import leaf
from .fixed import requantise, round_shift
from .gates import NH, NX, SKEW, R, Z, gates_layout, neurons_layout, taken_signature

TRACE_BITS = 16


def trace_signature(design: Design) -> wiring.Signature:
    """What the cell did with one group, for checking: ``cell_rate`` integers of 16 bits in each vector."""
    vector = Out(TRACE_BITS * design.cell_rate)
    return wiring.Signature({
        "valid": Out(1), "layer": Out(2), "group": Out(16), "r_arg": vector, "z_arg": vector, "nx": vector,
        "nh": vector, "h": vector,
    })


def align(m: Module, acc, weight_frac):
    """``acc`` shifted to the largest ``weight_frac``, which loses nothing, and its fraction bits then."""
    shift = leaf(Signal(3), "shift")
    m.d.sync += shift.eq(WEIGHT_FRACS.stop - 1 - weight_frac)
    return acc << shift, acc_frac(WEIGHT_FRACS.stop - 1)


def look_up(m: Module, name: str, table: list[int], shape, *addresses) -> list:
    """``table[address]`` of each, one stage later, from one memory with as many ports."""
    m.submodules[name] = memory = Memory(shape=shape, depth=len(table), init=table)
    ports = [memory.read_port() for _ in addresses]
    m.d.comb += [port.addr.eq(address) for port, address in zip(ports, addresses, strict=True)]
    return [port.data for port in ports]


def of_both_signs(above: list[int], below: list[int]) -> list[int]:
    """``above[arg]`` and ``below[-arg]`` in one table, for ``arg`` in two's complement (its least does not come)."""
    return [*above, 0, *reversed(below[1:])]


class Cell(wiring.Component):
    """The GRU in PyTorch's form (reset after the matmul).

        r = σ(M_r)   z = σ(M_z)   n = tanh(M_nx + r·M_nh)   h ← n + z·(h − n)   v = round(h)

        acc ─► shift ─► round ─► σ table ─► r·nh ─► + nx ─► round ─► tanh table ─► h − n ─► z·(h − n) ─► + n ─► v

    2 multipliers a neuron; each ─► but the last has a register.

    Parameters
    ----------
    design : Design

    Members
    -------
    i : ``taken_signature`` of ``neurons_layout(design)``.
    acc : ``gates_layout(design)``; gate k of a group ``SKEW[k]`` cycles after it.
    layer : number of the layer; with ``state_base`` (first group of the layer in the state memory) and
        ``weight_frac`` stable while busy, and the last in the cycle before, too.
    o : ``taken_signature`` of ``group_layout(cell_rate, groups)``, for the layer's encoder.
    values : v of the group, ``late`` cycles later.
    trace : ``trace_signature(design)``, in the cycle in which a group leaves.
    clear : strobe, while not busy: every h becomes 0 (takes neurons / cell_rate cycles).
    busy : a group or a clear is under way.

    Latency: ``delay`` cycles to the values, ``late`` less to their group.  Throughput: one group per cycle.
    Formats: see ``tidegate.spec.formats``; all roundings half up, h cannot overflow (a convex combination).
    """

    delay = 12
    late = 2

    def __init__(self, design: Design):
        self.design = design
        self.groups = design.neurons // design.cell_rate
        super().__init__({
            "i": In(taken_signature(neurons_layout(design))), "acc": In(gates_layout(design)),
            "layer": In(range(design.layers)), "state_base": In(16), "weight_frac": In(4),
            "o": Out(taken_signature(group_layout(design.cell_rate, self.groups))),
            "values": Out(data.ArrayLayout(signed(SIGNAL.bits), design.cell_rate)),
            "trace": Out(trace_signature(design)),
            "clear": In(1), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.design.cell_rate
        state_layout = data.ArrayLayout(signed(STATE.bits), g)
        m.submodules.state = state = Memory(shape=state_layout, depth=self.groups, init=[])
        state_r, state_w = state.read_port(), state.write_port()

        valid = Signal(self.delay)
        m.d.sync += valid.eq(valid << 1 | self.i.valid)

        def delayed(source, by: int, name: str = "stage"):
            """``source`` ``by`` stages later."""
            for _ in range(by):
                stage = Signal.like(source, name=name, reset_less=True)
                m.d.sync += stage.eq(source)
                source = stage
            return source

        # groups come in order, so their place is counted: where h is read (n is there at stage 9), and at the end
        def place(stage: int):
            """The number of the group at a stage."""
            number, last = Signal(range(self.groups)), delayed(self.i.payload.last, stage)
            with m.If(valid[stage - 1]):
                m.d.sync += number.eq(Mux(last, 0, number + 1))
            return number

        m.d.comb += state_r.addr.eq(self.state_base + place(7))

        # gate k's accumulators are shifted at stage 1 + SKEW[k], and then rounded
        def argument(gate: int, k: int, to: Q):
            wide, frac = align(m, self.acc[gate][k], self.weight_frac)
            return delayed(requantise(delayed(wide, 1), frac, to), 1)

        sigmoid, tanh = activation.sigmoid_table(), activation.tanh_table()
        sigmoid = of_both_signs(sigmoid, [(1 << GATE_FRAC) - x for x in sigmoid])
        tanh = of_both_signs(tanh, [-x for x in tanh])
        zs, n_args, args = [], [], {name: [] for name in ("r_arg", "z_arg", "nx", "nh")}
        for k in range(g):
            r_arg, z_arg = argument(R, k, GATE_ARG), argument(Z, k, GATE_ARG)
            nx, nh = argument(NX, k, PRE), argument(NH, k, PRE)
            # r at stage 4, with nh; z at 5
            gates = look_up(m, f"sigmoid_{k}", sigmoid, GATE_FRAC, r_arg.as_unsigned(), z_arg.as_unsigned())
            r, z = (delayed(gate, 1) for gate in gates)
            # stage 5, with nx; then the candidate's argument, and at 9 n
            product = delayed(r * nh, 1, f"product{k}")
            total = delayed((nx << GATE_FRAC) + product, 1)
            n_args.append(delayed(requantise(total, PRE.frac + GATE_FRAC, CANDIDATE_ARG), 1).as_unsigned())
            zs.append(delayed(z, 5))
            for name, arg, gate in (("r_arg", r_arg, R), ("z_arg", z_arg, Z), ("nx", nx, NX), ("nh", nh, NH)):
                args[name].append(delayed(arg, self.delay - 2 - SKEW[gate]))
        ns = [n for k in range(0, g, 2)
              for n in look_up(m, f"tanh_{k}", tanh, signed(CANDIDATE.bits), *n_args[k : k + 2])]
        # stages 10-12: h ← n + z·(h − n)
        h_next, values = [], []
        for k, (n, z) in enumerate(zip(ns, zs, strict=True)):
            n15 = delayed(n, 1) << (STATE.frac - CANDIDATE.frac)
            difference = delayed(delayed(state_r.data[k], 1) - n15, 1)
            scaled = delayed(difference * z, 1, f"scaled{k}")
            h = delayed((delayed(n15, 2) + round_shift(scaled, GATE_FRAC))[:STATE.bits].as_signed(), 1)
            h_next.append(h)
            values.append(round_shift(h, STATE.frac - SIGNAL.frac)[:SIGNAL.bits].as_signed())

        # the group leaves before its values
        left = self.delay - self.late
        group_out, leaving, number = self.o.payload, Signal(), place(left)
        where = delayed((self.state_base + number)[: len(state_w.addr)], self.late)
        m.d.comb += [
            self.o.valid.eq(valid[left - 1]),
            group_out.index.eq(number * g), group_out.address.eq(self.state_base + number),
            group_out.mask.eq(delayed(self.i.payload.mask, left)),
            group_out.last.eq(delayed(self.i.payload.last, left)),
            *(self.values[k].eq(values[k]) for k in range(g)),
            leaving.eq(valid[-1]), state_w.addr.eq(where), state_w.en.eq(leaving),
            *(state_w.data[k].eq(h_next[k]) for k in range(g)),
        ]

        trace = self.trace
        m.d.comb += [trace.valid.eq(leaving), trace.layer.eq(self.layer), trace.group.eq(where)]
        for name, vector in {**args, "h": h_next}.items():
            for k, x in enumerate(vector):
                wide = Signal(signed(TRACE_BITS), name=f"trace_{name}{k}")
                m.d.comb += [wide.eq(x), getattr(trace, name).word_select(k, TRACE_BITS).eq(wide)]

        sweep, sweeping = Signal.like(state_w.addr), Signal()
        m.d.comb += self.busy.eq((valid != 0) | sweeping)
        with m.If(self.clear):
            m.d.sync += [sweeping.eq(1), sweep.eq(0)]
        with m.If(sweeping):
            m.d.comb += [state_w.addr.eq(sweep), state_w.en.eq(1), state_w.data.as_value().eq(0)]
            m.d.sync += [sweep.eq(sweep + 1), sweeping.eq(sweep != self.groups - 1)]
        return m
