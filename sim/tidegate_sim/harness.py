"""What the simulators simulate: the top level, or the core alone, between registers, so that it can be simulated fast.

No input but the clock reaches any logic directly, so that a simulator evaluates the design once per cycle and
not after every change of an input.
"""

# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# (Amaranth's members are made at run time)

from functools import cache

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tidegate.spec.design import Design
from tidegate.spec.formats import WEIGHT_BITS
from tidegate_hw.core import Core
from tidegate_hw.records.registers import REGISTERS_LAYOUT, registers_layout
from tidegate_hw.records.results import result_layout
from tidegate_hw.records.trace import trace_signature
from tidegate_hw.top import Top
from tidegate_hw.verilog import rtl_digest, rtlil_text


class Harness(wiring.Component):
    """``Top`` without a reset and with a register for received bytes.

    Members
    -------
    clk : the clock; registers start from their initial values.
    core_clk, cell_clk : rise with ``clk`` if ``core_active``, and ``cell_active``, are high.  What is idle then
        costs no time, and all compute the same.
    rx_valid, rx_byte : a byte for the design, taken at the next rising edge if ``rx_take``.
    tx_valid, tx_byte : a byte from the design, in this cycle only.
    trace : ``trace_signature(design)``.
    """

    def __init__(self, design: Design, digest: bytes):
        self.design, self.digest = design, digest
        super().__init__({
            "clk": In(1), "core_clk": In(1), "cell_clk": In(1), "core_active": Out(1), "cell_active": Out(1),
            "rx_valid": In(1), "rx_byte": In(8), "rx_take": Out(1),
            "tx_valid": Out(1), "tx_byte": Out(8), "trace": Out(trace_signature(design)),
        })

    def elaborate(self, platform):
        m = Module()
        m.domains += [ClockDomain(name, reset_less=True) for name in ("sync", "core", "cell")]
        m.submodules.top = top = Top(self.design, self.digest, core_domain="core", cell_domain="cell")
        valid, byte = Signal(), Signal(8)
        connect(m, top.trace, flipped(self.trace))
        m.d.comb += [
            ClockSignal().eq(self.clk), ClockSignal("core").eq(self.core_clk), ClockSignal("cell").eq(self.cell_clk),
            self.core_active.eq(top.core_active), self.cell_active.eq(top.cell_active),
            top.rx.valid.eq(valid), top.rx.payload.eq(byte), self.rx_take.eq(~valid | top.rx.ready),
            self.tx_valid.eq(top.tx.valid), self.tx_byte.eq(top.tx.payload), top.tx.ready.eq(1),
        ]
        with m.If(self.rx_take):
            m.d.sync += [valid.eq(self.rx_valid), byte.eq(self.rx_byte)]
        return m


