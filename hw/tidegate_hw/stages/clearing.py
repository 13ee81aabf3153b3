"""Clearing: brings a core back to the state before its first frame."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Clearing(wiring.Component):
    """Starts the clear of all memories, and then the adding of the bias columns.

        clear ─► start ─► (until not busy) ─► bias ─► (until not playing) ─► runs

    Members
    -------
    clear : strobe, while ``run`` is high: begin.
    busy : in the cycle before, a part was still being cleared; valid from the second cycle after ``start`` on.
    playing : in the cycle before, the bias columns were still being added; valid from the second after ``bias`` on.
    start : strobe: every part is to clear itself.
    bias : strobe: the scheduler is to add the bias columns.
    run : no clear is under way.

    Latency: as long as ``busy`` and ``playing`` last.
    """

    def __init__(self):
        super().__init__({"clear": In(1), "busy": In(1), "playing": In(1), "start": Out(1), "bias": Out(1),
                          "run": Out(1)})

    def elaborate(self, platform):
        m = Module()
        with m.FSM():
            with m.State("RUN"):
                m.d.comb += self.run.eq(1)
                with m.If(self.clear):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += self.start.eq(1)
                m.next = "CLEAR"
            with m.State("CLEAR"):
                with m.If(~self.busy):
                    m.d.comb += self.bias.eq(1)
                    m.next = "PLAY BIAS"
            with m.State("PLAY BIAS"):
                with m.If(~self.playing):
                    m.next = "RUN"
        return m
