"""The whole accelerator behind a byte stream, and behind a UART."""

from amaranth.hdl import Cat, DomainRenamer, Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tidegate.spec.design import Design

from .core import Core
from .link.link import TIMEOUT, Link
from .link.uart import UartReceiver, UartTransmitter
from .records.trace import trace_signature

SETTLE = 15     # cycles that the core's clock runs on after the link's last wish, so that copied registers arrive


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
        Clock domains of the core, and in it of the handover: the link's, or ones with the same clock that
        stands still now and then.

    Members
    -------
    rx, tx : streams of unsigned(8), in and out
        Packets of ``tidegate.spec.packets``.
    core_active : 1, out
        While it is low, a clock of the core may stand still: the core had no request for SETTLE cycles.
    cell_active : 1, out
        While it is low, a clock of the handover may stand still: it has nothing to do.
    decision, heard : range(design.classes + 1), out
        See ``StopUnit``: what the last frame has decided, and what is being heard.
    trace : ``trace_signature(design)``, out
        What the cells compute, for verification.
    """

    def __init__(self, design: Design, digest: bytes, timeout: int = TIMEOUT, core_domain: str = "sync",
                 cell_domain: str = "sync"):
        self.design, self.digest, self.timeout = design, digest, timeout
        self.core_domain, self.cell_domain = core_domain, cell_domain
        super().__init__({
            "rx": In(stream.Signature(8)),
            "tx": Out(stream.Signature(8)),
            "core_active": Out(1), "cell_active": Out(1),
            "decision": Out(range(design.classes + 1)), "heard": Out(range(design.classes + 1)),
            "trace": Out(trace_signature(design)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = Link(self.design, self.digest, self.timeout)
        core = Core(self.design, self.cell_domain)
        registers, reset = link.registers, link.core_reset
        if self.core_domain != "sync":
            # the registers are stable while the core is at work; with copies, its logic hangs on its own clock
            registers, reset = Signal.like(registers), Signal.like(reset)
            m.d[self.core_domain] += [registers.eq(link.registers), reset.eq(link.core_reset)]
        resets = {"sync": reset, self.cell_domain: reset}
        m.submodules.core = DomainRenamer(self.core_domain)(ResetInserter(resets)(core))

        connect(m, flipped(self.rx), link.rx)
        connect(m, link.tx, flipped(self.tx))
        connect(m, link.weight_w, core.weight_w)
        connect(m, link.frame, core.frame)
        connect(m, core.logit, link.logit)
        connect(m, core.result, link.result)
        connect(m, core.trace, flipped(self.trace))
        m.d.comb += [
            core.registers.eq(registers), core.clear.eq(link.clear),
            link.ready.eq(core.ready), link.frames.eq(core.frames), link.decision.eq(core.decision),
            link.ended.eq(core.ended), self.decision.eq(core.decision), self.heard.eq(core.heard),
        ]

        settled = Signal(range(SETTLE + 1))
        m.d.comb += [self.core_active.eq(settled != SETTLE), self.cell_active.eq(core.cell_active | reset)]
        with m.If(link.active):
            m.d.sync += settled.eq(0)
        with m.Elif(self.core_active):
            m.d.sync += settled.eq(settled + 1)
        return m


class UartTop(wiring.Component):
    """``Top`` for a board: its byte streams are the pins of a UART, 8N1.

    Parameters
    ----------
    design, digest
        As for ``Top``.
    divisor : int
        Clock cycles per bit, at least 4.
    words : int
        Classes that have an output.

    Members
    -------
    rx, tx : 1, in and out
        Idle high; ``rx`` may be asynchronous.
    active : 1, out
        The core is at work.
    words : unsigned(words), out
        A bit for each of the first classes: it is heard, see ``StopUnit``.
    strobe : 1, out
        The last frame has decided.
    held : 1, in
        Holds everything in reset; high until the clock is stable.
    """

    def __init__(self, design: Design, digest: bytes, divisor: int, words: int = 0):
        self.design, self.digest, self.divisor = design, digest, divisor
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "active": Out(1), "words": Out(words),
                          "strobe": Out(1), "held": In(1)})

    def elaborate(self, platform):
        m = Module()
        top, hold = Top(self.design, self.digest), ResetInserter(self.held)
        receiver, transmitter = UartReceiver(self.divisor), UartTransmitter(self.divisor)
        m.submodules.top, m.submodules.receiver, m.submodules.transmitter = map(hold, (top, receiver, transmitter))
        connect(m, receiver.o, top.rx)
        connect(m, top.tx, transmitter.i)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx), self.active.eq(top.core_active),
                     self.words.eq(Cat(top.heard == 1 + k for k in range(len(self.words)))),
                     self.strobe.eq(top.decision != 0)]
        return m
