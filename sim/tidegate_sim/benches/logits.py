"""Bench of ``tidegate_hw.handover.logits``: what is sent equals what was copied, in order, and the end is told."""

import json
import os

import cocotb
from cocotb.triggers import RisingEdge

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS
from tidegate_hw.handover.logits import Logits, WordLogits
from tidegate_hw.records.job import Copy

from ..streams import STALLS, Sink, cycle, reset_dut, rng_for

DESIGN = Design(**json.loads(os.environ.get("BENCH", '{"lanes": 8, "cell_rate": 2, "classes": 20}')))
DELAY = Logits.delay if DESIGN.snapshot else WordLogits.delay


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def logits_equal_copies(dut, stalls):
    rng = rng_for("logits")
    sink = Sink(dut, "o", stalls=stalls)
    dut.copies__copy.value = 0
    await reset_dut(dut)
    done = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if int(dut.done.value):
                done.append(cycle())

    cocotb.start_soon(watch())
    for _ in range(30):
        classes = rng.randint(0, DESIGN.classes)
        dut.classes.value = classes
        words = [rng.getrandbits(ACC_BITS * DESIGN.lanes) for _ in range(max(1, -(-classes // DESIGN.lanes)))]
        times = []
        for word in words:
            dut.copies__copy.value, dut.copies__data.value = Copy.LOGITS.value, word
            await RisingEdge(dut.clk)
            times.append(cycle())
            while not DESIGN.snapshot and len(times) < len(words):      # one word at a time
                dut.copies__copy.value = Copy.NONE.value
                await RisingEdge(dut.clk)
                if int(dut.more.value):
                    break
        dut.copies__copy.value = rng.choice([Copy.NONE, Copy.GATES]).value          # for others
        got = await sink.receive(classes)
        while not done:
            await RisingEdge(dut.clk)
        flat = sum(word << (ACC_BITS * DESIGN.lanes * n) for n, word in enumerate(words))
        assert got == [(flat >> (ACC_BITS * k)) & ((1 << ACC_BITS) - 1) for k in range(classes)]
        assert done == [sink.times[-1] if classes else times[0] + 1]
        if stalls == "none":
            came = times[:1] * len(times) if DESIGN.snapshot else times
            expected = [came[k // DESIGN.lanes] + DELAY + (k if DESIGN.snapshot else k % DESIGN.lanes)
                        for k in range(classes)]
            assert sink.times[len(sink.times) - classes:] == expected
        done.clear()
