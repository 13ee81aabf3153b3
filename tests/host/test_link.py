"""The link against a fake board: exactly once, whatever the wire does."""

import struct

import pytest
from fake_board import FakeBoard, FakeTransport
from lossy import LossyTransport
from models import random_frames, random_model

from tidegate.host.board import Board
from tidegate.host.errors import BoardError
from tidegate.host.link import HostLink, Refused
from tidegate.spec.design import Design
from tidegate.spec.errors import TidegateError
from tidegate.spec.packets import ANSWER, NAK, Refusal, Request, decode_packet, encode_packet
from tidegate.spec.registers import BY_NAME

THETA0 = struct.pack("<HI", BY_NAME["THETA0"].address, 7)
READ_THETA0 = struct.pack("<H", BY_NAME["THETA0"].address)


def make_link(**board):
    board = FakeBoard(**board)
    transport = FakeTransport(board)
    return HostLink(transport, timeout=0.01, patience=0.2), board, transport


class Script(FakeTransport):
    """Answers of the board pass through ``change(kind of request count, answer)``."""

    def __init__(self, board, change):
        super().__init__(board)
        self.change, self.count = change, 0

    def write(self, data):
        for packet in data.split(b"\0"):
            if packet:
                self._answers += self.change(self.count, self.board.receive(packet + b"\0"))
                self.count += 1


@pytest.mark.parametrize("last", [0, 1, 777, 0xFFFE, 0xFFFF])
def test_continues_from_the_reported_number(last):
    link, board, _ = make_link(last=last)
    link.identify()
    for n in range(1, 4):
        link.request(Request.WRITE_REGISTER, THETA0)
        assert board.last == (last + n) % 65536
    assert board.applied == 3
    assert link.request(Request.READ_REGISTER, READ_THETA0) == struct.pack("<I", 7)


def test_identity_and_leftovers_of_an_earlier_program():
    link, board, transport = make_link()
    transport._answers += encode_packet(3, Request.FRAMES | ANSWER, b"old")
    board.receive(b"\x05unfinished")
    identity = link.identify()
    assert identity.design == board.design
    assert link.counters.stale == 1          # the NAK of the unfinished packet; the old answer was dropped


def test_stale_and_damaged_answers_are_skipped():
    def change(n, answer):
        if n == 1:
            old = encode_packet(0, Request.READ_REGISTER | ANSWER, b"\1\0\0\0")
            other_kind = encode_packet(1, Request.RESET | ANSWER)
            good_twice = answer + answer
            return old + b"\x03ab\0" + b"\0\0" + encode_packet(9, NAK, b"\6\0\0") + other_kind + good_twice
        return answer

    board = FakeBoard()
    board.registers["THETA0"] = 1234
    link = HostLink(Script(board, change), timeout=0.01, patience=0.2)
    link.identify()
    assert link.request(Request.READ_REGISTER, READ_THETA0) == struct.pack("<I", 1234)
    link.request(Request.RESET)
    assert (link.counters.damaged, link.counters.repeats) == (1, 0)
    assert link.counters.stale == 4
    assert board.applied == 2


def test_a_lost_answer_repeats_the_same_number_and_acts_once():
    lost = []

    def change(n, answer):
        if n in (1, 2):
            lost.append(answer)
            return b""
        return answer

    board = FakeBoard()
    link = HostLink(Script(board, change), timeout=0.01, patience=1)
    link.identify()
    link.request(Request.WRITE_REGISTER, THETA0)
    assert board.applied == 1 and board.last == 1 and link.counters.repeats == 2
    assert lost[0] == lost[1]


@pytest.mark.parametrize("reason", [Refusal.CRC, Refusal.FRAMING, Refusal.TOO_LONG])
def test_repeats_after_a_nak_that_uses_up_nothing(reason):
    def change(n, answer):
        return encode_packet(0, NAK, struct.pack("<BH", reason, 0)) if n == 1 else answer

    link = HostLink(Script(FakeBoard(), change), timeout=10, patience=20)    # the NAK, not the timeout, repeats
    link.identify()
    link.request(Request.WRITE_REGISTER, THETA0)
    assert link.counters.repeats == 1


@pytest.mark.parametrize("kind, payload, reason", [
    (0x55, b"", Refusal.TYPE),
    (Request.READ_REGISTER, b"\xff\xff", Refusal.ADDRESS),
    (Request.FRAMES, b"\0\0", Refusal.NO_MODEL),
])
def test_refusals_are_one_line_and_use_up_the_number(kind, payload, reason):
    link, board, _ = make_link()
    link.identify()
    with pytest.raises(Refused) as refused:
        link.request(kind, payload)
    assert refused.value.reason == reason and "\n" not in str(refused.value)
    link.request(Request.WRITE_REGISTER, THETA0)
    assert board.last == 2


