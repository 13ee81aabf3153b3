"""Smoother: each class' logit, averaged over the last frames."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.stop import SMOOTH_MAX, STOP_BITS


class Smoother(wiring.Component):
    """Keeps the leaky sum of ``tidegate.spec.stop`` for each class, in a memory.

        S[k] <- S[k] + v − (S[k] >> smooth),   o = S[k] >> smooth

    The memory holds ¬(S[k] << (3 − smooth)): its upper 16 bits are ¬o whatever ``smooth`` is, so that only the
    difference of ``v`` and ``o`` has to be shifted, and the only adders are plain ones.

    Parameters
    ----------
    design : Design

    Members
    -------
    v : signed(16), in
        A class' logit.
    taken : 1, in
        Strobe: ``v`` is the frame's next.
    done : 1, in
        Strobe: the frame has no further logit; comes with its last one, or alone.  The next frame's first logit comes
        at least ``delay`` + 2 cycles later.
    smooth : range(4), in
        Changes only while ``clear``.
    clear : 1, in
        Strobe, while no frame is under way: all sums become 0.
    o : signed(16), out
        The smoothed logit, ``delay`` cycles after ``v``.
    number : range(design.classes + 1), out
        Class + 1 of ``o``.
    there, last : 1, out
        ``taken`` and ``done``, ``delay`` cycles later.
    busy : 1, out
        Sums are still being cleared; no frame may come.

    Latency: ``delay`` cycles; a clear takes a cycle per class, rounded up to a power of two, and 1.
    Throughput: a logit per cycle.
    Tested: through the bench of ``StopUnit``, with all values of ``smooth`` and logits of all sizes.
    """

    delay = 2

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "v": In(signed(STOP_BITS)), "taken": In(1), "done": In(1), "smooth": In(range(SMOOTH_MAX + 1)),
            "clear": In(1), "o": Out(signed(STOP_BITS)), "number": Out(range(design.classes + 1), init=1),
            "there": Out(1), "last": Out(1), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        address_bits = max(1, (self.design.classes - 1).bit_length())
        bits = STOP_BITS + SMOOTH_MAX
        m.submodules.sums = sums = Memory(
            shape=bits, depth=1 << address_bits, init=[(1 << bits) - 1] * (1 << address_bits))
        sums_r, sums_w = sums.read_port(), sums.write_port()

        # the sum of the class that is next is at the memory's output when its logit comes
        number, following = Signal.like(self.number), Signal.like(self.number)
        kept = sums_r.data
        m.d.comb += [
            following.eq(Mux(self.done, 1, number + self.taken)), sums_r.addr.eq(following[:address_bits]),
        ]
        m.d.sync += number.eq(following)

        # o − v of before is ¬(¬o + v)
        gap_q1, kept_q1 = Signal(signed(STOP_BITS + 1), reset_less=True), Signal(bits, reset_less=True)
        m.d.sync += [gap_q1.eq(kept[SMOOTH_MAX:].as_signed() + self.v), kept_q1.eq(kept)]
        by_two, by_one = (Signal(signed(bits), name=name) for name in ("by_two", "by_one"))
        sum_q2 = Signal(bits, reset_less=True)
        m.d.comb += [
            by_two.eq(Mux(self.smooth[1], ~gap_q1, Cat(Const(0, 2), ~gap_q1).as_signed())),
            by_one.eq(Mux(self.smooth[0], by_two, Cat(Const(0, 1), by_two[:-1]).as_signed())),
            self.o.eq(~sum_q2[SMOOTH_MAX:]),
        ]
        m.d.sync += sum_q2.eq(kept_q1 + by_one)

        taken_q1, done_q1, clearing = Signal(), Signal(), Signal()
        m.d.sync += [
            taken_q1.eq(self.taken), self.there.eq(taken_q1), done_q1.eq(self.done), self.last.eq(done_q1),
        ]
        m.d.comb += [
            sums_w.addr.eq(self.number[:address_bits]), sums_w.data.eq(sum_q2), sums_w.en.eq(self.there | clearing),
            self.busy.eq(clearing),
        ]
        end = clearing & (self.number[:address_bits] == 0)
        with m.If(self.last | self.clear | end):
            m.d.sync += self.number.eq(1)
        with m.Elif(self.there | clearing):
            m.d.sync += self.number.eq(self.number + 1)
        # all addresses once
        with m.If(self.clear):
            m.d.sync += clearing.eq(1)
        with m.Elif(end):
            m.d.sync += clearing.eq(0)
        with m.If(self.clear | clearing):
            m.d.sync += sum_q2.eq(-1)
        return m
