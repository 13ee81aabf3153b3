"""Answers of the link: composed in a RAM, sent from there, and the last one kept for repetition."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec.design import IDENTITY_BYTES, Design
from tidegate.spec.formats import ACC_BITS
from tidegate.spec.network import USUAL_LAYERS
from tidegate.spec.packets import ANSWER, COUNTED, LOGIT_BYTES, NAK, PAYLOAD, counted_signals, result_header_bytes

from ..records.results import result_layout
from .cobs import TAIL_LAYOUT
from .frame import MOST_FRAMES
from .packets import HEADER_BYTES, Reason


class Form(enum.Enum, shape=3):
    """What an answer's payload is made of."""

    EMPTY = 0
    VALUE = 1       # u32
    RESULTS = 2     # of the frames collected
    NAK = 3         # reason, last
    IDENTITY = 4    # identity, last


WORD = LOGIT_BYTES              # bytes of the RAM's words
RESULT_HEADER_WORDS = result_header_bytes() // WORD     # of networks of up to four layers
MOST_WORDS = PAYLOAD // WORD
REASON_BYTES, LAST_BYTES = 1, 2


def more_words(layers):
    """Words of a result's header beyond RESULT_HEADER_WORDS, of a network of so many layers: two signals each."""
    return Mux(layers > USUAL_LAYERS, (layers - USUAL_LAYERS + 1) >> 1, 0)


def most_more_words(design: Design) -> int:
    """The most of them that a design can have."""
    return (counted_signals(design.layers) - COUNTED) // 2


