"""Bench of ``tidegate_hw.queue``: all events in order; none waits when the queue is empty."""

import cocotb

from tidegate_hw.event import EVENT

from ..streams import STALLS, Sink, Source, reset_dut, rng_for, wait


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def events_stay_in_order(dut, stalls):
    rng = rng_for("queue")
    source, sink = Source(dut, "i", EVENT, stalls=stalls), Sink(dut, "o", EVENT, stalls=stalls)
    await reset_dut(dut)
    for _ in range(10):
        events = [{"index": rng.getrandbits(12), "delta": rng.randint(-2047, 2047), "end": rng.getrandbits(1)}
                  for _ in range(rng.choice([1, 3, 50]))]
        await source.send(events)
        assert await sink.receive(len(events)) == events
        await wait(dut, rng.choice([0, 1, 2, 5]))
    if stalls == "none":
        assert sink.times == source.times
