"""The link with a stand-in for the core, which is quick, predictable, and hangs on demand."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tidegate.spec.design import Design
from tidegate_hw.core import COUNTERS_LAYOUT
from tidegate_hw.lanes import weight_w_signature
from tidegate_hw.link import Link
from tidegate_hw.registers import REGISTERS_LAYOUT

HANG = 0x1FFF


class StandInCore(wiring.Component):
    """Mixes the features of a frame into a state, of which logits and counters are functions.

        state <- 3 state + feature      for every feature of every group, padding included (mod 2**24)

    THETA0 = HANG: takes no frame.  THETA1: gives no logit.  THETA2: is never ready after a frame.  THETA3: nor
    after a clear.  THETA4: gives a logit too many.  ``cycles`` counts from the first group to the last logit.
    """

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "registers": In(REGISTERS_LAYOUT),
            "frame": In(stream.Signature(data.ArrayLayout(signed(12), design.encoder_rate))),
            "logit": Out(stream.Signature(signed(24))),
            "counters": Out(COUNTERS_LAYOUT),
            "clear": In(1),
            "ready": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        rate, regs = self.design.encoder_rate, self.registers
        state, index, frames, cycles = Signal(24), Signal(16), Signal(32), Signal(32)
        mixed = state
        for k in range(rate):
            mixed = (3 * mixed + self.frame.payload[k])[:24]
        m.d.sync += cycles.eq(cycles + 1)
        m.d.comb += self.logit.payload.eq((state + 0x654321 * index)[:24].as_signed())
        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += self.ready.eq(1)
                m.d.sync += [index.eq(0), cycles.eq(0)]
                with m.If(self.clear):
                    m.d.sync += [frames.eq(0), state.eq(0)]
                    m.next = "CLEAR"
                with m.Elif(self.frame.valid & (regs.THETA0 != HANG)):
                    m.next = "TAKE"
            with m.State("CLEAR"):
                m.d.sync += [self.counters.frames.eq(0), index.eq(index + 1)]
                with m.If((index == 9) & (regs.THETA3 != HANG)):
                    m.next = "WAIT"
            with m.State("TAKE"):
                m.d.comb += self.frame.ready.eq(1)
                with m.If(self.frame.valid):
                    m.d.sync += [state.eq(mixed), index.eq(index + 1)]
                    with m.If((index + 1) * rate >= regs.FEATURES):
                        m.d.sync += index.eq(0)
                        m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.logit.valid.eq(regs.THETA1 != HANG)
                with m.If(self.logit.valid & self.logit.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index + 1 == Mux(regs.THETA4 == HANG, regs.CLASSES + 1, regs.CLASSES)):
                        m.d.sync += frames.eq(frames + 1)
                        m.next = "COUNT"
            with m.State("COUNT"):
                m.d.sync += [
                    self.counters.frames.eq(frames), self.counters.cycles.eq(cycles),
                    self.counters.weight_words.eq(~state),
                    *(self.counters.events[s].eq(state >> s) for s in range(5)),
                ]
                m.next = "END"
            with m.State("END"):
                with m.If(regs.THETA2 != HANG):
                    m.next = "WAIT"
        return m


class LinkWithCore(wiring.Component):
    """Link and stand-in, with what the link does to the core made visible."""

    def __init__(self, design: Design, digest: bytes, timeout: int):
        self.design = design
        self.link = Link(design, digest, timeout)
        super().__init__({
            "rx": In(stream.Signature(8)), "tx": Out(stream.Signature(8)),
            "weight_w": Out(weight_w_signature(design)),
            "clears": Out(16), "resets": Out(16),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = self.link
        core = StandInCore(self.design)
        m.submodules.core = ResetInserter(link.core_reset)(core)
        connect(m, flipped(self.rx), link.rx)
        connect(m, link.tx, flipped(self.tx))
        connect(m, link.weight_w, flipped(self.weight_w))
        connect(m, link.frame, core.frame)
        connect(m, core.logit, link.logit)
        m.d.comb += [
            core.registers.eq(link.registers), core.clear.eq(link.clear),
            link.ready.eq(core.ready), link.counters.eq(core.counters),
        ]
        m.d.sync += [self.clears.eq(self.clears + link.clear), self.resets.eq(self.resets + link.core_reset)]
        return m
