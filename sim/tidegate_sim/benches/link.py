"""Bench of the link: what it answers and does, against ``StandInBoard``, byte for byte."""

import os
import struct
from itertools import product

import cocotb
from cobs import cobs
from cocotb.triggers import RisingEdge

from tidegate.spec.design import Design
from tidegate.spec.packets import Refusal, Request, decode_packet, encode_packet, most_frames
from tidegate.spec.registers import BY_NAME, EARLY, PAGE, REGISTERS, STREAM
from tidegate_sim.streams import STALLS, Sink, Source, reset_dut, rng_for, wait

from .board_model import StandInBoard
from .stand_in_core import HANG

DESIGN = Design(lanes=8, cell_rate=2, encoder_rate=4, weight_words=int(os.environ.get("WORDS", "80")), acc_words=16,
                features=int(os.environ.get("FEATURES", "22")), neurons=32, classes=12)
DIGEST = bytes(range(200, 216))
TIMEOUT = int(os.environ.get("TIMEOUT", 0))
UNKNOWN = 1 + max(r.address for r in REGISTERS)
MODEL = {"LAYERS": 2, "FEATURES": 10, "CLASSES": 3}


class Conversation:
    """Sends lines to the board and compares all that it answers and does with the model."""

    def __init__(self, dut, stalls: str = "none"):
        self.dut, self.board = dut, StandInBoard(DESIGN, DIGEST)
        self.source, self.sink = Source(dut, "rx", stalls=stalls), Sink(dut, "tx", stalls=stalls)
        self.rng = rng_for("requests")
        self.weights = bytearray(DESIGN.weight_bytes)

    async def start(self, **registers: int) -> None:
        await reset_dut(self.dut)
        cocotb.start_soon(self._watch_weights())
        for name, value in registers.items():
            await self.write(name, value)

    async def _watch_weights(self) -> None:
        enable, word, lane, weight = (getattr(self.dut, f"weight_w__{x}") for x in ("en", "word", "lane", "data"))
        while True:
            await RisingEdge(enable)
            await RisingEdge(self.dut.clk)
            while int(enable.value):
                self.weights[int(word.value) * DESIGN.lanes + int(lane.value)] = int(weight.value)
                await RisingEdge(self.dut.clk)

    async def say(self, line: bytes) -> list[bytes]:
        """Send a line; returns the answers, without delimiters, after checking them."""
        expected = self.board.answer_line(line)
        sending = cocotb.start_soon(self.source.send(line))
        try:
            got = bytes(await self.sink.receive(sum(map(len, expected)), timeout=TIMEOUT + 20 * len(line) + 5000))
        except AssertionError:
            got = bytes(self.sink.items)        # too little
        assert got.split(b"\0")[:-1] == [packet[:-1] for packet in expected], line.hex(" ")
        await sending           # a last delimiter may come after all answers
        await wait(self.dut, 3)
        assert self.weights == self.board.weights
        assert (int(self.dut.clears.value), int(self.dut.resets.value)) == (self.board.clears, self.board.resets)
        return got.split(b"\0")[:-1]

    async def ask(self, kind: int, payload: bytes = b"", times: int = 1) -> tuple[int, bytes]:
        """A request with the next number, sent ``times`` times; type and payload of its answer."""
        answers = await self.say(encode_packet((self.board.last + 1) % 65536, kind, payload) * times)
        assert len(set(answers)) == 1
        return decode_packet(answers[0])[1:]

    async def refused(self, kind: int, payload: bytes = b"", times: int = 1) -> Refusal:
        answer, payload = await self.ask(kind, payload, times)
        assert answer == 0xFF
        return Refusal(payload[0])

    async def write(self, name: str, value: int, times: int = 1) -> None:
        assert await self.ask(Request.WRITE_REGISTER, register_write(name, value), times) == (0x83, b"")

    async def still_answers(self) -> None:
        await wait(self.dut, 5)
        assert not self.sink.items
        await self.say(b"\0" + encode_packet(self.rng.randrange(65536), Request.IDENTIFY))

    def frames(self, count: int = 1) -> bytes:
        n = count * self.board.registers["FEATURES"]
        limits = self.rng.choice((100, 2100, 32767))
        return struct.pack(f"<{n}h", *(self.rng.randint(-limits, limits) for _ in range(n)))


