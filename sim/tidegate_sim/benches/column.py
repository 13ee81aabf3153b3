"""Bench of ``tidegate_hw.column``: every job becomes the words of its column, with a gap only where it asks."""

import json
import os

import cocotb
from cocotb.triggers import RisingEdge

from tidegate.spec.design import Design
from tidegate_hw.column import Column
from tidegate_hw.job import Copy, job_layout

from ..streams import Source, cycle, reset_dut, rng_for, wait

DESIGN = Design(**json.loads(os.environ.get("BENCH", '{"lanes": 8, "weight_words": 4096}')))


def random_job(rng) -> dict:
    return {"base": rng.randrange(500), "index": rng.randrange(40), "length": rng.choice([0, 1, 2, 3, 6, 9]),
            "target": rng.randrange(20), "delta": rng.randint(-2047, 2047), "gap": int(rng.random() < 0.2),
            "turn": rng.choice([0, 1, 2, 5]) if not DESIGN.snapshot else 0,
            "tags": {"copy": rng.choice(list(Copy)).value, "weights": rng.getrandbits(1), "signal": rng.randrange(5)}}


def words(job: dict) -> list[tuple[int, ...]]:
    """(word, target, delta, first, copy, weights, signal) of each cycle."""
    base = job["base"] + job["index"] * job["length"]
    targets = [k if not job["turn"] else k // (4 * DESIGN.lanes) + (0, 1, 2, -1)[k % 4] * job["turn"]
               for k in range(max(1, job["length"]))]
    return [(base + k, (job["target"] + target) % 2 ** len(cocotb.top.o__target), job["delta"], int(k == 0),
             *job["tags"].values()) for k, target in enumerate(targets)]


@cocotb.test()
@cocotb.parametrize(stalls=["none", "valid"])
async def fetches_equal_model(dut, stalls):
    rng = rng_for("jobs")
    source = Source(dut, "i", job_layout(DESIGN), stalls=stalls)
    seen, times = [], []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if int(dut.o__valid.value):
                times.append(cycle())
                seen.append((int(dut.o__word.value), int(dut.o__target.value), dut.o__delta.value.to_signed(),
                             int(dut.o__first.value), int(dut.o__tags.value) & 3, int(dut.o__tags.value) >> 2 & 1,
                             int(dut.o__tags.value) >> 3))

    await reset_dut(dut)
    cocotb.start_soon(watch())
    for _ in range(5):
        jobs = [random_job(rng) for _ in range(100)]
        seen.clear()
        times.clear()
        start = len(source.times)
        await source.send(jobs)
        await wait(dut, 40)
        assert not int(dut.busy.value)
        assert seen == [word for job in jobs for word in words(job)]
        if stalls == "none":
            # a job is taken two cycles after the one before, and when the third before it has begun
            taken, at = [source.times[start]], 0
            expected, firsts = [], []
            for k, job in enumerate(jobs):
                if k:
                    taken.append(max(taken[-1] + 2, firsts[k - 3] if k >= 3 else 0))
                firsts.append(max(at, taken[k] + Column.delay) + job["gap"])
                at = firsts[k] + len(words(job))
                expected += range(firsts[k], at)
            assert (source.times[start:], times) == (taken, expected)