class Answers(wiring.Component):
    """Composes answers and sends them; the kept one can be sent again.

    Payloads begin at a word, so that a logit takes one write and a result's header RESULT_HEADER_WORDS:

        word   0 -, seq, type | 1 results ...         kept (or a shorter answer)
               then a NAK that is not kept, then the identity, of which only seq, type and last are written

    Parameters
    ----------
    design : Design
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
    repeat : 1, in
        Strobe, while not busy: send the kept answer.
    collect : 1, in
        Strobe: collect the results of ``frames`` frames, in the kept answer's place.
    frames : range(MOST_FRAMES + 1), in
        At least 1; their results have at most MOST_WORDS words.
    classes : range(design.classes + 1), in
        Logits of a frame; stable while frames are collected.
    more : range(most_more_words(design) + 1), in
        Words of a result's header beyond RESULT_HEADER_WORDS, stable likewise; in designs of more than four layers.
    logit : stream of signed(24), in
    result : stream of ``result_layout(design)``, in
        One is taken after each ``classes`` logits.  Neither is taken when no frame is due.
    due : range(MOST_FRAMES + 1), out
        Frames whose results have not come yet.
    busy : 1, out
        The inputs must stay as they are.
    o : stream of TAIL_LAYOUT, out
        seq, type and payload.

    Latency: 4 cycles from ``start`` until the first byte leaves, 2 from ``repeat``.
    Throughput: 1 logit per cycle in, a result in RESULT_HEADER_WORDS cycles; 1 byte per cycle out.
    Tested: through the link's bench: every form, 1 to 18 frames, 1 to 12 logits, repeated with others in between.
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
            "repeat": In(1),
            "collect": In(1),
            "frames": In(range(MOST_FRAMES + 1)),
            "classes": In(range(design.classes + 1)),
            "logit": In(stream.Signature(signed(ACC_BITS))),
            "result": In(stream.Signature(result_layout(design))),
            "due": Out(range(MOST_FRAMES + 1)),
            "busy": Out(1),
            "o": Out(stream.Signature(TAIL_LAYOUT)),
            **({"more": In(range(most + 1))} if (most := most_more_words(design)) else {}),
        })

    def elaborate(self, platform):
        m = Module()
        # bytes; all headers end with a word, and the identity's last is where a refusal's is in its word
        kept_base = -HEADER_BYTES % WORD
        nak_base = kept_base + (1 + MOST_WORDS) * WORD
        identity_base = nak_base + 2 * WORD
        identity_last = identity_base + HEADER_BYTES + IDENTITY_BYTES
        assert identity_last % WORD == REASON_BYTES
        contents = bytes(identity_base + HEADER_BYTES) + self.identity + bytes(LAST_BYTES)
        contents += bytes(-len(contents) % WORD)
        m.submodules.ram = ram = Memory(shape=8 * WORD, depth=len(contents) // WORD, init=[
            int.from_bytes(contents[k : k + WORD], "little") for k in range(0, len(contents), WORD)
        ])
        ram_w, ram_r = ram.write_port(granularity=8), ram.read_port()

        base, length = (Signal(range(len(contents) + 1)) for _ in range(2))
        # places of bytes: the one that leaves, the next, the answer's last, and the kept one's
        place, following, last, kept_last = (Signal.like(base) for _ in range(4))
        words = Signal(range(MOST_WORDS + 1))       # of the results that are collected
        m.d.sync += ram_w.en.eq(0)                  # writes pass a register

        sources = []                                # of what is written: when, and the word

        def write(address, enable=-1):
            m.d.sync += [ram_w.addr.eq(address), ram_w.en.eq(enable)]

        # results, while frames are due: logits, then the header before them
        c = self.result.p
        header, header_words = Cat(c.frames, c.cycles, c.weight_words, c.events, c.decision), RESULT_HEADER_WORDS
        most_header = header_words + most_more_words(self.design)
        if most_header > header_words:
            events = [c.events[s] for s in range(len(c.events))]
            header = Cat(c.frames, c.cycles, c.weight_words, *events[:COUNTED], c.decision, *events[COUNTED:])
            header_words += self.more
        logits, step = Signal.like(self.classes), Signal(range(most_header))
        header_due, logits_due = Signal(), Signal()     # of a frame that is due; registers, for they go on to the core
        word = Signal.like(ram_w.addr)              # of the frame's next logit
        first = words + Const(1)                    # the payload's place
        m.d.comb += [
            self.logit.ready.eq(logits_due),
            self.result.ready.eq(header_due & (step == header_words - 1)),
        ]

        def begin(at, frames):
            """Of what is due, a frame whose results begin at word ``at``."""
            m.d.sync += [
                self.due.eq(frames), words.eq(at), word.eq(at + 1 + header_words), logits.eq(0), step.eq(0),
                logits_due.eq((frames != 0) & (self.classes != 0)), header_due.eq((frames != 0) & (self.classes == 0)),
            ]

        with m.If(self.logit.valid & logits_due):
            write(word)
            m.d.sync += [word.eq(word + 1), logits.eq(logits + 1)]
            with m.If(logits + 1 == self.classes):
                m.d.sync += [logits_due.eq(0), header_due.eq(1)]
        with m.Elif(self.result.valid & header_due):
            write(first + step)
            m.d.sync += step.eq(step + 1)
            with m.If(self.result.ready):
                begin(words + header_words + self.classes, self.due - 1)
        with m.If(self.collect):
            begin(0, self.frames)

        m.d.comb += base.eq(Mux(self.keep, kept_base, nak_base))
        with m.Switch(self.form):
            with m.Case(Form.VALUE):
                m.d.comb += length.eq(HEADER_BYTES + WORD)
            with m.Case(Form.RESULTS):
                m.d.comb += length.eq(HEADER_BYTES + words * WORD)
            with m.Case(Form.NAK):
                m.d.comb += length.eq(HEADER_BYTES + REASON_BYTES + LAST_BYTES)
            with m.Case(Form.IDENTITY):
                m.d.comb += [length.eq(HEADER_BYTES + IDENTITY_BYTES + LAST_BYTES), base.eq(identity_base)]
            with m.Default():
                m.d.comb += length.eq(HEADER_BYTES)

        m.d.comb += [
            ram_r.addr.eq(place // WORD),
            self.o.p.byte.eq(ram_r.data.word_select(place[:2], 8)), self.o.p.last.eq(place == last),
        ]

        def write_bytes(address: int, count: int):
            """Part of a word, from a byte on."""
            write(address // WORD, ((1 << count) - 1) << address % WORD)

        refusal = Cat(self.reason, Const(0, 8 * REASON_BYTES - len(self.reason.as_value())), self.last)
        with m.FSM() as fsm:
            heads, pays = fsm.ongoing("COMPOSE HEADER"), fsm.ongoing("COMPOSE PAYLOAD")
            m.d.comb += self.busy.eq(~fsm.ongoing("WAIT"))
            # each has a bit of its own: sums of products are smaller than the choice of one of so many
            kind = Mux(self.form == Form.NAK, Const(NAK, 8), self.kind | ANSWER)
            sources += [
                (heads, Cat(Const(0, 8 * kept_base), self.seq, kind)), (pays & (self.form == Form.VALUE), self.value),
                (pays & (self.form != Form.VALUE), refusal), (~heads & ~pays & logits_due, self.logit.p),
                *((~heads & ~pays & header_due & (step == k), header.word_select(k, 8 * WORD))
                  for k in range(most_header)),
            ]
            with m.State("WAIT"):
                with m.If(self.start):
                    m.next = "COMPOSE HEADER"
                with m.Elif(self.repeat):
                    m.d.sync += [place.eq(kept_base), last.eq(kept_last)]
                    m.next = "FETCH"
            with m.State("COMPOSE HEADER"):
                with m.If(self.form == Form.IDENTITY):
                    write_bytes(identity_base, HEADER_BYTES)
                with m.Elif(self.keep):
                    write_bytes(kept_base, HEADER_BYTES)
                with m.Else():
                    write_bytes(nak_base, HEADER_BYTES)
                m.d.sync += [place.eq(base), last.eq(base + length - 1)]
                with m.If(self.keep):
                    m.d.sync += kept_last.eq(base + length - 1)
                m.next = "COMPOSE PAYLOAD"
            with m.State("COMPOSE PAYLOAD"):
                with m.Switch(self.form):
                    with m.Case(Form.VALUE):
                        write_bytes(kept_base + HEADER_BYTES, WORD)
                    with m.Case(Form.NAK):
                        with m.If(self.keep):
                            write_bytes(kept_base + HEADER_BYTES, REASON_BYTES + LAST_BYTES)
                        with m.Else():
                            write_bytes(nak_base + HEADER_BYTES, REASON_BYTES + LAST_BYTES)
                    with m.Case(Form.IDENTITY):
                        write_bytes(identity_last, LAST_BYTES)
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.sync += following.eq(place + 1)
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.comb += ram_r.addr.eq(following // WORD)
                    m.d.sync += [place.eq(following), following.eq(following + 1)]
                    with m.If(self.o.p.last):
                        m.next = "WAIT"
        chosen = Const(0, 8 * WORD)
        for when, source in sources:
            chosen |= Mux(when, source, 0)
        m.d.sync += ram_w.data.eq(chosen)
        return m
