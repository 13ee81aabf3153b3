"""The link of the real gateware, on the virtual board: a bad wire, and bytes from nowhere."""

import random
import struct
import threading

import pytest
from cobs import cobs
from lossy import FAULTS, LossyTransport
from models import random_frames, random_model

from tidegate.golden import Golden
from tidegate.host.board import Board
from tidegate.host.link import HostLink, Refused
from tidegate.host.transport import SerialTransport
from tidegate.spec.design import SIMULATED
from tidegate.spec.packets import MOST_PAYLOAD, Request, encode_packet
from tidegate.spec.registers import REGISTERS

LANES = 64
SEED = 20


@pytest.fixture(scope="module")
def port():
    from tidegate_sim.virtual import VirtualBoard

    virtual = VirtualBoard(SIMULATED[LANES])
    yield virtual.port
    virtual.close()


def clean_run(port, model, frames):
    board = Board(SerialTransport(port))
    try:
        board.load(model)
        return list(board.stream(frames))
    finally:
        board.close()


def test_frames_through_a_bad_wire_are_the_clean_ones(port):
    """10 % of the packets of both directions dropped, damaged, repeated or stuffed: the same 2,500 results."""
    print("seed", SEED)
    model, frames = random_model(seed=SEED), random_frames(SEED, 2500)
    expected = clean_run(port, model, frames)
    wire = LossyTransport(SerialTransport(port), SEED, rate=0.1)
    board = Board(wire, timeout=0.03)
    try:
        board.load(model)
        got = list(board.stream(frames))
    finally:
        board.close()
    assert got == expected
    assert [r.frame for r in got] == list(range(2500))
    print(wire.hits, board.link.counters)
    assert sum(wire.hits.values()) >= 30 and {fault for _, fault in wire.hits} == set(FAULTS)
    assert board.link.counters.repeats >= 10


def garbage(draw: random.Random) -> bytes:
    """One packet of a kind that a board should survive."""
    kind = draw.randrange(6)
    if kind == 0:                                   # no packet at all
        return draw.randbytes(draw.randint(0, 40)) + b"\0"
    if kind == 1:                                   # a sound frame around nonsense, too short or with a bad checksum
        return cobs.encode(draw.randbytes(draw.randint(0, 30))) + b"\0"
    if kind == 2:                                   # sound, any number, any type
        return encode_packet(draw.randrange(1 << 16), draw.randrange(256), draw.randbytes(draw.randint(0, 12)))
    if kind == 3:                                   # sound, the next number as far as anybody can guess, a known type
        return encode_packet(draw.randrange(4), draw.randint(1, 6), draw.randbytes(draw.choice((0, 2, 4, 6, 20))))
    if kind == 4:                                   # cut off
        whole = encode_packet(draw.randrange(1 << 16), draw.randint(1, 6), draw.randbytes(20))
        return whole[: draw.randrange(len(whole))] + b"\0"
    if draw.random() < 0.98:                        # (long ones are rare, they take time)
        return b"\0"
    return encode_packet(draw.randrange(1 << 16), 4, draw.randbytes(draw.randint(MOST_PAYLOAD - 3, 2 * MOST_PAYLOAD)))


def test_a_hundred_thousand_random_packets(port):
    """Whatever they are, the board answers afterwards, and computes what it computed before."""
    print("seed", SEED)
    draw = random.Random(SEED)
    model, frames = random_model(seed=SEED), random_frames(SEED, 100)
    expected = clean_run(port, model, frames)
    transport = SerialTransport(port)
    stop, answers = threading.Event(), bytearray()

    def drain():
        while not stop.is_set():
            answers.extend(transport.read(0.05))

    reader = threading.Thread(target=drain)
    reader.start()
    try:
        for _ in range(1000):
            transport.write(b"".join(garbage(draw) for _ in range(100)))
    finally:
        stop.set()
        reader.join()
    link = HostLink(transport, patience=60)             # what it still has to swallow comes first
    try:
        assert link.identify().design == SIMULATED[LANES]
    finally:
        link.close()
    assert answers.count(0) > 20_000                # it was listening all the while
    assert clean_run(port, model, frames) == expected


def test_guessed_requests_cannot_hang_the_core(port):
    """Registers full of nonsense and frames upon them: a NAK at worst, never silence."""
    print("seed", SEED)
    draw = random.Random(SEED + 1)
    link = HostLink(SerialTransport(port), patience=60)
    design, refused = link.identify().design, 0
    try:
        for _ in range(40):
            for register in REGISTERS:
                if register.writable and register.there(design):
                    value = draw.randrange(1 << draw.randint(0, register.bits))
                    link.request(Request.WRITE_REGISTER, struct.pack("<HI", register.address, value))
            features = link.request(Request.READ_REGISTER, struct.pack("<H", 2))
            size = min(int.from_bytes(features, "little"), MOST_PAYLOAD // 2)
            for kind, payload in ((Request.RESET, b""), (Request.FRAMES, draw.randbytes(2 * size))):
                try:
                    link.request(kind, payload)
                except Refused as refusal:
                    refused += 1
                    assert "\n" not in str(refusal)
        print("refused", refused)
    finally:
        link.close()
    model, frames = random_model(seed=SEED), random_frames(SEED, 50)
    golden = Golden(model).run(frames[:, None]).logits[:, 0]
    assert [r.logits for r in clean_run(port, model, frames)] == [tuple(map(int, row)) for row in golden]
