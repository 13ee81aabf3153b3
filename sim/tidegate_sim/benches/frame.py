"""Bench of the frame buffer: for each rate E a buffer whose members have the suffix _E."""

import os
import struct

import cocotb
from amaranth.hdl import signed
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from tidegate.spec.fixed import saturate
from tidegate.spec.formats import SIGNAL
from tidegate.spec.packets import most_frames, payload_for
from tidegate_hw.link.frame import MOST_FRAMES
from tidegate_sim.streams import STALLS, Sink, Source, cycle, reset_dut, rng_for, wait

CAPACITY = int(os.environ.get("CAPACITY", "21"))
RATES = tuple(int(e) for e in os.environ.get("RATES", "").split())
EDGES = (-32768, -2049, -2048, -2047, -1, 0, 1, 2046, 2047, 2048, 32767)


def groups(values: list[int], rate: int) -> list[list[int]]:
    """Frame as the core takes it."""
    values = [saturate(x, SIGNAL.bits) for x in values]
    values += [0] * (-len(values) % rate)
    return [values[k : k + rate] for k in range(0, len(values), rate)]


def sizes(rng) -> list[tuple[int, int]]:
    """Features of a frame, and frames of a request."""
    if CAPACITY > 256:
        some = (CAPACITY, CAPACITY - 1, 257, 255, CAPACITY // 3, 1)
        return [(n, most_frames(n, 1, payload_for(CAPACITY))) for n in some]
    few = [(n, rng.randint(1, MOST_FRAMES // 2)) for n in range(1, CAPACITY)]
    return [(CAPACITY, 1), (CAPACITY, 12), *few, (1, MOST_FRAMES), (14, MOST_FRAMES)]


@cocotb.test()
@cocotb.parametrize(rate=RATES, stalls=STALLS)
async def gathers_groups(dut, rate, stalls):
    layout = data.ArrayLayout(signed(SIGNAL.bits), rate)
    source, sink = Source(dut, f"i_{rate}", stalls=stalls), Sink(dut, f"o_{rate}", layout, stalls=stalls)
    begin, features, start, frames, gathered, whole = (
        getattr(dut, f"{name}_{rate}") for name in ("begin", "features", "start", "frames", "gathered", "whole"))
    begin.value = start.value = 0
    await reset_dut(dut)
    rng = rng_for("features")
    count = CountOnes(dut, gathered)
    for n, t in sizes(rng):
        values = [[rng.choice((*EDGES, rng.randint(-32768, 32767))) for _ in range(n)] for _ in range(t)]
        features.value = n
        if rng.random() < 0.5:                          # a part of a request, then another
            await strobe(dut, begin)
            await source.send(rng.randbytes(rng.randint(1, 9)))
        await strobe(dut, begin)
        count.ones = 0
        for k, frame in enumerate(values):
            *most, last = struct.pack(f"<{n}h", *frame)
            await source.send(most)
            await wait(dut, 2)
            assert (int(whole.value), int(frames.value), count.ones) == (0, k, k)
            await source.send([last])
            await wait(dut, 2)
            assert (int(whole.value), int(frames.value), count.ones) == (1, k + 1, k + 1)
        sink.times.clear()
        begun = await strobe(dut, start)
        expected = [group for frame in values for group in groups(frame, rate)]
        assert await sink.receive(len(expected)) == expected
        if stalls in ("none", "valid"):
            # the sink sees a group as it leaves
            assert sink.times == list(range(begun + 1, begun + 1 + len(expected)))
        await wait(dut, 3)


async def strobe(dut, signal) -> int:
    """High for one cycle; the ``cycle()`` that ends with it high."""
    signal.value = 1
    await RisingEdge(dut.clk)
    signal.value = 0
    return cycle()


class CountOnes:
    """Counts the cycles in which a signal is high."""

    def __init__(self, dut, signal):
        self.ones = 0
        cocotb.start_soon(self._run(dut, signal))

    async def _run(self, dut, signal):
        while True:
            await RisingEdge(dut.clk)
            self.ones += int(signal.value)
