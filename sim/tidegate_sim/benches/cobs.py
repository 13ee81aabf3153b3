"""Bench of the COBS decoder and encoder against the ``cobs`` package."""

import cocotb
from cobs import cobs

from tidegate_hw.link.cobs import TAIL_LAYOUT, TOKEN_LAYOUT, CobsEncoder
from tidegate_sim.board_model import unstuff
from tidegate_sim.streams import STALLS, Sink, Source, reset_dut, rng_for

EDGES = (1, 253, 254, 255, 508)


def bodies(rng) -> list[bytes]:
    """Runs around the longest block, with zeros before, behind and between, and random bodies."""
    runs = [bytes(rng.randrange(1, 256) for _ in range(n)) for n in EDGES]
    edges = [b"\0", b"\0\0", *runs, *(b"\0" + run for run in runs), *(run + b"\0" for run in runs)]
    edges += [runs[2] + b"\0" + runs[1], runs[3] + b"\0" + runs[2]]
    return edges + [random_body(rng) for _ in range(10)]


def random_body(rng) -> bytes:
    zeros = rng.choice((0.001, 0.01, 0.1, 0.5))
    return bytes(0 if rng.random() < zeros else rng.randrange(1, 256) for _ in range(rng.randrange(1, 300)))


def tokens(packet: bytes) -> list[dict]:
    """What the decoder makes of a packet without its delimiter, cut or not; bytes in the reference's words."""
    body, damaged = unstuff(packet)
    try:
        assert body == cobs.decode(packet) and not damaged
    except cobs.DecodeError:
        assert damaged
    return [{"byte": x, "end": 0, "damaged": 0} for x in body] + [{"end": 1, "damaged": int(damaged)}]


def line(rng) -> bytes:
    """Whole packets, cut ones, doubled delimiters and noise."""
    packets = [cobs.encode(body) for body in bodies(rng)]
    packets += [packet[: rng.randrange(1, len(packet) + 1)] for packet in packets[-10:]]
    packets += [b"\1", b"\1\1", b"\xff", b"\xfe", *(rng.randbytes(rng.randrange(1, 200)) for _ in range(10))]
    rng.shuffle(packets)
    return b"\0" + b"".join(packet + b"\0" * rng.choice((1, 1, 1, 2, 3)) for packet in packets)


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def decodes(dut, stalls):
    source, sink = Source(dut, "line", stalls=stalls), Sink(dut, "token", TOKEN_LAYOUT, stalls=stalls)
    await reset_dut(dut)
    sent = line(rng_for("line"))
    expected = [token for packet in sent.split(b"\0") if packet for token in tokens(packet)]
    await source.send(sent)
    got = await sink.receive(len(expected))
    for token in got:
        if token["end"]:
            del token["byte"]
        else:
            token["damaged"] = 0
    assert got == expected
    if stalls == "none":
        assert source.times[-1] - source.times[0] == len(sent) - 1
        assert sink.times[-1] == source.times[-1 - (len(sent) - len(sent.rstrip(b"\0")) - 1)] + 1


def tails(body: bytes) -> list[dict]:
    return [{"byte": x, "last": int(k == len(body) - 1)} for k, x in enumerate(body)]


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def encodes(dut, stalls):
    source, sink = Source(dut, "body", TAIL_LAYOUT, stalls=stalls), Sink(dut, "packet", stalls=stalls)
    await reset_dut(dut)
    sent = bodies(rng_for("bodies"))
    for body in sent:
        begun = len(source.times)
        await source.send(tails(body))
        packet = cobs.encode(body) + b"\0"
        assert bytes(await sink.receive(len(packet))) == packet
        if stalls == "none":
            assert sink.times[-1] - source.times[begun] + 1 == CobsEncoder.cycles(body), body
    # one after the other, so that the ring becomes full
    sending = cocotb.start_soon(source.send(tail for body in sent for tail in tails(body)))
    packets = b"".join(cobs.encode(body) + b"\0" for body in sent)
    assert bytes(await sink.receive(len(packets))) == packets
    await sending
