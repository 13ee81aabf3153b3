"""Column fetch: one event becomes the words of one weight column."""

from amaranth.hdl import Array, Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import Design
from tidegate.spec.formats import DELTA_BITS

from .event import BIAS_SIGNAL, EVENT
from .registers import REGISTERS_LAYOUT


def fetch_signature(design: Design) -> wiring.Signature:
    """One weight word a cycle: read ``word``, multiply by ``delta``, add to accumulator word ``target``."""
    return wiring.Signature({
        "valid": Out(1), "word": Out(range(design.weight_words)), "target": Out(range(design.acc_words)),
        "delta": Out(signed(DELTA_BITS)),
    })


class Column(wiring.Component):
    """Walks through the column of each event.

        word   = COLUMN_BASE[s] + index · COLUMN_LENGTH[s] + k,   k = 0 .. COLUMN_LENGTH[s] − 1
        target = COLUMN_TARGET[s] + k

    The bias signal's columns start at BIAS_BASE, target 0 and are ACC_WORDS long.

    Parameters
    ----------
    design : Design

    Members
    -------
    registers : where the columns are (``REGISTERS_LAYOUT``), stable while busy.
    i : stream of ``EVENT``.
    o : ``fetch_signature(design)``; has no ready, the lanes take a word every cycle.
    busy : an event is under way.

    Latency: 3 cycles from event to first word.  Throughput: one word per cycle without a gap between
    columns of 3 or more words (the next column's address is ready before the last word is read).
    A length of 0 counts as 1.
    """

    delay = 3

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "registers": In(REGISTERS_LAYOUT),
            "i": In(stream.Signature(EVENT)),
            "o": Out(fetch_signature(design)),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        regs, event, o = self.registers, self.i.p, self.o
        signals = range(BIAS_SIGNAL)
        bases = Array([*(regs[f"COLUMN_BASE{s}"] for s in signals), regs.BIAS_BASE])
        lengths = Array([*(regs[f"COLUMN_LENGTH{s}"] for s in signals), regs.ACC_WORDS])
        targets = Array([*(regs[f"COLUMN_TARGET{s}"] for s in signals), 0])

        length_a, base_a, target_a = Signal(16), Signal.like(regs.BIAS_BASE), Signal.like(o.target)
        index_a, delta_a, valid_a = Signal.like(event.index), Signal(signed(DELTA_BITS)), Signal()
        length_b, word_b, target_b = Signal(16), Signal.like(o.word), Signal.like(o.target)
        delta_b, valid_b = Signal(signed(DELTA_BITS)), Signal()
        left = Signal(16)                           # words of the running column after this one

        next_column = ~o.valid | (left == 0)
        free_b = ~valid_b | next_column
        m.d.comb += [self.i.ready.eq(~valid_a | free_b), self.busy.eq(valid_a | valid_b | o.valid)]

        with m.If(self.i.ready):
            m.d.sync += [
                valid_a.eq(self.i.valid), index_a.eq(event.index), delta_a.eq(event.delta),
                length_a.eq(lengths[event.signal]), base_a.eq(bases[event.signal]), target_a.eq(targets[event.signal]),
            ]
        with m.If(free_b):
            m.d.sync += [
                valid_b.eq(valid_a), word_b.eq(base_a + index_a * length_a), length_b.eq(length_a),
                target_b.eq(target_a), delta_b.eq(delta_a),
            ]
        with m.If(next_column):
            m.d.sync += [
                o.valid.eq(valid_b), o.word.eq(word_b), o.target.eq(target_b), o.delta.eq(delta_b),
                left.eq(length_b - (length_b != 0)),
            ]
        with m.Else():
            m.d.sync += [o.word.eq(o.word + 1), o.target.eq(o.target + 1), left.eq(left - 1)]
        return m
