"""Bench of ``tidegate_hw.snapshot``: groups equal the copies, as early as the last gate's words allow."""

import json
import os

import cocotb
from cocotb.triggers import RisingEdge

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS
from tidegate_hw.job import Copy
from tidegate_hw.snapshot import GATES, NH, Snapshot, accumulators_layout, gate_layout

from ..streams import STALLS, Sink, cycle, reset_dut, rng_for, unpack, wait

DESIGN = Design(**json.loads(os.environ.get("BENCH", '{"lanes": 8, "cell_rate": 2, "acc_words": 64}')))


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def groups_equal_copies(dut, stalls):
    rng = rng_for("snapshot")
    lanes, g = DESIGN.lanes, DESIGN.cell_rate
    sink = Sink(dut, "o", accumulators_layout(DESIGN))
    dut.copies__copy.value, dut.room.value = 0, 1
    await reset_dut(dut)

    async def hesitate():
        """No room now and then."""
        while True:
            dut.room.value = int(rng.random() < 0.5)
            await RisingEdge(dut.clk)

    nhs = []

    async def watch_nh():
        """nh comes in the cycle after its group."""
        while True:
            await RisingEdge(dut.clk)
            if cycle() - 1 in sink.times[-2:]:
                nhs.append(unpack(gate_layout(DESIGN), int(dut.nh.value)))

    cocotb.start_soon(watch_nh())
    if stalls in ("ready", "both"):
        cocotb.start_soon(hesitate())

    async def copy(kind: Copy, data: int, may_pause: bool = False) -> None:
        while may_pause and stalls in ("valid", "both") and rng.random() < 0.5:
            dut.copies__copy.value = rng.choice([Copy.NONE, Copy.LOGITS]).value     # for others
            await RisingEdge(dut.clk)
        dut.copies__copy.value, dut.copies__data.value = kind.value, data
        await RisingEdge(dut.clk)
        dut.copies__copy.value = 0

    for _ in range(20):
        size = rng.randint(1, DESIGN.acc_words // len(GATES) * lanes)
        words = -(-size // lanes)
        dut.words.value, dut.size.value = words, size
        copies = [[rng.getrandbits(ACC_BITS * lanes) for _ in range(words)] for _ in GATES]
        for gate in copies[:-1]:
            for word in gate:
                await copy(Copy.GATES, word, may_pause=True)
        await copy(Copy.NH, copies[-1][0])
        began = cycle()
        for word in copies[-1][1:]:
            await copy(Copy.NH, word)
        groups = await sink.receive(-(-size // g))
        await wait(dut, 2)
        if stalls == "none":
            assert sink.times[-len(groups):] == [began + Snapshot.delay + n for n in range(len(groups))]
        for n, group in enumerate(groups):
            assert group["index"] == n * g and group["last"] == (n == len(groups) - 1)
            assert group["mask"] == sum(1 << k for k in range(g) if n * g + k < size)
            for gate in GATES:
                word, lane = copies[gate][n * g // lanes], n * g % lanes
                for k in range(g):
                    bits = (word >> (ACC_BITS * (lane + k))) & ((1 << ACC_BITS) - 1)
                    acc = nhs[n] if gate == NH else group["acc"][gate]
                    assert acc[k] & ((1 << ACC_BITS) - 1) == bits, (n, gate, k)
        nhs.clear()
