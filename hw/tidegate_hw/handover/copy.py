"""Snapshot: a copy of a layer's accumulators.  The lanes go on with the accumulators while the cell works on it."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS

from ..fanout import SPAN, leaf
from ..records.gates import gates_layout, neurons_layout, order, skew, taken_signature
from ..records.job import Copy, acc_range, copies_signature

NEIGHBOURHOOD = 4 * SPAN        # lanes


class Snapshot(wiring.Component):
    """Takes the copies of a layer's accumulators and hands out G neurons per cycle, each gate when the cell takes it.

    Copies come gate by gate.  The first group leaves before the last gate's first word has come, because the cell takes
    that gate some cycles later.  The gates of a group are read in successive cycles, and groups that are read in the
    same cycle lie in different lanes.  So G lanes need one memory with one port for all gates.  Column c holds the
    groups n with n mod C = c.  With four gates, which a cell takes in the order 1, 2, 3, 0, each column reads:

        cycle       0     1     2     3     4     5     6
        column 0    1 0   2 0   3 0   0 0   1 4   2 4   3 4         gate, group
        column 1          1 1   2 1   3 1   0 1   1 5   2 5
        column 2                1 2   2 2   3 2   0 2   1 6
        column 3                      1 3   2 3   3 3   0 3

    A layer whose cell has a single gate uses the first turn only, and the room of the others, too.

    C is the number of gates.  If a word of accumulators has fewer groups than that, C is the number of its groups, and
    each C successive turns have memories of their own.

        coming ─► count ─► register ─► write ─┐
                                              memory, choose near ─► select ─► acc
        index ────────────► register ─► read ─┘                         each ─► but the first has a register

    Parameters
    ----------
    design : Design

    Members
    -------
    copies : ``copies_signature(design)``; those of a gate in successive cycles, and the last gate's at once after
        those of the gate before.
    words : accumulator words of one gate.
    size : neurons of the layer.  ``words`` and ``size`` are stable from the first copy to the last group; no register
        keeps a value made of them, because a simulator may stop the clock before the first copy.
    single : the layer's cell has a single gate, stable as ``words``; there in a design with such a cell.
    used : lanes of each word that neurons use, stable as ``words``; there in a design that convolves.
    room : groups can be taken, and those that are under way here.
    o : ``taken_signature`` of ``neurons_layout(design)``: ``ceil(size / G)`` groups in order.
    acc : ``gates_layout(design)``; gate k of a group comes ``skew(design, k)`` cycles after it.
    busy : a copy comes, or a group is left.

    Latency: ``delay`` cycles from the last gate's first copy to the first group, and ``single_delay`` from that of a
    single gate.  (If the registers are wrong and the last gate never comes: two cycles after the copy that closes the
    layer.)
    Throughput: one group per cycle while there is room.
    """

    delay, single_delay = 1, 3

    def __init__(self, design: Design):
        self.design = design
        assert design.gates == 1 or design.gates > 2
        self.slots = design.lanes // design.cell_rate           # for groups in a word of accumulators
        self.columns = min(design.gates, self.slots)
        self.word_bits = ceil_log2(-(-design.acc_words // (self.columns if design.choices else design.gates)))
        super().__init__({
            "copies": In(copies_signature(design)), "words": In(acc_range(design)),
            "size": In(range(design.neurons + 1)), "room": In(1),
            "o": Out(taken_signature(neurons_layout(design))), "acc": Out(gates_layout(design)), "busy": Out(1),
            **({"single": In(1)} if design.choices else {}),
            **({"used": In(range(design.lanes + 1))} if design.convolves else {}),
        })

    def elaborate(self, platform):
        m = Module()
        d, g, o, coming = self.design, self.design.cell_rate, self.o, self.copies.coming

        # the copy of the next cycle
        gate, word, takes = Signal(range(d.gates)), Signal(acc_range(d)), Signal()
        soon, begun, start = Signal(), Signal(), Signal()
        m.d.comb += takes.eq(coming == Copy.GATES)
        with m.If(takes):
            m.d.sync += word.eq(word + 1)
            with m.If(word + 1 >= self.words):
                m.d.sync += [word.eq(0), gate.eq(Mux(self._one((gate == d.gates - 1), 1), 0, gate + 1))]
            # the last gate's first word is the next but one, or that of a single gate comes
            before = Mux(self.words == 1, gate == d.gates - 3, (gate == d.gates - 2) & (word + 2 == self.words))
            m.d.comb += soon.eq(self._one(before, 1) & ~begun)
        with m.If(soon):
            m.d.sync += begun.eq(1)
        with m.If(self.copies.coming_closes):
            m.d.sync += [word.eq(0), gate.eq(0), begun.eq(0)]
        m.d.comb += start.eq(soon | (self.copies.coming_closes & ~begun))

        emitting, index = Signal(), Signal(range(d.neurons + g))
        issued = Signal(3)                          # a group is read, chosen and handed out
        later = [index]                             # ... 0, 1, 2, ... cycles ago
        for k in range(max(3, d.gates)):
            later.append(Signal.like(index, name=f"index_q{k + 1}", reset_less=True))
            m.d.sync += later[-1].eq(later[-2])
        m.d.sync += issued.eq(Cat(emitting & self.room, issued))
        with m.If(emitting & self.room):
            m.d.sync += [index.eq(index + g), emitting.eq(index + g < self.size)]
        with m.If(start):
            m.d.sync += [emitting.eq(1), index.eq(0)]
        left = later[len(issued)]
        exist = [left + k < self.size for k in range(g)]
        if d.convolves:
            exist = [x & (left % d.lanes + k < self.used) for k, x in enumerate(exist)]
        m.d.comb += [
            o.valid.eq(issued[-1]), o.payload.index.eq(left), o.payload.mask.eq(Cat(exist)),
            o.payload.last.eq(left + g >= self.size),
            self.busy.eq((self.copies.copy != Copy.NONE) | (coming != Copy.NONE) | emitting | (issued != 0)),
        ]

        # what comes is kept for the turn in which the cell takes it
        turn = Signal(range(d.gates))
        m.d.comb += turn.eq(self._one(Array(skew(d, k) for k in range(d.gates))[gate], 0))
        kept_at = self._one(Cat(word[: self.word_bits], turn % self.columns), word)
        for first in range(0, d.gates, self.columns):
            begins, now = (issued[first - 1] if first else emitting & self.room), later[first]
            in_column = Signal(self.columns, name=f"begun{first}")
            m.d.sync += in_column.eq(Mux(begins, 1 << now // g % self.columns, 0))
            readers = [self._reader(m, now // g // self.columns, x) for x in in_column]
            near = self._memories(m, first, takes & (turn // self.columns == first // self.columns),
                                  kept_at, readers)
            for k in order(d)[first : first + self.columns]:
                group = later[skew(d, k) + 1] // g % self.slots
                place = group // (self.slots * self.columns // len(near)) * self.columns + group % self.columns
                for n in range(g):
                    select = leaf(Signal(range(len(near))), f"select{k}_{n}")
                    acc = Signal(ACC_BITS, name=f"acc{k}_{n}", reset_less=True)
                    m.d.sync += [select.eq(place), acc.eq(Array(x[n] for x in near)[select])]
                    m.d.comb += self.acc[k][n].eq(acc)
        return m

    def _one(self, several, single):
        """``several`` if the layer's cell has several gates, and ``single`` if it has a single one."""
        if not self.design.choices:
            return several
        return single if self.design.gates == 1 else Mux(self.single, single, several)

    def _reader(self, m: Module, coming, begun) -> tuple[Signal, Signal]:
        """The read of a column in the next cycle: the number of its group, and the turn (which gate).

        It follows the number ``coming`` until that group has ``begun``, and then gives each gate its turn.
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

        Each neighbourhood of lanes chooses and registers one group per column, so that few wires leave it.
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
            bits = self.word_bits + (ceil_log2(columns) if self.design.choices else 0)
            m.d.sync += read.eq(word[:bits] | turn << self.word_bits)
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
