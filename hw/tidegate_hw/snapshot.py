"""Snapshot: a layer's accumulators as they were, so that the lanes may go on while the cell works from the copy."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS

from .fanout import SPAN, leaf
from .gates import GATES, NH, SKEW, R, Z, gates_layout, neurons_layout, taken_signature
from .job import Copy, acc_range
from .lanes import copies_signature

NEIGHBOURHOOD = 2 * SPAN        # lanes


class Snapshot(wiring.Component):
    """Takes the copies of a layer's accumulators, one memory a gate, and hands them out G neurons a cycle.

    Copies come in the order nx, r, z, nh; the first group leaves before z's last word has come, and nh follows at its
    heels.

        coming ─► count ─► register ─► write ─┐
                                              memory, choose near ─► select ─► acc
        index ────────────► register ─► read ─┘                         each ─► but the first has a register

    Parameters
    ----------
    design : Design

    Members
    -------
    copies : ``copies_signature(design)``; those of one kind in successive cycles, and nh's at once after z's.
    words : accumulator words of one gate.
    size : neurons of the layer; both stable from the first copy to the last group, and no register keeps anything of
        them, for a simulator may stop the clock until then.
    room : groups can be taken, and those that are under way here.
    o : ``taken_signature`` of ``neurons_layout(design)``: ``ceil(size / G)`` groups in order.
    acc : ``gates_layout(design)``; gate k of a group comes ``SKEW[k]`` cycles after it.
    busy : a copy comes, or a group is left.

    Latency: ``delay`` cycles from nh's first copy to the first group.  (If z does not come because the registers are
    nonsense, two more.)
    Throughput: one group per cycle while there is room.
    """

    delay = 1

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "copies": In(copies_signature(design)), "words": In(acc_range(design)),
            "size": In(range(design.neurons + 1)), "room": In(1),
            "o": Out(taken_signature(neurons_layout(design))), "acc": Out(gates_layout(design)), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        d, g, o, coming = self.design, self.design.cell_rate, self.o, self.copies.coming

        # the copy of the next cycle: nh's words are counted apart, so that its first is known whatever came before
        gate, word, word_nh = Signal(GATES), Signal(acc_range(d)), Signal(acc_range(d))
        soon, begun, start = Signal(), Signal(), Signal()
        with m.If(coming == Copy.GATES):
            m.d.sync += [word.eq(word + 1), word_nh.eq(0)]
            with m.If(word + 1 >= self.words):
                m.d.sync += [word.eq(0), gate.eq(gate + 1)]
            # z's last word is the next but one
            before = Mux(self.words == 1, gate == R, (gate == Z) & (word + 2 == self.words))
            m.d.comb += soon.eq(before & ~begun)
        with m.If(coming == Copy.NH):
            m.d.sync += [word_nh.eq(word_nh + 1), word.eq(0), gate.eq(0), begun.eq(0)]
        with m.If(soon):
            m.d.sync += begun.eq(1)
        m.d.comb += start.eq(soon | ((coming == Copy.NH) & (word_nh == 0) & ~begun))

        emitting, index = Signal(), Signal(range(d.neurons + g))
        issued = Signal(3)
        later = [index]                             # ... 0, 1, 2, ... cycles ago
        for k in range(max(SKEW) + 1):
            later.append(Signal.like(index, name=f"index_q{k + 1}", reset_less=True))
            m.d.sync += later[-1].eq(later[-2])
        m.d.sync += issued.eq(Cat(emitting & self.room, issued))
        with m.If(emitting & self.room):
            m.d.sync += [index.eq(index + g), emitting.eq(index + g < self.size)]
        with m.If(start):
            m.d.sync += [emitting.eq(1), index.eq(0)]
        left = later[len(issued)]
        m.d.comb += [
            o.valid.eq(issued[-1]), o.payload.index.eq(left),
            o.payload.mask.eq(Cat(left + k < self.size for k in range(g))),
            o.payload.last.eq(left + g >= self.size),
            self.busy.eq((self.copies.copy != Copy.NONE) | (coming != Copy.NONE) | emitting | (issued != 0)),
        ]

        for k in GATES:
            mine = coming == Copy.NH if k == NH else (coming == Copy.GATES) & (gate == k)
            near = self._near(m, k, mine, word_nh if k == NH else word, later[SKEW[k]])
            in_word = (later[SKEW[k] + 1] // g) % (d.lanes // g)
            for n in range(g):
                select = leaf(Signal(range(len(near))), f"select{k}_{n}")
                acc = Signal(ACC_BITS, name=f"acc{k}_{n}", reset_less=True)
                m.d.sync += [
                    select.eq(in_word // (d.lanes // g // len(near))), acc.eq(Array(x[n] for x in near)[select]),
                ]
                m.d.comb += self.acc[k][n].eq(acc)
        return m

    def _near(self, m: Module, gate: int, write, word, index) -> list[list]:
        """A gate's memories, one for each bank of lanes; gives the neurons of each neighbourhood's group ``index``.

        A group is chosen and registered there, so that few wires leave it.
        """
        d, g = self.design, self.design.cell_rate
        lanes = max(g, min(SPAN, d.lanes))
        banks = min(max(1, NEIGHBOURHOOD // lanes), d.lanes // lanes)           # of a neighbourhood
        near, groups = [], []
        for b in range(d.lanes // lanes):
            memory = Memory(shape=ACC_BITS * lanes, depth=-(-d.acc_words // len(GATES)), init=[])
            m.submodules[f"gate{gate}_bank{b}"] = memory
            memory_r, memory_w = memory.read_port(domain="comb"), memory.write_port()
            read, store = leaf(memory_r.addr, f"read{gate}_{b}"), leaf(memory_w.addr, f"store{gate}_{b}")
            enable = leaf(Signal(), f"enable{gate}_{b}")
            m.d.sync += [read.eq(index // d.lanes), store.eq(word), enable.eq(write)]
            m.d.comb += [
                memory_r.addr.eq(read), memory_w.addr.eq(store), memory_w.en.eq(enable),
                memory_w.data.eq(self.copies.data.as_value().word_select(b, ACC_BITS * lanes)),
            ]
            groups += [memory_r.data.word_select(n, ACC_BITS * g) for n in range(lanes // g)]
            if len(groups) == banks * lanes // g:
                near.append([self._chosen(m, f"{gate}_{b}_{n}", [group.word_select(n, ACC_BITS) for group in groups],
                                          index // g) for n in range(g)])
                groups = []
        return near

    @staticmethod
    def _chosen(m: Module, name: str, accs: list, number):
        """The one whose number was ``number`` a cycle ago, a cycle later."""
        choice = leaf(Signal(range(len(accs))), f"choice{name}")
        chosen = Signal(ACC_BITS, name=f"near{name}", reset_less=True)
        m.d.sync += [choice.eq(number % len(accs)), chosen.eq(Array(accs)[choice])]
        return chosen
