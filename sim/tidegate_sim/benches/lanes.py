"""Bench of ``tidegate_hw.stages.lanes``: accumulators equal the sums, targets as close as the contract allows."""

import json
import os

import cocotb
from cocotb.triggers import RisingEdge

from tidegate.spec.design import Design
from tidegate.spec.fixed import wrap
from tidegate.spec.formats import ACC_BITS
from tidegate_hw.records.job import Copy, tags_layout
from tidegate_hw.stages.lanes import Lanes

from ..streams import pack, reset_dut, rng_for, wait

DESIGN = Design(**json.loads(os.environ["BENCH"]))
LANES, WEIGHT_WORDS, ACC_WORDS = DESIGN.lanes, DESIGN.weight_words, DESIGN.acc_words


class Copies:
    """Collects the copies, each ``Lanes.delay`` cycles after its fetch."""

    def __init__(self, dut):
        self.dut, self.items, self.due = dut, [], []
        cocotb.start_soon(self._run())

    async def _run(self):
        coming = [0] * Lanes.delay
        while True:
            await RisingEdge(self.dut.clk)
            kind = int(self.dut.copies__copy.value)
            assert kind == coming.pop(0), "a copy at the wrong time, or of the wrong kind"
            coming.append(int(self.dut.fetch__tags.value) & 3 if int(self.dut.fetch__valid.value) else 0)
            if kind:
                bits = int(self.dut.copies__data.value)
                mask = (1 << ACC_BITS) - 1
                self.items.append([wrap((bits >> (ACC_BITS * p)) & mask, ACC_BITS) for p in range(LANES)])


async def fetch(dut, word: int, target: int, delta: int, copy: Copy = Copy.NONE, fresh: bool = False) -> None:
    dut.fetch__valid.value, dut.fetch__word.value, dut.fetch__target.value = 1, word, target
    dut.fetch__delta.value = delta & 0xFFF
    dut.fetch__tags.value = pack(tags_layout(DESIGN), {
        "copy": copy.value, **({"fresh": int(fresh)} if DESIGN.diffuses else {})})
    await RisingEdge(dut.clk)
    dut.fetch__valid.value = 0


async def clear(dut) -> list[list[int]]:
    """Clear the accumulators; gives what they hold then."""
    dut.clear.value = 1
    await RisingEdge(dut.clk)
    dut.clear.value = 0
    await wait(dut, ACC_WORDS + 2)
    assert not int(dut.busy.value)
    return [[0] * LANES for _ in range(ACC_WORDS)]


@cocotb.test()
@cocotb.parametrize(gaps=[False, True])
async def accumulators_equal_sums(dut, gaps):
    rng = rng_for("lanes")
    dut.fetch__valid.value, dut.clear.value, dut.weight_w__en.value, dut.fetch__tags.value = 0, 0, 0, 0
    await reset_dut(dut)
    copies = Copies(dut)
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
        expected, last = [], None
        for _ in range(300):
            # two words are the shortest run that may follow itself
            length, target = rng.randint(1 if DESIGN.diffuses else 2, 5), rng.choice([0, 5, 10])
            if target == last:
                await wait(dut, 1)
            last = target + length - 1
            word, delta = rng.randrange(WEIGHT_WORDS - length), rng.choice([-2047, 2047, 0, rng.randint(-2047, 2047)])
            copy = rng.choice([Copy.NONE, Copy.NONE, Copy.NONE, Copy.GATES, Copy.GATES, Copy.LOGITS])
            fresh = DESIGN.diffuses and rng.random() < 0.3
            # where nothing is added, each word may come several times in a row
            times = rng.randint(1, 3) if DESIGN.diffuses and not delta and not fresh else 1
            for k in range(length):
                for p in range(LANES):
                    before = 0 if fresh else sums[target + k][p]
                    sums[target + k][p] = wrap(before + weights[word + k][p] * delta, ACC_BITS)
                for _ in range(times):
                    if copy is not Copy.NONE:
                        expected.append(list(sums[target + k]))
                    await fetch(dut, word + k, target + k, delta, copy, fresh)
                    if gaps and rng.random() < 0.3:
                        await wait(dut, rng.randint(1, 4))
        await wait(dut, 1)
        # nothing is added, all is copied
        for target in range(ACC_WORDS):
            await fetch(dut, 0, target, 0, Copy.GATES)
        expected += [list(row) for row in sums]
        await wait(dut, Lanes.delay + 2)
        assert not int(dut.busy.value)
        assert copies.items == expected, f"run {run}"
        copies.items.clear()
        if run == 1:
            sums = await clear(dut)
