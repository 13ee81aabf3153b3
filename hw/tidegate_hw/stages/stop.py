"""Stop unit: has the network decided?"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS
from tidegate.spec.registers import BY_NAME
from tidegate.spec.stop import HOLD_MAX, SMOOTH_MAX, STOP_BITS, STOP_SHIFT

from .smoother import Smoother


class StopUnit(wiring.Component):
    """Applies the rule of ``tidegate.spec.stop`` to the logits of every frame.

    One pass over the smoothed logits y, which keeps no second best.  A logit above the best so far leads by its
    distance to that best.  Any other logit must stay below the best by more than the margin.  The
    release is compared in the same way.

        y > best:   best <- y, clear <- y − best > margin          (the first: clear)
        else:       clear <- clear and best − y > margin

    Parameters
    ----------
    design : Design

    Members
    -------
    logit : signed(24), in
    taken : 1, in
        Strobe: ``logit`` is the frame's next.
    done : 1, in
        Strobe: the frame has no further logit; comes with its last one, or alone.  The next frame's first logit comes
        at least ``delay`` cycles later.
    on : 1, in
        Off: no frame is decided.
    stream : 1, in
        After a decision the core goes on (``ended`` stays low).
    margin, release, hold, smooth, classes : unsigned, in
        As in ``tidegate.spec.stop.Stop``, in registers of these names; they change only while ``clear``.
    clear : 1, in
        Strobe, while no frame is under way: a reset.
    decision : range(design.classes + 1), out
        Class + 1 that the last frame decided, 0 if none.
    heard : range(design.classes + 1), out
        Class + 1 that was decided last.  It stays until the first frame that may decide again; from then on it is 0, or
        the class + 1 of a new decision.
    ended : 1, out
        There was a decision, and no ``stream``.
    busy : 1, out
        A reset goes on; no frame may come.

    Latency: ``delay`` cycles from ``done`` to ``decision``, ``heard`` and ``ended``.
    Throughput: a logit per cycle.
    """

    delay = Smoother.delay + 2

    def __init__(self, design: Design):
        self.design = design
        number = range(design.classes + 1)
        super().__init__({
            "logit": In(signed(ACC_BITS)), "taken": In(1), "done": In(1), "on": In(1), "stream": In(1),
            "margin": In(STOP_BITS), "release": In(STOP_BITS), "hold": In(range(HOLD_MAX + 1)),
            "smooth": In(range(SMOOTH_MAX + 1)), "classes": In(BY_NAME["STOP_CLASSES"].width(design)), "clear": In(1),
            "decision": Out(number), "heard": Out(number), "ended": Out(1), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.smoother = smoother = Smoother(self.design)
        m.d.comb += [
            smoother.v.eq(self.logit[STOP_SHIFT:].as_signed()), smoother.taken.eq(self.taken),
            smoother.done.eq(self.done), smoother.smooth.eq(self.smooth), smoother.clear.eq(self.clear),
            self.busy.eq(smoother.busy),
        ]
        best, first, best_number = Signal(signed(STOP_BITS)), Signal(init=1), Signal.like(smoother.number)
        behind, beats = Signal(signed(STOP_BITS + 1)), Signal()
        m.d.comb += [behind.eq(best - smoother.o), beats.eq(first | behind[-1])]
        with m.If(smoother.there):
            m.d.sync += first.eq(0)
            with m.If(beats):
                m.d.sync += [best.eq(smoother.o), best_number.eq(smoother.number)]
        with m.If(smoother.last):
            m.d.sync += first.eq(1)

        behind_q1, first_q1, there_q1, last_q1 = Signal.like(behind), Signal(), Signal(), Signal()
        m.d.sync += [
            behind_q1.eq(behind), first_q1.eq(first), there_q1.eq(smoother.there), last_q1.eq(smoother.last),
        ]
        # the lead is ``apart``, and one more if it beats the best
        led, apart = behind_q1[-1], Signal(STOP_BITS)
        m.d.comb += apart.eq(behind_q1[:-1] ^ led.replicate(STOP_BITS))

        def beyond(limit, name: str):
            """1 if the best logit of the frame so far leads by more than a limit."""
            # carries if the limit, and one more unless it beats, is more than ``apart``
            within = Signal(STOP_BITS + 2, name=f"within_{name}")
            kept, now = Signal(name=f"beyond_{name}"), Signal(name=f"beyond_{name}_now")
            m.d.comb += [
                within.eq(Cat(Const(1, 1), limit) + Cat(~led, ~apart)),
                now.eq(Mux(there_q1, first_q1 | (~within[-1] & (kept | led)), kept)),
            ]
            m.d.sync += kept.eq(now)
            return now

        clear, high = beyond(self.margin, "margin"), beyond(self.release, "release")
        risen, left = Signal.like(best_number), Signal.like(self.hold)
        some, other, decided = Signal(), Signal(), Signal()
        m.d.comb += [
            some.eq(clear & (best_number <= self.classes)), other.eq(best_number != risen),
            decided.eq(self.on & some & other & (left == 0)),
        ]
        with m.If(last_q1):
            m.d.sync += [self.decision.eq(Mux(decided, best_number, 0)), self.ended.eq(decided & ~self.stream)]
            with m.If(self.stream & some):
                m.d.sync += risen.eq(best_number)
            with m.Elif(~high | other):
                m.d.sync += risen.eq(0)
            with m.If(decided):
                m.d.sync += [left.eq(self.hold), self.heard.eq(best_number)]
            with m.Elif(left == 0):
                m.d.sync += self.heard.eq(0)
            with m.Else():
                m.d.sync += left.eq(left - 1)
        with m.If(self.clear):
            m.d.sync += [
                self.decision.eq(0), self.heard.eq(0), self.ended.eq(0), risen.eq(0),
                left.eq(Mux(self.stream, 0, self.hold)),
            ]
        return m
