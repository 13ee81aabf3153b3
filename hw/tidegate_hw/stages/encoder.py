"""Encoder: compares N values per cycle with its memory of them, and sends only what has changed, or adds up, enough."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.formats import DELTA_BITS, SIGNAL
from tidegate.spec.rules import RULES

from ..fixed import saturate
from ..records.event import event_layout, group_layout

QUEUE_DEPTH = 32        # groups with events that wait
MARGIN = 16             # groups that may still come when ``room`` falls
LEAKS = 2               # cycles that a leak takes
LAG = 8                 # ... and those that came before the queue's level shows it


# ``diffuse``: the signal has that rule.  ``fraction``: step − 1.  ``offset``: step − Θ.  ``lowest``, ``highest``: the
# most negative and the most positive Δ.
RULE_LAYOUT = data.StructLayout({
    "diffuse": 1, "zero": 1, "leak": 3, "fraction": DELTA_BITS - 2, "offset": signed(SIGNAL.bits + 2),
    "lowest": signed(DELTA_BITS), "highest": DELTA_BITS - 1,
})


def leaked(leak, value):
    """What is left of a value after the leak."""
    return value - Mux(leak == 0, 0, value >> leak)


def diffused(rule, total):
    """(Whether there is a spike, and Δ) of u = ``total``: w = u + step − Θ, rounded down to steps and clipped."""
    wide = (total + rule.offset)[: SIGNAL.bits + 3].as_signed()
    whole = (wide & ~Cat(rule.fraction, Const(0, len(wide) - len(rule.fraction)))).as_signed()
    spiked = (whole != 0) & Mux(wide < 0, rule.lowest != 0, rule.highest != 0)
    sent = Mux(wide >= rule.highest, rule.highest, Mux(wide < rule.lowest, rule.lowest, whole[:DELTA_BITS].as_signed()))
    return spiked, sent[:DELTA_BITS].as_signed()


class _Levels:
    """The same as ``diffused`` for a faster clock: where the rule compares u is in registers, so that each comparison
    is one carry chain, beside the sum."""

    def __init__(self, m: Module, rule):
        def register(value, name):
            kept = Signal(signed(SIGNAL.bits + 3), name=name)
            m.d.sync += kept.eq(value)
            return kept

        self.rule = rule
        self.up, self.down = (register(rule.fraction + 1 - rule.offset, "up"), register(-rule.offset, "down"))
        self.top, self.bottom = (register(rule.highest - rule.offset, "top"),
                                 register(rule.lowest - rule.offset, "bottom"))

    def sent(self, total):
        """(Whether there is a spike, and Δ) of u = ``total``."""
        rule = self.rule
        wide = (total + rule.offset)[: SIGNAL.bits + 3].as_signed()
        whole = wide & ~Cat(rule.fraction, Const(0, len(wide) - len(rule.fraction)))
        spiked = ((total >= self.up) & (rule.highest != 0)) | ((total < self.down) & (rule.lowest != 0))
        sent = Mux(total >= self.top, rule.highest,
                   Mux(total < self.bottom, rule.lowest, whole[:DELTA_BITS].as_signed()))
        return spiked, sent[:DELTA_BITS].as_signed()


class Encoder(wiring.Component):
    """Compares groups of values with a memory of anchors, and queues the events until they are taken.

        fire  ⇔  |v − v̂| ≥ Θ  and  v ≠ v̂        (dense: always)
        Δ = clip(v − v̂, DELTA_BITS);  v̂ ← v̂ + Δ     where fired

    Or, if the rule of the signal is ``diffuse`` (``tidegate.spec.rules``):

        u = v + e − (e >> leak)       Δ = ⌊(u + step − Θ) / step⌋ · step, from lowest to highest
        fire  ⇔  Δ ≠ 0  (dense: always)       e ← clip(u − Δ), or 0 where Δ ≠ 0 if the reset is to zero

    If it is ``fast``, the memory has e − (e >> leak): what is read comes late in a cycle, and before it is written
    there is time.

        group ─► anchors ─► subtract ─► compare ─┬──► queue ──┬─► one by one        each ─► has a register
                                                 └────────────┘

    Parameters
    ----------
    rate : int
        Elements examined per cycle.
    depth : int
        Groups in the anchor memory.
    queue_depth : int
        Groups with events that can wait; at least 2 MARGIN if ``room`` is used.
    late : int
        Cycles from a group to its values, 1 or 2; with 2 the anchors have a register of their own.
    rules : tuple[str, ...]
        The rules that there are.
    fast : bool
        Makes the rule ``diffuse`` fit a faster clock, with more registers; nothing else depends on it but ``rest``.

    Members
    -------
    i : stream of ``group_layout(rate, depth)``
        ``address`` selects the anchors; the same one must not come twice in ``rest`` + 1 cycles, unless the first is
        ``last``.
    values : the group's elements (SIGNAL), ``late`` cycles after it was taken.
    room : in the cycle before, there was room for ``MARGIN`` more groups, even if no event is taken.
    theta : Θ in LSBs, stable while busy.
    dense : every element is sent.
    rule : ``RULE_LAYOUT``, stable while busy and in the cycle before; there with the rule ``diffuse``.  Groups of one
        address have the same rule, and if that is ``diffuse`` the same mask, from one clear to the next.
    o : stream of ``event_layout(rate * depth)``
        The events of a group in ascending index order; after those of the last group an ``end``.
    clear : strobe, while not busy: all anchors become 0 (takes ``depth`` cycles).
    busy : a group, an event or a clear is under way.

    Latency: ``delay`` cycles from group to first event if nothing waits before it, else 2 more.
    Throughput: one group per cycle, except in the ``rest`` cycles after a frame's last group; one event per cycle.
    ``rest`` is ``late`` + 2, and LEAKS more if errors leak before they are written (``diffuse`` and ``fast``).
    Formats: values and anchors SIGNAL, Δ saturates symmetrically to DELTA_BITS.
    """

    latency = 3         # cycles from the values of a group to its first event
    gap = 2             # ... and to the anchors' being written

    def __init__(self, rate: int, depth: int, queue_depth: int = QUEUE_DEPTH, late: int = 1,
                 rules: tuple[str, ...] = RULES[:1], fast: bool = False):
        self.rate, self.depth, self.queue_depth, self.late, self.rules = rate, depth, queue_depth, late, rules
        self.fast = fast and "diffuse" in rules
        self.delay, self.rest = self.latency + late, self.gap + late + LEAKS * self.fast
        super().__init__({
            "i": In(stream.Signature(group_layout(rate, depth))),
            "values": In(data.ArrayLayout(signed(SIGNAL.bits), rate)),
            "room": Out(1),
            "theta": In(SIGNAL.bits + 1),
            "dense": In(1),
            "o": Out(stream.Signature(event_layout(rate * depth))),
            "clear": In(1),
            "busy": Out(1),
            **({"rule": In(RULE_LAYOUT)} if "diffuse" in rules else {}),
        })

    def elaborate(self, platform):
        m = Module()
        n = self.rate
        found_layout = data.StructLayout({
            "fired": n, "end": 1, "index": range(n * self.depth), "deltas": data.ArrayLayout(signed(DELTA_BITS), n),
        })
        # ``only_end``: nothing but the end is left to be sent; ``single``: one thing is left, an event or the end
        sending_layout = data.StructLayout({"found": found_layout, "only_end": 1, "single": 1})

        def single(fired, end):
            return ((fired & (fired - 1)[:n]) == 0) & ((fired != 0) ^ end)

        m.submodules.anchors = anchors = Memory(
            shape=data.ArrayLayout(signed(SIGNAL.bits), n), depth=self.depth, init=[])
        anchor_r, anchor_w = anchors.read_port(), anchors.write_port()
        m.submodules.queue = queue = SyncFIFOBuffered(width=sending_layout.size, depth=self.queue_depth)

        # the group when its anchors are at the memory's output, and if its values are late in the next stage
        groups = [Signal(self.i.p.shape(), name=f"group{k}") for k in range(self.late)]
        group_valid = Signal(self.rest)
        # the next stage: what changed by how much
        moved = Signal(self.i.p.shape())
        # and the next: what fired; a group after the last may have its address again
        found_q, address_q = Signal(found_layout), Signal.like(self.i.p.address)
        waiting, few = Signal(range(self.queue_depth + 1)), Signal()        # groups in the queue; in the cycle before
        rests, taken = Signal(self.rest), Signal()
        m.d.comb += [
            self.i.ready.eq(few & (rests == 0)), taken.eq(self.i.valid & self.i.ready),
            anchor_r.addr.eq(self.i.p.address),
        ]
        m.d.sync += [
            *(after.eq(before) for after, before in zip([*groups, moved], [self.i.p, *groups], strict=True)),
            group_valid.eq(Cat(taken, group_valid)), rests.eq(Cat(taken & self.i.p.last, rests)),
            address_q.eq(moved.address),
            waiting.eq(waiting + (queue.w_en & queue.w_rdy) - (queue.r_en & queue.r_rdy)),
            few.eq(waiting <= self.queue_depth - 4 - self.late),
            self.room.eq(waiting <= max(0, self.queue_depth - MARGIN - LAG)),
        ]
        below = Signal.like(self.theta)             # Θ − 1; what does not differ does not fire
        m.d.sync += below.eq(Mux(self.theta == 0, 0, self.theta - 1))
        rule = self.rule if "diffuse" in self.rules else None
        on = None if rule is None else rule.diffuse if "delta" in self.rules else Const(1, 1)
        levels = leaks = None
        if self.fast:
            levels, leaks = _Levels(m, rule), Signal(name="leaks")
            m.d.sync += leaks.eq(on & (rule.leak != 0))
        found = Signal(found_layout)
        m.d.comb += [found.end.eq(moved.last), found.index.eq(moved.index)]
        for k in range(n):
            anchor, value = anchor_r.data[k], self.values[k]
            if self.late > 1:
                anchor_q1 = Signal(signed(SIGNAL.bits), name=f"anchor{k}_q1", reset_less=True)
                m.d.sync += anchor_q1.eq(anchor)
                anchor = anchor_q1
            difference = Signal(signed(SIGNAL.bits + 1), name=f"difference{k}", reset_less=True)
            anchor_moved = Signal(signed(SIGNAL.bits), name=f"anchor{k}_moved", reset_less=True)
            anchor_found = Signal(signed(SIGNAL.bits), name=f"anchor{k}_found", reset_less=True)
            left_of = anchor if rule is None or self.fast else leaked(rule.leak, anchor)
            change = value - anchor if rule is None else Mux(on, value + left_of, value - anchor)
            kept = Signal(signed(SIGNAL.bits), name=f"kept{k}") if self.fast else anchor_w.data[k]
            m.d.sync += [difference.eq(change), anchor_moved.eq(anchor), anchor_found.eq(anchor_moved)]
            # |difference| is ``apart``, and one more if it is negative; carries if it is not more than ``below``
            negative, apart = difference[-1], Signal(SIGNAL.bits, name=f"apart{k}")
            within = Signal(len(below) + 2, name=f"within{k}")
            m.d.comb += [
                apart.eq(difference[:-1] ^ negative.replicate(SIGNAL.bits)),
                within.eq(Cat(Const(1, 1), below) + Cat(~negative, ~apart, Const(1, len(below) - SIGNAL.bits))),
                found.fired[k].eq(moved.mask[k] & (self.dense | ~within[-1])),
                found.deltas[k].eq(saturate(difference, DELTA_BITS)),
                kept.eq(anchor_found + Mux(found_q.fired[k], found_q.deltas[k], 0)),
            ]
            if rule is not None:
                total, spiked = Signal.like(difference, name=f"total{k}", reset_less=True), Signal(name=f"spiked{k}")
                spikes, sent = diffused(rule, difference) if levels is None else levels.sent(difference)
                m.d.sync += [total.eq(difference), spiked.eq(spikes)]
                with m.If(on):
                    left = saturate(total - found_q.deltas[k], SIGNAL.bits)
                    m.d.comb += [
                        found.fired[k].eq(moved.mask[k] & (self.dense | spikes)), found.deltas[k].eq(sent),
                        kept.eq(Mux(rule.zero & spiked, 0, left)),
                    ]
            if self.fast:
                before, after, lost = (Signal.like(kept, name=f"{name}{k}", reset_less=True)
                                       for name in ("before", "after", "lost"))
                m.d.sync += [before.eq(kept), after.eq(before), lost.eq(Mux(leaks, before >> rule.leak, 0))]
                m.d.comb += anchor_w.data[k].eq(after - lost)

        # and the next: the events that are still to be sent, from the queue or past it
        sending, come = Signal(sending_layout), Signal(sending_layout)
        fired, end = sending.found.fired, sending.found.end
        rest = fired & (fired - 1)[:n]              # without the lowest set bit
        something, past, load = Signal(), Signal(), Signal()
        m.d.sync += found_q.eq(found)
        m.d.comb += [
            come.found.eq(found_q), come.only_end.eq(found_q.fired == 0),
            come.single.eq(single(found_q.fired, found_q.end)),
            something.eq(group_valid[self.late + 1] & ((found_q.fired != 0) | found_q.end)),
            past.eq(something & (waiting == 0)),
            load.eq(~self.o.valid | (self.o.ready & sending.single)), self.o.p.end.eq(sending.only_end),
            queue.w_data.eq(come), queue.w_en.eq(something & ~(load & past)), queue.r_en.eq(load),
        ]
        with m.If(load):
            m.d.sync += [self.o.valid.eq(queue.r_rdy | past), sending.eq(Mux(queue.r_rdy, queue.r_data, come))]
        with m.Elif(self.o.ready):
            m.d.sync += [fired.eq(rest), sending.only_end.eq(rest == 0), sending.single.eq(single(rest, end))]
        lane = Signal(range(max(n, 2)))
        for k in reversed(range(n)):
            with m.If(fired[k]):
                m.d.comb += lane.eq(k)
        m.d.comb += [self.o.p.index.eq(sending.found.index + lane), self.o.p.delta.eq(sending.found.deltas[lane])]

        sweep, sweeping = Signal(range(self.depth)), Signal()
        where = address_q
        for age in range(LEAKS * self.fast):
            later = Signal.like(address_q, name=f"address_q{age + 2}")
            m.d.sync += later.eq(where)
            where = later
        m.d.comb += [
            anchor_w.addr.eq(where), anchor_w.en.eq(group_valid[-1] & ~sweeping),
            self.busy.eq((group_valid != 0) | (waiting != 0) | self.o.valid | sweeping),
        ]
        with m.If(self.clear):
            m.d.sync += [sweeping.eq(1), sweep.eq(0)]
        with m.If(sweeping):
            m.d.comb += [anchor_w.addr.eq(sweep), anchor_w.en.eq(1), anchor_w.data.as_value().eq(0)]
            m.d.sync += [sweep.eq(sweep + 1), sweeping.eq(sweep != self.depth - 1)]
        return m
