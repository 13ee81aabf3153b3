"""Bench of ``tidegate_hw.column``: every event becomes the words of its column, without a gap."""

import cocotb
from cocotb.triggers import RisingEdge

from tidegate.spec.network import MAX_SIGNALS
from tidegate_hw.column import Column
from tidegate_hw.event import BIAS_SIGNAL, EVENT
from tidegate_hw.registers import REGISTERS_LAYOUT

from ..streams import Source, cycle, pack, reset_dut, rng_for, wait

SHORTEST = 3        # words: a GRU layer's input rows with one word a gate


def random_registers(rng) -> dict[str, int]:
    values = {name: 0 for name, _ in REGISTERS_LAYOUT}
    for s in range(MAX_SIGNALS):
        values |= {f"COLUMN_BASE{s}": rng.randrange(500), f"COLUMN_LENGTH{s}": rng.randint(SHORTEST, 9),
                   f"COLUMN_TARGET{s}": rng.randrange(20)}
    return values | {"BIAS_BASE": rng.randrange(500), "ACC_WORDS": rng.randint(SHORTEST, 20)}


def words(registers: dict, event: dict) -> list[tuple[int, int, int]]:
    """(word, target, delta) of each cycle."""
    s = event["signal"]
    if s == BIAS_SIGNAL:
        base, length, target = registers["BIAS_BASE"], registers["ACC_WORDS"], 0
    else:
        base, length, target = (registers[f"COLUMN_{x}{s}"] for x in ("BASE", "LENGTH", "TARGET"))
    base += event["index"] * length
    return [(base + k, target + k, event["delta"]) for k in range(length)]


@cocotb.test()
@cocotb.parametrize(stalls=["none", "valid"])
async def fetches_equal_model(dut, stalls):
    rng = rng_for("events")
    source = Source(dut, "i", EVENT, stalls=stalls)
    seen = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if int(dut.o__valid.value):
                seen.append((cycle(), int(dut.o__word.value), int(dut.o__target.value), dut.o__delta.value.to_signed()))

    dut.registers.value = 0
    await reset_dut(dut)
    cocotb.start_soon(watch())
    for _ in range(5):
        registers = random_registers(rng)
        dut.registers.value = pack(REGISTERS_LAYOUT, registers)
        events = [{"signal": rng.randrange(BIAS_SIGNAL + 1), "index": rng.randrange(40),
                   "delta": rng.randint(-2047, 2047)} for _ in range(100)]
        seen.clear()
        start = len(source.times)
        await source.send(events)
        await wait(dut, 40)
        assert not int(dut.busy.value)
        assert [x[1:] for x in seen] == [word for event in events for word in words(registers, event)]
        if stalls == "none":
            assert seen[0][0] == source.times[start] + Column.delay
            assert seen[-1][0] - seen[0][0] == len(seen) - 1, "a gap between columns"
