"""Delta encoder: compares N values a cycle with what was last sent, and sends only what moved."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.formats import DELTA_BITS, SIGNAL

from .event import EVENT, INDEX_BITS
from .fixed import saturate


def group_layout(values: int, depth: int) -> data.StructLayout:
    """``values`` neighbouring elements of a signal, from ``index`` on; ``mask``: which exist; ``last`` of the frame."""
    return data.StructLayout({"index": INDEX_BITS, "address": range(depth), "mask": values, "last": 1})


class Encoder(wiring.Component):
    """Turns groups of values into events against a memory of anchors.

        fire  ⇔  |v − v̂| ≥ Θ  and  v ≠ v̂        (dense: always)
        Δ = clip(v − v̂, DELTA_BITS);  v̂ ← v̂ + Δ     where fired

    Parameters
    ----------
    values : int
        Values examined per cycle.
    depth : int
        Groups in the anchor memory.

    Members
    -------
    i : stream of ``group_layout(values, depth)``
        ``address`` selects the anchors; the same one must not come twice running, unless the first is ``last``.
    values : the group's elements (SIGNAL), from the cycle after it was taken until the next is taken.
    theta : Θ in LSBs, stable while busy.
    dense : every element is sent.
    o : stream of ``EVENT``
        The events of a group in ascending index order; after those of the last group an ``end``.
    clear : strobe, while not busy: all anchors become 0 (takes ``depth`` cycles).
    busy : a group, an event or a clear is under way.

    Latency: ``delay`` cycles from group to first event.  Throughput: a group with k events, an end among them,
    takes max(1, k) cycles; after the last group one cycle more if it has no event.
    Formats: values and anchors SIGNAL, Δ saturates symmetrically to DELTA_BITS.
    """

    delay = 2

    def __init__(self, values: int, depth: int):
        self.width, self.depth = values, depth
        super().__init__({
            "i": In(stream.Signature(group_layout(values, depth))),
            "values": In(data.ArrayLayout(signed(SIGNAL.bits), values)),
            "theta": In(SIGNAL.bits + 1),
            "dense": In(1),
            "o": Out(stream.Signature(EVENT)),
            "clear": In(1),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        n = self.width
        anchors_layout = data.ArrayLayout(signed(SIGNAL.bits), n)
        m.submodules.anchors = anchors = Memory(shape=anchors_layout, depth=self.depth, init=[])
        anchor_r = anchors.read_port()
        anchor_w = anchors.write_port()

        group = Signal(self.i.p.shape())            # stage 1: its anchors are at the memory's output
        group_valid = Signal()
        pending = Signal(n)                         # stage 2: events still to be sent
        deltas = Signal(data.ArrayLayout(signed(DELTA_BITS), n))
        index, end = Signal(INDEX_BITS), Signal()
        sweep, sweeping = Signal(range(self.depth)), Signal()

        first = pending & (-pending)[:n]            # lowest set bit
        load = Signal()                             # nothing is left to be sent, or it leaves now
        m.d.comb += [
            load.eq((~self.o.valid | self.o.ready) & (Mux(end, pending, pending ^ first) == 0)),
            # a group after the last may have its address again
            self.i.ready.eq(~group_valid | (load & ~group.last)),
            anchor_r.addr.eq(self.i.p.address),
            anchor_r.en.eq(self.i.ready),
            self.busy.eq(group_valid | (pending != 0) | end | sweeping),
        ]

        with m.If(self.i.ready):
            m.d.sync += [group.eq(self.i.p), group_valid.eq(self.i.valid)]
        with m.Elif(load):
            m.d.sync += group_valid.eq(0)

        fire = Signal(n)
        new_deltas = Signal.like(deltas)
        for k in range(n):
            anchor = anchor_r.data[k]
            difference = Signal(signed(SIGNAL.bits + 1), name=f"difference{k}")
            magnitude = Signal(SIGNAL.bits + 1, name=f"magnitude{k}")
            m.d.comb += [
                difference.eq(self.values[k] - anchor),
                magnitude.eq(Mux(difference < 0, -difference, difference)),
                fire[k].eq(group.mask[k] & (self.dense | ((magnitude >= self.theta) & (difference != 0)))),
                new_deltas[k].eq(saturate(difference, DELTA_BITS)),
                anchor_w.data[k].eq(Mux(fire[k], anchor + new_deltas[k], anchor)),
            ]
        m.d.comb += [anchor_w.addr.eq(group.address), anchor_w.en.eq(group_valid & load & ~sweeping)]

        with m.If(load):
            m.d.sync += [
                pending.eq(Mux(group_valid, fire, 0)), end.eq(group_valid & group.last),
                deltas.eq(new_deltas), index.eq(group.index),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += pending.eq(pending ^ first)

        m.d.comb += [self.o.valid.eq((pending != 0) | end), self.o.p.end.eq(pending == 0)]
        lane = Signal(range(max(n, 2)))
        for k in reversed(range(n)):
            with m.If(first[k]):
                m.d.comb += lane.eq(k)
        m.d.comb += [self.o.p.index.eq(index + lane), self.o.p.delta.eq(deltas[lane])]

        with m.If(self.clear):
            m.d.sync += [sweeping.eq(1), sweep.eq(0)]
        with m.If(sweeping):
            m.d.comb += [anchor_w.addr.eq(sweep), anchor_w.en.eq(1), anchor_w.data.as_value().eq(0)]
            m.d.sync += [sweep.eq(sweep + 1), sweeping.eq(sweep != self.depth - 1)]
        return m
