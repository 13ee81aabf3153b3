"""Bench of the frame buffer: for each rate E a buffer with start_E, features_E, i_E and o_E."""

import os
import struct

import cocotb
from amaranth.hdl import signed
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from tidegate.spec.fixed import saturate
from tidegate.spec.formats import SIGNAL
from tidegate_sim.streams import STALLS, Sink, Source, cycle, reset_dut, rng_for

CAPACITY = 21
RATES = tuple(int(e) for e in os.environ.get("RATES", "").split())
EDGES = (-32768, -2049, -2048, -2047, -1, 0, 1, 2046, 2047, 2048, 32767)


def groups(values: list[int], rate: int) -> list[list[int]]:
    """Frame as the core takes it."""
    values = [saturate(x, SIGNAL.bits) for x in values]
    values += [0] * (-len(values) % rate)
    return [values[k : k + rate] for k in range(0, len(values), rate)]


@cocotb.test()
@cocotb.parametrize(rate=RATES, stalls=STALLS)
async def gathers_groups(dut, rate, stalls):
    layout = data.ArrayLayout(signed(SIGNAL.bits), rate)
    source, sink = Source(dut, f"i_{rate}", stalls=stalls), Sink(dut, f"o_{rate}", layout, stalls=stalls)
    start, features = getattr(dut, f"start_{rate}"), getattr(dut, f"features_{rate}")
    start.value = 0
    await reset_dut(dut)
    rng = rng_for("features")
    for n in (*range(CAPACITY, 0, -1), 1, CAPACITY, rng.randrange(1, CAPACITY)):
        values = [rng.choice((*EDGES, rng.randint(-32768, 32767))) for _ in range(n)]
        features.value, start.value = n, 1
        await RisingEdge(dut.clk)
        begun, start.value = cycle(), 0
        sink.times.clear()
        await source.send(struct.pack(f"<{n}h", *values))
        expected = groups(values, rate)
        assert await sink.receive(len(expected)) == expected
        if stalls == "none":
            # the first byte is taken one cycle after the strobe's, and the sink sees a group as it leaves
            padding = -n % rate
            assert sink.times[0] - begun == 2 * n + padding + 2
            assert sink.times == list(range(sink.times[0], sink.times[0] + len(expected)))