def register_write(name: str, value: int) -> bytes:
    return struct.pack("<HI", BY_NAME[name].address, value)


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def does_each_request_once(dut, stalls):
    host = Conversation(dut, stalls)
    await host.start()
    await host.say(encode_packet(4711, Request.IDENTIFY))
    for register in REGISTERS:
        if register.writable and register.there(DESIGN):
            await host.write(register.name, host.rng.randrange(1 << 32), times=2)
    further = host.rng.sample(range(PAGE, UNKNOWN + 2), 40)        # of layers that the design does not have
    for address in (*range(PAGE + 2), 0x107, *further, 0xFFFF):
        await host.ask(Request.READ_REGISTER, struct.pack("<H", address))
    for address, count in ((0, 8), (13, 200), (640 - 508, 508), (639, 1), (640, 0)):
        await host.ask(Request.WRITE_WEIGHTS, struct.pack("<I", address) + host.rng.randbytes(count), times=2)
    cases = ((1, 1), (4, 5), (10, 12), (22, 12))
    for (features, classes), mode in product(cases, (0, EARLY, EARLY | STREAM)):
        for name, value in {"LAYERS": 4, "FEATURES": features, "CLASSES": classes, "THETA0": 5, "MODE": mode}.items():
            await host.write(name, value)
        most = most_frames(features, classes)
        for count in (1, most, 1, host.rng.randint(1, most)):
            assert (await host.ask(Request.FRAMES, host.frames(count), times=3))[0] == 0x86
            for name in ("FRAMES", "DECISION"):
                await host.ask(Request.READ_REGISTER, struct.pack("<H", BY_NAME[name].address), times=2)
        await host.ask(Request.RESET, times=2)
        await host.ask(Request.READ_REGISTER, struct.pack("<H", BY_NAME["FRAMES"].address))
    await host.still_answers()


@cocotb.test()
async def keeps_the_answer(dut):
    """Untrusted packets, foreign numbers and IDENTIFY in between do not disturb a repetition."""
    host = Conversation(dut)
    await host.start()
    await host.say(encode_packet(0, Request.RESET))        # number 0 is no repetition: there was no request
    for name, value in MODEL.items():
        await host.write(name, value)
    request = encode_packet(host.board.last + 1, Request.FRAMES, host.frames())
    answer, *_, repeated = await host.say(
        request + b"\7noise\0\0\0" + encode_packet(9, 1) + encode_packet(host.board.last + 3, 5)
        + bytes(range(1, 256)) * 5 + b"\0" + encode_packet(host.board.last - 1, Request.RESET) + request)
    assert answer == repeated and decode_packet(answer)[1] == 0x86
    dut.link.last.value = host.board.last = 0xFFFE      # numbers wrap
    for _ in range(4):
        await host.ask(Request.RESET, times=2)
    await host.still_answers()


