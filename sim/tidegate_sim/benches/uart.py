"""Bench of the UART: for each divisor D a receiver (rx_D, o_D) and a transmitter (i_D, tx_D)."""

import os

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge, Timer

from tidegate_hw.link.uart import FIFO_DEPTH, UartReceiver
from tidegate_sim.streams import PERIOD, Sink, Source, cycle, reset_dut, rng_for, wait

DIVISORS = tuple(int(d) for d in os.environ.get("DIVISORS", "4").split())
ERRORS = (-0.02, 0.0, 0.02)     # of the other side's bit time


def bit_ps(divisor: int, error: float) -> int:
    return round(divisor * PERIOD * 1000 * (1 + error))


async def drive(rx, byte: int, bit: int, stop: int = 1) -> None:
    """One byte at ``bit`` ps per bit; leaves the line high."""
    for level in (0, *(byte >> k & 1 for k in range(8)), stop):
        rx.value = level
        await Timer(bit, "ps")
    rx.value = 1


async def listen(tx, bit: int) -> int:
    """The next byte on a line, sampled in the middle of bits of ``bit`` ps; ends in the middle of the stop bit."""
    await FallingEdge(tx)
    await Timer(bit // 2, "ps")
    levels = [int(tx.value)]
    for _ in range(9):
        await Timer(bit, "ps")
        levels.append(int(tx.value))
    assert levels[0] == 0 and levels[9] == 1, levels
    return sum(level << k for k, level in enumerate(levels[1:9]))


def some_bytes(rng, divisor: int) -> list[int]:
    return [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80] + [rng.randrange(256) for _ in range(24 if divisor < 50 else 2)]


@cocotb.test()
@cocotb.parametrize(divisor=DIVISORS, error=ERRORS)
async def receives(dut, divisor, error):
    rx, sink = getattr(dut, f"rx_{divisor}"), Sink(dut, f"o_{divisor}", stalls="ready")
    rx.value = 1
    await reset_dut(dut)
    rng = rng_for("line")
    sent = some_bytes(rng, divisor)
    for byte in sent:
        await Timer(rng.randrange(1, PERIOD * 1000), "ps")      # any phase, next to no idle time
        await drive(rx, byte, bit_ps(divisor, error))
    assert await sink.receive(len(sent)) == sent
    await wait(dut, 12 * divisor)
    assert not sink.items


@cocotb.test()
@cocotb.parametrize(divisor=DIVISORS, error=ERRORS)
async def sends(dut, divisor, error):
    source, tx = Source(dut, f"i_{divisor}", stalls="none"), getattr(dut, f"tx_{divisor}")
    await reset_dut(dut)
    sent = some_bytes(rng_for("bytes"), divisor)
    assert int(tx.value) == 1
    cocotb.start_soon(source.send(sent))
    bit = bit_ps(divisor, error)
    assert [await listen(tx, bit) for _ in sent] == sent
    assert {b - a for a, b in zip(source.times, source.times[1:], strict=False)} == {10 * divisor + 1}


@cocotb.test()
@cocotb.parametrize(divisor=DIVISORS)
async def drops_what_is_no_byte(dut, divisor):
    rx, sink = getattr(dut, f"rx_{divisor}"), Sink(dut, f"o_{divisor}")
    rx.value = 1
    await reset_dut(dut)
    bit = bit_ps(divisor, 0)
    await drive(rx, 0x12, bit, stop=0)
    await Timer(bit, "ps")
    rx.value = 0
    await Timer(30 * bit, "ps")         # a break
    rx.value = 1
    await Timer(bit, "ps")
    rx.value = 0
    await Timer(bit // 4, "ps")         # a glitch
    rx.value = 1
    await Timer(12 * bit, "ps")
    await drive(rx, 0x34, bit)
    assert await sink.receive(1) == [0x34]


@cocotb.test()
@cocotb.parametrize(divisor=DIVISORS)
async def has_its_delay(dut, divisor):
    rx, valid = getattr(dut, f"rx_{divisor}"), getattr(dut, f"o_{divisor}__valid")
    rx.value = 1
    await reset_dut(dut)
    await wait(dut, 5)
    begun = cycle()
    cocotb.start_soon(drive(rx, 0xA5, bit_ps(divisor, 0)))
    while not int(valid.value):
        await RisingEdge(dut.clk)
    assert cycle() - begun == UartReceiver(divisor).delay


@cocotb.test()
async def keeps_what_fits(dut):
    divisor = DIVISORS[0]
    rx, valid, ready = (getattr(dut, f"{x}_{divisor}{y}") for x, y in (("rx", ""), ("o", "__valid"), ("o", "__ready")))
    rx.value = 1
    ready.value = 0
    await reset_dut(dut)
    for byte in range(FIFO_DEPTH + 4):
        await drive(rx, byte, bit_ps(divisor, 0))
    await wait(dut, 4)
    assert int(valid.value)
    sink = Sink(dut, f"o_{divisor}")
    assert await sink.receive(FIFO_DEPTH) == list(range(FIFO_DEPTH))
    await wait(dut, 4)
    assert not sink.items
    await drive(rx, 0x77, bit_ps(divisor, 0))
    assert await sink.receive(1) == [0x77]
