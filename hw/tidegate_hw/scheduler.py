"""Scheduler: which column or copy the lanes work on next."""

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import BIAS_DELTAS
from tidegate.spec.network import MAX_LAYERS, MAX_SIGNALS

from .event import EVENT
from .job import ADDRESS_BITS, Copy, job_layout
from .registers import REGISTERS_LAYOUT


class Scheduler(wiring.Component):
    """Puts the events of all signals in an order in which the lanes never wait for what could come later.

        frame t:   close layer 0 ─► x of t+1, h0 of t ─► close layer 1 ─► … ─► h of t ─► logits
        close:     nx, r, z with the last x of t (or nothing) and copied, nh copied       4 words a gate word

    Closing a layer copies its accumulators for the cell; from then on the lanes add features of the next frame
    while the cell works, then its hidden events as they come.  The last event of a feature frame is held back: its
    column closes the layer, so that the copy costs only nh's words.

    Parameters
    ----------
    design : Design

    Members
    -------
    registers : ``REGISTERS_LAYOUT``, stable while a frame is under way.
    x : stream of ``EVENT``: features.
    h : stream of ``EVENT``: the hidden state of ``layer``.
    layer : the layer that was closed last, at which cell and h encoder are.
    bias : strobe, while idle: play the bias columns.
    blocked : the logits of a frame must wait.
    idle : no job is offered, no layer is closed, and no features are there.
    o : stream of ``job_layout(design)``.

    Latency: none from event to job; an end takes one cycle.  Throughput: one job per cycle.
    """

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "registers": In(REGISTERS_LAYOUT), "x": In(stream.Signature(EVENT)), "h": In(stream.Signature(EVENT)),
            "layer": Out(range(MAX_LAYERS)), "bias": In(1), "blocked": In(1), "idle": Out(1),
            "o": Out(stream.Signature(job_layout(design))),
        })

    def elaborate(self, platform):
        m = Module()
        regs, job = self.registers, self.o.p
        layer, last_layer = self.layer, Signal()
        m.d.comb += last_layer.eq((layer == MAX_LAYERS - 1) | (layer + 1 >= regs.LAYERS))

        def of(name: str, count: int, number):
            return Array(regs[f"{name}{k}"] for k in range(count))[number]

        # the next feature event is held until it is known whether it is the frame's last
        held, held_valid, use_held, use_end = Signal(EVENT), Signal(), Signal(), Signal()
        more, final, none = Signal(), Signal(), Signal()
        m.d.comb += [
            more.eq(held_valid & ~held.end & self.x.valid & ~self.x.p.end),
            final.eq(held_valid & ~held.end & self.x.valid & self.x.p.end),
            none.eq(held_valid & held.end),
            self.x.ready.eq(~held_valid | use_held),
        ]
        with m.If(self.x.ready):
            m.d.sync += [held_valid.eq(self.x.valid & ~use_end), held.eq(self.x.p)]

        # what a job is made of; the states choose
        signal, event = Signal(range(MAX_SIGNALS)), Signal(EVENT)
        words, target = (of(name, MAX_LAYERS, layer) for name in ("LAYER_WORDS", "LAYER_TARGET"))
        words3 = Signal(ADDRESS_BITS)
        m.d.comb += words3.eq((words << 1) + words)

        def column(of_signal, of_event):
            """The column of an event."""
            return [
                self.o.valid.eq(1), signal.eq(of_signal), event.eq(of_event), job.tags.weights.eq(1),
                job.base.eq(of("COLUMN_BASE", MAX_SIGNALS, signal)), job.index.eq(event.index),
                job.length.eq(of("COLUMN_LENGTH", MAX_SIGNALS, signal)),
                job.target.eq(of("COLUMN_TARGET", MAX_SIGNALS, signal)), job.delta.eq(event.delta),
            ]

        def copy(what: Copy, first_word, length):
            """Nothing is added: Δ = 0, whatever weights are there."""
            return [self.o.valid.eq(1), job.tags.copy.eq(what), job.target.eq(first_word), job.length.eq(length)]

        m.d.comb += job.tags.signal.eq(signal)
        hidden, offered = Signal(), Signal()        # a hidden event is offered, and was: it stays so until it is taken
        digit = Signal(range(len(BIAS_DELTAS)))
        with m.FSM():
            with m.State("ADD FEATURES"):
                m.d.comb += self.idle.eq(~held_valid & ~self.x.valid)
                with m.If(more):
                    m.d.comb += [*column(0, held), use_held.eq(self.o.ready)]
                with m.Elif(final | none):
                    with m.If(final):
                        m.d.comb += column(0, held)
                    with m.Else():
                        m.d.comb += copy(Copy.GATES, target, words3)
                    m.d.comb += [job.tags.copy.eq(Copy.GATES), use_held.eq(self.o.ready), use_end.eq(final)]
                    with m.If(self.o.ready):
                        m.next = "COPY NH"
                with m.Elif(self.bias):
                    m.next = "PLAY BIAS"
            with m.State("CLOSE LAYER"):
                m.d.comb += [signal.eq(layer), *copy(Copy.GATES, target, words3)]
                with m.If(self.o.ready):
                    m.next = "COPY NH"
            with m.State("COPY NH"):
                m.d.comb += [signal.eq(layer), *copy(Copy.NH, target + words3, words)]
                with m.If(self.o.ready):
                    m.next = "ADD HIDDEN"
            with m.State("ADD HIDDEN"):
                m.d.sync += offered.eq(hidden & ~self.o.ready)
                with m.If(more & ~offered):
                    m.d.comb += [*column(0, held), use_held.eq(self.o.ready)]
                with m.Elif(self.h.valid & self.h.p.end):
                    m.d.comb += self.h.ready.eq(1)
                    m.next = "COPY LOGITS"
                    with m.If(~last_layer):
                        m.d.sync += layer.eq(layer + 1)
                        m.next = "CLOSE LAYER"
                with m.Elif(self.h.valid):
                    m.d.comb += [hidden.eq(1), *column(layer + 1, self.h.p), self.h.ready.eq(self.o.ready)]
            with m.State("COPY LOGITS"):
                # its words may be those that the last column ends with
                m.d.comb += [
                    *copy(Copy.LOGITS, regs.LOGIT_TARGET, (regs.CLASSES + self.design.lanes - 1) // self.design.lanes),
                    job.gap.eq(1), self.o.valid.eq(~self.blocked),
                ]
                with m.If(self.o.ready & self.o.valid):
                    m.d.sync += layer.eq(0)
                    m.next = "ADD FEATURES"
            with m.State("PLAY BIAS"):
                m.d.comb += [
                    self.o.valid.eq(1), job.base.eq(regs.BIAS_BASE), job.index.eq(digit),
                    job.length.eq(regs.ACC_WORDS), job.delta.eq(Array(BIAS_DELTAS)[digit]),
                ]
                with m.If(self.o.ready):
                    m.d.sync += digit.eq(digit + 1)
                    with m.If(digit == len(BIAS_DELTAS) - 1):
                        m.d.sync += digit.eq(0)
                        m.next = "ADD FEATURES"
        return m
