"""A bank of lanes: weights, multipliers and accumulators of neighbours, with control registers of their own."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS, DELTA_BITS, WEIGHT_BITS

from ..fanout import leaf


def powers(words: int) -> list[int]:
    """Sizes of the memories that make ``words``: powers of two, largest first (2560 → 2048, 512)."""
    return [1 << k for k in reversed(range(words.bit_length())) if words >> k & 1]


class Bank(wiring.Component):
    """Part of the weight memory and of the accumulators, and their multipliers.

        total = acc[target][p] + weight[word][p] · Δ        acc[target][p] ← total

        word ─► register ─► RAM ─► register ─► × Δ ─► register ─┬► + ─┬► acc RAM
        target ────────────────────────► register ─► acc RAM ───┘     └► total

    Every control signal has a register here, so that no net reaches lanes of other banks.  Every lane has its own
    registers for weight and product, which synthesis can move into the DSP blocks.

    Parameters
    ----------
    design : Design
    first, count : int
        Lanes ``first`` .. ``first + count − 1``.

    Members
    -------
    word : stage 0: weight word to read, or to write.
    write, lane, weight : stage 0: write ``weight`` to ``lane`` of ``word``.
    delta, target : stage 2: Δ, and the accumulator word to read.
    store, store_target : stage 3: accumulator word to write.
    total : stage 4 (``delay``): the new value of the word that was read.

    A target of ``acc_words`` reads 0, always.
    Throughput: one word per cycle.  The weight memory has one port: while a weight is written, nothing is read.  A word
    must not be read in the cycle in which it is written.
    """

    delay = 4

    def __init__(self, design: Design, first: int, count: int):
        self.design, self.first, self.count = design, first, count
        self.acc_layout = data.ArrayLayout(signed(ACC_BITS), count)
        super().__init__({
            "word": In(range(design.weight_words)),
            "write": In(1), "lane": In(range(max(design.lanes, 2))), "weight": In(WEIGHT_BITS),
            "delta": In(signed(DELTA_BITS)), "target": In(range(design.acc_words + 1)),
            "store": In(1), "store_target": In(range(design.acc_words)),
            "total": Out(self.acc_layout),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = range(self.count)

        # stage 1: address, and what is written
        word, weight, write = leaf(self.word, "word"), leaf(self.weight, "weight"), Signal(self.count, reset_less=True)
        m.d.sync += [word.eq(self.word), weight.eq(self.weight)]
        m.d.sync += [write[p].eq(self.write & (self.lane == self.first + p)) for p in lanes]

        # stage 2: at the outputs of the memories that make the words, of which one is selected
        fetched = self._weights(m, word, weight, write)

        # stage 3: weight, Δ, address of the accumulators; stage 4: product
        delta, target = leaf(self.delta, "delta"), leaf(self.target, "target")
        m.d.sync += [delta.eq(self.delta), target.eq(self.target)]
        products = []
        for p in lanes:
            weight_q3 = Signal(signed(WEIGHT_BITS), name=f"weight{p}_q3", reset_less=True)
            product = Signal(signed(WEIGHT_BITS + DELTA_BITS), name=f"product{p}", reset_less=True)
            m.d.sync += [weight_q3.eq(fetched.word_select(p, WEIGHT_BITS)), product.eq(weight_q3 * delta)]
            products.append(product)

        store, store_target = leaf(self.store, "store"), leaf(self.store_target, "store_target")
        m.d.sync += [store.eq(self.store), store_target.eq(self.store_target)]
        depth = self.design.acc_words + 1           # the last is never written
        m.submodules.accumulators = accumulators = Memory(shape=self.acc_layout, depth=depth, init=[])
        acc_r, acc_w = accumulators.read_port(), accumulators.write_port()
        m.d.comb += [
            acc_r.addr.eq(target), acc_w.addr.eq(store_target), acc_w.en.eq(store),
            *(self.total[p].eq(acc_r.data[p] + products[p]) for p in lanes),
            *(acc_w.data[p].eq(self.total[p]) for p in lanes),
        ]
        return m

    def _weights(self, m: Module, word, weight, write):
        """The weights of ``word`` in the next cycle; ``weight`` is written to the lanes of ``write``."""
        bits = WEIGHT_BITS * self.count
        fetched, base = Const(0, bits), 0
        for k, size in enumerate(powers(self.design.weight_words)):
            m.submodules[f"weights{k}"] = memory = Memory(shape=bits, depth=size, init=[])
            memory_r, memory_w = memory.read_port(), memory.write_port(granularity=WEIGHT_BITS)
            mine = Signal(name=f"mine{k}")
            if size == self.design.weight_words:
                m.d.comb += mine.eq(1)
            else:
                m.d.comb += mine.eq(word >> (size.bit_length() - 1) == base // size)
            mine_q2 = Signal(name=f"mine{k}_q2", reset_less=True)
            m.d.sync += mine_q2.eq(mine)
            m.d.comb += [
                memory_r.addr.eq(word), memory_r.en.eq(write == 0),
                memory_w.addr.eq(word), memory_w.data.eq(weight.replicate(self.count)),
                memory_w.en.eq(Mux(mine, write, 0)),
            ]
            fetched = memory_r.data if not base else Mux(mine_q2, memory_r.data, fetched)
            base += size
        return fetched