@cocotb.test()
async def refuses(dut):
    host = Conversation(dut)
    await host.start()
    assert await host.refused(Request.FRAMES, b"\1\2", times=2) == Refusal.NO_MODEL
    for name, value in MODEL.items():
        await host.write(name, value)
    for kind in (0x00, 0x07, 0x42, 0x81, 0xFF):
        assert await host.refused(kind, times=2) == Refusal.TYPE
    lengths = {Request.READ_REGISTER: (0, 1, 3, 512), Request.WRITE_REGISTER: (0, 5, 7), Request.RESET: (1, 512),
               Request.WRITE_WEIGHTS: (0, 1, 3), Request.FRAMES: (0, 1, 19, 21, 22, 39, 41, 279, 281, 300, 500, 512)}
    for kind, wrong in lengths.items():
        for length in wrong:
            assert await host.refused(kind, bytes(length)) == Refusal.LENGTH
    for address, count in ((641, 0), (640, 1), (639, 2), (640 - 507, 508), (0xFFFFFFFF, 1), (0xFFFFFE04, 508)):
        payload = struct.pack("<I", address) + b"\xAA" * count
        assert await host.refused(Request.WRITE_WEIGHTS, payload, times=2) == Refusal.ADDRESS
    for address in (0x07, 0x0D, 0x53, UNKNOWN, 0x0100, 0x8000):
        assert await host.refused(Request.WRITE_REGISTER, struct.pack("<HI", address, 1)) == Refusal.ADDRESS
    for name, values in {"LAYERS": (0, 5, 7), "FEATURES": (0, 23, 266), "CLASSES": (0, 13, 0xFFFF)}.items():
        for value in values:
            await host.write(name, value)
            assert await host.refused(Request.FRAMES, host.frames()[:DESIGN.payload]) == Refusal.NO_MODEL
        await host.write(name, MODEL[name])
    await host.say(encode_packet(host.board.last, Request.IDENTIFY, b"x"))
    for features, classes in ((10, 3), (1, 1), (4, 2), (1, 12)):       # as many frames as fit, and one more
        await host.write("FEATURES", features)
        await host.write("CLASSES", classes)
        most = most_frames(features, classes)
        assert (await host.ask(Request.FRAMES, host.frames(most)))[0] == 0x86
        assert await host.refused(Request.FRAMES, host.frames(most + 1)) == Refusal.LENGTH
    assert (await host.ask(Request.FRAMES, host.frames()))[0] == 0x86


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def fills_a_payload(dut, stalls):
    """As many bytes, frames and results as there is room for, in a design of any number of features; and one more."""
    host, most = Conversation(dut, stalls), DESIGN.features
    await host.start(**MODEL)
    for features, classes in ((most, 1), (most, 12), (most - 1, 3), (most // 2, 1), (most // 2 + 1, 12), (1, 1)):
        await host.write("FEATURES", features)
        await host.write("CLASSES", classes)
        count = most_frames(features, classes, DESIGN.payload)
        assert (await host.ask(Request.FRAMES, host.frames(count), times=2))[0] == 0x86
        more = host.frames(count + 1)
        if len(more) <= DESIGN.payload:
            assert await host.refused(Request.FRAMES, more) == Refusal.LENGTH
        else:
            await host.say(encode_packet(host.board.last + 1, Request.FRAMES, more))
    weights = bytes(host.rng.randrange(256) for _ in range(DESIGN.payload - 3))
    assert await host.ask(Request.WRITE_WEIGHTS, bytes(4) + weights[1:], times=2) == (0x84, b"")
    (answer,) = await host.say(encode_packet(host.board.last + 1, Request.WRITE_WEIGHTS, bytes(4) + weights))
    assert decode_packet(answer)[1:] == (0xFF, struct.pack("<BH", Refusal.TOO_LONG, host.board.last))
    assert (await host.ask(Request.FRAMES, host.frames()))[0] == 0x86


@cocotb.test()
async def keeps_to_the_memory(dut):
    host, end = Conversation(dut), DESIGN.weight_bytes
    await host.start()
    for address, count in ((end - 1, 2), (end - 1, 508), (end - 99, 100), (end, 1), (0, end + 1)):
        payload = struct.pack("<I", address) + b"\xAA" * min(count, 508)
        if address + min(count, 508) > end:
            assert await host.refused(Request.WRITE_WEIGHTS, payload) == Refusal.ADDRESS
    assert await host.ask(Request.WRITE_WEIGHTS, struct.pack("<I", end - 99) + b"\xAA" * 99) == (0x84, b"")


@cocotb.test()
async def survives_damage(dut):
    host = Conversation(dut)
    await host.start(**MODEL)
    packet = encode_packet(host.board.last + 1, Request.FRAMES, host.frames())
    body = cobs.decode(packet[:-1])
    for cut in range(1, len(packet) - 1):
        await host.say(packet[:cut] + b"\0")
    for bit in range(8 * len(body)):
        wrong = bytearray(body)
        wrong[bit // 8] ^= 1 << bit % 8
        await host.say(cobs.encode(bytes(wrong)) + b"\0")
    for length in (512, 513, 514, 519, 520, 1023, 1024, 1500):
        await host.say(encode_packet(host.board.last + 1, 0x42, bytes(host.rng.randrange(256) for _ in range(length))))
    await host.say(b"\0\0\0" + b"\1\0" + b"\2\5\0" + b"\xFF" * 3000 + b"\0\0")
    assert (await host.ask(Request.FRAMES, host.frames()))[0] == 0x86


@cocotb.test()
@cocotb.parametrize(k=range(5))
async def core_that_hangs_is_reset(dut, k):
    host = Conversation(dut)
    await host.start(**MODEL)
    await host.write(f"THETA{k}", HANG)
    kind, payload = (Request.RESET, b"") if k == 3 else (Request.FRAMES, host.frames(3))
    assert await host.refused(kind, payload, times=3) == Refusal.TIMEOUT
    assert host.board.resets == 1
    await host.ask(Request.READ_REGISTER, struct.pack("<H", BY_NAME["LAYERS"].address))
    assert await host.refused(Request.FRAMES, host.frames()) == Refusal.NO_MODEL
    await host.write(f"THETA{k}", 0)
    await host.write("LAYERS", 1)
    await host.ask(Request.RESET)
    for _ in range(2):
        assert (await host.ask(Request.FRAMES, host.frames(3), times=2))[0] == 0x86


def some_packets(rng, last: int, features: int) -> bytes:
    """A likely or unlikely line, after which a delimiter has passed."""
    kind = rng.choice((*Request, *Request, Request.FRAMES, Request.FRAMES, rng.randrange(256)))
    payload = {
        Request.READ_REGISTER: lambda: struct.pack("<H", rng.randrange(0x60)),
        Request.WRITE_REGISTER: lambda: register_write(*rng.choice((
            *MODEL.items(), *MODEL.items(), (rng.choice(REGISTERS).name, rng.randrange(1 << 32))))),
        Request.WRITE_WEIGHTS: lambda: struct.pack("<I", rng.randrange(660)) + rng.randbytes(rng.randrange(30)),
        Request.FRAMES: lambda: rng.randbytes(2 * features * rng.choice((1, 1, 2, rng.randint(1, 20))) % 500),
    }.get(kind, lambda: b"")()
    if rng.random() < 0.1:
        payload = rng.randbytes(rng.choice((0, 1, 2, 3, 6, 40)))
    if rng.random() < 0.01:
        payload = rng.randbytes(rng.choice((511, 512, 513, 600, 1100)))
    seq = last + rng.choice((0, 1, 1, 1, 1, 1, 1, 1, 2, rng.randrange(65536)))
    packet = bytearray(encode_packet(seq % 65536, kind, payload))
    damage = rng.random()
    if damage < 0.1:
        packet[rng.randrange(len(packet) - 1)] ^= 1 << rng.randrange(8)
    elif damage < 0.15:
        del packet[rng.randrange(len(packet)) :]
        packet += b"\0"
    elif damage < 0.2:
        packet = bytearray(rng.randbytes(rng.randrange(1, 60)) + b"\0")
    elif damage < 0.25:
        packet += b"\0"
    return bytes(packet)


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def answers_anything(dut, stalls):
    host = Conversation(dut, stalls)
    await host.start(**MODEL)
    packets = int(os.environ["FUZZ"]) // (1 if stalls == "none" else 10)
    while packets > 0:
        line = b""
        for _ in range(host.rng.choice((1, 1, 5))):
            line += some_packets(host.rng, host.board.last, host.board.registers["FEATURES"])
            packets -= 1
        await host.say(line)
    await host.still_answers()
