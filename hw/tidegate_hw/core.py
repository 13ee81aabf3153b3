"""The core: feature frames in, logits out, one weight column fetched per change."""

from amaranth.hdl import Cat, DomainRenamer, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS, SIGNAL

from .cell import Cell, trace_signature
from .column import Column
from .counters import COUNTERS_LAYOUT, Counters
from .encoder import LAG, MARGIN, QUEUE_DEPTH, Encoder
from .job import Copy
from .lanes import Lanes, weight_w_signature
from .logits import Logits, WordLogits
from .registers import choose, registers_layout
from .scheduler import Scheduler
from .serial_cell import SerialCell
from .snapshot import Snapshot
from .stop import Stop


class Core(wiring.Component):
    """A chain of delta-GRU layers and a classifier on one engine.

        frame ─► x encoder ─┐                                 ┌─► logits ─► result
                            ├─► scheduler ─► column ─► lanes ─┤
             ┌─► h encoder ─┘                                 └─► snapshot ─► cell ─┐
             └──────────────────────────────────────────────────────────────────────┘

    Consecutive frames overlap: while the cell works from the snapshot, the lanes add the features of the next
    frame, which may come as early as the encoder has room (see ``Scheduler``).

    Parameters
    ----------
    design : Design
    cell_domain : str
        Clock domain of snapshot and cell, with the same clock; a simulator may stop it while ``cell_active`` is low.

    Members
    -------
    registers : ``registers_layout(design)``, stable while not ready.
    weight_w : ``weight_w_signature(design)``, while ready.
    frame : stream of ``encoder_rate`` features (SIGNAL); ceil(FEATURES / encoder_rate) groups make a frame.
    logit : stream of CLASSES accumulators per frame that is run, in order.
    result : stream of ``COUNTERS_LAYOUT``: one per frame that is run, after its last logit.  ``frames`` before it since
        clear; ``cycles`` in which the frame was the oldest one under way, from its first group to its last logit;
        ``weight_words`` read, all columns; ``events`` per signal; ``decision``: class + 1, or 0.
    frames : frames whose results are taken, or that were not run, since clear.
    decision, heard, ended : see ``Stop``.  In early mode without ``stream`` a frame begins when the result of the one
        before is taken, and from ``ended`` to the next clear frames are taken and dropped, a group a cycle.
    clear : strobe, while ready: anchors and h become 0, accumulators their biases.
    ready : idle, all results taken: a clear, weights or other registers may come.
    trace : ``trace_signature(design)``.
    cell_active : snapshot or cell have something to do in this cycle.

    Latency: ``tidegate.spec.cycles``.  With nonsense in the registers it computes nonsense, but every counter ends;
    with large lengths later than the link's watchdog.
    """

    def __init__(self, design: Design, cell_domain: str = "sync"):
        self.design, self.cell_domain = design, cell_domain
        super().__init__({
            "registers": In(registers_layout(design)),
            "weight_w": In(weight_w_signature(design)),
            "frame": In(stream.Signature(data.ArrayLayout(signed(SIGNAL.bits), design.encoder_rate))),
            "logit": Out(stream.Signature(signed(ACC_BITS))),
            "result": Out(stream.Signature(COUNTERS_LAYOUT)),
            "frames": Out(32), "decision": Out(range(design.classes + 1)), "heard": Out(range(design.classes + 1)),
            "ended": Out(1),
            "clear": In(1), "ready": Out(1),
            "trace": Out(trace_signature(design)), "cell_active": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        d, regs = self.design, self.registers
        e = d.encoder_rate
        m.submodules.x_encoder = x_encoder = Encoder(e, -(-d.features // e))
        groups = d.neurons // d.cell_rate
        # without a snapshot all groups of a layer come before the lanes take an event of theirs
        late = Cell.late if d.snapshot else SerialCell.late
        queue_depth = QUEUE_DEPTH if d.snapshot else max(QUEUE_DEPTH, groups + LAG)
        m.submodules.h_encoder = h_encoder = Encoder(d.cell_rate, groups, queue_depth, late)
        m.submodules.scheduler = scheduler = Scheduler(d)
        m.submodules.column = column = Column(d)
        m.submodules.lanes = lanes = Lanes(d)
        cell, cell_busy = self._cell(m, lanes, h_encoder, scheduler.layer)
        m.submodules.logits = logits = Logits(d) if d.snapshot else WordLogits(d)
        m.submodules.counters = counters = Counters(d)
        m.submodules.stop = stop = Stop(d)
        dense, early, streaming = regs.MODE

        connect(m, flipped(self.weight_w), lanes.weight_w)
        connect(m, flipped(self.trace), cell.trace)
        connect(m, flipped(self.logit), logits.o)
        connect(m, flipped(self.result), counters.o)
        connect(m, x_encoder.o, scheduler.x)
        connect(m, h_encoder.o, scheduler.h)
        connect(m, scheduler.o, column.i)
        connect(m, column.o, lanes.fetch)
        connect(m, column.o, counters.fetch)
        connect(m, lanes.copies, logits.copies)

        m.d.comb += [
            scheduler.registers.eq(regs),
            x_encoder.theta.eq(regs.THETA0), x_encoder.dense.eq(dense),
            h_encoder.theta.eq(choose(m, regs, "THETA", range(1, d.layers + 1), scheduler.layer)),
            h_encoder.dense.eq(dense), h_encoder.values.eq(cell.values), h_encoder.i.p.eq(cell.o.payload),
            h_encoder.i.valid.eq(cell.o.valid),
            logits.classes.eq(regs.CLASSES), counters.done.eq(logits.done),
            stop.logit.eq(self.logit.p), stop.taken.eq(self.logit.valid & self.logit.ready), stop.done.eq(logits.done),
            stop.on.eq(early), stop.stream.eq(streaming), stop.margin.eq(regs.STOP_MARGIN),
            stop.release.eq(regs.STOP_RELEASE), stop.hold.eq(regs.STOP_HOLD), stop.smooth.eq(regs.STOP_SMOOTH),
            stop.classes.eq(regs.STOP_CLASSES), counters.decision.eq(stop.decision),
            self.frames.eq(counters.frames), self.decision.eq(stop.decision), self.heard.eq(stop.heard),
            self.ended.eq(stop.ended),
        ]

        # features into groups with an address; what may be the last frame is awaited before the next begins
        running, apart, group = Signal(), Signal(), Signal(range(x_encoder.depth + 1))
        begins, may, runs, drops = Signal(), Signal(), Signal(), Signal()
        group_in, values = x_encoder.i.p, Signal.like(self.frame.p)
        m.d.sync += apart.eq(early & ~streaming)
        m.d.comb += [
            begins.eq(group == 0), may.eq(running & ~(apart & begins & counters.busy)),
            runs.eq(may & ~stop.ended), drops.eq(may & stop.ended),
            x_encoder.i.valid.eq(self.frame.valid & runs),
            self.frame.ready.eq((x_encoder.i.ready & runs) | drops),
            group_in.index.eq(group * e), group_in.address.eq(group),
            group_in.mask.eq(Cat(group * e + k < regs.FEATURES for k in range(e))),
            group_in.last.eq((group + 1) * e >= regs.FEATURES),
            x_encoder.values.eq(values), counters.begin.eq(self.frame.valid & x_encoder.i.ready & runs & begins),
            counters.skip.eq(self.frame.valid & drops & group_in.last),
        ]
        with m.If(self.frame.valid & self.frame.ready):
            m.d.sync += [values.eq(self.frame.p), group.eq(group + 1)]
            with m.If(group_in.last):
                m.d.sync += group.eq(0)

        # the logits of a frame are copied when those of the one before, and its result, are taken; without a snapshot
        # each word of them when the one before is sent
        waiting = Signal()
        copied = scheduler.o.valid & scheduler.o.ready & (scheduler.o.p.tags.copy == Copy.LOGITS)
        m.d.comb += scheduler.blocked.eq(waiting)
        with m.If(self.result.valid & self.result.ready):
            m.d.sync += waiting.eq(0)
        with m.Elif(scheduler.logits_copied if d.snapshot else copied):
            m.d.sync += waiting.eq(1)
        if not d.snapshot:
            with m.Elif(logits.sent & ~logits.done):
                m.d.sync += waiting.eq(0)

        start_clear, run = Signal(), Signal()
        clearing, playing = Signal(), Signal()      # registers, for what is busy is all over the core
        m.d.sync += [
            clearing.eq(start_clear | x_encoder.busy | h_encoder.busy | lanes.busy | cell.busy | stop.busy),
            playing.eq(scheduler.bias | ~scheduler.idle | column.busy | lanes.busy),
        ]
        m.d.sync += running.eq(run & (regs.LAYERS != 0) & ~self.clear)
        m.d.comb += [part.clear.eq(start_clear) for part in (x_encoder, h_encoder, lanes, cell, counters, stop)]
        m.d.comb += self.cell_active.eq(cell_busy | start_clear)
        with m.FSM():
            with m.State("RUN"):
                m.d.comb += [self.ready.eq(~counters.busy), run.eq(1)]
                with m.If(self.clear & self.ready):
                    m.next = "START CLEAR"
            with m.State("START CLEAR"):
                m.d.comb += start_clear.eq(1)
                m.next = "CLEAR"
            with m.State("CLEAR"):
                with m.If(~clearing):
                    m.d.comb += scheduler.bias.eq(1)
                    m.next = "PLAY BIAS"
            with m.State("PLAY BIAS"):
                with m.If(~playing):
                    m.next = "RUN"
        return m

    def _cell(self, m: Module, lanes: Lanes, h_encoder: Encoder, layer):
        """The cell, fed from a snapshot or straight from the lanes, at work on ``layer``; and whether it is busy."""
        d = self.design

        def of_layer(name: str):
            return choose(m, self.registers, name, range(d.layers), layer)

        if d.snapshot:
            snapshot, cell = Snapshot(d), Cell(d)
            assert Cell.delay + 3 <= MARGIN     # groups in cell and snapshot when the h encoder's room falls
            m.submodules.snapshot = DomainRenamer(self.cell_domain)(snapshot)
            connect(m, lanes.copies, snapshot.copies)
            connect(m, snapshot.o, cell.i)
            m.d.comb += [
                snapshot.words.eq(of_layer("LAYER_WORDS")), snapshot.size.eq(of_layer("LAYER_SIZE")),
                snapshot.room.eq(h_encoder.room), cell.acc.eq(snapshot.acc),
            ]
            busy = snapshot.busy | cell.busy
        else:
            cell = SerialCell(d)
            connect(m, lanes.copies, cell.copies)
            m.d.comb += cell.size.eq(of_layer("LAYER_SIZE"))
            busy = cell.busy
        m.submodules.cell = DomainRenamer(self.cell_domain)(cell)
        m.d.comb += [
            cell.layer.eq(layer), cell.state_base.eq(of_layer("LAYER_STATE")),
            cell.weight_frac.eq(of_layer("LAYER_FRAC")),
        ]
        return cell, busy
