"""Bench of the runner itself: a queue keeps order and values."""

import cocotb

from tidegate_sim.streams import STALLS, Sink, Source, reset_dut


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def keeps_order(dut, stalls):
    source, sink = Source(dut, "i", stalls=stalls), Sink(dut, "o", stalls=stalls)
    await reset_dut(dut)
    sent = [source.rng.randrange(256) for _ in range(200)]
    await source.send(sent)
    assert await sink.receive(len(sent)) == sent
