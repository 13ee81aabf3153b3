"""The whole accelerator behind a byte stream, and behind a UART."""

from amaranth.hdl import DomainRenamer, Module, ResetInserter
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tidegate.spec.design import Design

from .cell import trace_signature
from .core import Core
from .link import TIMEOUT, Link
from .uart import UartReceiver, UartTransmitter


class Top(wiring.Component):
    """Core and link.

        rx ─► link ─► tx
              ▲ ▼
              core ─► trace

    Parameters
    ----------
    design : Design
    digest : bytes
        First 16 bytes of the RTL's digest, for IDENTIFY.
    timeout : int
        Cycles that the core may take for a request, or from one result to the next, before it is reset.
    core_domain, cell_domain : str
        Clock domains with the same clock; a simulator may stop them while ``core_busy`` and ``cell_busy`` are low.

    Members
    -------
    rx, tx : streams of unsigned(8), in and out
        Packets of ``tidegate.spec.packets``.
    trace : ``trace_signature(design)``, out
        What the cells compute, for verification.
    core_busy, cell_busy : 1, out
        The core, and in it snapshot and cell, have something to do in this cycle.
    """

    def __init__(self, design: Design, digest: bytes, timeout: int = TIMEOUT, core_domain: str = "sync",
                 cell_domain: str = "sync"):
        self.design, self.digest, self.timeout = design, digest, timeout
        self.core_domain, self.cell_domain = core_domain, cell_domain
        super().__init__({
            "rx": In(stream.Signature(8)),
            "tx": Out(stream.Signature(8)),
            "trace": Out(trace_signature(design)),
            "core_busy": Out(1), "cell_busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = Link(self.design, self.digest, self.timeout)
        core = Core(self.design, self.cell_domain)
        resets = {self.core_domain: link.core_reset, self.cell_domain: link.core_reset}
        m.submodules.core = ResetInserter(resets)(DomainRenamer(self.core_domain)(core))

        connect(m, flipped(self.rx), link.rx)
        connect(m, link.tx, flipped(self.tx))
        connect(m, link.weight_w, core.weight_w)
        connect(m, link.frame, core.frame)
        connect(m, core.logit, link.logit)
        connect(m, core.result, link.result)
        connect(m, core.trace, flipped(self.trace))
        m.d.comb += [
            core.registers.eq(link.registers), core.clear.eq(link.clear),
            link.ready.eq(core.ready), link.frames.eq(core.frames),
            self.core_busy.eq(~core.ready | core.frame.valid | core.clear | core.weight_w.en | link.core_reset),
            self.cell_busy.eq(core.cell_busy | link.core_reset),
        ]
        return m


class UartTop(wiring.Component):
    """``Top`` for a board: its byte streams are the pins of a UART, 8N1.

    Parameters
    ----------
    design, digest
        As for ``Top``.
    divisor : int
        Clock cycles per bit, at least 4.

    Members
    -------
    rx, tx : 1, in and out
        Idle high; ``rx`` may be asynchronous.
    """

    def __init__(self, design: Design, digest: bytes, divisor: int):
        self.design, self.digest, self.divisor = design, digest, divisor
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.top = top = Top(self.design, self.digest)
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        connect(m, receiver.o, top.rx)
        connect(m, top.tx, transmitter.i)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        return m
