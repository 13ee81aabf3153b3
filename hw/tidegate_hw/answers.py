"""Answers of the link: composed in a RAM, sent from there, and the last one kept for repetition."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import IDENTITY_BYTES, Design
from tidegate.spec.formats import ACC_BITS
from tidegate.spec.packets import ANSWER, NAK, RESULT_HEADER_BYTES

from .cobs import TAIL_LAYOUT
from .core import COUNTERS_LAYOUT
from .packets import HEADER_BYTES, Reason


class Form(enum.Enum, shape=3):
    """What an answer's payload is made of."""

    EMPTY = 0
    VALUE = 1       # u32
    RESULT = 2      # counters and logits
    NAK = 3         # reason, last
    IDENTITY = 4    # identity, last


WORD = 4            # bytes of the RAM's words
LAST_BYTES = 2


class Answers(wiring.Component):
    """Composes answers and sends them; the kept one can be sent again.

    A logit is a word of the RAM and takes one write, wherefore the kept answer begins at byte 3:

        byte   3 seq | 5 type | 6 counters ... | 28 logits ...        kept (a result, or a shorter one)
               then a NAK that is not kept, then the identity, of which only seq, type and last are written

    Parameters
    ----------
    design : Design
        Room for ``classes`` logits.
    identity : bytes
        ``Identity(design, digest).pack()``.

    Members
    -------
    start : 1, in
        Strobe, while not busy: compose an answer from the following and send it.
    form : Form, in
    keep : 1, in
        The answer replaces the kept one.  Not with IDENTITY; every other form but NAK must be kept.
    seq, kind : unsigned(16), unsigned(8), in
        Sequence number of the answer and type of the request.
    last : unsigned(16), in
    value : unsigned(32), in
    reason : Reason, in
    counters : COUNTERS_LAYOUT, in
    repeat : 1, in
        Strobe, while not busy: send the kept answer.
    collect : 1, in
        Strobe: the next logit is a frame's first.  Their place is the kept answer's.
    logit : stream of signed(24), in
    logits : range(classes + 1), out
        How many have come.  Not ready for more than ``classes``.
    busy : 1, out
        The inputs must stay as they are.
    o : stream of TAIL_LAYOUT, out
        seq, type and payload.

    Latency: 1 cycle per byte composed (logits and identity: none) and 2 more until the first byte leaves.
    Throughput: 1 logit per cycle in, 1 byte per cycle out.
    Tested: through the link's bench: every form, 1 to 12 logits, repeated with other answers in between.
    """

    def __init__(self, design: Design, identity: bytes):
        assert len(identity) == IDENTITY_BYTES
        self.design, self.identity = design, identity
        super().__init__({
            "start": In(1),
            "form": In(Form),
            "keep": In(1),
            "seq": In(16),
            "kind": In(8),
            "last": In(16),
            "value": In(32),
            "reason": In(Reason),
            "counters": In(COUNTERS_LAYOUT),
            "repeat": In(1),
            "collect": In(1),
            "logit": In(stream.Signature(signed(ACC_BITS))),
            "logits": Out(range(design.classes + 1)),
            "busy": Out(1),
            "o": Out(stream.Signature(TAIL_LAYOUT)),
        })

    def elaborate(self, platform):
        m = Module()
        kept_base = -(HEADER_BYTES + RESULT_HEADER_BYTES) % WORD
        logit_word = (kept_base + HEADER_BYTES + RESULT_HEADER_BYTES) // WORD
        nak_base = (logit_word + self.design.classes) * WORD
        identity_base = nak_base + 2 * WORD
        contents = bytes(identity_base + HEADER_BYTES) + self.identity + bytes(LAST_BYTES)
        contents += bytes(-len(contents) % WORD)
        m.submodules.ram = ram = Memory(shape=8 * WORD, depth=len(contents) // WORD, init=[
            int.from_bytes(contents[k : k + WORD], "little") for k in range(0, len(contents), WORD)
        ])
        ram_w, ram_r = ram.write_port(granularity=8), ram.read_port()

        # bytes of the payload by number; `length` counts all that precedes the logits
        index = Signal(range(HEADER_BYTES + IDENTITY_BYTES + LAST_BYTES + 1))
        length = Signal.like(index)
        field = Signal(8 * RESULT_HEADER_BYTES)
        skip = HEADER_BYTES + IDENTITY_BYTES
        with m.Switch(self.form):
            with m.Case(Form.VALUE):
                m.d.comb += [length.eq(HEADER_BYTES + 4), field.eq(self.value)]
            with m.Case(Form.RESULT):
                c = self.counters
                m.d.comb += [
                    length.eq(HEADER_BYTES + RESULT_HEADER_BYTES),
                    field.eq(Cat((c.frames - 1)[:32], c.cycles, c.weight_words, c.events)),
                ]
            with m.Case(Form.NAK):
                m.d.comb += [
                    length.eq(HEADER_BYTES + 1 + LAST_BYTES),
                    field.eq(Cat(self.reason, Const(0, 8 - len(self.reason.as_value())), self.last)),
                ]
            with m.Case(Form.IDENTITY):
                m.d.comb += [length.eq(skip + LAST_BYTES), field.eq(self.last)]
            with m.Default():
                m.d.comb += length.eq(HEADER_BYTES)

        byte, step = Signal(8), Signal.like(index)
        m.d.comb += step.eq(index + 1)
        with m.Switch(index):
            with m.Case(0):
                m.d.comb += byte.eq(self.seq[:8])
            with m.Case(1):
                m.d.comb += byte.eq(self.seq[8:])
            with m.Case(2):
                m.d.comb += byte.eq(Mux(self.form == Form.NAK, NAK, self.kind | ANSWER))
                with m.If(self.form == Form.IDENTITY):
                    m.d.comb += step.eq(skip)
            with m.Case(skip):
                m.d.comb += byte.eq(self.last[:8])
            with m.Case(skip + 1):
                m.d.comb += byte.eq(self.last[8:])
            for k in range(RESULT_HEADER_BYTES):
                with m.Case(HEADER_BYTES + k):
                    m.d.comb += byte.eq(field.word_select(k, 8))

        base, place, end = (Signal(range(len(contents) + 1)) for _ in range(3))
        kept_end = Signal.like(end)
        m.d.comb += base.eq(Mux(self.keep, kept_base, Mux(self.form == Form.IDENTITY, identity_base, nak_base)))

        # writes pass a register: a byte while composing, a word of logit while a frame is under way
        composing = Signal()
        m.d.comb += self.logit.ready.eq((self.logits != self.design.classes) & ~self.busy)
        m.d.sync += ram_w.en.eq(0)
        with m.If(composing):
            m.d.sync += [
                ram_w.addr.eq((base + index) // WORD), ram_w.data.eq(byte.replicate(WORD)),
                ram_w.en.eq(1 << (base + index)[:2]),
            ]
        with m.Elif(self.logit.valid & self.logit.ready):
            m.d.sync += [
                ram_w.addr.eq(logit_word + self.logits), ram_w.data.eq(self.logit.payload), ram_w.en.eq(-1),
                self.logits.eq(self.logits + 1),
            ]
        with m.If(self.collect):
            m.d.sync += self.logits.eq(0)

        m.d.comb += [
            ram_r.addr.eq(place // WORD),
            self.o.p.byte.eq(ram_r.data.word_select(place[:2], 8)), self.o.p.last.eq(place + 1 == end),
        ]
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("WAIT"))
            with m.State("WAIT"):
                m.d.sync += index.eq(0)
                with m.If(self.start):
                    m.next = "COMPOSE"
                with m.Elif(self.repeat):
                    m.d.sync += [place.eq(kept_base), end.eq(kept_end)]
                    m.next = "FETCH"
            with m.State("COMPOSE"):
                m.d.comb += composing.eq(1)
                m.d.sync += index.eq(step)
                with m.If(step == length):
                    logit_bytes = Mux(self.form == Form.RESULT, self.logits * WORD, 0)
                    m.d.sync += [place.eq(base), end.eq(base + length + logit_bytes)]
                    with m.If(self.keep):
                        m.d.sync += kept_end.eq(base + length + logit_bytes)
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.comb += ram_r.addr.eq((place + 1) // WORD)
                    m.d.sync += place.eq(place + 1)
                    with m.If(self.o.p.last):
                        m.next = "WAIT"
        return m
