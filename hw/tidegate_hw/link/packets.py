"""Packets to and from a byte stream: checks and keeps one request, then sends one answer."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tidegate.spec import packets
from tidegate.spec.packets import OVERHEAD

from .cobs import TAIL_LAYOUT, CobsDecoder, CobsEncoder

HEADER_BYTES = 3    # seq, type
CRC_BYTES = OVERHEAD - HEADER_BYTES


class Reason(enum.Enum, shape=4):
    """Why a request was refused, as on the line; NONE: not at all."""

    NONE = 0
    CRC = packets.Refusal.CRC
    FRAMING = packets.Refusal.FRAMING
    TOO_LONG = packets.Refusal.TOO_LONG
    TYPE = packets.Refusal.TYPE
    LENGTH = packets.Refusal.LENGTH
    SEQUENCE = packets.Refusal.SEQUENCE
    ADDRESS = packets.Refusal.ADDRESS
    NO_MODEL = packets.Refusal.NO_MODEL
    TIMEOUT = packets.Refusal.TIMEOUT


class Packets(wiring.Component):
    """The packet layer of the link, half duplex: every packet that comes must be answered by one body.

        i ─► COBS decoder ─► CRC ─► request RAM ─► payload
        answer ─► CRC appended ─► COBS encoder ─► o

    While a request waits for its answer, ``i`` is not ready.

    Parameters
    ----------
    room : int
        Bytes of the longest payload of a request.

    Members
    -------
    begin : 1, out
        Strobe: a packet begins.
    arriving : stream of unsigned(8), always ready, out
        The payload's bytes as they come, a cycle late, before anything is known of the packet; of one that is too long
        the first ``room``.
    i : stream of unsigned(8), in
    o : stream of unsigned(8), out
    request : 1, out
        A packet has come; the following members are stable until its answer has been taken.
    reason : Reason, out
        CRC, FRAMING or TOO_LONG if the packet cannot be trusted, and then nothing else about it can; else NONE.
    seq, kind, length : unsigned(16), unsigned(8), range(room + 1), out
        Sequence number, type, and bytes of payload.
    payload : stream of unsigned(8), out
        The payload's bytes from the first, one in every cycle from that after ``request`` on; the reader counts them.
    answer : stream of TAIL_LAYOUT, in
        seq, type and payload of the answer; ready only while there is a request.

    Latency: 3 cycles from a delimiter to ``request``.
    Throughput: 1 byte per cycle.
    Tested: through the link's bench, all stalls: random, cut, damaged and over-long packets against
    ``tidegate.spec.packets``.
    """

    def __init__(self, room: int):
        self.room = room
        super().__init__({
            "begin": Out(1),
            "arriving": Out(stream.Signature(8, always_ready=True)),
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(8)),
            "request": Out(1),
            "reason": Out(Reason),
            "seq": Out(16),
            "kind": Out(8),
            "length": Out(range(room + 1)),
            "payload": Out(stream.Signature(8)),
            "answer": In(stream.Signature(TAIL_LAYOUT)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.encoder = encoder = CobsEncoder()
        m.submodules.crc = crc = CRC32_ISO_HDLC().create()      # one is enough for a half-duplex link
        m.submodules.ram = ram = Memory(shape=8, depth=self.room, init=[])
        ram_w, ram_r = ram.write_port(), ram.read_port()
        wiring.connect(m, wiring.flipped(self.i), decoder.i)
        wiring.connect(m, encoder.o, wiring.flipped(self.o))

        token = decoder.o.p
        most = self.room + OVERHEAD
        count = Signal(range(most + 2))         # bytes of the packet so far, or most + 1 for any more than that
        following, filled = Signal(range(self.room)), Signal()      # byte of the payload that is read; one is there
        tail = Signal(range(CRC_BYTES))         # byte of the answer's checksum
        byte, byte_valid = Signal(TAIL_LAYOUT), Signal()        # of the answer or its checksum, on its way to COBS
        damaged = Signal()
        place = Signal(range(most + 2))
        latest = Signal(8 * CRC_BYTES)          # bytes that may be the checksum and no payload
        m.d.comb += [
            place.eq(count - OVERHEAD), self.length.eq(place),
            ram_w.data.eq(self.arriving.payload), ram_w.en.eq(self.arriving.valid),
            ram_r.addr.eq(following),
            encoder.i.p.byte.eq(byte.byte), encoder.i.valid.eq(byte_valid),
        ]

        arrives, begins = Signal(), Signal()    # the payload leaves through a register
        m.d.sync += [
            self.begin.eq(begins), self.arriving.valid.eq(arrives), self.arriving.payload.eq(latest[:8]),
            ram_w.addr.eq(place),
        ]

        with m.FSM():
            with m.State("RECEIVE"):
                m.d.sync += following.eq(0)
                m.d.comb += [
                    decoder.o.ready.eq(1),
                    crc.data.eq(token.byte), crc.valid.eq(decoder.o.valid & ~token.end), crc.start.eq(count == 0),
                    begins.eq(crc.valid & (count == 0)),
                    arrives.eq(crc.valid & (count >= OVERHEAD) & (place < self.room)),
                ]
                with m.If(crc.valid):
                    m.d.sync += [count.eq(Mux(count > most, count, count + 1)), latest.eq(Cat(latest[8:], token.byte))]
                    with m.Switch(count):
                        with m.Case(0):
                            m.d.sync += self.seq[:8].eq(token.byte)
                        with m.Case(1):
                            m.d.sync += self.seq[8:].eq(token.byte)
                        with m.Case(2):
                            m.d.sync += self.kind.eq(token.byte)
                with m.If(decoder.o.valid & token.end):
                    m.d.sync += damaged.eq(token.damaged)
                    m.next = "CHECK"
            with m.State("CHECK"):
                # the first byte is read here, because ``en`` is only set in the next state
                m.d.sync += [self.reason.eq(Reason.NONE), filled.eq(0), following.eq(1)]
                with m.If(count > most):
                    m.d.sync += self.reason.eq(Reason.TOO_LONG)
                with m.Elif(damaged | (count < OVERHEAD)):
                    m.d.sync += self.reason.eq(Reason.FRAMING)
                with m.Elif(~crc.match_detected):
                    m.d.sync += self.reason.eq(Reason.CRC)
                m.d.comb += crc.start.eq(1)
                m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    self.request.eq(1), self.payload.valid.eq(filled), ram_r.en.eq(~filled | self.payload.ready),
                    self.answer.ready.eq(~byte_valid | encoder.i.ready),
                    crc.data.eq(byte.byte), crc.valid.eq(encoder.i.valid & encoder.i.ready),
                ]
                m.d.sync += filled.eq(1)
                with m.If(ram_r.en):
                    m.d.sync += [self.payload.payload.eq(ram_r.data), following.eq(following + 1)]
                with m.If(self.answer.ready):
                    m.d.sync += [byte.eq(self.answer.p), byte_valid.eq(self.answer.valid)]
                with m.If(crc.valid & byte.last):
                    m.d.sync += count.eq(0)
                    m.next = "APPEND CRC"
            with m.State("APPEND CRC"):
                with m.If(~byte_valid | encoder.i.ready):
                    m.d.sync += [
                        byte.byte.eq(crc.crc.word_select(tail, 8)), byte_valid.eq(1), tail.eq(tail + 1),
                    ]
                    with m.If(tail == CRC_BYTES - 1):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += encoder.i.p.last.eq(1)
                with m.If(encoder.i.ready):
                    m.d.sync += byte_valid.eq(0)
                    m.next = "RECEIVE"
        return m
