"""What the virtual board simulates: the top level between registers, so that it can be simulated fast."""

# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# (Amaranth's members are made at run time)

import hashlib
from functools import cache

from amaranth.hdl import ClockDomain, ClockSignal, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tidegate.spec.design import Design
from tidegate_hw.cell import trace_signature
from tidegate_hw.top import Top
from tidegate_hw.verilog import rtl_digest, rtlil_text, verilog


class Harness(wiring.Component):
    """``Top`` without a reset and with a register for received bytes.

    No input but the clock reaches any logic directly, so that a simulator evaluates the design once per cycle and
    not after every change of an input.

    Members
    -------
    clk : the clock; registers start from their initial values.
    core_clk : the core's clock: rises with ``clk`` when ``core_active`` was high before.  An idle core then costs no
        time, and it computes the same.
    rx_valid, rx_byte : a byte for the design, taken at the next rising edge if ``rx_take``.
    tx_valid, tx_byte : a byte from the design, in this cycle only.
    trace : ``trace_signature(design)``.
    """

    def __init__(self, design: Design, digest: bytes):
        self.design, self.digest = design, digest
        super().__init__({
            "clk": In(1), "core_clk": In(1), "core_active": Out(1),
            "rx_valid": In(1), "rx_byte": In(8), "rx_take": Out(1),
            "tx_valid": Out(1), "tx_byte": Out(8), "trace": Out(trace_signature(design)),
        })

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        m.domains.core = ClockDomain(reset_less=True)
        m.submodules.top = top = Top(self.design, self.digest, core_domain="core")
        valid, byte = Signal(), Signal(8)
        connect(m, top.trace, flipped(self.trace))
        m.d.comb += [
            ClockSignal().eq(self.clk), ClockSignal("core").eq(self.core_clk), self.core_active.eq(top.core_active),
            top.rx.valid.eq(valid), top.rx.payload.eq(byte), self.rx_take.eq(~valid | top.rx.ready),
            self.tx_valid.eq(top.tx.valid), self.tx_byte.eq(top.tx.payload), top.tx.ready.eq(1),
        ]
        with m.If(self.rx_take):
            m.d.sync += [valid.eq(self.rx_valid), byte.eq(self.rx_byte)]
        return m


@cache
def digest(design: Design) -> bytes:
    """The digest that a board of this design answers IDENTIFY with."""
    return rtl_digest(lambda digest: Top(design, digest))


def harness_digest(design: Design) -> bytes:
    """Names the hardware of module ``board``, the harness's part included."""
    return hashlib.sha256(rtlil_text(Harness(design, digest(design)), "board").encode()).digest()


def harness_verilog(design: Design) -> str:
    """Verilog of module ``board``."""
    return verilog(Harness(design, digest(design)), "board")
