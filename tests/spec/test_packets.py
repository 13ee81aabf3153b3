"""Packets: round trip for any payload, and no damage goes unnoticed."""

import random
import struct
import zlib

import numpy as np
import pytest
from cobs import cobs
from hypothesis import given
from hypothesis import strategies as st

from tidegate.spec.packets import (
    MOST_PAYLOAD,
    PAYLOAD,
    LinkError,
    Refusal,
    Request,
    Result,
    decode_packet,
    encode_packet,
    events_of,
    most_features,
    most_frames,
    payload_for,
    result_dtype,
    result_header_bytes,
)


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.binary(max_size=MOST_PAYLOAD))
def test_round_trip(seq, kind, payload):
    packet = encode_packet(seq, kind, payload)
    assert packet.endswith(b"\0") and b"\0" not in packet[:-1]
    assert decode_packet(packet[:-1]) == (seq, kind, payload)


def test_layout_on_the_wire():
    body = struct.pack("<HBHI", 0x1234, Request.WRITE_REGISTER, 8, 77)
    expected = cobs.encode(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0"
    assert encode_packet(0x1234, Request.WRITE_REGISTER, struct.pack("<HI", 8, 77)) == expected


def test_every_flipped_bit_and_every_cut_is_noticed():
    packet = encode_packet(7, Request.FRAMES, random.Random(1).randbytes(300))[:-1]
    for bit in range(8 * len(packet)):
        damaged = bytearray(packet)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(LinkError):
            decode_packet(bytes(damaged))
    for length in range(len(packet)):
        with pytest.raises(LinkError):
            decode_packet(packet[:length])


def test_result_round_trip():
    result = Result(5, 1234, 999999, (3, 0, 65535), (-(2**23), 2**23 - 1, 0))
    data = result.pack()
    assert len(data) == result_header_bytes() + 12 == 24 + 12
    assert struct.unpack("<III5HHiii", data) == (5, 1234, 999999, 3, 0, 65535, 0, 0, 0, -(2**23), 2**23 - 1, 0)
    assert Result.unpack(data, signals=3) == result


@pytest.mark.parametrize(("layers", "words"), [(1, 3), (4, 3), (5, 4), (6, 4), (7, 5), (32, 17)])
def test_a_result_of_many_layers(layers, words):
    """Two more signals to a word of the header, after the decision."""
    result = Result(5, 1234, 999999, tuple(range(100, 101 + layers)), (-(2**23), 2**23 - 1, 0), 2)
    data = result.pack()
    assert len(data) == result_header_bytes(layers) + 12 and result_header_bytes(layers) == 12 + 4 * words
    assert Result.unpack(data, signals=layers + 1) == result
    (row,) = results = np.frombuffer(data, result_dtype(3, layers))
    assert events_of(results)[0, : layers + 1].tolist() == list(result.events) and row["decision"] == 2
    assert most_frames(1, 3, layers=layers) == 512 // len(data)


@given(st.integers(1, 1024), st.integers(1, 122), st.sampled_from([None, 512, 1024, 2048]))
def test_most_frames_and_their_results_fit(features, classes, payload):
    frame, result = 2 * features, len(Result(0, 0, 0, (), (0,) * classes).pack())
    most = most_frames(features, classes, payload)
    room = payload or payload_for(features)
    assert most * frame <= room and most * result <= PAYLOAD
    assert (most + 1) * frame > room or (most + 1) * result > PAYLOAD
    assert most >= 1 or (payload is not None and frame > payload)


def test_a_payload_is_as_large_as_a_frame():
    assert [payload_for(n) for n in (1, 64, 256, 257, 512, 513, 784, 1024)] == [512] * 3 + [1024] * 2 + [2048] * 3
    assert most_features() == 1024 and payload_for(1024) == MOST_PAYLOAD


def test_frames_of_a_request_do_not_depend_on_the_board():
    """Frames up to 256 features: as many as in protocol 6 from the beginning."""
    for features in (1, 10, 40, 64, 128, 129, 256):
        for classes in (1, 12, 122):
            assert most_frames(features, classes) == 512 // max(2 * features, 24 + 4 * classes)
    assert [most_frames(n, 10) for n in (257, 512, 513, 784, 1024)] == [1] * 5


def test_numbers_are_distinct_and_answers_cannot_be_requests():
    assert len({int(r) for r in Request}) == len(Request) and max(Request) < 0x80
    assert [int(r) for r in Refusal] == list(range(1, 10))
