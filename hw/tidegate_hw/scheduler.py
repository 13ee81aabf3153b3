"""Scheduler: which column or copy the lanes work on next."""

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import BIAS_DELTAS

from .event import event_layout
from .gates import GATES
from .job import Copy, acc_range, job_layout
from .registers import choose, registers_layout


class Scheduler(wiring.Component):
    """Puts the events of all signals in an order in which the lanes never wait for what could come later.

        frame t:   close layer 0 ─► x of t+1, h0 of t ─► close layer 1 ─► … ─► h of t ─► logits
        close:     nx, r, z with the last x of t (or nothing) and copied, nh copied       4 words a gate word

    Closing a layer copies its accumulators for the cell; from then on the lanes add features of the next frame
    while the cell works, then its hidden events as they come.  The last event of a feature frame is held back: its
    column closes the layer, so that the copy costs only nh's words.

    Without a snapshot a layer is closed by one job that copies its gates in turn (``job_layout``), 4 words for each
    neuron, and the words of the logits are copied one by one, whenever there is room.

    Parameters
    ----------
    design : Design

    Members
    -------
    registers : ``registers_layout(design)``, stable while a frame is under way.
    x : stream of ``event_layout(features)``.
    h : stream of ``event_layout(neurons)``: the hidden state of ``layer``.
    layer : the layer that was closed last, at which cell and h encoder are.
    bias : strobe, while idle: play the bias columns.
    blocked : the logits of a frame must wait; without a snapshot, each word of them.
    logits_copied : strobe: a job that copies logits is taken (only with a snapshot).
    idle : no job is offered, no layer is closed, and no features are there.
    o : stream of ``job_layout(design)``.

    Latency: ``delay`` cycles from event to job, but a feature's not before its successor is there; the end of a hidden
    signal takes one cycle more.
    Throughput: one event in two cycles.
    """

    delay = 1

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "registers": In(registers_layout(design)), "x": In(stream.Signature(event_layout(design.features))),
            "h": In(stream.Signature(event_layout(design.neurons))),
            "layer": Out(range(design.layers)), "bias": In(1), "blocked": In(1),
            **({"logits_copied": Out(1)} if design.snapshot else {}), "idle": Out(1),
            "o": Out(stream.Signature(job_layout(design))),
        })

    def elaborate(self, platform):
        m = Module()
        regs, job, snapshot, layers = self.registers, self.o.p, self.design.snapshot, self.design.layers
        layer, next_layer, last_layer = self.layer, Signal.like(self.layer), Signal()
        m.d.comb += next_layer.eq(layer)
        m.d.sync += [layer.eq(next_layer), last_layer.eq((layer == layers - 1) | (layer + 1 >= regs.LAYERS))]

        def of(name: str, first: int = 0):
            """A register of the layer, or with ``first`` = 1 of its hidden signal."""
            return choose(m, regs, name, range(first, first + layers), next_layer)

        # the next feature event is held until it is known whether it is the frame's last
        held, held_valid, use_held = Signal(self.x.p.shape()), Signal(), Signal()
        use_end, drop_end = Signal(), Signal()              # the end that follows is used, too
        more, final, none = Signal(), Signal(), Signal()
        m.d.comb += [
            more.eq(held_valid & ~held.end & self.x.valid & ~self.x.p.end),
            final.eq(held_valid & ~held.end & self.x.valid & self.x.p.end),
            none.eq(held_valid & held.end),
            self.x.ready.eq(~held_valid),       # a register, for it goes on to the encoder and its queue
        ]
        with m.If(self.x.ready):
            m.d.sync += [held_valid.eq(self.x.valid & ~drop_end), held.eq(self.x.p), drop_end.eq(0)]
        with m.Elif(use_held):
            m.d.sync += [held_valid.eq(0), drop_end.eq(use_end)]

        # the next hidden event is held for a cycle at least, for the queue it comes from is far away
        event, event_valid, use_event = Signal(self.h.p.shape()), Signal(), Signal()
        m.d.comb += self.h.ready.eq(~event_valid)
        with m.If(self.h.ready):
            m.d.sync += [event_valid.eq(self.h.valid), event.eq(self.h.p)]
        with m.Elif(use_event):
            m.d.sync += event_valid.eq(0)

        # what a job is made of; the states choose
        signal = Signal(range(layers + 1))
        words, target = of("LAYER_WORDS"), of("LAYER_TARGET")
        words3 = Signal(acc_range(self.design))
        m.d.comb += words3.eq((words << 1) + words)
        columns = ("COLUMN_BASE", "COLUMN_LENGTH", "COLUMN_TARGET")
        of_x, of_h = [regs[f"{name}0"] for name in columns], [of(name, 1) for name in columns]

        def column(of_signal, place, of_event):
            """The column of an event."""
            base, length, first_word = place
            return [
                self.o.valid.eq(1), signal.eq(of_signal), job.index.eq(of_event.index), job.delta.eq(of_event.delta),
                job.tags.weights.eq(1), job.base.eq(base), job.length.eq(length), job.target.eq(first_word),
            ]

        def copy(what: Copy, first_word, length):
            """Nothing is added: Δ = 0, whatever weights are there."""
            return [self.o.valid.eq(1), job.tags.copy.eq(what), job.target.eq(first_word), job.length.eq(length)]

        def close():
            """Copy what no event's column copied on the way."""
            if snapshot:
                return copy(Copy.GATES, target, words3)
            return [*copy(Copy.GATES, target + words, size * len(GATES)), job.turn.eq(words)]

        size = None if snapshot else of("LAYER_SIZE")
        closed = "COPY NH" if snapshot else "ADD HIDDEN"
        logit_words = (regs.CLASSES + self.design.lanes - 1) // self.design.lanes
        word = Signal(range(-(-self.design.classes // self.design.lanes) + 1))      # of the logits, copied so far
        last_word = Signal()
        m.d.sync += last_word.eq(word + 1 >= logit_words)
        m.d.comb += job.tags.signal.eq(signal)
        hidden, offered = Signal(), Signal()        # a hidden event is offered, and was: it stays so until it is taken
        digit = Signal(range(len(BIAS_DELTAS)))
        with m.FSM():
            with m.State("ADD FEATURES"):
                m.d.comb += self.idle.eq(~held_valid & ~self.x.valid)
                with m.If(more):
                    m.d.comb += [*column(0, of_x, held), use_held.eq(self.o.ready)]
                with m.Elif(final):
                    m.d.comb += [*column(0, of_x, held), use_held.eq(self.o.ready), use_end.eq(1)]
                    if snapshot:
                        m.d.comb += job.tags.copy.eq(Copy.GATES)
                    with m.If(self.o.ready):
                        m.next = "COPY NH" if snapshot else "CLOSE LAYER"
                with m.Elif(none):
                    m.d.comb += [*close(), use_held.eq(self.o.ready)]
                    with m.If(self.o.ready):
                        m.next = closed
                with m.Elif(self.bias):
                    m.next = "PLAY BIAS"
            with m.State("CLOSE LAYER"):
                m.d.comb += [signal.eq(layer), *close()]
                with m.If(self.o.ready):
                    m.next = closed
            if snapshot:
                with m.State("COPY NH"):
                    m.d.comb += [signal.eq(layer), *copy(Copy.NH, target + words3, words)]
                    with m.If(self.o.ready):
                        m.next = "ADD HIDDEN"
            with m.State("ADD HIDDEN"):
                m.d.sync += offered.eq(hidden & ~self.o.ready)
                with m.If(more & ~offered):
                    m.d.comb += [*column(0, of_x, held), use_held.eq(self.o.ready)]
                with m.Elif(event_valid & event.end):
                    m.d.comb += use_event.eq(1)
                    m.next = "COPY LOGITS"
                    with m.If(~last_layer):
                        m.d.comb += next_layer.eq(layer + 1)
                        m.next = "CLOSE LAYER"
                with m.Elif(event_valid):
                    m.d.comb += [hidden.eq(1), *column(layer + 1, of_h, event), use_event.eq(self.o.ready)]
            with m.State("COPY LOGITS"):
                # its words may be those that the last column ends with
                m.d.comb += [
                    *copy(Copy.LOGITS, regs.LOGIT_TARGET + (0 if snapshot else word), logit_words if snapshot else 1),
                    job.gap.eq(1), self.o.valid.eq(~self.blocked),
                ]
                taken = self.o.ready & self.o.valid
                if snapshot:
                    # not o.valid, whose other states would be a path through all of a wide core
                    taken = self.logits_copied
                    m.d.comb += taken.eq(self.o.ready & ~self.blocked)
                with m.If(taken):
                    if not snapshot:
                        m.d.sync += [word.eq(word + 1), last_word.eq(word + 2 >= logit_words)]
                    with m.If(snapshot | last_word):
                        m.d.comb += next_layer.eq(0)
                        m.d.sync += [word.eq(0), last_word.eq(logit_words <= 1)]
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
