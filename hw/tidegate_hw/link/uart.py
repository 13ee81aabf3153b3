"""UART, 8 data bits, no parity, one stop bit."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

BITS = 10               # start, 8 data from bit 0, stop
FIFO_DEPTH = 16


class UartReceiver(wiring.Component):
    """Bytes from a line: each bit is sampled once, in its middle.

    A byte whose stop bit is low, and a start bit that is high in its middle, are dropped; a byte that finds
    the FIFO full is lost (the packets' checksums notice).

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 4.

    Members
    -------
    rx : 1, in
        The line, asynchronous; idle high.
    o : stream of unsigned(8), out
        Through a FIFO of ``FIFO_DEPTH`` bytes.

    Latency: ``delay`` cycles from the line's fall to the byte at ``o``.
    Tested: divisors 4, 7, 16 and 104; senders off by up to 2 %; framing errors; breaks; glitches; a full FIFO.
    """

    def __init__(self, divisor: int):
        assert divisor >= 4
        self.divisor = divisor
        self.delay = 2 + 1 + (divisor - 1) // 2 + (BITS - 1) * divisor + 2    # synchroniser, start, samples, FIFO
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        rx = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, rx, init=1)
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=8, depth=FIFO_DEPTH)
        byte, bit = Signal(8), Signal(range(BITS))
        timer = Signal(range(self.divisor))
        m.d.comb += [
            fifo.w_data.eq(byte),
            self.o.payload.eq(fifo.r_data), self.o.valid.eq(fifo.r_rdy), fifo.r_en.eq(self.o.ready),
        ]
        with m.FSM():
            with m.State("WAIT"):
                m.d.sync += [bit.eq(0), timer.eq((self.divisor - 1) // 2 - 1)]
                with m.If(~rx):
                    m.next = "SAMPLE"
            with m.State("SAMPLE"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(timer == 0):
                    m.d.sync += [timer.eq(self.divisor - 1), bit.eq(bit + 1)]
                    with m.If(bit == 0):
                        with m.If(rx):
                            m.next = "WAIT"
                    with m.Elif(bit == BITS - 1):
                        m.d.comb += fifo.w_en.eq(rx)
                        m.next = "WAIT"
                        with m.If(~rx):
                            m.next = "WAIT FOR IDLE"
                    with m.Else():
                        m.d.sync += byte.eq(Cat(byte[1:], rx))
            with m.State("WAIT FOR IDLE"):      # a low stop bit, or a break, is no new start
                with m.If(rx):
                    m.next = "WAIT"
        return m


class UartTransmitter(wiring.Component):
    """Bytes to a line.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit.

    Members
    -------
    i : stream of unsigned(8), in
    tx : 1, out
        The line; idle high.

    Latency: 1 cycle.
    Throughput: 1 byte per 10 divisor + 1 cycles.
    Tested: as the receiver.
    """

    def __init__(self, divisor: int):
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        shift, left = Signal(BITS - 1, init=-1), Signal(range(BITS + 1))
        timer = Signal(range(self.divisor))
        m.d.comb += self.i.ready.eq(left == 0)
        with m.If(self.i.ready):
            m.d.sync += timer.eq(self.divisor - 1)
            with m.If(self.i.valid):
                m.d.sync += [Cat(self.tx, shift).eq(Cat(0, self.i.payload, 1)), left.eq(BITS)]
        with m.Else():
            m.d.sync += timer.eq(timer - 1)
            with m.If(timer == 0):
                m.d.sync += [timer.eq(self.divisor - 1), left.eq(left - 1), Cat(self.tx, shift).eq(Cat(shift, 1))]
        return m
