"""Boards: resources, clocks and options of the tools; the core is the same on all of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from amaranth.build import Attrs, Pins, Platform, Resource
from amaranth.hdl import ClockDomain, Elaboratable, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer

from tidegate.spec.boards import BAUD, BoardSpec
from tidegate.spec.design import Design

from ..top import UartTop

# Registers of fan-out trees are kept apart, and no memory is read where it is written in the same cycle (which a port
# without a clock cannot say): vendors' memories need no logic around them then.  Weights need no contents, which
# single-port memories do not have.
PREPARE = """
delete t:$meminit_v2 r:MEMID=*weights* %i
hierarchy -top top
proc
flatten
setattr -set keep 1 a:keep=1 %ci t:$dff %i
setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i r:COLLISION_X_MASK=1'0 %i r:TRANSPARENCY_MASK=1'0 %i
"""
PLACES = "places.ys"        # what ``Target.places`` gives, for a board's script


class Target(ABC):
    """How a ``BoardSpec`` becomes a bitstream.

    ``family``: nextpnr's architecture.  ``suffix``: of the bitstream.  ``cells``: yosys' simulation models.
    ``seed``: of placement and routing, so that the same tools give the same bytes.  ``words``: that have a pin.
    """

    family: str
    suffix: str
    cells: tuple[str, ...]
    seed = 1
    words = 0

    def __init__(self, spec: BoardSpec):
        self.spec = spec

    def core(self, design: Design, digest: bytes) -> UartTop:
        """What is behind the pins."""
        return UartTop(design, digest, round(self.spec.clock / BAUD), self.words)

    @abstractmethod
    def files(self, core: UartTop) -> dict[str, str | bytes]:
        """Input files of the tools: ``top.il``, ``top.ys`` and constraints."""

    def places(self, design: Design) -> str:
        """Commands of yosys that give cells of the netlist their sites on the device."""
        return ""

    @abstractmethod
    def place_and_route(self) -> tuple[str, ...]:
        """Arguments of nextpnr that choose the device, and name its files."""

    @abstractmethod
    def pack(self, bitstream: str) -> tuple[str, ...]:
        """The command that makes the bitstream of nextpnr's output."""

    @staticmethod
    def _plan(platform: Platform, top: Elaboratable, synth_opts: str, prepare: str, after: str = "",
              ) -> dict[str, str | bytes]:
        plan = platform.prepare(top, "top", synth_opts=synth_opts, script_after_read=prepare,
                                script_after_synth=f"{after}write_verilog -noattr netlist.v", debug_verilog=False,
                                emit_src=False)
        return plan.files


class Clock(Elaboratable):
    """Makes the clock of ``sync``.  ``locked``: 1, asynchronous; it runs as it should."""

    def __init__(self):
        self.locked = Signal()


Pin = tuple[str, int]           # name and number of a board's resource


class BoardTop(Elaboratable):
    """The core between clock and pins: a UART, pins for words, and lights for the core at work, a byte that comes, and
    power.

    ``words``: the pins of each word, several if they show the same.  ``strobe``: high from a decision to the result of
    the next frame.
    """

    def __init__(self, core: UartTop, clock: Clock, lights: Sequence[Pin], words: Sequence[Sequence[Pin]],
                 strobe: Pin):
        self.core, self.clock, self.lights, self.words, self.strobe = core, clock, lights, words, strobe

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        m.submodules.clock, m.submodules.core = self.clock, self.core
        # what a clock did that was not yet one is forgotten
        unlocked = Signal(init=1)
        m.submodules.locked = FFSynchronizer(~self.clock.locked, unlocked, init=1)
        m.d.comb += self.core.held.eq(unlocked)
        pins = platform.lookup("uart", 0).ios
        uart = platform.request("uart", 0, dir={pin.name: "-" for pin in pins})
        m.submodules.rx, m.submodules.tx = rx, tx = io.Buffer("i", uart.rx), io.Buffer("o", uart.tx)
        m.d.comb += [self.core.rx.eq(rx.i), tx.o.eq(self.core.tx)]
        shown = [*zip(self.lights, (self.core.active, ~rx.i, 1), strict=False), (self.strobe, self.core.strobe)]
        for word, pins in zip(self.core.words, self.words, strict=True):
            shown += [(pin, word) for pin in pins]
        for k, (pin, value) in enumerate(shown):
            m.submodules[f"light{k}"] = buffer = io.Buffer("o", platform.request(*pin, dir="-"))
            m.d.comb += buffer.o.eq(value)
        return m


def detections(pins: str, connector: tuple[str, int], **attributes: str) -> list[Resource]:
    """Resources "strobe" and "word", 0 and so on, on the pins of a connector."""
    strobe, *words = pins.split()
    return [Resource("strobe", 0, Pins(strobe, dir="o", conn=connector), Attrs(**attributes)),
            *(Resource("word", k, Pins(pin, dir="o", conn=connector), Attrs(**attributes))
              for k, pin in enumerate(words))]
