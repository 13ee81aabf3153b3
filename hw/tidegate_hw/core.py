"""The core: feature frames in, logits out, one weight column read per event."""

from amaranth.hdl import Cat, DomainRenamer, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS, SIGNAL

from .handover import handover_of
from .records.job import weight_w_signature
from .records.registers import choose, registers_layout
from .records.results import result_layout
from .records.trace import trace_signature
from .stages.addresser import Addresser
from .stages.admission import Admission
from .stages.clearing import Clearing
from .stages.convolver import Convolver
from .stages.counters import Counters
from .stages.encoder import LAG, MARGIN, QUEUE_DEPTH, Encoder
from .stages.lanes import Lanes
from .stages.scheduler import Scheduler
from .stages.stop import StopUnit


class Core(wiring.Component):
    """A chain of delta layers and a classifier on one engine.

        frame ─► admission ─► x encoder ─┐                                    ┌─► logits ─► result
                                         ├─► scheduler ─► addresser ─► lanes ─┤    (a convolver before the addresser,
                          ┌─► h encoder ─┘           in designs that have one)└─► handover (with the cells) ─┐
                          └──────────────────────────────────────────────────────────────────────────────────┘

    Consecutive frames overlap: while a cell works, the lanes add the features of the next frame, which may come as
    early as the encoder has room (see ``Scheduler``).

    Parameters
    ----------
    design : Design
    cell_domain : str
        Clock domain of the handover, with the same clock; a simulator may stop it while ``cell_active`` is low.

    Members
    -------
    registers : ``registers_layout(design)``, stable while not ready.
    weight_w : ``weight_w_signature(design)``, while ready.
    frame : stream of ``encoder_rate`` features (SIGNAL); ceil(FEATURES / encoder_rate) groups make a frame.
    logit : stream of CLASSES accumulators per frame that is run, in order.
    result : stream of ``result_layout(design)``: one per frame that is run, after its last logit.
    frames : frames whose results are taken, or that were not run, since clear.
    decision, heard, ended : see ``StopUnit``.  In early mode without ``stream`` a frame begins when the result of the
        one before is taken, and from ``ended`` to the next clear frames are taken and dropped, a group a cycle.
    clear : strobe, while ready: anchors and states become 0, accumulators their biases.
    ready : idle, all results taken: a clear, weights or other registers may come.
    trace : ``trace_signature(design)``.
    cell_active : the handover has something to do in this cycle.

    Latency: ``tidegate.spec.cycles``.  With wrong values in the registers the results are wrong, but every counter
    ends, although large lengths may take longer than the link's watchdog allows.
    """

    def __init__(self, design: Design, cell_domain: str = "sync"):
        self.design, self.cell_domain = design, cell_domain
        super().__init__({
            "registers": In(registers_layout(design)),
            "weight_w": In(weight_w_signature(design)),
            "frame": In(stream.Signature(data.ArrayLayout(signed(SIGNAL.bits), design.encoder_rate))),
            "logit": Out(stream.Signature(signed(ACC_BITS))),
            "result": Out(stream.Signature(result_layout(design))),
            "frames": Out(32), "decision": Out(range(design.classes + 1)), "heard": Out(range(design.classes + 1)),
            "ended": Out(1),
            "clear": In(1), "ready": Out(1),
            "trace": Out(trace_signature(design)), "cell_active": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        d, regs = self.design, self.registers
        m.submodules.admission = admission = Admission(d)
        m.submodules.x_encoder = x_encoder = Encoder(
            d.encoder_rate, admission.groups, rules=d.rules, fast=d.snapshot)
        handover = handover_of(d)(d)
        assert handover.margin <= MARGIN
        m.submodules.h_encoder = h_encoder = Encoder(
            d.cell_rate, d.neurons // d.cell_rate, max(QUEUE_DEPTH, handover.depth and handover.depth + LAG),
            handover.late, d.rules, fast=d.snapshot)
        m.submodules.scheduler = scheduler = Scheduler(d)
        m.submodules.addresser = addresser = Addresser(d)
        m.submodules.lanes = lanes = Lanes(d)
        m.submodules.handover = DomainRenamer(self.cell_domain)(handover)
        m.submodules.logits = logits = handover.logits(d)
        m.submodules.counters = counters = Counters(d)
        m.submodules.stop = stop = StopUnit(d)
        m.submodules.clearing = clearing = Clearing()
        dense, early, streaming = regs.MODE

        connect(m, flipped(self.weight_w), lanes.weight_w)
        connect(m, flipped(self.frame), admission.frame)
        connect(m, flipped(self.trace), handover.trace)
        connect(m, flipped(self.logit), logits.o)
        connect(m, flipped(self.result), counters.o)
        connect(m, admission.o, x_encoder.i)
        connect(m, x_encoder.o, scheduler.x)
        connect(m, h_encoder.o, scheduler.h)
        if d.convolves:
            m.submodules.convolver = convolver = Convolver(d)
            connect(m, scheduler.o, convolver.i)
            connect(m, convolver.o, addresser.i)
            m.d.comb += convolver.registers.eq(regs)
            m.d.sync += convolver.on.eq(Cat(regs[f"CONV{s}"][0] for s in range(d.layers + 1)).any())
        else:
            connect(m, scheduler.o, addresser.i)
        connect(m, addresser.o, lanes.fetch)
        connect(m, addresser.o, counters.fetch)
        connect(m, lanes.copies, handover.copies)
        connect(m, lanes.copies, logits.copies)

        def of_layer(name: str, first: int = 0):
            """A register of the layer at work, or with ``first`` = 1 of its hidden signal."""
            return choose(m, regs, name, range(first, first + d.layers), scheduler.layer)

        running, apart = Signal(), Signal()
        m.d.sync += [apart.eq(early & ~streaming), running.eq(clearing.run & (regs.LAYERS != 0) & ~self.clear)]
        m.d.comb += [
            admission.features.eq(regs.FEATURES), admission.running.eq(running), admission.apart.eq(apart),
            admission.drop.eq(stop.ended), admission.busy.eq(counters.busy), x_encoder.values.eq(admission.values),
            scheduler.registers.eq(regs), addresser.registers.eq(regs),
            x_encoder.theta.eq(regs.THETA0), x_encoder.dense.eq(dense),
            h_encoder.theta.eq(of_layer("THETA", 1)), h_encoder.dense.eq(dense),
            h_encoder.values.eq(handover.values), h_encoder.i.p.eq(handover.o.payload),
            h_encoder.i.valid.eq(handover.o.valid),
            handover.room.eq(h_encoder.room), handover.layer.number.eq(scheduler.layer),
            handover.layer.words.eq(of_layer("LAYER_WORDS")), handover.layer.size.eq(of_layer("LAYER_SIZE")),
            handover.layer.state.eq(of_layer("LAYER_STATE")), handover.layer.frac.eq(of_layer("LAYER_FRAC")),
            handover.layer.cell.eq(of_layer("LAYER_CELL")),
            logits.classes.eq(regs.CLASSES),
            counters.begin.eq(admission.begin), counters.skip.eq(admission.skip), counters.done.eq(logits.done),
            counters.decision.eq(stop.decision),
            stop.logit.eq(self.logit.p), stop.taken.eq(self.logit.valid & self.logit.ready), stop.done.eq(logits.done),
            stop.on.eq(early), stop.stream.eq(streaming), stop.margin.eq(regs.STOP_MARGIN),
            stop.release.eq(regs.STOP_RELEASE), stop.hold.eq(regs.STOP_HOLD), stop.smooth.eq(regs.STOP_SMOOTH),
            stop.classes.eq(regs.STOP_CLASSES),
            self.frames.eq(counters.frames), self.decision.eq(stop.decision), self.heard.eq(stop.heard),
            self.ended.eq(stop.ended),
        ]

        if d.choices:
            m.d.comb += handover.layer.activation.eq(of_layer("LAYER_ACTIVATION"))
        if d.convolves:
            m.d.comb += handover.layer.lanes.eq(of_layer("LAYER_LANES"))
        if d.diffuses:
            names = ("RULE", "OFFSET", "LOWEST", "HIGHEST")
            m.d.comb += [x_encoder.rule.eq(Cat(regs[f"{name}0"] for name in names)),
                         h_encoder.rule.eq(Cat(of_layer(name, 1) for name in names))]

        # the logits of a frame are copied when those of the one before, and its result, are taken
        waiting = Signal()
        m.d.comb += scheduler.blocked.eq(waiting)
        with m.If(self.result.valid & self.result.ready):
            m.d.sync += waiting.eq(0)
        with m.Elif(scheduler.logits_copied):
            m.d.sync += waiting.eq(1)
        with m.Elif(logits.more):
            m.d.sync += waiting.eq(0)

        # registers, for what is busy is all over the core
        addressing = addresser.busy | convolver.busy if d.convolves else addresser.busy
        m.d.sync += [
            clearing.busy.eq(clearing.start | x_encoder.busy | h_encoder.busy | lanes.busy | handover.busy | stop.busy),
            clearing.playing.eq(clearing.bias | ~scheduler.idle | addressing | lanes.busy),
        ]
        m.d.comb += [
            self.ready.eq(clearing.run & ~counters.busy), clearing.clear.eq(self.clear & ~counters.busy),
            scheduler.bias.eq(clearing.bias), self.cell_active.eq(handover.busy | clearing.start),
            *(part.clear.eq(clearing.start) for part in (x_encoder, h_encoder, lanes, handover, counters, stop)),
        ]
        return m
