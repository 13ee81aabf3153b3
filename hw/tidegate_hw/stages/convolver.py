"""Convolver: from the event of a pixel to the runs of weights and accumulators that it needs."""

from itertools import pairwise

from amaranth.hdl import Array, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tidegate.spec.conv import KERNEL_MAX, SIDE_MAX
from tidegate.spec.design import Design
from tidegate.spec.formats import RECIPROCAL_BITS

from ..records.job import Kind, job_layout, offer_layout
from ..records.registers import registers_layout, select


class Convolver(wiring.Component):
    """Events of a signal that a convolution hears become a run for each row of the output that they reach; other jobs
    pass.  Events of a signal that two convolutions hear become the runs of both.

        pixel = index // CONV_PIXEL      c = index mod CONV_PIXEL      y, x = divmod(pixel, CONV_WIDTH)
                (divisions multiply by the reciprocals CONV_PIXEL_RECIPROCAL and CONV_WIDTH_RECIPROCAL)
        rows    (y + padding − kernel + 1) / stride ≤ y' ≤ (y + padding) / stride,  0 ≤ y' ≤ CONV_BOTTOM; columns alike
        word    = COLUMN_BASE + COLUMN_LENGTH · ((c · kernel + slot(ky)) · kernel + slot(kx))
        target  = COLUMN_TARGET + COLUMN_LENGTH · (y' · width' + x')

    of the first row and column; those of the next row follow CONV_KERNEL_ROW and CONV_ROW further on.  Slots:
    ``tidegate.spec.conv``.  A depthwise one has one weight word where others have COLUMN_LENGTH, and its target is
    c // P words further.  The second convolution's registers are SKIP_CONV and so on.

    Parameters
    ----------
    design : Design

    Members
    -------
    registers : ``registers_layout(design)``, stable while busy.
    on : high while the loaded network has a convolution; stable while busy.  While low, jobs pass in the same cycle.
    i : stream of ``job_layout(design)``.
    o : stream of ``offer_layout(design)``.
    busy : a job is under way here.

    Latency: ``delay`` cycles from job to first run, of jobs that pass, too, so that their order stays.
    Throughput: a job in two cycles, also if two convolutions hear it, and a run per cycle.
    Tested: random images, kernels and pairs of convolutions against ``tidegate.spec.conv``, with stalls at both ends.
    """

    stages = 7
    delay = stages + 1

    def __init__(self, design: Design):
        self.design = design
        super().__init__({
            "registers": In(registers_layout(design)), "on": In(1), "i": In(stream.Signature(job_layout(design))),
            "o": Out(stream.Signature(offer_layout(design))), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        signals = self.design.layers + 1
        valid, jobs = Signal(self.stages), [self.i.p]
        for k in range(self.stages):
            jobs.append(Signal.like(self.i.p, name=f"job_q{k + 1}", reset_less=True))
        offer, valid_o, left = Signal(offer_layout(self.design)), Signal(), Signal(range(KERNEL_MAX))
        # one stage waits for all: the last of them for the runs of the job before
        moves, taken = Signal(), Signal()
        m.d.comb += moves.eq(~valid[-1] | ~valid_o)
        accepts, again = Signal(), Signal()
        m.d.comb += accepts.eq(self.on & moves & ~taken & ~again)
        m.d.sync += taken.eq(accepts & self.i.valid)
        # a job whose event two convolutions hear stays in the first stage while it goes on for the first of them
        second = [Const(0)] * (self.stages + 1)
        if self.design.skips:
            second = [Const(0), *(Signal(name=f"second_q{k + 1}", reset_less=True) for k in range(self.stages))]
            two = select(self.registers, "SKIP_CONV", signals, jobs[1].tags.signal)[0]
            m.d.comb += again.eq(valid[0] & two & (jobs[1].kind == Kind.EVENT) & ~second[1])
        with m.If(moves):
            m.d.sync += valid.eq(valid[:-1] << 1 | (accepts & self.i.valid) | again)
            m.d.sync += [after.eq(before) for before, after in pairwise(jobs[1:])]
            with m.If(~again):
                m.d.sync += jobs[1].eq(jobs[0])
            if self.design.skips:
                m.d.sync += [second[1].eq(again), *(after.eq(before) for before, after in pairwise(second[1:]))]

        def later(name: str, value, like=None):
            """A value one stage further on."""
            kept = Signal.like(value if like is None else like, name=name, reset_less=True)
            with m.If(moves):
                m.d.sync += kept.eq(value)
            return kept

        def of_signal(name: str, signal, is_second):
            """A register of a signal, or of the convolution of it at work."""
            first = select(self.registers, name, signals, signal)
            if not self.design.skips or f"SKIP_{name}0" not in dict(registers_layout(self.design)):
                return first
            return Mux(is_second, select(self.registers, f"SKIP_{name}", signals, signal), first)

        def fields(stage: int, *names: str):
            """Registers of the signal of the job in a stage."""
            return [of_signal(name, jobs[stage].tags.signal, second[stage]) for name in names]

        # stage 1: the job is there; 2: its pixel
        pixels, = fields(1, "CONV_PIXEL_RECIPROCAL")
        pixel = later("pixel", jobs[1].index * pixels >> RECIPROCAL_BITS, jobs[1].index)
        # stage 3: channel and row
        of_pixel, widths = fields(2, "CONV_PIXEL", "CONV_WIDTH_RECIPROCAL")
        channel = later("channel", jobs[2].index - pixel * of_pixel, jobs[1].index)
        pixel_3 = later("pixel_3", pixel)
        y_3 = later("y_3", pixel * widths >> RECIPROCAL_BITS, Const(0, range(SIDE_MAX + 1)))
        # stage 4: column, and the first weight of the channel
        width, kernel = fields(3, "CONV_WIDTH", "CONV_KERNEL")
        y_4, x_4 = later("y_4", y_3), later("x_4", pixel_3 - y_3 * width, y_3)
        kernel_4 = later("kernel_4", channel * kernel, Const(0, range(self.design.weight_words)))
        # stage 5: rows and columns of the output, and slots
        conv, right, bottom = fields(4, "CONV", "CONV_RIGHT", "CONV_BOTTOM")
        rows = [later(f"row_{name}", value) for name, value in self._reached(m, "y", y_4, conv, bottom).items()]
        columns = [later(f"column_{name}", value) for name, value in self._reached(m, "x", x_4, conv, right).items()]
        kernel_5, channel_4 = later("kernel_5", kernel_4), later("channel_4", channel)
        channel_5 = later("channel_5", channel_4)
        # stage 6: accumulators of the first row and column, and the number of the first weight
        conv, row, words = fields(5, "CONV", "CONV_ROW", "COLUMN_LENGTH")
        (first_y, more_y, slot_y), (first_x, more_x, slot_x) = rows, columns
        side = conv[3:6] + 1
        weight_6 = later("weight_6", kernel_5 + slot_y * side + slot_x)
        row_6 = later("row_6", first_y * row, Const(0, range(self.design.acc_words)))
        column_6 = later("column_6", first_x * words, Const(0, range(self.design.acc_words)))
        each = Mux(conv[9], 1, words)
        length_6 = later("length_6", (more_x + 1) * each, offer.length)
        left_6 = later("left_6", more_y)
        lane_bits = exact_log2(self.design.lanes)
        aside_6 = later("aside_6", Mux(conv[9], channel_5 >> lane_bits, 0), Const(0, range(self.design.acc_words)))
        # stage 7: addresses
        base, words, target, conv = fields(6, "COLUMN_BASE", "COLUMN_LENGTH", "COLUMN_TARGET", "CONV")
        word_7 = later("word_7", base + weight_6 * Mux(conv[9], 1, words), offer.word)
        target_7 = later("target_7", target + row_6 + column_6 + aside_6, offer.target)
        length_7, left_7 = later("length_7", length_6), later("left_7", left_6)

        # the runs of a job
        last = self.stages
        conv, = fields(last, "CONV")
        convolves = Signal()
        m.d.comb += convolves.eq((jobs[last].kind == Kind.EVENT) & conv[0])
        is_second = Signal()                # of the job whose runs are offered
        row, kernel_row = (of_signal(name, offer.job.tags.signal, is_second)
                           for name in ("CONV_ROW", "CONV_KERNEL_ROW"))
        with m.If(valid[-1] & ~valid_o):
            m.d.sync += [
                valid_o.eq(1), offer.job.eq(jobs[last]), offer.conv.eq(convolves), offer.first.eq(~second[last]),
                is_second.eq(second[last]),
                offer.word.eq(word_7), offer.target.eq(target_7), offer.length.eq(length_7),
                left.eq(Mux(convolves, left_7, 0)),
            ]
        with m.Elif(valid_o & self.o.ready):
            m.d.sync += [
                valid_o.eq(left != 0), left.eq(left - 1), offer.first.eq(0), offer.word.eq(offer.word + kernel_row),
                offer.target.eq(offer.target + row),
            ]
        m.d.comb += [self.busy.eq(valid_o | (valid != 0)), self.i.ready.eq(accepts), self.o.p.eq(offer),
                     self.o.valid.eq(valid_o)]
        with m.If(~self.on):
            m.d.comb += [self.i.ready.eq(self.o.ready), self.o.valid.eq(self.i.valid), self.o.p.job.eq(self.i.p),
                         self.o.p.conv.eq(0), self.o.p.first.eq(1)]
        return m

    @staticmethod
    def _reached(m: Module, name: str, at, conv, most) -> dict:
        """``first`` row (or column) of the output that one of the image reaches, how many ``more``, and the ``slot`` of
        the weight for the first."""
        shift, kernel, padding = conv[1:3], conv[3:6], conv[6:9]        # ``kernel`` is one less than that
        padded = Signal(range(SIDE_MAX + KERNEL_MAX), name=f"padded_{name}")
        newest, rest = Signal.like(padded, name=f"newest_{name}"), Signal(2, name=f"rest_{name}")
        m.d.comb += [padded.eq(at + padding), newest.eq(padded >> shift),
                     rest.eq(padded & Array([0, 1, 3, 3])[shift])]
        # weights of the class ``rest`` of the kernel, less one, and those of the classes before
        others = Signal(3, name=f"others_{name}")
        m.d.comb += others.eq((kernel - rest) >> shift)
        before = Signal(range(KERNEL_MAX), name=f"before_{name}")
        count = [((kernel - k) >> shift)[:3] + 1 for k in range(3)]
        m.d.comb += before.eq(Array([0, count[0], count[0] + count[1], count[0] + count[1] + count[2]])[rest])
        first, end = Signal(range(SIDE_MAX + 1), name=f"first_{name}"), Signal.like(padded, name=f"end_{name}")
        m.d.comb += [first.eq(Mux(newest > others, newest - others, 0)), end.eq(Mux(newest > most, most, newest))]
        more, slot = Signal(range(KERNEL_MAX), name=f"more_{name}"), Signal(range(KERNEL_MAX), name=f"slot_{name}")
        m.d.comb += [more.eq(end - first), slot.eq(before + others - (newest - first))]
        return {"first": first, "more": more, "slot": slot}
