"""Bench of ``tidegate_hw.lanes``: accumulators equal the sums, at the closest targets that the contract allows."""

import json
import os

import cocotb
from cocotb.triggers import RisingEdge

from tidegate.spec.fixed import wrap
from tidegate.spec.formats import ACC_BITS
from tidegate_hw.lanes import Lanes

from ..streams import reset_dut, rng_for, wait

LANES, WEIGHT_WORDS, ACC_WORDS = json.loads(os.environ.get("BENCH", "[8, 64, 16]"))


async def read_accumulators(dut) -> list[list[int]]:
    rows = []
    for word in range(ACC_WORDS):
        dut.acc_r__address.value = word
        await wait(dut, 2)
        bits = int(dut.acc_r__data.value)
        rows.append([wrap((bits >> (ACC_BITS * p)) & ((1 << ACC_BITS) - 1), ACC_BITS) for p in range(LANES)])
    return rows


async def clear(dut) -> list[list[int]]:
    """Clear the accumulators; gives what they hold then."""
    dut.clear.value = 1
    await RisingEdge(dut.clk)
    dut.clear.value = 0
    await wait(dut, ACC_WORDS + 1)
    assert not int(dut.busy.value)
    return [[0] * LANES for _ in range(ACC_WORDS)]


@cocotb.test()
@cocotb.parametrize(gaps=[False, True])
async def accumulators_equal_sums(dut, gaps):
    rng = rng_for("lanes")
    dut.fetch__valid.value, dut.clear.value, dut.weight_w__en.value = 0, 0, 0
    await reset_dut(dut)
    # the extremes and all between
    weights = [[rng.choice([-128, 127, rng.randint(-128, 127)]) for _ in range(LANES)] for _ in range(WEIGHT_WORDS)]
    dut.weight_w__en.value = 1
    for word, row in enumerate(weights):
        for lane, weight in enumerate(row):
            dut.weight_w__word.value, dut.weight_w__lane.value, dut.weight_w__data.value = word, lane, weight & 255
            await RisingEdge(dut.clk)
    dut.weight_w__en.value = 0
    sums = await clear(dut)
    for run in range(4):
        for _ in range(300):
            length, target = rng.randint(3, 5), rng.choice([0, 5, 10])
            word, delta = rng.randrange(WEIGHT_WORDS - length), rng.choice([-2047, 2047, rng.randint(-2047, 2047)])
            for k in range(length):
                dut.fetch__valid.value, dut.fetch__word.value = 1, word + k
                dut.fetch__target.value, dut.fetch__delta.value = target + k, delta & 0xFFF
                for p in range(LANES):
                    sums[target + k][p] = wrap(sums[target + k][p] + weights[word + k][p] * delta, ACC_BITS)
                await RisingEdge(dut.clk)
                if gaps and rng.random() < 0.3:
                    dut.fetch__valid.value = 0
                    await wait(dut, rng.randint(1, 4))
        dut.fetch__valid.value = 0
        await wait(dut, Lanes.delay + 1)
        assert not int(dut.busy.value)
        assert await read_accumulators(dut) == sums, f"run {run}"
        if run == 1:
            sums = await clear(dut)
            assert await read_accumulators(dut) == sums
