"""Delta encoder: compares N values a cycle with what was last sent, and sends only what moved."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.formats import DELTA_BITS, SIGNAL

from .event import event_layout
from .fixed import saturate

QUEUE_DEPTH = 32        # groups with events that wait
MARGIN = 16             # groups that may still come when ``room`` falls: those in snapshot and cell
LAG = 8                 # ... and those that came before the queue's level shows it


def group_layout(rate: int, depth: int) -> data.StructLayout:
    """``rate`` neighbouring elements of a signal, from ``index`` on; ``mask``: which exist; ``last`` of the frame."""
    return data.StructLayout({"index": range(rate * depth), "address": range(depth), "mask": rate, "last": 1})


class Encoder(wiring.Component):
    """Turns groups of values into events against a memory of anchors, and holds them until they are wanted.

        fire  ⇔  |v − v̂| ≥ Θ  and  v ≠ v̂        (dense: always)
        Δ = clip(v − v̂, DELTA_BITS);  v̂ ← v̂ + Δ     where fired

        group ─► anchors ─► subtract ─► compare ─┬──► queue ──┬─► one by one        each ─► has a register
                                                 └────────────┘

    Parameters
    ----------
    rate : int
        Elements examined per cycle.
    depth : int
        Groups in the anchor memory.
    queue_depth : int
        Groups with events that wait; at least 2 MARGIN if ``room`` is of interest.

    Members
    -------
    i : stream of ``group_layout(rate, depth)``
        ``address`` selects the anchors; the same one must not come twice in four cycles, unless the first is ``last``.
    values : the group's elements (SIGNAL), in the cycle after it was taken.
    room : ``MARGIN`` groups may still come, ready or not, whatever happens to the events.
    theta : Θ in LSBs, stable while busy.
    dense : every element is sent.
    o : stream of ``event_layout(rate * depth)``
        The events of a group in ascending index order; after those of the last group an ``end``.
    clear : strobe, while not busy: all anchors become 0 (takes ``depth`` cycles).
    busy : a group, an event or a clear is under way.

    Latency: ``delay`` cycles from group to first event if nothing waits before it, else 2 more.
    Throughput: one group per cycle, but for three cycles after the last; one event per cycle.
    Formats: values and anchors SIGNAL, Δ saturates symmetrically to DELTA_BITS.
    """

    delay = 4

    def __init__(self, rate: int, depth: int, queue_depth: int = QUEUE_DEPTH):
        self.rate, self.depth, self.queue_depth = rate, depth, queue_depth
        super().__init__({
            "i": In(stream.Signature(group_layout(rate, depth))),
            "values": In(data.ArrayLayout(signed(SIGNAL.bits), rate)),
            "room": Out(1),
            "theta": In(SIGNAL.bits + 1),
            "dense": In(1),
            "o": Out(stream.Signature(event_layout(rate * depth))),
            "clear": In(1),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        n = self.rate
        found_layout = data.StructLayout({
            "fired": n, "end": 1, "index": range(n * self.depth), "deltas": data.ArrayLayout(signed(DELTA_BITS), n),
        })
        m.submodules.anchors = anchors = Memory(
            shape=data.ArrayLayout(signed(SIGNAL.bits), n), depth=self.depth, init=[])
        anchor_r, anchor_w = anchors.read_port(), anchors.write_port()
        m.submodules.queue = queue = SyncFIFOBuffered(width=found_layout.size, depth=self.queue_depth)

        # stage 1: the group's anchors are at the memory's output
        group, group_valid = Signal(self.i.p.shape()), Signal(3)
        # stage 2: what changed by how much
        moved = Signal(self.i.p.shape())
        # stage 3: what fired; a group after the last may have its address again
        found_q3, address_q3 = Signal(found_layout), Signal.like(self.i.p.address)
        waiting = Signal(range(self.queue_depth + 1))       # groups in the queue
        m.d.comb += [
            self.i.ready.eq((waiting <= self.queue_depth - 4) & ~(group_valid[0] & group.last)
                            & ~(group_valid[1] & moved.last) & ~(group_valid[2] & found_q3.end)),
            self.room.eq(waiting <= max(0, self.queue_depth - MARGIN - LAG)), anchor_r.addr.eq(self.i.p.address),
        ]
        m.d.sync += [
            group.eq(self.i.p), group_valid.eq(Cat(self.i.valid & self.i.ready, group_valid)), moved.eq(group),
            address_q3.eq(moved.address),
            waiting.eq(waiting + (queue.w_en & queue.w_rdy) - (queue.r_en & queue.r_rdy)),
        ]
        theta, minus_theta = Signal.like(self.theta), Signal(signed(len(self.theta) + 1))
        m.d.sync += [theta.eq(self.theta), minus_theta.eq(-self.theta)]
        found = Signal(found_layout)
        m.d.comb += [found.end.eq(moved.last), found.index.eq(moved.index)]
        for k in range(n):
            anchor, value = anchor_r.data[k], self.values[k]
            difference = Signal(signed(SIGNAL.bits + 1), name=f"difference{k}", reset_less=True)
            anchor_q2 = Signal(signed(SIGNAL.bits), name=f"anchor{k}_q2", reset_less=True)
            anchor_q3 = Signal(signed(SIGNAL.bits), name=f"anchor{k}_q3", reset_less=True)
            m.d.sync += [difference.eq(value - anchor), anchor_q2.eq(anchor), anchor_q3.eq(anchor_q2)]
            m.d.comb += [
                found.fired[k].eq(moved.mask[k] & (self.dense | (
                    ((difference >= theta) | (difference <= minus_theta)) & (difference != 0)))),
                found.deltas[k].eq(saturate(difference, DELTA_BITS)),
                anchor_w.data[k].eq(anchor_q3 + Mux(found_q3.fired[k], found_q3.deltas[k], 0)),
            ]

        # stage 4: the events that are still to be sent, from the queue or past it
        sending = Signal(found_layout)
        first = sending.fired & (-sending.fired)[:n]            # lowest set bit
        something, load = Signal(), Signal()
        m.d.sync += found_q3.eq(found)
        m.d.comb += [
            something.eq(group_valid[2] & ((found_q3.fired != 0) | found_q3.end)),
            self.o.valid.eq((sending.fired != 0) | sending.end), self.o.p.end.eq(sending.fired == 0),
            load.eq((~self.o.valid | self.o.ready) & (Mux(sending.end, sending.fired, sending.fired ^ first) == 0)),
            queue.w_data.eq(found_q3), queue.w_en.eq(something & ~(load & (waiting == 0))), queue.r_en.eq(load),
        ]
        with m.If(load):
            m.d.sync += [sending.fired.eq(0), sending.end.eq(0)]
            with m.If(queue.r_rdy):
                m.d.sync += sending.eq(queue.r_data)
            with m.Elif(something & (waiting == 0)):
                m.d.sync += sending.eq(found_q3)
        with m.Elif(self.o.ready):
            m.d.sync += sending.fired.eq(sending.fired ^ first)
        lane = Signal(range(max(n, 2)))
        for k in reversed(range(n)):
            with m.If(first[k]):
                m.d.comb += lane.eq(k)
        m.d.comb += [self.o.p.index.eq(sending.index + lane), self.o.p.delta.eq(sending.deltas[lane])]

        sweep, sweeping = Signal(range(self.depth)), Signal()
        m.d.comb += [
            anchor_w.addr.eq(address_q3), anchor_w.en.eq(group_valid[2] & ~sweeping),
            self.busy.eq((group_valid != 0) | (waiting != 0) | self.o.valid | sweeping),
        ]
        with m.If(self.clear):
            m.d.sync += [sweeping.eq(1), sweep.eq(0)]
        with m.If(sweeping):
            m.d.comb += [anchor_w.addr.eq(sweep), anchor_w.en.eq(1), anchor_w.data.as_value().eq(0)]
            m.d.sync += [sweep.eq(sweep + 1), sweeping.eq(sweep != self.depth - 1)]
        return m
