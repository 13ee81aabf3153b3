"""Counters: the cost of each frame."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design

from ..records.job import Copy, fetch_signature
from ..records.results import result_layout
from .stop import StopUnit

CYCLE_BITS = 24         # of a frame's count: more than a watchdog waits for


class Counters(wiring.Component):
    """Counts cycles, weight words and events per frame, although the next frame's features come before a frame ends.

    Events of features are counted for the next frame until layer 0 is closed; the copy of the logits ends a frame.

        cycles = end(t) − max(end(t−1), begin(t) − 1)       those in which the frame was the oldest one under way

    Parameters
    ----------
    design : Design

    Members
    -------
    fetch : ``fetch_signature(design)``
    begin : strobe: the first group of a frame is taken.
    done : strobe: the last logit of a frame is taken.
    decision : of the last frame, ``delay`` cycles after ``done``.
    skip : strobe, while not busy: a frame that is not run counts as one.
    o : stream of ``result_layout(design)``, one per frame, taken before the next frame's logits are fetched.
        Its ``frames``: number of frames before this one.
    frames : records taken, and frames not run, since ``clear``.
    busy : a frame is under way, or its record not taken.
    clear : strobe, while not busy: ``frames`` becomes 0.

    Latency: ``delay`` cycles from ``done`` to the record.
    """

    delay = StopUnit.delay

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "fetch": In(fetch_signature(design)), "begin": In(1), "done": In(1),
            "decision": In(range(design.classes + 1)), "skip": In(1),
            "o": Out(stream.Signature(result_layout(design))), "frames": Out(32), "busy": Out(1), "clear": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        d, o, fetch, signal = self.design, self.o, self.fetch, self.fetch.tags.signal
        # no column is read twice in a frame, but the kernel of a convolution is; of the features that are not closed
        # yet, and of the frame at work
        words_x, events_x = Signal(32 if d.convolves else range(d.weight_words + 1)), Signal(range(d.features + 1))
        words, next_words_x, next_events_x = Signal.like(words_x), Signal.like(words_x), Signal.like(events_x)
        events = [Signal(range(max(d.features, d.neurons) + 1), name=f"events{s}") for s in range(d.layers + 1)]
        m.d.comb += [next_words_x.eq(words_x + fetch.event), next_events_x.eq(events_x + (fetch.event & fetch.first))]
        with m.If(fetch.valid & (signal == 0)):
            m.d.sync += [words_x.eq(next_words_x), events_x.eq(next_events_x)]
        with m.If(fetch.valid & fetch.event & (signal != 0)):
            m.d.sync += words.eq(words + 1)
            for s, count in enumerate(events[1:], 1):
                with m.If(signal == s):
                    m.d.sync += count.eq(count + fetch.first)
        with m.If(fetch.valid & fetch.last & fetch.tags.closes & (signal == 0)):
            # the closing word may itself be an event's, and its only one
            m.d.sync += [words.eq(next_words_x), words_x.eq(0), events_x.eq(0)]
            m.d.sync += [events[0].eq(next_events_x), *(count.eq(0) for count in events[1:])]
        with m.If(fetch.valid & fetch.first & (fetch.tags.copy == Copy.LOGITS)):
            m.d.sync += [o.p.weight_words.eq(words), *(o.p.events[s].eq(count) for s, count in enumerate(events))]

        # both come from far: from the features' source, and from whatever takes the logits
        begin_q1 = Signal()
        done_q1 = Signal()
        m.d.sync += [begin_q1.eq(self.begin), done_q1.eq(self.done)]
        # ``age``: cycles of the oldest frame, with the present one; ``late``: its record waits for its decision
        under_way, some, age, late = Signal(8), Signal(), Signal(CYCLE_BITS, init=1), Signal(self.delay - 2)
        m.d.comb += [
            self.busy.eq(begin_q1 | some | (late != 0) | o.valid), o.p.frames.eq(self.frames),
            o.p.decision.eq(self.decision),
        ]
        m.d.sync += under_way.eq(under_way + begin_q1 - done_q1)
        with m.If(begin_q1):
            m.d.sync += some.eq(1)
        with m.Elif(done_q1):
            m.d.sync += some.eq(under_way != 1)
        moves = o.valid & o.ready
        with m.If(moves | self.skip):
            m.d.sync += self.frames.eq(self.frames + 1)
        with m.If(moves):
            m.d.sync += o.valid.eq(0)
        m.d.sync += late.eq(Cat(done_q1, late))
        with m.If(late[-1]):
            m.d.sync += o.valid.eq(1)
        with m.If(done_q1):
            m.d.sync += [o.p.cycles.eq(age), age.eq(1)]
        with m.Elif(some):
            m.d.sync += age.eq(age + 1)
        with m.Else():
            m.d.sync += age.eq(Mux(begin_q1, 2, 1))
        with m.If(self.clear):
            m.d.sync += self.frames.eq(0)
        return m
