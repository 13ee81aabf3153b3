"""Consistent overhead byte stuffing (Cheshire and Baker, 1999): zero bytes occur only between packets."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

FULL = 0xFF     # code of a block of 254 bytes after which there is no zero

TOKEN_LAYOUT = data.StructLayout({"byte": 8, "end": 1, "damaged": 1})
TAIL_LAYOUT = data.StructLayout({"byte": 8, "last": 1})


class Decoder(wiring.Component):
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


class Encoder(wiring.Component):
    """Bodies to packets with their delimiter, through a buffer that holds one block.

        byte * n, 0   ->   n + 1, byte * n           (n < 254; a block also ends after 254 bytes, or with the body)

    A body that ends with a full block gets no empty block behind it, as in the ``cobs`` package.

    Members
    -------
    i : stream of TAIL_LAYOUT, in
        Body with ``last`` on its last byte; a body has at least one.
    o : stream of unsigned(8), out

    Latency: a block leaves after its last byte has come.
    Throughput: one cycle per byte of the body, byte of the packet, and block: ``cycles(body)``.
    Tested: bodies of 1 to 510 bytes with runs of 253 to 255 non-zero bytes, all stalls.
    """

    def __init__(self):
        super().__init__({"i": In(stream.Signature(TAIL_LAYOUT)), "o": Out(stream.Signature(8))})

    @staticmethod
    def cycles(body: bytes) -> int:
        """From the first byte of a body to the delimiter, both included, without stalls."""
        runs = body.split(b"\0")
        blocks = sum(max(1, -(-len(run) // (FULL - 1))) for run in runs)
        # a full block and the zero behind it do not share a code
        blocks += sum(len(run) % (FULL - 1) == 0 and len(run) > 0 for run in runs[:-1])
        return 2 * len(body) - body.count(0) + 2 * blocks + 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = block = Memory(shape=8, depth=256, init=[])
        block_w, block_r = block.write_port(), block.read_port()
        length, sent = Signal(8), Signal(8)
        last = Signal()         # the block ends with the body
        zero = Signal()         # ... whose last byte is a zero, which takes an empty block
        m.d.comb += [
            block_w.addr.eq(length), block_w.data.eq(self.i.p.byte),
            block_r.addr.eq(sent + self.o.ready),
        ]
        with m.FSM():
            with m.State("FILL"):
                m.d.comb += [
                    self.i.ready.eq(1), block_w.en.eq(self.i.valid & (self.i.p.byte != 0)), block_r.addr.eq(0),
                ]
                m.d.sync += [sent.eq(0), last.eq(self.i.p.last), zero.eq(self.i.p.byte == 0)]
                with m.If(self.i.valid):
                    with m.If(self.i.p.byte != 0):
                        m.d.sync += length.eq(length + 1)
                    with m.If((self.i.p.byte == 0) | (length == FULL - 2) | self.i.p.last):
                        m.next = "SEND CODE"
            with m.State("SEND CODE"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(length + 1), block_r.addr.eq(0)]
                with m.If(self.o.ready):
                    m.next = "SEND BYTES"
                    with m.If(length == 0):
                        m.next = "END BLOCK"
            with m.State("SEND BYTES"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(block_r.data)]
                with m.If(self.o.ready):
                    m.d.sync += sent.eq(sent + 1)
                    with m.If(sent == length - 1):
                        m.next = "END BLOCK"
            with m.State("END BLOCK"):
                m.d.sync += length.eq(0)
                with m.If(~last):
                    m.next = "FILL"
                with m.Elif(zero):
                    m.d.sync += zero.eq(0)
                    m.next = "SEND CODE"
                with m.Else():
                    m.next = "SEND DELIMITER"
            with m.State("SEND DELIMITER"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "FILL"
        return m
