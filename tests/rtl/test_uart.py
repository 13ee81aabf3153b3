"""UART: bytes survive the line at the sender's pace, and nothing else becomes a byte."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tidegate_hw.link.uart import UartReceiver, UartTransmitter
from tidegate_sim.runner import run_bench

BENCH = "tidegate_sim.benches.uart"
DIVISORS = (4, 7, 16, 104)


class Uarts(wiring.Component):
    """A receiver and a transmitter for each divisor; ``off`` is added to the divisor that they are built with."""

    def __init__(self, divisors: tuple[int, ...], off: int = 0):
        self.divisors, self.off = divisors, off
        members = {"rx": In(1), "tx": Out(1), "i": In(stream.Signature(8)), "o": Out(stream.Signature(8))}
        super().__init__({f"{name}_{d}": member for d in divisors for name, member in members.items()})

    def elaborate(self, platform):
        m = Module()
        for d in self.divisors:
            rx, tx, i, o = (getattr(self, f"{name}_{d}") for name in ("rx", "tx", "i", "o"))
            m.submodules[f"receiver_{d}"] = receiver = UartReceiver(d + self.off)
            m.submodules[f"transmitter_{d}"] = transmitter = UartTransmitter(d + self.off)
            m.d.comb += [receiver.rx.eq(rx), tx.eq(transmitter.tx)]
            connect(m, receiver.o, flipped(o))
            connect(m, flipped(i), transmitter.i)
        return m


def run(uarts: Uarts, name: str, **options) -> int:
    return run_bench(uarts, BENCH, name, env={"DIVISORS": " ".join(map(str, uarts.divisors))}, **options)


def test_bytes_survive_the_line():
    assert run(Uarts(DIVISORS), "uarts") == len(DIVISORS) * (3 + 3 + 1 + 1) + 1


def test_wrong_divisor_is_seen():
    with pytest.raises(AssertionError, match=r"failed: receives.*, sends.*, has_its_delay"):
        run(Uarts((16,), off=1), "uarts_with_fault")
