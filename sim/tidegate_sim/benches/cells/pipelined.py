"""Bench of the cells that work from a snapshot: states, signals and trace equal the cell's equations."""

import json
import os

import cocotb
from amaranth.hdl import signed
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from tidegate.spec.cells import CELLS
from tidegate.spec.design import Design
from tidegate.spec.fixed import saturate
from tidegate.spec.formats import ACC_BITS, SIGNAL, acc_frac
from tidegate_hw.cells import pipelined
from tidegate_hw.records.event import group_layout
from tidegate_hw.records.gates import gates_layout, layer_layout, neurons_layout, skew

from ...streams import Sink, cycle, pack, reset_dut, rng_for, trace_of, unpack, wait
from . import reference

DESIGN = Design(**json.loads(os.environ.get("BENCH", '{"lanes": 8, "cell_rate": 4, "neurons": 32}')))
VALUES_LAYOUT = data.ArrayLayout(signed(SIGNAL.bits), DESIGN.cell_rate)
GROUPS = DESIGN.neurons // DESIGN.cell_rate
CELL, (RTL,) = CELLS[DESIGN.cells[0]], pipelined(DESIGN)
neuron = reference(CELL.name)


def random_accumulator(rng, weight_frac: int) -> int:
    """Around 0 in steps of the arguments' grids, near their saturation, or anywhere."""
    one = 1 << acc_frac(weight_frac)
    spread = rng.choice([one // 64, one, 8 * one, 40 * one, 1 << ACC_BITS])
    return saturate(rng.randint(-spread, spread), ACC_BITS)


async def clear(dut) -> None:
    dut.clear.value = 1
    await RisingEdge(dut.clk)
    dut.clear.value = 0
    await wait(dut, GROUPS + 1)
    assert not int(dut.busy.value)


@cocotb.test()
@cocotb.parametrize(stalls=["none", "valid"])
async def states_equal_model(dut, stalls):
    rng = rng_for(CELL.name)
    g = DESIGN.cell_rate
    sink = Sink(dut, "o", group_layout(g, GROUPS))
    traced, values = [], []

    async def watch():
        """The trace, and the values ``late`` cycles after their group."""
        while True:
            await RisingEdge(dut.clk)
            if cycle() - RTL.late in sink.times[-1 - RTL.late :]:
                values.append(unpack(VALUES_LAYOUT, int(dut.values.value)))
            if int(dut.trace__valid.value):
                vectors = trace_of(int(dut.trace__stages.value), CELL, g)
                traced.append((int(dut.trace__layer.value), int(dut.trace__group.value), vectors))

    dut.i__valid.value = 0
    dut.clear.value, dut.layer.value = 0, pack(layer_layout(DESIGN), {"frac": 7})
    await reset_dut(dut)
    await clear(dut)

    async def play(groups: list[tuple[dict, list]]) -> int:
        """Groups in successive cycles, or now and then; their accumulators for one cycle each.  The first's cycle."""
        starts = [0]
        for _ in groups[1:]:
            starts.append(starts[-1] + 1)
            while stalls == "valid" and rng.random() < 0.4:
                starts[-1] += 1
        first, coming = cycle() + 1, dict(zip(starts, groups, strict=True))
        for at in range(starts[-1] + DESIGN.gates):
            dut.i__valid.value = int(at in coming)
            if at in coming:
                dut.i__payload.value = pack(neurons_layout(DESIGN), coming[at][0])
            dut.acc.value = pack(gates_layout(DESIGN), [
                coming[at - skew(DESIGN, gate)][1][gate] if at - skew(DESIGN, gate) in coming
                else [rng.getrandbits(ACC_BITS) for _ in range(g)] for gate in range(DESIGN.gates)])
            await RisingEdge(dut.clk)
        dut.i__valid.value = 0
        return first

    cocotb.start_soon(watch())
    states = [0] * DESIGN.neurons
    for step in range(40):
        base = rng.randrange(GROUPS)
        groups = rng.randint(1, GROUPS - base)
        frac, layer = rng.randint(2, 9), rng.randrange(4)
        choice = rng.randrange(max(1, len(CELL.activations)))
        dut.layer.value = pack(layer_layout(DESIGN), {"number": layer, "state": base, "frac": frac, **(
            {"activation": choice} if DESIGN.choices else {})})
        await RisingEdge(dut.clk)
        sent, expected, expected_trace = [], [], []
        for n in range(groups):
            acc = [[random_accumulator(rng, frac) for _ in range(g)] for _ in range(DESIGN.gates)]
            mask = rng.getrandbits(g)
            sent.append(({"index": n * g, "mask": mask, "last": int(n == groups - 1)}, acc))
            stages, sent_values = [], []
            for k in range(g):
                where = (base + n) * g + k
                stage, states[where], v = neuron([acc[gate][k] for gate in range(DESIGN.gates)], states[where], frac,
                                                  (*CELL.activations, "")[choice])
                stages.append(stage)
                sent_values.append(v)
            expected.append(({"index": n * g, "address": base + n, "mask": mask, "last": int(n == groups - 1)},
                             sent_values))
            vectors = {name: [s[name] for s in stages] for name in stages[0]}
            expected_trace.append((layer, base + n, vectors))
        first = await play(sent)
        got = await sink.receive(groups)
        while int(dut.busy.value):
            await RisingEdge(dut.clk)
        for a, b, c, d in zip(zip(got, values, strict=True), expected, traced, expected_trace, strict=True):
            assert c == d, f"step {step}: {c} is not {d}"
            assert a == b, f"step {step}: {a} is not {b}"
        if stalls == "none":
            assert [t - first for t in sink.times[-groups:]] == list(
                range(RTL.delay - RTL.late, RTL.delay - RTL.late + groups))
        traced.clear()
        values.clear()
        if step == 20:
            await clear(dut)
            states = [0] * DESIGN.neurons
