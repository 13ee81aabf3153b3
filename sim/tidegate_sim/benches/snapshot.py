"""Bench of ``tidegate_hw.snapshot``: groups equal the accumulators at the time of the copy."""

import json
import os

import cocotb
from cocotb.triggers import RisingEdge

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS
from tidegate_hw.snapshot import accumulators_layout

from ..streams import STALLS, Sink, cycle, reset_dut, rng_for

DESIGN = Design(**json.loads(os.environ.get("BENCH", '{"lanes": 8, "cell_rate": 2, "acc_words": 64, "classes": 20}')))


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def groups_equal_accumulators(dut, stalls):
    rng = rng_for("snapshot")
    lanes, g = DESIGN.lanes, DESIGN.cell_rate
    sink = Sink(dut, "o", accumulators_layout(DESIGN), stalls=stalls)
    memory = [rng.getrandbits(ACC_BITS * lanes) for _ in range(DESIGN.acc_words)]

    async def serve():
        """The lanes' read port: data one cycle after the address."""
        while True:
            await RisingEdge(dut.clk)
            dut.acc_r__data.value = memory[int(dut.acc_r__address.value)]

    dut.start.value, dut.acc_r__data.value = 0, 0
    await reset_dut(dut)
    cocotb.start_soon(serve())
    for _ in range(20):
        single = rng.random() < 0.3
        size = rng.randint(1, DESIGN.classes if single else DESIGN.acc_words // 4 * lanes)
        words, parts = -(-size // lanes), 1 if single else 4
        target = rng.randrange(DESIGN.acc_words - parts * words + 1)
        dut.target.value, dut.words.value, dut.size.value, dut.single.value = target, words, size, int(single)
        dut.start.value = 1
        await RisingEdge(dut.clk)
        began = cycle()
        dut.start.value = 0
        await RisingEdge(dut.clk)
        assert int(dut.busy.value) and int(dut.copying.value)
        while int(dut.copying.value):
            await RisingEdge(dut.clk)
        copied = list(memory)
        for k in range(len(memory)):                # the lanes go on: the copy must not change
            memory[k] = rng.getrandbits(ACC_BITS * lanes)
        groups = await sink.receive(-(-size // g))
        if stalls == "none":
            first = sink.times[-len(groups)]
            assert first - began == parts * words + 4, f"first group after {first - began} cycles"
            assert sink.times[-1] - first == len(groups) - 1, "a gap between groups"
        for n, group in enumerate(groups):
            assert group["index"] == n * g
            assert group["mask"] == sum(1 << k for k in range(g) if n * g + k < size)
            for gate in range(parts):
                word, lane = copied[target + gate * words + n * g // lanes], n * g % lanes
                for k in range(g):
                    bits = (word >> (ACC_BITS * (lane + k))) & ((1 << ACC_BITS) - 1)
                    assert group["acc"][gate][k] & ((1 << ACC_BITS) - 1) == bits, (n, gate, k)
        while int(dut.busy.value):
            await RisingEdge(dut.clk)
