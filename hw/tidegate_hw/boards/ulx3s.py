"""ULX3S with an ECP5-85F: 128 lanes, UART over the FTDI."""

from amaranth.hdl import ClockSignal, Instance, Module, Signal
from amaranth.lib import io
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from tidegate.spec.design import Design

from ..top import UartTop
from . import PLACES, PREPARE, BoardTop, Clock, Target, detections
from .floorplan import floorplan

# a frame is few words, but wide: it would take four block memories, and wait for them
SHALLOW = 'setattr -set ram_style "distributed" m:*link.frame.ram\n'


WORDS = detections("0+ 1+ 2+ 3+ 4+ 5+ 6+ 7+ 8+ 9+ 10+", ("gpio", 0), IO_TYPE="LVCMOS33", DRIVE="4")
LIGHTS = (("led", 2), ("led", 3), ("led", 4), ("led", 5), ("led", 6))


class PLL(Clock):
    """25 MHz to ``frequency``, which divides 600 MHz and is a multiple of 25 MHz."""

    def __init__(self, frequency: int):
        super().__init__()
        self.frequency = frequency

    def elaborate(self, platform):
        m = Module()
        divider, multiple = 600_000_000 // self.frequency, self.frequency // 25_000_000
        assert divider * self.frequency == 600_000_000 and multiple * 25_000_000 == self.frequency
        m.submodules.pin = pin = io.Buffer("i", platform.request("clk25", dir="-"))
        output = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL", a_FREQUENCY_PIN_CLKI="25", a_FREQUENCY_PIN_CLKOP=str(self.frequency // 1_000_000),
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8",
            p_CLKI_DIV=1, p_CLKFB_DIV=multiple, p_CLKOP_DIV=divider, p_CLKOP_CPHASE=divider // 2 - 1,
            p_CLKOP_FPHASE=0, p_CLKOP_ENABLE="ENABLED", p_FEEDBK_PATH="CLKOP", p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            i_CLKI=pin.i, i_CLKFB=output, i_RST=0, i_STDBY=0, i_PHASESEL0=0,
            i_PHASESEL1=0, i_PHASEDIR=1, i_PHASESTEP=1, i_PHASELOADREG=1, i_PLLWAKESYNC=0, i_ENCLKOP=0,
            o_CLKOP=output, o_LOCK=self.locked)
        m.d.comb += ClockSignal().eq(output)
        return m


class ULX3S(Target):
    family, suffix = "ecp5", "bit"
    seed = 1
    cells = ("ecp5/cells_sim.v",)
    words = len(WORDS) - 1

    def files(self, core: UartTop) -> dict[str, str | bytes]:
        platform = ULX3S_85F_Platform()
        platform.add_resources(WORDS)
        words = [[("word", k), *LIGHTS[k : k + 1]] for k in range(len(core.words))]
        top = BoardTop(core, PLL(self.spec.clock), (("led", 0), ("led", 1), ("led", 7)), words, ("strobe", 0))
        return self._plan(platform, top, "", PREPARE + SHALLOW, f"script {PLACES}\n")

    def places(self, design: Design) -> str:
        commands = ""
        for name, kind, site in floorplan(design):
            cell = f"c:{name} t:{kind} %i"
            commands += f'select -assert-count 1 {cell}\nsetattr -set BEL "{site}" {cell}\n'
        return commands

    def place_and_route(self) -> tuple[str, ...]:
        return ("--85k", "--package", "CABGA381", "--speed", "6", "--lpf", "top.lpf",
                "--textcfg", "top.config")

    def pack(self, bitstream: str) -> tuple[str, ...]:
        return ("yowasp-ecppack", "--compress", "--input", "top.config", "--bit", bitstream)
