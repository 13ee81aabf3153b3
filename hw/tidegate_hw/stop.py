"""Stop unit: has the network decided?"""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS
from tidegate.spec.stop import HOLD_MAX, STOP_BITS, STOP_SHIFT


class Stop(wiring.Component):
    """Watches the logits of every frame and applies the rule of ``tidegate.spec.stop``.

    One pass, without the second best: a logit that beats the best so far leads by what it beats it by, one that does
    not must stay behind the best by more than the margin.

        v > best:   best <- v, clear <- v − best > margin          (the first: clear)
        else:       clear <- clear and best − v > margin

    Parameters
    ----------
    design : Design

    Members
    -------
    logit : signed(24), in
    taken : 1, in
        Strobe: ``logit`` is the frame's next.
    done : 1, in
        Strobe: the frame has no other; it comes with its last, or without any.
    on : 1, in
        Off: no frame is decided.
    stream : 1, in
        A decision does not end anything.
    margin, hold, classes : unsigned, in
        As in ``tidegate.spec.stop.Stop``, in registers of these names; stable but while ``clear``.
    clear : 1, in
        Strobe, while no frame is under way: a reset.
    decision : range(design.classes + 1), out
        Class + 1 that the last frame decided, 0 if none.
    ended : 1, out
        There was a decision, and no ``stream``.

    Latency: ``delay`` cycles from ``done`` to ``decision`` and ``ended``.
    Throughput: a logit per cycle.
    """

    delay = 2

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "logit": In(signed(ACC_BITS)), "taken": In(1), "done": In(1), "on": In(1), "stream": In(1),
            "margin": In(STOP_BITS), "hold": In(range(HOLD_MAX + 1)), "classes": In(range(design.classes + 1)),
            "clear": In(1), "decision": Out(range(design.classes + 1)), "ended": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        value, best = self.logit[STOP_SHIFT:].as_signed(), Signal(signed(STOP_BITS))
        first, number, best_number = Signal(init=1), Signal.like(self.classes), Signal.like(self.classes)
        behind, beats = Signal(signed(STOP_BITS + 1)), Signal()
        m.d.comb += [behind.eq(best - value), beats.eq(first | behind[-1])]
        with m.If(self.taken):
            m.d.sync += [first.eq(0), number.eq(number + 1)]
            with m.If(beats):
                m.d.sync += [best.eq(value), best_number.eq(number)]
        with m.If(self.done):
            m.d.sync += [first.eq(1), number.eq(0)]

        behind_q1, beats_q1 = Signal.like(behind), Signal()
        taken_q1, first_q1, done_q1 = Signal(), Signal(), Signal()
        m.d.sync += [behind_q1.eq(behind), beats_q1.eq(beats), taken_q1.eq(self.taken), first_q1.eq(first),
                     done_q1.eq(self.done)]
        # |behind| > margin, with one addition
        over, far = Signal(signed(STOP_BITS + 2)), Signal()
        clear, clear_now = Signal(), Signal()
        m.d.comb += [
            over.eq(behind_q1 + (self.margin ^ (~beats_q1).replicate(STOP_BITS + 1)).as_signed()),
            far.eq(over[-1] == beats_q1),
            clear_now.eq(taken_q1 & (first_q1 | (far & (clear | beats_q1)))),
        ]
        with m.If(taken_q1):
            m.d.sync += clear.eq(clear_now)

        armed, left, decided, some = Signal(init=1), Signal.like(self.hold), Signal(), Signal()
        m.d.comb += [
            some.eq(clear_now & (best_number < self.classes)), decided.eq(self.on & some & armed & (left == 0)),
        ]
        with m.If(done_q1):
            m.d.sync += [
                self.decision.eq(Mux(decided, best_number + 1, 0)), self.ended.eq(decided & ~self.stream),
                armed.eq(~decided & (armed | ~some)),
            ]
            with m.If(decided):
                m.d.sync += left.eq(self.hold)
            with m.Elif(left != 0):
                m.d.sync += left.eq(left - 1)
        with m.If(self.clear):
            m.d.sync += [self.decision.eq(0), self.ended.eq(0), armed.eq(1), left.eq(self.hold)]
        return m
