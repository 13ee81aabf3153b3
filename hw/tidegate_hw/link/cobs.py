"""Consistent overhead byte stuffing (Cheshire and Baker, 1999): zero bytes occur only between packets."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

FULL = 0xFF     # code of a block of 254 bytes after which there is no zero

TOKEN_LAYOUT = data.StructLayout({"byte": 8, "end": 1, "damaged": 1})
TAIL_LAYOUT = data.StructLayout({"byte": 8, "last": 1})


class CobsDecoder(wiring.Component):
    """Bytes of a line to packets: a token for every byte of the body, then one that ends the packet.

        code, byte * (code - 1)   ->   byte * (code - 1), 0        (no 0 after code 255, or before the delimiter)

    A delimiter that follows another (or reset) ends nothing and gives no token.

    Members
    -------
    i : stream of unsigned(8), in
    o : stream of TOKEN_LAYOUT, out
        ``end`` marks the token after a body; its ``byte`` means nothing and ``damaged`` says that the delimiter
        came in the middle of a block.

    Latency: 1 cycle.
    Throughput: 1 byte per cycle.
    Tested: bodies of 0 to 510 bytes with runs of 253 to 255 non-zero bytes, cut packets, random lines, all stalls.
    """

    def __init__(self):
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(TOKEN_LAYOUT))})

    def elaborate(self, platform):
        m = Module()
        left = Signal(8)        # bytes of the block that are still to come
        inside = Signal()       # a packet has begun
        full = Signal()         # the block is a FULL one
        token = self.o.p
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(0)
            with m.If(self.i.valid):
                m.d.sync += [token.byte.eq(self.i.payload), token.end.eq(0), token.damaged.eq(left != 0)]
                with m.If(self.i.payload == 0):
                    m.d.sync += [self.o.valid.eq(inside), token.end.eq(1), inside.eq(0), left.eq(0)]
                with m.Elif(left != 0):
                    m.d.sync += [self.o.valid.eq(1), left.eq(left - 1)]
                with m.Else():
                    m.d.sync += [
                        self.o.valid.eq(inside & ~full), token.byte.eq(0),
                        inside.eq(1), left.eq(self.i.payload - 1), full.eq(self.i.payload == FULL),
                    ]
        return m


class CobsEncoder(wiring.Component):
    """Bodies to packets with their delimiter, through a ring of bytes that holds two blocks.

        byte * n, 0   ->   n + 1, byte * n           (n < 254; a block also ends after 254 bytes, or with the body)

    A zero takes the place of the next block's code, which is written when that block is over; what lies before the
    open block's code may leave.  A body that ends with a full block gets no empty block behind it, as in the ``cobs``
    package.

    Members
    -------
    i : stream of TAIL_LAYOUT, in
        Body with ``last`` on its last byte; a body has at least one.
    o : stream of unsigned(8), out

    Latency: a block leaves from 2 cycles after its end has come; ``cycles(body)`` in all.
    Throughput: 1 byte per cycle in and out; a full block takes 1 cycle more to come, a body 2.
    Tested: bodies of 1 to 510 bytes with runs of 253 to 255 non-zero bytes, all stalls.
    """

    def __init__(self):
        super().__init__({"i": In(stream.Signature(TAIL_LAYOUT)), "o": Out(stream.Signature(8))})

    @staticmethod
    def cycles(body: bytes) -> int:
        """From the first byte of a body to the delimiter, both included, without stalls, if nothing is in the ring."""
        come, left, length = 0, 0, 0

        def end_block() -> int:
            return max(left, come + 1) + length + 1

        for k, byte in enumerate(body):
            come += 1
            length += byte != 0
            if byte == 0:
                left, length = end_block(), 0
            elif length == FULL - 1 and k < len(body) - 1:
                come += 1
                left, length = end_block(), 0
        come += 1
        left = end_block()
        return max(left, come + 2) + 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.ring = ring = Memory(shape=8, depth=2 * (FULL + 1), init=[])
        ring_w, ring_r = ring.write_port(), ring.read_port()
        head, tail = Signal(range(ring.depth), init=1), Signal(range(ring.depth))
        code = Signal.like(tail)        # place of the open block's code, before the bytes that have come
        length = Signal(8)              # of them
        last = Signal()                 # the body ends with the block
        room, end = Signal(init=1), Signal()

        # as of the cycle before, in which one more byte may have come
        m.d.sync += room.eq(((head + 1)[: len(head)] != tail) & ((head + 2)[: len(head)] != tail))
        with m.If(ring_w.en):
            m.d.sync += head.eq(head + 1)
        with m.If(end):                 # the next block's code takes the place at the head
            m.d.comb += [ring_w.en.eq(1), ring_w.addr.eq(code)]
            m.d.sync += [code.eq(head), length.eq(0)]
        with m.Else():
            m.d.comb += ring_w.addr.eq(head)

        following = (tail + (self.o.valid & self.o.ready))[: len(tail)]
        m.d.comb += [ring_r.addr.eq(following), self.o.payload.eq(ring_r.data)]
        m.d.sync += [tail.eq(following), self.o.valid.eq(following != code)]

        with m.FSM():
            with m.State("FILL"):
                m.d.comb += [self.i.ready.eq(room), ring_w.data.eq(self.i.p.byte)]
                m.d.sync += last.eq(self.i.p.last)
                with m.If(self.i.valid & room):
                    with m.If(self.i.p.byte == 0):
                        m.d.comb += [end.eq(1), ring_w.data.eq(length + 1)]
                    with m.Else():
                        m.d.comb += ring_w.en.eq(1)
                        m.d.sync += length.eq(length + 1)
                    with m.If(self.i.p.last | ((self.i.p.byte != 0) & (length == FULL - 2))):
                        m.next = "END BLOCK"
            with m.State("END BLOCK"):
                m.d.comb += [end.eq(room), ring_w.data.eq(length + 1)]
                with m.If(room):
                    m.next = "FILL"
                    with m.If(last):
                        m.next = "END PACKET"
            with m.State("END PACKET"):         # the delimiter is where a code would be
                m.d.comb += [end.eq(room), ring_w.data.eq(0)]
                with m.If(room):
                    m.next = "FILL"
        return m
