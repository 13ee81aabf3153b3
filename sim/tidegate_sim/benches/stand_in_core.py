"""The link with a stand-in for the core, which is quick, predictable, and hangs on demand."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from tidegate.spec.design import Design
from tidegate_hw.link.link import Link
from tidegate_hw.records.job import weight_w_signature
from tidegate_hw.records.registers import registers_layout
from tidegate_hw.records.results import result_layout

HANG = 0x1FFF
HANG_FRAME = 1      # counted from 0: when it hangs, a frame before has had its result


class StandInCore(wiring.Component):
    """Mixes the features of a frame into a state, of which logits and results are functions.

        state <- 3 state + feature      for every feature of every group, padding included (mod 2**24)

    It takes up to four frames ahead, and pauses at random before it takes one, gives its logits, and gives its result.

    In early mode a frame whose state is a multiple of 4 decides; without ``stream`` what comes after it until a clear
    is dropped.

    THETA0 = HANG: from frame HANG_FRAME since a clear on it takes none.  THETA1: of those it gives no logit.  THETA2:
    it is never ready after a frame.  THETA3: nor after a clear.  THETA4: it offers a logit too many.
    ``cycles`` = groups of the frame + CLASSES.
    """

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "registers": In(registers_layout(design)),
            "frame": In(stream.Signature(data.ArrayLayout(signed(12), design.encoder_rate))),
            "logit": Out(stream.Signature(signed(24))),
            "result": Out(stream.Signature(result_layout(design))),
            "frames": Out(32), "decision": Out(range(design.classes + 1)), "ended": Out(1),
            "clear": In(1),
            "ready": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        rate, regs = self.design.encoder_rate, self.registers
        # takes frames: their states queue
        m.submodules.taken = taken = SyncFIFOBuffered(width=24 + 16, depth=4)
        random, pause = Signal(16, init=1), Signal()
        m.d.sync += random.eq(random >> 1 ^ random[0].replicate(16) & 0xB400)
        m.d.comb += pause.eq(random[:2] != 0)
        group, state, frames_in = Signal(16), Signal(24), Signal(32)
        mixed = state
        for k in range(rate):
            mixed = (3 * mixed + self.frame.payload[k])[:24]
        hung = Signal()
        m.d.comb += [
            hung.eq((regs.THETA0 == HANG) & (frames_in >= HANG_FRAME) & ~self.ended),
            self.frame.ready.eq(taken.w_rdy & ~hung & ~((group == 0) & pause)),
            taken.w_data.eq((group + 1) << 24 | mixed),
        ]
        with m.If(self.frame.valid & self.frame.ready):
            m.d.sync += [state.eq(mixed), group.eq(group + 1)]
            with m.If((group + 1) * rate >= regs.FEATURES):
                m.d.comb += taken.w_en.eq(1)
                m.d.sync += [group.eq(0), frames_in.eq(frames_in + 1)]

        # gives the logits and results of the oldest
        index, number, oldest, groups = Signal(16), Signal(32), Signal(24), Signal(16)
        m.d.comb += [
            self.logit.payload.eq((oldest + 0x654321 * index)[:24].as_signed()),
            self.result.p.frames.eq(number), self.result.p.cycles.eq(groups + regs.CLASSES),
            self.result.p.weight_words.eq(~oldest),
            *(self.result.p.events[s].eq(oldest >> s) for s in range(5)), self.result.p.decision.eq(self.decision),
        ]
        _, early, streaming = regs.MODE
        with m.FSM() as fsm:
            m.d.comb += self.ready.eq(fsm.ongoing("WAIT") & (frames_in == number) & (group == 0))
            with m.State("WAIT"):
                m.d.sync += [index.eq(0), oldest.eq(taken.r_data), groups.eq(taken.r_data >> 24)]
                with m.If(self.clear):
                    m.d.sync += [frames_in.eq(0), number.eq(0), state.eq(0), self.decision.eq(0), self.ended.eq(0)]
                    m.next = "CLEAR"
                with m.Elif(taken.r_rdy & ~pause):
                    m.d.comb += taken.r_en.eq(1)
                    m.next = "GIVE LOGITS"
                    with m.If(self.ended):
                        m.d.sync += [number.eq(number + 1), self.frames.eq(number + 1)]
                        m.next = "WAIT"
            with m.State("CLEAR"):
                m.d.sync += [self.frames.eq(0), index.eq(index + 1)]
                with m.If((index == 9) & (regs.THETA3 != HANG)):
                    m.next = "WAIT"
            with m.State("GIVE LOGITS"):
                m.d.comb += self.logit.valid.eq((regs.THETA1 != HANG) | (number < HANG_FRAME))
                with m.If(self.logit.valid & self.logit.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index + 1 == Mux(regs.THETA4 == HANG, regs.CLASSES + 1, regs.CLASSES)):
                        m.next = "COUNT"
            with m.State("COUNT"):
                decides = early & (oldest[:2] == 0)
                m.d.sync += [
                    self.frames.eq(number + 1), self.decision.eq(Mux(decides, 1 + oldest[2], 0)),
                    self.ended.eq(decides & ~streaming),
                ]
                with m.If(~pause):
                    m.next = "GIVE RESULT"
            with m.State("GIVE RESULT"):
                m.d.comb += self.result.valid.eq(1)
                with m.If(self.result.ready):
                    m.d.sync += number.eq(number + 1)
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
        connect(m, core.result, link.result)
        m.d.comb += [core.registers.eq(link.registers), core.clear.eq(link.clear), link.ready.eq(core.ready),
                     link.frames.eq(core.frames), link.decision.eq(core.decision), link.ended.eq(core.ended)]
        m.d.sync += [self.clears.eq(self.clears + link.clear), self.resets.eq(self.resets + link.core_reset)]
        return m
