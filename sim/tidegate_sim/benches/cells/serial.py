"""Bench of the cells that take one gate a cycle: states, signals and trace equal the cell's equations."""

import json
import os

import cocotb
from amaranth.hdl import signed
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from tidegate.spec.cells import CELLS
from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS, SIGNAL
from tidegate_hw.cells import serial
from tidegate_hw.records.event import group_layout
from tidegate_hw.records.gates import layer_layout, order
from tidegate_hw.records.job import Copy

from ...streams import Sink, cycle, pack, reset_dut, rng_for, trace_of, unpack, wait
from . import reference
from .pipelined import random_accumulator

DESIGN = Design(**json.loads(os.environ.get("BENCH", '{"lanes": 4, "cell_rate": 1, "neurons": 12, "snapshot": false}')))
WORD_LAYOUT = data.ArrayLayout(signed(ACC_BITS), DESIGN.lanes)
VALUES_LAYOUT = data.ArrayLayout(signed(SIGNAL.bits), 1)
CELL, (RTL,) = CELLS[DESIGN.cells[0]], serial(DESIGN)
neuron = reference(CELL.name)


@cocotb.test()
async def states_equal_model(dut):
    rng = rng_for(CELL.name)
    sink = Sink(dut, "o", group_layout(1, DESIGN.neurons))
    traced, values = [], []

    async def watch():
        """The trace, and the values in the cycle after their group was taken."""
        while True:
            await RisingEdge(dut.clk)
            if cycle() - 1 in sink.times[-2:]:
                values.append(unpack(VALUES_LAYOUT, int(dut.values.value))[0])
            if int(dut.trace__valid.value):
                vectors = trace_of(int(dut.trace__stages.value), CELL, 1)
                traced.append((int(dut.trace__layer.value), int(dut.trace__group.value),
                               {name: value for name, (value,) in vectors.items()}))

    async def clear() -> list[int]:
        dut.clear.value = 1
        await RisingEdge(dut.clk)
        dut.clear.value = 0
        await wait(dut, DESIGN.neurons + 1)
        assert not int(dut.busy.value)
        return [0] * DESIGN.neurons

    def word(lane: int, value: int) -> int:
        """A copied word: nonsense in the lanes that are not asked for."""
        return pack(WORD_LAYOUT, [value if p == lane else rng.randint(-1000, 1000) for p in range(DESIGN.lanes)])

    dut.clear.value, dut.copies__copy.value = 0, 0
    dut.layer.value = pack(layer_layout(DESIGN), {"size": 1, "frac": 7})
    await reset_dut(dut)
    states = await clear()
    cocotb.start_soon(watch())
    for step in range(60):
        base = rng.randrange(DESIGN.neurons)
        size = rng.randint(1, DESIGN.neurons - base)
        frac, layer = rng.randint(2, 9), rng.randrange(DESIGN.layers)
        choice = rng.randrange(max(1, len(CELL.activations)))
        dut.layer.value = pack(layer_layout(DESIGN), {"number": layer, "size": size, "state": base, "frac": frac, **(
            {"activation": choice} if DESIGN.choices else {})})
        expected, sent, first = [], [], cycle() + 1
        for n in range(size):
            acc = [random_accumulator(rng, frac) for _ in range(DESIGN.gates)]
            stages, states[base + n], v = neuron(acc, states[base + n], frac, (*CELL.activations, "")[choice])
            expected.append((layer, base + n, stages))
            sent.append(v)
            for gate in order(DESIGN):
                dut.copies__copy.value, dut.copies__data.value = Copy.GATES.value, word(n % DESIGN.lanes, acc[gate])
                await RisingEdge(dut.clk)
        dut.copies__copy.value = rng.choice([Copy.NONE, Copy.LOGITS]).value
        groups = await sink.receive(size)
        while int(dut.busy.value):
            await RisingEdge(dut.clk)
        assert traced == expected, next((a, b) for a, b in zip(traced, expected, strict=True) if a != b)
        assert values == sent
        assert groups == [{"index": n, "address": base + n, "mask": 1, "last": int(n == size - 1)} for n in range(size)]
        assert [t - first for t in sink.times[-size:]] == [
            RTL.delay - 1 + DESIGN.gates * n for n in range(size)]
        traced.clear()
        values.clear()
        if step == 30:
            states = await clear()