class CoreTop(wiring.Component):
    """``Top`` as synthesis shall see it out of a board's context: one clock, and a register for received bytes.

    Members
    -------
    clk : the clock; registers start from their initial values.
    rx_valid, rx_byte : a byte for the design, taken at the next rising edge if ``rx_take``.
    tx_valid, tx_byte : a byte from the design, in this cycle only.
    """

    def __init__(self, design: Design, digest: bytes):
        self.design, self.digest = design, digest
        super().__init__({"clk": In(1), "rx_valid": In(1), "rx_byte": In(8), "rx_take": Out(1),
                          "tx_valid": Out(1), "tx_byte": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        m.submodules.top = top = Top(self.design, self.digest)
        valid, byte = Signal(), Signal(8)
        m.d.comb += [
            ClockSignal().eq(self.clk),
            top.rx.valid.eq(valid), top.rx.payload.eq(byte), self.rx_take.eq(~valid | top.rx.ready),
            self.tx_valid.eq(top.tx.valid), self.tx_byte.eq(top.tx.payload), top.tx.ready.eq(1),
        ]
        with m.If(self.rx_take):
            m.d.sync += [valid.eq(self.rx_valid), byte.eq(self.rx_byte)]
        return m


class CoreHarness(wiring.Component):
    """``Core`` without a reset; a register before each input takes one transfer a cycle.

    Members
    -------
    clk, core_clk, core_active, cell_clk, cell_active : see ``Harness``; registers start from their initial values.
    registers_w, registers : strobe that writes all registers of the core.
    weight_w_en, weight_w_word, weight_w_lane, weight_w_data : writes a weight.
    clear : strobe.
    frame_valid, frame : encoder_rate features of 16 bits, taken at the next rising edge if ``frame_take``.
    frame_moves : in this cycle a group of features goes from the register into the core.
    logit_ready, result_ready : what the core sees in the next cycle.
    logit_moves, logit : a logit leaves the core in this cycle.
    result_valid, result_moves, result : a result is there, and leaves in this cycle.
    ready : the core is idle and nothing waits in the registers.
    trace : ``trace_signature(design)``.
    """

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "clk": In(1), "core_clk": In(1), "cell_clk": In(1), "core_active": Out(1), "cell_active": Out(1),
            "registers_w": In(1), "registers": In(REGISTERS_LAYOUT),
            "weight_w_en": In(1), "weight_w_word": In(32), "weight_w_lane": In(32), "weight_w_data": In(WEIGHT_BITS),
            "clear": In(1), "frame_valid": In(1), "frame": In(data.ArrayLayout(16, design.encoder_rate)),
            "frame_take": Out(1), "frame_moves": Out(1), "logit_ready": In(1), "logit_moves": Out(1),
            "logit": Out(signed(32)), "result_ready": In(1), "result_valid": Out(1), "result_moves": Out(1),
            "result": Out(result_layout(design)), "ready": Out(1), "trace": Out(trace_signature(design)),
        })

    def elaborate(self, platform):
        m = Module()
        m.domains += [ClockDomain(name, reset_less=True) for name in ("sync", "core", "cell")]
        core = Core(self.design, cell_domain="cell")
        m.submodules.core = DomainRenamer("core")(core)
        connect(m, core.trace, flipped(self.trace))
        weight, frame, logit, result = core.weight_w, core.frame, core.logit, core.result
        for target, source in ((weight.en, self.weight_w_en), (weight.word, self.weight_w_word),
                               (weight.lane, self.weight_w_lane), (weight.data, self.weight_w_data),
                               (core.clear, self.clear), (logit.ready, self.logit_ready),
                               (result.ready, self.result_ready)):
            register = Signal.like(target)
            m.d.sync += register.eq(source)
            m.d.comb += target.eq(register)
        registers, valid, group = Signal(registers_layout(self.design)), Signal(), Signal.like(frame.p)
        m.d.comb += [
            ClockSignal().eq(self.clk), ClockSignal("core").eq(self.core_clk), ClockSignal("cell").eq(self.cell_clk),
            self.core_active.eq(1), self.cell_active.eq(core.cell_active),
            core.registers.eq(registers),
            frame.valid.eq(valid), frame.p.eq(group),
            self.frame_take.eq(~valid | frame.ready), self.frame_moves.eq(valid & frame.ready),
            self.logit_moves.eq(logit.valid & logit.ready), self.logit.eq(logit.p),
            self.result_valid.eq(result.valid), self.result_moves.eq(result.valid & result.ready),
            self.result.eq(result.p), self.ready.eq(core.ready & ~core.clear & ~weight.en & ~valid),
        ]
        with m.If(self.registers_w):
            m.d.sync += [registers[name].eq(self.registers[name]) for name, _ in registers_layout(self.design)]
        with m.If(self.frame_take):
            m.d.sync += valid.eq(self.frame_valid)
            m.d.sync += [group[k].eq(self.frame[k]) for k in range(self.design.encoder_rate)]
        return m


@cache
def digest(design: Design) -> bytes:
    """The digest that a board of this design answers IDENTIFY with."""
    return rtl_digest(lambda digest: Top(design, digest))


def harness_rtlil(design: Design) -> str:
    """RTLIL of module ``board``."""
    return rtlil_text(Harness(design, digest(design)), "board")


def core_rtlil(design: Design) -> str:
    """RTLIL of module ``core``."""
    return rtlil_text(CoreHarness(design), "core")
