"""The members that all cells share, and parts that several cells are made of."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import SIGNAL, WEIGHT_FRACS, acc_frac

from ..fanout import leaf
from ..records.event import group_layout
from ..records.gates import gates_layout, layer_layout, neurons_layout, taken_signature
from ..records.job import Copy, copies_signature
from ..records.trace import TRACE_BITS, trace_signature


def cell_members(design: Design) -> dict[str, wiring.Member]:
    """Members of every cell, with directions as the cell sees them.

    layer : ``layer_layout(design)``, in
        The layer at work; stable while busy, and in the cycle before.
    o : ``taken_signature`` of ``group_layout(cell_rate, groups)``, out
        A group of neurons, for the layer's encoder.
    values : cell_rate SIGNAL values, out
        The new values of the group's neurons, ``late`` cycles after the group.
    trace : ``trace_signature(design)``, out
        In the cycle in which a group's state is written.
    clear : 1, in
        Strobe, while not busy: every state becomes 0 (takes as many cycles as there are groups).
    busy : 1, out
        A group or a clear is under way.
    """
    return {
        "layer": In(layer_layout(design)),
        "o": Out(taken_signature(group_layout(design.cell_rate, design.neurons // design.cell_rate))),
        "values": Out(data.ArrayLayout(signed(SIGNAL.bits), design.cell_rate)),
        "trace": Out(trace_signature(design)), "clear": In(1), "busy": Out(1),
    }


def pipelined_signature(design: Design) -> wiring.Signature:
    """Members of a cell that works from a snapshot: those of ``cell_members``, and

    i : ``taken_signature`` of ``neurons_layout(design)``, in
        A group of neurons.
    acc : ``gates_layout(design)``, in
        Accumulators of the group; gate k comes ``skew(design, k)`` cycles after the group.
    """
    return wiring.Signature(cell_members(design) | {
        "i": In(taken_signature(neurons_layout(design))), "acc": In(gates_layout(design))})


def serial_signature(design: Design) -> wiring.Signature:
    """Members of a cell that takes gate by gate: those of ``cell_members``, and

    copies : ``copies_signature(design)``, in
        Accumulators of a layer in successive cycles: the gates of the first neuron in ``order(design)``, then of the
        second, and so on.
    """
    return wiring.Signature(cell_members(design) | {"copies": In(copies_signature(design))})


def align(m: Module, acc, weight_frac):
    """``acc`` shifted left to the largest ``weight_frac``, which loses no bits; also gives its fraction bits then."""
    shift = leaf(Signal(3), "shift")
    m.d.sync += shift.eq(WEIGHT_FRACS.stop - 1 - weight_frac)
    return acc << shift, acc_frac(WEIGHT_FRACS.stop - 1)


def look_up(m: Module, name: str, table: list[int], shape, *addresses) -> list:
    """``table[address]`` of each address, one stage later, from one memory with a port for each address."""
    m.submodules[name] = memory = Memory(shape=shape, depth=len(table), init=table)
    ports = [memory.read_port() for _ in addresses]
    m.d.comb += [port.addr.eq(address) for port, address in zip(ports, addresses, strict=True)]
    return [port.data for port in ports]


def of_both_signs(above: list[int], below: list[int]) -> list[int]:
    """``above[arg]`` and ``below[-arg]`` in one table that is addressed by ``arg`` in two's complement.

    The most negative ``arg`` has no entry of its own, because formats here are symmetrical.
    """
    return [*above, 0, *reversed(below[1:])]


def delayed(m: Module, source, by: int, name: str = "stage"):
    """``source`` ``by`` stages later."""
    for _ in range(by):
        stage = Signal.like(source, name=name, reset_less=True)
        m.d.sync += stage.eq(source)
        source = stage
    return source


def place_of_group(m: Module, last, valid, groups: int, stage: int):
    """The number of the group at a stage: groups come in order, so they are counted, up to the ``last`` of a layer."""
    number, last = Signal(range(groups)), delayed(m, last, stage)
    with m.If(valid[stage - 1]):
        m.d.sync += number.eq(Mux(last, 0, number + 1))
    return number


def place_of_neuron(m: Module, size, valid, neurons: int, stage: int, name: str):
    """The number of the neuron at a stage: neurons come in order, so they are counted, up to a layer's ``size``."""
    number = Signal(range(neurons + 1), name=name)
    with m.If(valid[stage - 1]):
        m.d.sync += number.eq(Mux(number + 1 >= size, 0, number + 1))
    return number


