"""iCEBreaker: iCE40UP5K, weights in its four single-port memories, UART over the second channel of the FTDI."""

from amaranth.hdl import ClockSignal, Instance, Module
from amaranth_boards.icebreaker import ICEBreakerPlatform

from ..top import UartTop
from . import PREPARE, BoardTop, Clock, Target, detections

WORDS = detections("1 2 3 4 7 8 9 10", ("pmod", 0), IO_STANDARD="SB_LVCMOS")
LIGHTS = (("led_r", 1), ("led_g", 1), ("led_g", 2), ("led_g", 3), ("led_g", 4))


class PLL(Clock):
    """12 MHz to 24 MHz: 12 · 64 = 768 MHz, divided by 2**5."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.pll = Instance(
            "SB_PLL40_PAD", p_FEEDBACK_PATH="SIMPLE", p_DIVR=0, p_DIVF=63, p_DIVQ=5, p_FILTER_RANGE=1,
            i_PACKAGEPIN=platform.request("clk12", dir="-").io, i_RESETB=1, i_BYPASS=0,
            o_PLLOUTGLOBAL=ClockSignal(), o_LOCK=self.locked)
        return m


class ICEBreaker(Target):
    family, suffix = "ice40", "bin"
    cells = ("ice40/cells_sim.v",)
    words = len(WORDS) - 1

    def files(self, core: UartTop) -> dict[str, str | bytes]:
        platform = ICEBreakerPlatform()
        platform.add_resources([*platform.break_off_pmod, *WORDS])
        words = [[("word", k), *LIGHTS[k : k + 1]] for k in range(len(core.words))]
        top = BoardTop(core, PLL(), (("led_g", 0), ("led_r", 0)), words, ("strobe", 0))
        # eight flip-flops share an enable: in so full a device fewer enables are worth more than a few LUTs
        return self._plan(platform, top, "-dsp -spram -device u -dffe_min_ce_use 8", PREPARE)

    def place_and_route(self) -> tuple[str, ...]:
        return ("--up5k", "--package", "sg48", "--pcf", "top.pcf", "--asc", "top.asc")

    def pack(self, bitstream: str) -> tuple[str, ...]:
        return ("yowasp-icepack", "top.asc", bitstream)
