"""Scheduler: which job the lanes work on next."""

from amaranth.hdl import Array, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import BIAS_DELTAS

from ..handover import handover_of
from ..records.event import event_layout
from ..records.job import Copy, Kind, job_layout
from ..records.registers import choose, logit_words, registers_layout


class Scheduler(wiring.Component):
    """Puts the events of all signals in an order in which the lanes do not wait while another event is ready.

        frame t:   close layer 0 ─► x of t+1, h0 of t ─► close layer 1 ─► … ─► h of t ─► logits
        close:     the last x of t, which copies on its way, or CLOSE; then REST, if the layer has other gates; then
                   BIAS, for each bias column that a layer gets again because it consumes (at least one, times 0)

    Closing a layer copies its accumulators for the cell; from then on the lanes add features of the next frame
    while the cell works, then its hidden events as they come.  The last event of a feature frame is held back: if the
    handover ``fuses``, its column closes the layer, so that the copy costs only the words of REST.  If not, CLOSE
    follows.  So it does if the features feed more layers than the first, or a convolution; those of the next frame then
    wait until the last of these is closed.

    One job copies all logits, or one job each word of them, as the handover's ``logits`` need them.

    A job holds no addresses; the addresser looks them up.

    Parameters
    ----------
    design : Design

    Members
    -------
    registers : ``registers_layout(design)``, stable while a frame is under way.
    x : stream of ``event_layout(features)``.
    h : stream of ``event_layout(neurons)``: the hidden state of ``layer``.
    layer : the layer that was closed last; cell and h encoder work on it.
    bias : strobe, while idle: play the bias columns.
    blocked : the logits of a frame, or the next word of them, must wait.
    logits_copied : strobe: a job that copies logits is taken.
    idle : no job is offered, no layer is closed, and no features are there.
    o : stream of ``job_layout(design)``.

    Latency: ``delay`` cycles from event to job.  The event of a feature also waits for the event (or the end) after it;
    the end of a hidden signal takes one cycle more.
    Throughput: one event in two cycles.
    """

    delay = 1

    def __init__(self, design: Design):
        self.design, self.handover = design, handover_of(design)
        super().__init__({
            "registers": In(registers_layout(design)), "x": In(stream.Signature(event_layout(design.features))),
            "h": In(stream.Signature(event_layout(design.neurons))),
            "layer": Out(range(design.layers)), "bias": In(1), "blocked": In(1), "logits_copied": Out(1),
            "idle": Out(1), "o": Out(stream.Signature(job_layout(design))),
        })

    def elaborate(self, platform):
        m = Module()
        regs, job, layers, fuses = self.registers, self.o.p, self.design.layers, self.handover.fuses
        layer, next_layer, last_layer = self.layer, Signal.like(self.layer), Signal()
        m.d.comb += next_layer.eq(layer)
        m.d.sync += [layer.eq(next_layer), last_layer.eq((layer == layers - 1) | (layer + 1 >= regs.LAYERS))]
        # whether the layer has gates that REST copies
        rest = choose(m, regs, "LAYER_REST", range(layers), next_layer) != 0 if self.handover.rests else Const(0)
        # whether the features feed the first layer only, and whether those of the next frame may be added
        only_first, may_add, branches = Signal(), Signal(), self.design.branches
        apart = branches or self.design.convolves
        if self.design.convolves:       # no column of a convolution passes all accumulators
            m.d.sync += only_first.eq((regs.FEATURES_AFTER == 0 if branches else 1) & ~regs.CONV0[0])
            m.d.sync += may_add.eq(next_layer >= regs.FEATURES_AFTER if branches else 1)
        elif branches:
            m.d.sync += [only_first.eq(regs.FEATURES_AFTER == 0), may_add.eq(next_layer >= regs.FEATURES_AFTER)]
        # how the layer consumes, and the logits do: see the register LAYER_CONSUME
        consume = logit_consume = Const(0, 3)
        if self.design.diffuses:
            consume = choose(m, regs, "LAYER_CONSUME", range(layers), next_layer)
            logit_consume = regs.LOGIT_CONSUME

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

        fresh = Signal() if self.design.diffuses else None      # a layer's first bias column replaces its sums

        def column(signal, event):
            """The column of an event."""
            return [self.o.valid.eq(1), job.kind.eq(Kind.EVENT), job.index.eq(event.index), job.delta.eq(event.delta),
                    job.tags.signal.eq(signal)]

        def copies():
            """The job copies gates; it closes the layer if no other has to follow."""
            return [job.tags.copy.eq(Copy.GATES), job.tags.closes.eq(~rest)]

        def close():
            """Copy what no event's column copied on the way."""
            return [self.o.valid.eq(1), job.kind.eq(Kind.CLOSE), job.tags.signal.eq(layer), *copies()]

        def copied():
            """What follows when all gates are copied."""
            m.next = "ADD HIDDEN"
            if self.design.diffuses:
                with m.If(consume != 0):
                    m.d.sync += first_digit(consume)
                    m.next = "ADD BIAS"

        def closed():
            """What follows when the first gates are copied."""
            copied()
            if self.handover.rests:
                with m.If(rest):
                    m.next = "COPY REST"

        def first_digit(how):
            """Where the bias columns begin that a layer gets again: with the last one, times 0, if it gets none."""
            return [digit.eq(Mux(how > len(BIAS_DELTAS), len(BIAS_DELTAS) - 1, how - 1)), fresh.eq(1)]

        def play(then: str):
            """The bias columns from ``digit`` on."""
            m.d.comb += [self.o.valid.eq(1), job.kind.eq(Kind.BIAS), job.index.eq(digit),
                         job.delta.eq(Array(BIAS_DELTAS)[digit])]
            with m.If(self.o.ready):
                m.d.sync += digit.eq(digit + 1)
                with m.If(digit == len(BIAS_DELTAS) - 1):
                    m.d.sync += digit.eq(0)
                    m.next = then

        whole = self.handover.logits.whole
        words = logit_words(self.design, regs)
        word = Signal(range(-(-self.design.classes // self.design.lanes) + 1))      # of the logits, copied so far
        last_word = Signal()
        m.d.sync += last_word.eq(word + 1 >= words)
        hidden, offered = Signal(), Signal()        # a hidden event is offered, and was: it stays so until it is taken
        digit = Signal(range(len(BIAS_DELTAS)))

        def play_again(how, signal, then: str):
            """The same for one layer, or the logits; the first column takes the place of what was there."""
            play(then)
            m.d.comb += [job.again.eq(1), job.tags.signal.eq(signal), job.tags.fresh.eq(fresh)]
            with m.If(how > len(BIAS_DELTAS)):
                m.d.comb += job.delta.eq(0)
            with m.If(self.o.ready):
                m.d.sync += fresh.eq(0)

        with m.FSM():
            with m.State("ADD FEATURES"):
                m.d.comb += self.idle.eq(~held_valid & ~self.x.valid)
                with m.If(more):
                    m.d.comb += [*column(0, held), use_held.eq(self.o.ready)]
                with m.Elif(final):
                    m.d.comb += [*column(0, held), *(copies() if fuses else ()), use_held.eq(self.o.ready),
                                 use_end.eq(1)]
                    if fuses and apart:
                        with m.If(~only_first):
                            m.d.comb += [job.tags.copy.eq(Copy.NONE), job.tags.closes.eq(0)]
                    with m.If(self.o.ready):
                        if fuses:
                            closed()
                        else:
                            m.next = "CLOSE LAYER"
                    if fuses and apart:
                        with m.If(self.o.ready & ~only_first):
                            m.next = "CLOSE LAYER"
                with m.Elif(none):
                    m.d.comb += [*close(), use_held.eq(self.o.ready)]
                    with m.If(self.o.ready):
                        closed()
                with m.Elif(self.bias):
                    m.next = "PLAY BIAS"
            with m.State("CLOSE LAYER"):
                m.d.comb += close()
                with m.If(self.o.ready):
                    closed()
            if self.handover.rests:
                with m.State("COPY REST"):
                    m.d.comb += [self.o.valid.eq(1), job.kind.eq(Kind.REST), job.tags.signal.eq(layer),
                                 job.tags.copy.eq(Copy.GATES), job.tags.closes.eq(1)]
                    with m.If(self.o.ready):
                        copied()
            if self.design.diffuses:
                with m.State("ADD BIAS"):
                    play_again(consume, layer, "ADD HIDDEN")
                with m.State("ADD LOGIT BIAS"):
                    play_again(logit_consume, layers, "ADD FEATURES")
            with m.State("ADD HIDDEN"):
                m.d.sync += offered.eq(hidden & ~self.o.ready)
                with m.If(more & ~offered & may_add if branches else more & ~offered):
                    m.d.comb += [*column(0, held), use_held.eq(self.o.ready)]
                with m.Elif(event_valid & event.end):
                    m.d.comb += use_event.eq(1)
                    m.next = "COPY LOGITS"
                    with m.If(~last_layer):
                        m.d.comb += next_layer.eq(layer + 1)
                        m.next = "CLOSE LAYER"
                with m.Elif(event_valid):
                    m.d.comb += [hidden.eq(1), *column(layer + 1, event), use_event.eq(self.o.ready)]
            with m.State("COPY LOGITS"):
                m.d.comb += [
                    self.o.valid.eq(~self.blocked), job.kind.eq(Kind.LOGITS), job.index.eq(0 if whole else word),
                    job.tags.copy.eq(Copy.LOGITS),
                    # not o.valid, whose other states would be a path through all of a wide core
                    self.logits_copied.eq(self.o.ready & ~self.blocked),
                ]
                with m.If(self.logits_copied):
                    if not whole:
                        m.d.sync += [word.eq(word + 1), last_word.eq(word + 2 >= words)]
                    with m.If(whole | last_word):
                        m.d.comb += next_layer.eq(0)
                        m.d.sync += [word.eq(0), last_word.eq(words <= 1)]
                        m.next = "ADD FEATURES"
                        if self.design.diffuses:
                            with m.If(logit_consume != 0):
                                m.d.sync += first_digit(logit_consume)
                                m.next = "ADD LOGIT BIAS"
            with m.State("PLAY BIAS"):
                play("ADD FEATURES")
        return m