def test_a_foreign_user_is_noticed():
    link, board, _ = make_link()
    link.identify()
    board.last = 40
    with pytest.raises(Refused, match="another program"):
        link.request(Request.RESET)
    assert board.applied == 0


def test_a_request_may_be_under_way():
    link, board, _ = make_link()
    link.identify()
    write = link.start(Request.WRITE_REGISTER, THETA0)
    assert link.finish(write) == b""
    read = link.start(Request.READ_REGISTER, READ_THETA0)
    refused = link.start(Request.FRAMES, b"\0\0")              # waits for the answer before, which is kept
    link.request(Request.RESET)
    with pytest.raises(Refused) as refusal:
        link.finish(refused)
    assert refusal.value.reason == Refusal.NO_MODEL
    assert [link.finish(read) for _ in range(2)] == [struct.pack("<I", 7)] * 2
    assert board.last == board.applied == 4


def test_a_request_given_up_is_not_answered():
    link, board, _ = make_link()
    link.identify()
    pending = link.start(Request.WRITE_REGISTER, THETA0)
    link.identify()
    with pytest.raises(BoardError, match="was given up"):
        link.finish(pending)
    link.request(Request.RESET)
    assert board.last == board.applied == 2


def test_silence():
    board = FakeBoard()
    link = HostLink(Script(board, lambda n, answer: b""), timeout=0.01, patience=0.1)
    with pytest.raises(BoardError, match=r"no answer from fake; is the board powered"):
        link.identify()


def test_babble_does_not_hold_the_host():
    class Babble(FakeTransport):
        def read(self, timeout):
            return encode_packet(3, 0x99) * 50 + b"x" * 5000

    with pytest.raises(BoardError, match="no answer"):
        HostLink(Babble(FakeBoard()), timeout=0.01, patience=0.1).identify()


def test_another_device():
    def change(n, answer):
        seq, kind, _ = decode_packet(answer[:-1])
        return encode_packet(seq, kind, b"hello")

    with pytest.raises(TidegateError, match="not a tidegate board"):
        HostLink(Script(FakeBoard(), change)).identify()


@pytest.mark.parametrize(("features", "payload"), [(256, 512), (257, 1024), (513, 2048)])
def test_too_long_a_payload_is_not_sent(features, payload):
    link, board, transport = make_link(design=Design(features=features))
    link.identify()
    assert link.request(Request.WRITE_WEIGHTS, bytes(payload)) == b""
    sent = len(transport.sent)
    with pytest.raises(BoardError, match=f"at most {payload} bytes, not {payload + 1}"):
        link.request(Request.WRITE_WEIGHTS, bytes(payload + 1))
    assert len(transport.sent) == sent
    link.request(Request.RESET)
    assert board.applied == 2


def test_a_link_that_does_not_know_the_board_asks_first():
    link, board, _ = make_link(design=Design(features=1024))
    link.request(Request.WRITE_WEIGHTS, bytes(2048))
    link._seq = None
    with pytest.raises(BoardError, match="at most 2048 bytes"):
        link.request(Request.WRITE_WEIGHTS, bytes(2049))
    link.request(Request.RESET)
    assert board.applied == 2


def test_interrupted_request_leaves_the_link_usable():
    link, board, transport = make_link()
    link.identify()
    original = transport.read

    def interrupted(timeout):
        raise KeyboardInterrupt

    transport.read = interrupted
    with pytest.raises(KeyboardInterrupt):
        link.request(Request.WRITE_REGISTER, THETA0)     # the board acted; the host does not know
    transport.read = original
    assert link.request(Request.READ_REGISTER, READ_THETA0) == struct.pack("<I", 7)
    assert board.applied == 2


@pytest.mark.parametrize("seed", range(8))
def test_lossy_wire_gives_the_same_results(seed):
    """4 % of packets hit: frame by frame the clean run's results, and each request acted on once."""
    print("seed", seed)
    model, frames = random_model(), random_frames(seed, 2500)
    clean = FakeBoard()
    board = Board(FakeTransport(clean))
    board.load(model)
    expected = list(board.stream(frames))

    fake = FakeBoard()
    wire = LossyTransport(FakeTransport(fake), seed, rate=0.04)
    board = Board(wire, timeout=0.005, patience=5)
    board.load(model)
    assert list(board.stream(frames)) == expected
    assert fake.applied == clean.applied
    assert bytes(fake.weights) == bytes(clean.weights) and fake.registers == clean.registers
    assert sum(wire.hits.values()) >= 10 and board.link.counters.repeats > 0
