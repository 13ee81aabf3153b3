"""The core: feature frames in, logits out, one weight column fetched per change."""

from amaranth.hdl import Array, Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS, BIAS_DELTAS, SIGNAL
from tidegate.spec.network import MAX_LAYERS, MAX_SIGNALS

from .cell import Cell, trace_signature
from .column import Column
from .encoder import Encoder
from .event import BIAS_SIGNAL, EVENT
from .lanes import Lanes, weight_w_signature
from .registers import REGISTERS_LAYOUT
from .serializer import Serializer
from .snapshot import Snapshot

EVENT_FIFO_DEPTH = 32

COUNTERS_LAYOUT = data.StructLayout({
    "frames": 32, "cycles": 32, "weight_words": 32, "events": data.ArrayLayout(16, MAX_SIGNALS),
})


class Core(wiring.Component):
    """A chain of delta-GRU layers and a classifier on one engine.

        frame ─► x encoder ─┐                                    ┌─► cell ─► h encoder ─┐
                            ├─► event FIFO ─► column ─► lanes ─► snapshot ─► logits     │
                    ┌───────┘                                                           │
                    └───────────────────────────────────────────────────────────────────┘

    A frame: encode the features; when their columns are added, for each layer take a snapshot of its
    accumulators, run the cell, and add the columns of the hidden events as they come; at last the logits.

    Parameters
    ----------
    design : Design

    Members
    -------
    registers : ``REGISTERS_LAYOUT``, stable while not ready.
    weight_w : ``weight_w_signature(design)``, while ready.
    frame : stream of ``encoder_rate`` features (SIGNAL); ceil(FEATURES / encoder_rate) groups make a frame.
    logit : stream of CLASSES accumulators per frame, in order.
    counters : of the last frame, stable while ready, until the next frame's first group.  ``frames`` since
        clear; ``cycles`` from the first group taken to the return to ready; ``weight_words`` read, all
        columns; ``events`` per signal.
    clear : strobe, while ready: anchors and h become 0, accumulators their biases.
    ready : idle; takes a clear, weights or a frame.
    trace : ``trace_signature(design)``.

    Latency: variable; at least a cycle a weight word.  Any register values: it may compute nonsense, but no
    counter runs for ever unless a length register makes it longer than the link's watchdog waits.
    """

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "registers": In(REGISTERS_LAYOUT),
            "weight_w": In(weight_w_signature(design)),
            "frame": In(stream.Signature(data.ArrayLayout(signed(SIGNAL.bits), design.encoder_rate))),
            "logit": Out(stream.Signature(signed(ACC_BITS))),
            "counters": Out(COUNTERS_LAYOUT),
            "clear": In(1), "ready": Out(1),
            "trace": Out(trace_signature(design)),
        })

    def elaborate(self, platform):
        m = Module()
        d, regs = self.design, self.registers
        e = d.encoder_rate
        m.submodules.x_encoder = x_encoder = Encoder(e, -(-d.features // e))
        m.submodules.h_encoder = h_encoder = Encoder(d.cell_rate, d.neurons // d.cell_rate)
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=EVENT.size, depth=EVENT_FIFO_DEPTH)
        m.submodules.column = column = Column(d)
        m.submodules.lanes = lanes = Lanes(d)
        m.submodules.snapshot = snapshot = Snapshot(d)
        m.submodules.cell = cell = Cell(d)
        m.submodules.serializer = serializer = Serializer(d)

        connect(m, flipped(self.weight_w), lanes.weight_w)
        connect(m, flipped(self.trace), cell.trace)
        connect(m, flipped(self.logit), serializer.o)
        connect(m, column.o, lanes.fetch)
        connect(m, snapshot.acc_r, lanes.acc_r)
        connect(m, cell.o, h_encoder.i)
        m.d.comb += column.registers.eq(regs)

        # the layer at work, and the classifier after the last
        layer, classifying = Signal(range(MAX_LAYERS)), Signal()

        def of_layer(name: str):
            return Array(regs[f"{name}{l}"] for l in range(MAX_LAYERS))[layer]

        thetas = Array(regs[f"THETA{s}"] for s in range(MAX_SIGNALS))
        hidden = Signal(range(MAX_SIGNALS))
        m.d.comb += [
            hidden.eq(layer + 1),
            x_encoder.theta.eq(regs.THETA0), x_encoder.dense.eq(regs.MODE),
            h_encoder.theta.eq(thetas[hidden]), h_encoder.dense.eq(regs.MODE),
            cell.signal.eq(hidden), cell.state_base.eq(of_layer("LAYER_STATE")),
            cell.weight_frac.eq(of_layer("LAYER_FRAC")),
            snapshot.single.eq(classifying), snapshot.target.eq(of_layer("LAYER_TARGET")),
            snapshot.words.eq(of_layer("LAYER_WORDS")), snapshot.size.eq(of_layer("LAYER_SIZE")),
        ]
        with m.If(classifying):
            m.d.comb += [
                snapshot.target.eq(regs.LOGIT_TARGET), snapshot.size.eq(regs.CLASSES),
                snapshot.words.eq((regs.CLASSES + d.lanes - 1) // d.lanes),
            ]
        m.d.comb += [
            cell.i.p.eq(snapshot.o.p), cell.i.valid.eq(snapshot.o.valid & ~classifying),
            serializer.i.p.eq(snapshot.o.p), serializer.i.valid.eq(snapshot.o.valid & classifying),
        ]
        with m.If(classifying):
            m.d.comb += snapshot.o.ready.eq(serializer.i.ready)
        with m.Else():
            m.d.comb += snapshot.o.ready.eq(cell.i.ready)

        # features into groups with an address
        group = Signal(range(x_encoder.depth + 1))
        taking = Signal()
        group_in = x_encoder.i.p
        m.d.comb += [
            x_encoder.i.valid.eq(self.frame.valid & taking), self.frame.ready.eq(x_encoder.i.ready & taking),
            group_in.signal.eq(0), group_in.index.eq(group * e), group_in.address.eq(group),
            group_in.values.eq(self.frame.p), group_in.mask.eq(Cat(group * e + k < regs.FEATURES for k in range(e))),
        ]
        last_group = (group + 1) * e >= regs.FEATURES

        # one FIFO for all events; the phases below keep its sources apart
        bias, bias_valid = Signal(EVENT), Signal()
        m.d.comb += [
            column.i.p.eq(fifo.r_data), column.i.valid.eq(fifo.r_rdy), fifo.r_en.eq(column.i.ready),
            fifo.w_data.eq(h_encoder.o.p), fifo.w_en.eq(h_encoder.o.valid), h_encoder.o.ready.eq(fifo.w_rdy),
        ]
        with m.If(taking | x_encoder.busy):
            m.d.comb += [
                fifo.w_data.eq(x_encoder.o.p), fifo.w_en.eq(x_encoder.o.valid), x_encoder.o.ready.eq(fifo.w_rdy),
                h_encoder.o.ready.eq(0),
            ]
        with m.Elif(bias_valid):
            m.d.comb += [fifo.w_data.eq(bias), fifo.w_en.eq(1), h_encoder.o.ready.eq(0)]

        columns_busy = Signal()
        m.d.comb += columns_busy.eq((fifo.level != 0) | column.busy | lanes.busy)

        self._count(m, fifo, lanes)

        start_clear = Signal()
        m.d.comb += [part.clear.eq(start_clear) for part in (x_encoder, h_encoder, lanes, cell)]
        digit = Signal(range(len(BIAS_DELTAS)))
        m.d.comb += [
            bias.signal.eq(BIAS_SIGNAL), bias.index.eq(digit), bias.delta.eq(Array(BIAS_DELTAS)[digit]),
        ]

        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += self.ready.eq(1)
                m.d.sync += [group.eq(0), digit.eq(0), layer.eq(0), classifying.eq(0)]
                with m.If(self.clear):
                    m.d.comb += start_clear.eq(1)
                    m.d.sync += self.counters.frames.eq(0)
                    m.next = "CLEAR"
                with m.Elif(self.frame.valid & (regs.LAYERS != 0)):
                    m.next = "TAKE FEATURES"
            with m.State("CLEAR"):
                with m.If(~(x_encoder.busy | h_encoder.busy | lanes.busy | cell.busy)):
                    m.next = "PLAY BIAS"
            with m.State("PLAY BIAS"):
                m.d.comb += bias_valid.eq(1)
                with m.If(fifo.w_rdy):
                    m.d.sync += digit.eq(digit + 1)
                    with m.If(digit == len(BIAS_DELTAS) - 1):
                        m.next = "ADD BIAS"
            with m.State("ADD BIAS"):
                with m.If(~columns_busy):
                    m.next = "WAIT"
            with m.State("TAKE FEATURES"):
                m.d.comb += taking.eq(1)
                with m.If(self.frame.valid & self.frame.ready):
                    m.d.sync += group.eq(group + 1)
                    with m.If(last_group):
                        m.next = "ADD COLUMNS"
            with m.State("ADD COLUMNS"):
                with m.If(~(x_encoder.busy | h_encoder.busy | columns_busy)):
                    m.d.comb += snapshot.start.eq(1)
                    m.next = "RUN LAYER"
            with m.State("RUN LAYER"):
                with m.If(~(snapshot.busy | cell.busy | serializer.busy)):
                    with m.If(classifying):
                        m.d.sync += self.counters.frames.eq(self.counters.frames + 1)
                        m.next = "WAIT"
                    with m.Else():
                        last_layer = (layer == MAX_LAYERS - 1) | (layer + 1 >= regs.LAYERS)
                        m.next = "FINISH LAYER"
                        m.d.sync += classifying.eq(last_layer)
            with m.State("FINISH LAYER"):
                # the thresholds stay the layer's until its encoder is empty
                with m.If(~(h_encoder.busy | columns_busy)):
                    with m.If(~classifying):
                        m.d.sync += layer.eq(layer + 1)
                    m.next = "ADD COLUMNS"
        return m

    def _count(self, m, fifo, lanes):
        """Counters of the frame; they start anew with its first group."""
        counters, begun = self.counters, Signal()
        first = self.frame.valid & self.frame.ready & ~begun
        event = Signal(EVENT)
        m.d.comb += event.eq(fifo.w_data)
        with m.If(self.ready):
            m.d.sync += begun.eq(0)
        with m.If(first):
            m.d.sync += [begun.eq(1), counters.cycles.eq(1), counters.weight_words.eq(0), counters.events.eq(0)]
        with m.Elif(begun & ~self.ready):
            m.d.sync += counters.cycles.eq(counters.cycles + 1)
            with m.If(lanes.fetch.valid):
                m.d.sync += counters.weight_words.eq(counters.weight_words + 1)
            with m.If(fifo.w_en & fifo.w_rdy & (event.signal < MAX_SIGNALS)):
                seen = counters.events[event.signal]
                m.d.sync += seen.eq(seen + 1)
