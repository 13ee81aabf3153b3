"""The link: one request at a time from the host, acted on once, answered always."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tidegate.spec.design import Design, Identity
from tidegate.spec.errors import TidegateError
from tidegate.spec.formats import ACC_BITS, SIGNAL
from tidegate.spec.packets import Request, most_frames

from ..records.job import weight_w_signature
from ..records.registers import registers_layout
from ..records.results import result_layout
from .answers import MOST_WORDS, RESULT_HEADER_WORDS, Answers, Form, more_words, most_more_words
from .frame import FrameBuffer
from .packets import Packets, Reason
from .registers import Registers

TIMEOUT = 1 << 22

ADDRESS_BYTES, VALUE_BYTES = 2, 4       # of a register
WEIGHT_ADDRESS_BYTES = 4


class Link(wiring.Component):
    """Requests of ``tidegate.spec.packets`` to the core's ports, and its results to answers.

        rx ─► packets ─► judge ─► check ─► take arguments ─► act ─► answers ─► packets ─► tx

    All frames of a request are here before the first one leaves, at full rate and only when the core is ready: the
    cycles that it counts are its own, the first frame's from idle, the others' back to back.  What asks for more than
    the core has is refused before anything is done; model registers out of range refuse FRAMES with NO_MODEL.

    Parameters
    ----------
    design : Design
    digest : bytes
        16 bytes by which IDENTIFY names the RTL.
    timeout : int
        Cycles that the core may take for a request, or from one result to the next.

    Members
    -------
    rx, tx : streams of unsigned(8), in and out
    registers, weight_w, frame, logit, result, frames, decision, ended, clear, ready
        The core's ports of the same names.  After ``clear`` and a frame's first group ``ready`` is low until the
        core has finished and all results are taken.
    core_reset : 1, out
        Strobe: the core did not finish; reset all its registers.
    active : 1, out
        A request is at work; while it is low nothing is asked of the core, which is idle.

    Latency: a cycle per byte of request and answer, about 30 more, and what the core takes; see the parts.
    Tested: all requests, valid, repeated, damaged and random, with a stand-in core that may hang.
    """

    def __init__(self, design: Design, digest: bytes, timeout: int = TIMEOUT):
        if most_frames(design.features, design.classes) < 1:
            raise TidegateError(f"a packet does not carry {design.features} features, or {design.classes} logits; "
                                "make the design smaller")
        self.design, self.timeout = design, timeout
        self.identity = Identity(design, digest).pack()
        super().__init__({
            "rx": In(stream.Signature(8)),
            "tx": Out(stream.Signature(8)),
            "registers": Out(registers_layout(design)),
            "weight_w": Out(weight_w_signature(design)),
            "frame": Out(stream.Signature(data.ArrayLayout(signed(SIGNAL.bits), design.encoder_rate))),
            "logit": In(stream.Signature(signed(ACC_BITS))),
            "result": In(stream.Signature(result_layout(design))),
            "frames": In(32), "decision": In(range(design.classes + 1)), "ended": In(1),
            "clear": Out(1),
            "ready": In(1),
            "core_reset": Out(1), "active": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.packets = packets = Packets(self.design.payload)
        m.submodules.registers = registers = Registers(self.design)
        m.submodules.answers = answers = Answers(self.design, self.identity)
        m.submodules.frame = frame = ResetInserter(self.core_reset)(FrameBuffer(self.design))

        connect(m, flipped(self.rx), packets.i)
        connect(m, packets.o, flipped(self.tx))
        connect(m, answers.o, packets.answer)
        connect(m, packets.arriving, frame.i)
        connect(m, flipped(self.logit), answers.logit)
        connect(m, flipped(self.result), answers.result)
        connect(m, frame.o, flipped(self.frame))

        last, answered = Signal(16), Signal()       # number of the last request acted on; there was one
        argument, taken, due = Signal(48), Signal(3), Signal(3)     # ... and bytes of it, come and expected
        left = Signal(signed(self.design.payload.bit_length() + 1))     # weights after the next; -1: there is none
        form, reason, keep = Signal(Form), Signal(Reason), Signal()
        trusted, runnable = Signal(), Signal()
        regs = registers.values
        m.d.sync += runnable.eq(
            (regs.LAYERS != 0) & (regs.LAYERS <= self.design.layers) & (regs.FEATURES != 0)
            & (regs.FEATURES <= self.design.features) & (regs.CLASSES != 0) & (regs.CLASSES <= self.design.classes))
        m.d.comb += [
            self.registers.eq(regs), registers.status.FRAMES.eq(self.frames),
            registers.status.DECISION.eq(self.decision),
            registers.address.eq(argument[: 8 * ADDRESS_BYTES]), registers.write_data.eq(argument[8 * ADDRESS_BYTES :]),
            answers.form.eq(form), answers.reason.eq(reason), answers.keep.eq(keep),
            answers.seq.eq(Mux(trusted, packets.seq, 0)), answers.kind.eq(packets.kind), answers.last.eq(last),
            answers.value.eq(registers.read_data), answers.classes.eq(regs.CLASSES), answers.frames.eq(frame.frames),
            frame.begin.eq(packets.begin), frame.features.eq(regs.FEATURES),
        ]
        header_words, most = RESULT_HEADER_WORDS, most_more_words(self.design)
        if most:
            more = more_words(regs.LAYERS)
            m.d.comb += answers.more.eq(more)
            header_words += more
        most += MOST_WORDS + RESULT_HEADER_WORDS + self.design.classes
        words = Signal(range(most + 1))             # of the frames' results
        with m.If(packets.begin):
            m.d.sync += words.eq(0)
        with m.Elif(frame.gathered & (words <= MOST_WORDS)):
            m.d.sync += words.eq(words + header_words + regs.CLASSES)

        # what is known of a request when it is judged
        again, next_one, wrong = Signal(), Signal(), Signal()
        asks = {kind: Signal(name=f"asks_{kind.name}") for kind in Request}
        m.d.sync += [asked.eq(packets.kind == kind) for kind, asked in asks.items()]
        m.d.sync += [again.eq((packets.seq == last) & answered), next_one.eq(packets.seq == (last + 1)[:16])]
        with m.Switch(packets.kind):
            with m.Case(Request.READ_REGISTER):
                m.d.sync += wrong.eq(packets.length != ADDRESS_BYTES)
            with m.Case(Request.WRITE_REGISTER):
                m.d.sync += wrong.eq(packets.length != ADDRESS_BYTES + VALUE_BYTES)
            with m.Case(Request.WRITE_WEIGHTS):
                m.d.sync += wrong.eq(packets.length < WEIGHT_ADDRESS_BYTES)
            with m.Case(Request.FRAMES):
                m.d.sync += wrong.eq(~frame.whole | (words > MOST_WORDS))
            with m.Default():
                m.d.sync += wrong.eq(packets.length != 0)

        # weights leave through a register
        weight_address = argument[: self.design.weight_bytes.bit_length()]
        beyond_address = argument[self.design.weight_bytes.bit_length() : 8 * WEIGHT_ADDRESS_BYTES]
        lane_bits = (self.design.lanes - 1).bit_length()
        m.d.sync += [
            self.weight_w.en.eq(0), self.weight_w.data.eq(packets.payload.payload),
            self.weight_w.lane.eq(weight_address[:lane_bits]), self.weight_w.word.eq(weight_address[lane_bits:]),
        ]

        # the last weight's place; it is not in the memory
        reach, beyond = Signal(signed(max(len(weight_address), len(left)) + 2)), Signal()
        m.d.sync += [
            reach.eq(weight_address + left),
            beyond.eq((reach >= self.design.weight_bytes) | (beyond_address != 0)),
        ]

        watch, expired, progress = Signal(range(self.timeout + 1)), Signal(), Signal()
        m.d.sync += [
            watch.eq(watch + 1), expired.eq((watch == self.timeout) & ~progress), self.core_reset.eq(0),
            progress.eq(self.result.valid & self.result.ready),
        ]
        with m.If(progress):
            m.d.sync += watch.eq(0)

        def refuse(why: Reason):
            m.d.sync += [form.eq(Form.NAK), reason.eq(why)]
            m.next = "ANSWER"

        def answer(what: Form):
            m.d.sync += form.eq(what)
            m.next = "ANSWER"

        def expire():
            m.d.comb += registers.unload.eq(1)
            m.d.sync += self.core_reset.eq(1)
            refuse(Reason.TIMEOUT)

        with m.FSM() as fsm:
            m.d.comb += self.active.eq(~(fsm.ongoing("WAIT") | fsm.ongoing("FINISH")))
            with m.State("WAIT"):
                m.d.sync += [keep.eq(0), taken.eq(0), due.eq(0), trusted.eq(packets.reason == Reason.NONE)]
                with m.If(packets.request):
                    m.next = "JUDGE"

            with m.State("JUDGE"):
                with m.If(~trusted):
                    refuse(packets.reason)
                with m.Elif(asks[Request.IDENTIFY]):
                    answer(Form.IDENTITY)
                    with m.If(wrong):
                        refuse(Reason.LENGTH)
                with m.Elif(again):
                    m.d.comb += answers.repeat.eq(1)
                    m.next = "FINISH"
                with m.Elif(next_one):
                    m.d.sync += [last.eq(packets.seq), answered.eq(1), keep.eq(1)]
                    m.next = "CHECK"
                with m.Else():
                    refuse(Reason.SEQUENCE)

            with m.State("CHECK"):
                m.next = "TAKE ARGUMENTS"
                m.d.sync += left.eq(packets.length - (WEIGHT_ADDRESS_BYTES + 1))
                with m.If(wrong):
                    refuse(Reason.LENGTH)
                with m.If(asks[Request.READ_REGISTER]):
                    m.d.sync += due.eq(ADDRESS_BYTES)
                with m.If(asks[Request.WRITE_REGISTER]):
                    m.d.sync += due.eq(ADDRESS_BYTES + VALUE_BYTES)
                with m.If(asks[Request.WRITE_WEIGHTS]):
                    m.d.sync += due.eq(WEIGHT_ADDRESS_BYTES)
                with m.If(asks[Request.FRAMES] & ~runnable):
                    refuse(Reason.NO_MODEL)
                with m.If(Cat(asks.values()) == 0):
                    refuse(Reason.TYPE)

            with m.State("TAKE ARGUMENTS"):
                m.d.comb += packets.payload.ready.eq(taken != due)
                m.d.sync += watch.eq(0)
                with m.If(taken != due):
                    m.d.sync += [argument.word_select(taken, 8).eq(packets.payload.payload), taken.eq(taken + 1)]
                with m.Else():
                    m.next = "CHECK ADDRESS"

            with m.State("CHECK ADDRESS"):      # what is known of it arrives in the next state
                m.next = "WAIT FOR CORE"

            with m.State("WAIT FOR CORE"):
                with m.If(asks[Request.READ_REGISTER] & registers.known):
                    answer(Form.VALUE)
                with m.Elif(asks[Request.READ_REGISTER] | (asks[Request.WRITE_REGISTER] & ~registers.writable)
                            | (asks[Request.WRITE_WEIGHTS] & beyond)):
                    refuse(Reason.ADDRESS)
                with m.Elif(self.ready):
                    with m.If(asks[Request.WRITE_REGISTER]):
                        m.d.comb += registers.write.eq(1)
                        answer(Form.EMPTY)
                    with m.If(asks[Request.WRITE_WEIGHTS]):
                        m.next = "WRITE WEIGHTS"
                    with m.If(asks[Request.RESET]):
                        m.d.comb += self.clear.eq(1)
                        m.next = "CLEAR"
                    with m.If(asks[Request.FRAMES]):
                        m.d.comb += [frame.start.eq(1), answers.collect.eq(1)]
                        m.next = "RUN FRAMES"
                with m.Elif(expired):
                    expire()

            with m.State("WRITE WEIGHTS"):
                with m.If(left >= 0):
                    m.d.comb += packets.payload.ready.eq(1)
                    m.d.sync += [self.weight_w.en.eq(1), left.eq(left - 1), weight_address.eq(weight_address + 1)]
                with m.Else():
                    answer(Form.EMPTY)

            with m.State("CLEAR"):
                with m.If(self.ready):
                    answer(Form.EMPTY)
                with m.Elif(expired):
                    expire()

            with m.State("RUN FRAMES"):
                # after a decision no result is due, and what is left is dropped
                with m.If(self.ready & ((answers.due == 0) | (self.ended & ~frame.o.valid))):
                    answer(Form.RESULTS)
                with m.Elif(expired):
                    expire()

            with m.State("ANSWER"):
                m.d.comb += answers.start.eq(1)
                m.next = "FINISH"

            with m.State("FINISH"):
                with m.If(~packets.request):
                    m.next = "WAIT"
        return m