def group_leaves(m: Module, cell, valid, values: list, stages: dict[str, list]):
    """The end of a pipelined cell: a group of neurons goes to the encoder, its ``values`` ``late`` cycles later, and
    with them its trace.  Gives the number of the group among those of all layers, with its values.

    (The GRU's cells, which the bitstreams that ship have, still say the same for themselves.)
    """
    left, out = cell.delay - cell.late, cell.o.payload
    number = place_of_group(m, cell.i.payload.last, valid, cell.groups, left)
    where = delayed(m, (cell.layer.state + number)[: len(out.address)], cell.late)
    m.d.comb += [
        cell.o.valid.eq(valid[left - 1]),
        out.index.eq(number * cell.design.cell_rate), out.address.eq(cell.layer.state + number),
        out.mask.eq(delayed(m, cell.i.payload.mask, left)), out.last.eq(delayed(m, cell.i.payload.last, left)),
        *(to.eq(value) for to, value in zip(cell.values, values, strict=True)),
        cell.trace.valid.eq(valid[-1]), cell.trace.layer.eq(cell.layer.number), cell.trace.group.eq(where),
        cell.trace.stages.eq(trace_stages(m, stages)),
    ]
    return where


def neuron_leaves(m: Module, cell, valid, value, stages: dict[str, list]):
    """The end of a serial cell: a neuron goes to the encoder, its ``value`` a cycle later, and with it its trace.

    Gives the neuron's place among those of all layers, in the cycle before its value.
    """
    number = place_of_neuron(m, cell.layer.size, valid, cell.design.neurons, cell.delay - 1, "leaving")
    where, out = (cell.layer.state + number)[: len(cell.o.payload.address)], cell.o.payload
    m.d.comb += [
        cell.o.valid.eq(valid[-2]), out.index.eq(number), out.address.eq(where), out.mask.eq(1),
        out.last.eq(number + 1 >= cell.layer.size), cell.values[0].eq(value),
        cell.trace.valid.eq(valid[-1]), cell.trace.layer.eq(cell.layer.number),
        cell.trace.group.eq(delayed(m, where, 1, "where_q")), cell.trace.stages.eq(trace_stages(m, stages)),
    ]
    return where


def take_copies(m: Module, cell, valid, gates: int):
    """The beginning of a serial cell with so many gates: which gate of which neuron is copied.

    ``valid[k]`` becomes 1 where a neuron's first gate was copied k + 1 cycles ago.  Gives ``taken``, whether a copy
    comes, and the accumulator of that copy in the next cycle.
    """
    d = cell.design
    taken, turn, lane = Signal(), Signal(range(gates)), Signal(range(d.lanes))
    m.d.comb += taken.eq(cell.copies.copy == Copy.GATES)
    m.d.sync += valid.eq(valid << 1 | (taken & (turn == 0)))
    m.d.sync += turn.eq(Mux(taken, turn + 1, 0))
    with m.If(~taken):
        m.d.sync += lane.eq(0)
    with m.Elif(turn == gates - 1):
        m.d.sync += lane.eq(lane + 1)
    return taken, delayed(m, Array(cell.copies.data[p] for p in range(d.lanes))[lane], 1, "acc")


def clears(m: Module, clear, state_w, depth: int):
    """Make all words of the state memory 0 after ``clear``, instead of any other write; gives 1 while that lasts."""
    sweep, sweeping = Signal.like(state_w.addr), Signal()
    with m.If(clear):
        m.d.sync += [sweeping.eq(1), sweep.eq(0)]
    with m.If(sweeping):
        m.d.comb += [state_w.addr.eq(sweep), state_w.en.eq(1), Value.cast(state_w.data).eq(0)]
        m.d.sync += [sweep.eq(sweep + 1), sweeping.eq(sweep != depth - 1)]
    return sweeping


def magnitude(arg):
    """|arg|, the address in a table that has entries for one sign only."""
    return Mux(arg < 0, -arg, arg)


def held(m: Module, valid, argument, gates: int, delay: int) -> list:
    """The arguments of all neurons that are in the cell, in the order in which a trace reads them.

    ``argument`` is that of the first gate 3 stages after its copy, and then of the other gates in turn.
    A queue, first in, first out.  Synthesis removes it from a board, where nothing reads the trace.
    """
    kept = []
    for turn in range(gates):
        stages: list = []
        for n in range(-(-(delay - 3 - turn) // gates)):
            here = Signal(signed(TRACE_BITS), name=f"held{turn}_{n}", reset_less=True)
            with m.If(valid[2 + turn + gates * n]):
                m.d.sync += here.eq(stages[-1] if stages else argument)
            stages.append(here)
        kept.append(stages[-1])
    return kept


def trace_stages(m: Module, stages: dict[str, list]):
    """The integers of each stage, in the order of the cell's stages, as ``trace_signature`` wants them."""
    bits = []
    for name, vector in stages.items():
        for k, value in enumerate(vector):
            wide = Signal(signed(TRACE_BITS), name=f"trace_{name}{k}")
            m.d.comb += wide.eq(value)
            bits.append(wide)
    return Cat(*bits)
