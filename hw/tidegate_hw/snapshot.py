"""Snapshot: a layer's accumulators as they were, so that the lanes may go on while the cell works from the copy."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS

from .fanout import SPAN, leaf
from .gates import GATES, NH, ORDER, SKEW, R, Z, gates_layout, neurons_layout, taken_signature
from .job import Copy, acc_range
from .lanes import copies_signature

NEIGHBOURHOOD = 4 * SPAN        # lanes


class Snapshot(wiring.Component):
    """Takes the copies of a layer's accumulators and hands out G neurons a cycle, each gate when the cell takes it.

    Copies come in the order nx, r, z, nh; the first group leaves before z's last word has come, and nh follows at its
    heels.  The gates of a group are read in successive cycles, and groups that are under way together are in different
    lanes, so G lanes need one memory with one port for all gates.  Column c holds the groups n with n mod C = c:

        cycle       0     1     2     3     4     5     6
        column 0    r 0   z 0   nh 0  nx 0  r 4   z 4   nh 4
        column 1          r 1   z 1   nh 1  nx 1  r 5   z 5
        column 2                r 2   z 2   nh 2  nx 2  r 6
        column 3                      r 3   z 3   nh 3  nx 3

    C = 4; if a word of accumulators has fewer groups, C is their number, and there are memories for each C turns.

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
        self.slots = design.lanes // design.cell_rate           # for groups in a word of accumulators
        self.columns = min(len(GATES), self.slots)
        self.word_bits = ceil_log2(-(-design.acc_words // len(GATES)))
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

        # what comes is kept for the turn in which the cell takes it
        turn, word_w, takes = Signal(range(len(GATES))), Signal.like(word), Signal()
        m.d.comb += [
            turn.eq(Mux(coming == Copy.NH, SKEW[NH], Array(SKEW)[gate])),
            word_w.eq(Mux(coming == Copy.NH, word_nh, word)),
            takes.eq((coming == Copy.GATES) | (coming == Copy.NH)),
        ]
        for first in range(0, len(GATES), self.columns):
            begins, now = (issued[first - 1] if first else emitting & self.room), later[first]
            in_column = Signal(self.columns, name=f"begun{first}")
            m.d.sync += in_column.eq(Mux(begins, 1 << now // g % self.columns, 0))
            readers = [self._reader(m, now // g // self.columns, x) for x in in_column]
            near = self._memories(m, first, takes & (turn // self.columns == first // self.columns),
                                  Cat(word_w[: self.word_bits], turn % self.columns), readers)
            for k in ORDER[first : first + self.columns]:
                group = later[SKEW[k] + 1] // g % self.slots
                place = group // (self.slots * self.columns // len(near)) * self.columns + group % self.columns
                for n in range(g):
                    select = leaf(Signal(range(len(near))), f"select{k}_{n}")
                    acc = Signal(ACC_BITS, name=f"acc{k}_{n}", reset_less=True)
                    m.d.sync += [select.eq(place), acc.eq(Array(x[n] for x in near)[select])]
                    m.d.comb += self.acc[k][n].eq(acc)
        return m

    def _reader(self, m: Module, coming, begun) -> tuple[Signal, Signal]:
        """What a column reads in the next cycle: the number of its group, and whose turn it is.

        It follows the number that is ``coming`` until that has ``begun``, then gives each gate its turn.
        """
        number, turn = Signal.like(coming, reset_less=True), Signal(range(self.columns))
        next_number, next_turn = Signal.like(number), Signal.like(turn)
        m.d.sync += [number.eq(next_number), turn.eq(next_turn)]
        m.d.comb += [next_number.eq(number), next_turn.eq(turn + 1)]
        with m.If((turn == self.columns - 1) | ((turn == 0) & ~begun)):
            m.d.comb += [next_number.eq(coming), next_turn.eq(0)]
        return next_number, next_turn

    def _memories(self, m: Module, first: int, write, address, readers) -> list[list]:
        """The memories of the turns from ``first`` on; gives the neurons that were read, by neighbourhood and column.

        A neighbourhood of lanes chooses and registers a group of each column, so that few wires leave it.
        """
        g, columns, words = self.design.cell_rate, self.columns, self.copies.data.as_value()
        groups = []
        for slot in range(self.slots):
            memory = Memory(shape=ACC_BITS * g, depth=columns << self.word_bits, init=[])
            m.submodules[f"turn{first}_slot{slot}"] = memory
            memory_r, memory_w = memory.read_port(domain="comb"), memory.write_port()
            if slot * g % SPAN == 0:
                store, enable = leaf(memory_w.addr, f"store{first}_{slot}"), leaf(Signal(), f"enable{first}_{slot}")
                m.d.sync += [store.eq(address), enable.eq(write)]
            read, (number, turn) = leaf(memory_r.addr, f"read{first}_{slot}"), readers[slot % columns]
            word = number // (self.slots // columns)
            m.d.sync += read.eq(word[: self.word_bits] | turn << self.word_bits)
            m.d.comb += [
                memory_r.addr.eq(read), memory_w.addr.eq(store), memory_w.en.eq(enable),
                memory_w.data.eq(words.word_select(slot, ACC_BITS * g)),
            ]
            groups.append(memory_r.data)
        across = min(self.slots, max(columns, NEIGHBOURHOOD // g))
        return [[self._chosen(m, f"{first}_{corner + c}_{n}", [x.word_select(n, ACC_BITS) for x in
                              groups[corner + c : corner + across : columns]], readers[c][0]) for n in range(g)]
                for corner in range(0, self.slots, across) for c in range(columns)]

    @staticmethod
    def _chosen(m: Module, name: str, accs: list, number):
        """The one whose number was ``number`` a cycle ago, a cycle later."""
        choice = leaf(Signal(range(len(accs))), f"choice{name}")
        chosen = Signal(ACC_BITS, name=f"near{name}", reset_less=True)
        m.d.sync += [choice.eq(number % len(accs)), chosen.eq(Array(accs)[choice])]
        return chosen
