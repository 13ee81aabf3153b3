"""cocotb drivers and monitors for Amaranth streams, with seeded stalls.

    source = Source(dut, "i", stalls="both")
    sink = Sink(dut, "o", stalls="both")
    await reset_dut(dut)
    await source.send([1, 2, 3])
    assert await sink.receive(3) == [1, 2, 3]

Everything happens at rising edges: a value read there is the one before the edge, a value written there
arrives after it.
"""

import random
from collections.abc import Iterable
from typing import cast

import cocotb
from amaranth import Shape
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotb.utils import get_sim_time

from tidegate.spec.cells import Cell
from tidegate_hw.records.trace import TRACE_BITS

PERIOD = 10                                     # ns; any number does
STALLS = ("none", "valid", "ready", "both")     # which side of the streams pauses at random


def trace_of(bits: int, cell: Cell, rate: int) -> dict[str, list[int]]:
    """The integers of ``rate`` neurons in a trace's ``stages``, by the cell's stages."""
    fields = [((bits >> TRACE_BITS * k & 0xFFFF) ^ 0x8000) - 0x8000 for k in range(len(cell.stages) * rate)]
    return {stage: fields[n * rate : (n + 1) * rate] for n, stage in enumerate(cell.stages)}


async def reset_dut(dut, cycles: int = 2) -> None:
    """Start the clock ``clk`` and hold ``rst`` for some cycles; make all sources and sinks before."""
    Clock(dut.clk, PERIOD, "ns").start()
    dut.rst.value = 1
    await wait(dut, cycles)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


async def wait(dut, cycles: int) -> None:
    for _ in range(cycles):
        await RisingEdge(dut.clk)


def cycle() -> int:
    """Number of the clock cycle that ends at the present rising edge; differences of it are latencies."""
    return int(get_sim_time("ns")) // PERIOD


def rng_for(name: str) -> random.Random:
    """A generator that depends on the run's seed and a name only."""
    return random.Random(f"{cocotb.RANDOM_SEED} {name}")


class _Port:
    def __init__(self, dut, prefix: str, shape, stalls: str, stalling: tuple[str, ...]):
        if stalls not in STALLS:
            raise ValueError(f"stalls must be one of {STALLS}, not {stalls!r}")
        self.clk, self.prefix, self.shape = dut.clk, prefix, shape
        # a unit payload and the constant side of an always_valid or always_ready stream are not ports
        self.payload, self.valid, self.ready = (
            getattr(dut, f"{prefix}__{x}", None) for x in ("payload", "valid", "ready"))
        self.rng = rng_for(prefix)
        self.stall_rate = self.rng.choice((0.2, 0.5, 0.8)) if stalls in stalling else 0.0
        self.times: list[int] = []

    def _stalled(self) -> bool:
        return self.stall_rate > 0 and self.rng.random() < self.stall_rate


class Source(_Port):
    """Drives the input stream ``prefix``; ``times`` holds the ``cycle()`` of every transfer.

    ``shape``: the payload's layout; payloads are then what ``pack`` takes, else they are ints.
    """

    def __init__(self, dut, prefix: str, shape=None, *, stalls: str = "none"):
        super().__init__(dut, prefix, shape, stalls, ("valid", "both"))
        self._offer(0)

    def _offer(self, valid: int) -> None:
        if self.valid is not None:
            self.valid.value = valid

    async def send(self, payloads, timeout: int = 10_000) -> None:
        """Send payloads one after the other; returns at the edge at which the last one is taken.

        AssertionError if one is not taken for ``timeout`` cycles.
        """
        for payload in payloads:
            while self._stalled():
                await RisingEdge(self.clk)
            if self.payload is not None:
                bits = payload if self.shape is None else pack(self.shape, payload)
                self.payload.value = bits & ((1 << len(self.payload)) - 1)
            self._offer(1)
            await RisingEdge(self.clk)
            waited = 0
            while self.ready is not None and not int(self.ready.value):
                await RisingEdge(self.clk)
                waited += 1
                assert waited < timeout, f"{self.prefix}: {payload!r} not taken for {timeout} cycles"
            self.times.append(cycle())
            self._offer(0)


class Sink(_Port):
    """Takes the output stream ``prefix`` into ``items``; ``times`` holds the ``cycle()`` of every transfer.

    Also checks the stream's contract, failing the test: what is offered stays offered, unchanged, until taken.
    """

    def __init__(self, dut, prefix: str, shape=None, *, stalls: str = "none"):
        super().__init__(dut, prefix, shape, stalls, ("ready", "both"))
        self.items: list = []
        if self.ready is not None:
            self.ready.value = 0
        cocotb.start_soon(self._run(dut))

    async def _run(self, dut) -> None:
        await RisingEdge(self.clk)
        while int(dut.rst.value):
            await RisingEdge(self.clk)
        offered, was_ready = None, False
        while True:
            ready = not self._stalled()
            if self.ready is not None and ready != was_ready:   # a write costs more than all else here
                self.ready.value = int(ready)
            was_ready = ready
            await RisingEdge(self.clk)
            valid = self.valid is None or int(self.valid.value)
            bits = int(self.payload.value) if valid and self.payload is not None else 0
            if offered is not None:
                now = f"{bits:#x}" if valid else "nothing"
                assert valid and bits == offered, (
                    f"{self.prefix} offered {offered:#x} and then {now} before it was taken (cycle {cycle()})")
            offered = bits if valid and not ready else None
            if valid and ready:
                self.items.append(bits if self.shape is None else unpack(self.shape, bits))
                self.times.append(cycle())

    async def receive(self, count: int, timeout: int = 10_000) -> list:
        """Wait for the next ``count`` items and take them; AssertionError if none comes for ``timeout`` cycles."""
        idle, seen = 0, len(self.items)
        while len(self.items) < count:
            await RisingEdge(self.clk)
            idle = idle + 1 if len(self.items) == seen else 0
            seen = len(self.items)
            assert idle < timeout, f"{self.prefix}: {seen} of {count} items, then none for {timeout} cycles"
        taken, self.items[:] = self.items[:count], self.items[count:]
        return taken


def pack(shape, value) -> int:
    """Bits of a payload: dict for a struct, sequence for an array, int for anything else."""
    if isinstance(shape, data.Layout):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        bits = 0
        for key, item in items:
            field = cast(data.Field, shape[key])
            bits |= pack(field.shape, item) << field.offset
        return bits
    if not isinstance(value, int):
        value = int(value)
    return value & ((1 << Shape.cast(shape).width) - 1)


def unpack(shape, bits: int):
    """Inverse of ``pack``: a dict, list or (signed, if the shape is) int."""
    if isinstance(shape, data.Layout):
        items = cast(Iterable[tuple[str | int, data.Field]], shape)
        fields = {key: unpack(field.shape, bits >> field.offset) for key, field in items}
        return list(fields.values()) if isinstance(shape, data.ArrayLayout) else fields
    shape = Shape.cast(shape)
    bits &= (1 << shape.width) - 1
    return bits - (1 << shape.width) if shape.signed and bits >> (shape.width - 1) else bits
