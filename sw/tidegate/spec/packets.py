"""The packets of the link, the only copy.

A packet is ``COBS(seq u16 | type u8 | payload | crc u32) 00``, integers little-endian, CRC-32 (IEEE 802.3, as in
zlib) over all that precedes it.  One request is under way at a time.  The board remembers the sequence
number of the last request it acted on, and its answer:

    seq == last       the stored answer is sent again; nothing is done twice (none stored yet: NAK SEQUENCE)
    seq == last + 1   acted on (also when the answer is a NAK: the number is used up)
    otherwise         NAK SEQUENCE with the last number, so that the host can tell a foreign user of the port

IDENTIFY has no sequence number: it is always answered, changes nothing, and reports the last number, from which a host
that opens the port continues.  Packets that cannot be trusted (CRC, FRAMING, TOO_LONG) get a NAK with
seq 0 that uses up nothing; the host just repeats.  An answer has the request's seq and type | ANSWER.

A board stores the payload of a request: as many bytes as ``payload_for`` says of the features that it is built for,
so that a frame always fits.

FRAMES carries several feature frames, so that consecutive ones overlap in the core; their results come in one answer,
which is stored whole and therefore no longer than PAYLOAD.  Either all of them are applied, or the request is
refused and none is.  A board that decides early runs no frame after the deciding one; its answer ends with that frame.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import numpy as np
from cobs import cobs

from .errors import TidegateError
from .network import USUAL_LAYERS

PAYLOAD = 512               # bytes of the results in an answer, and of a request's payload if no frame needs more
MOST_PAYLOAD = 2048         # bytes of a request's payload, of the board with the most features
OVERHEAD = 3 + 4            # seq, type, crc
ANSWER = 0x80


class Request(IntEnum):
    """Request types, with payload → answer's payload."""

    IDENTIFY = 0x01         # - → identity, last seq u16
    READ_REGISTER = 0x02    # address u16 → value u32
    WRITE_REGISTER = 0x03   # address u16, value u32 → -
    WRITE_WEIGHTS = 0x04    # byte address u32, bytes → -          (byte a is lane a mod P of word a div P)
    RESET = 0x05            # - → -                                (anchors, h, accumulators = bias)
    FRAMES = 0x06           # n x features x i16 → n x Result     (n >= 1, see ``most_frames``; fewer after a decision)


NAK = 0xFF                  # answer type; payload: reason u8, last seq u16


class Refusal(IntEnum):
    """Why a request was refused."""

    CRC = 1                 # checksum wrong
    FRAMING = 2             # not COBS, or shorter than OVERHEAD
    TOO_LONG = 3            # payload longer than the board stores
    TYPE = 4                # no such request
    LENGTH = 5              # payload length does not belong to the request (or to FEATURES), or too many frames
    SEQUENCE = 6            # neither last nor last + 1
    ADDRESS = 7             # no such register, not writable, or beyond the weight memory
    NO_MODEL = 8            # LAYERS, FEATURES or CLASSES is 0, or more than the design has
    TIMEOUT = 9             # the core did not finish; its state was reset, load the model again


class LinkError(TidegateError):
    """A packet that cannot be decoded."""


def encode_packet(seq: int, kind: int, payload: bytes = b"") -> bytes:
    """One packet, delimiter included."""
    body = struct.pack("<HB", seq, kind) + payload
    return cobs.encode(body + struct.pack("<I", zlib.crc32(body))) + b"\0"


def decode_packet(packet: bytes) -> tuple[int, int, bytes]:
    """(seq, type, payload) of one packet without its delimiter; LinkError if it is damaged."""
    try:
        body = cobs.decode(packet)
    except cobs.DecodeError as error:
        raise LinkError(f"damaged packet ({error})") from None
    if len(body) < OVERHEAD:
        raise LinkError(f"packet of {len(body)} bytes is too short")
    if zlib.crc32(body[:-4]) != struct.unpack("<I", body[-4:])[0]:
        raise LinkError("packet with a wrong checksum")
    seq, kind = struct.unpack_from("<HB", body)
    return seq, kind, body[3:-4]


FEATURE_BYTES, LOGIT_BYTES = 2, 4


COUNTED = USUAL_LAYERS + 1      # signals whose events every result has


def counted_signals(layers: int) -> int:
    """Signals whose events the results of a network of so many layers have: an odd number, to fill words."""
    return max(COUNTED, layers + 1 + layers % 2)


def core_signals(layers: int) -> int:
    """Signals whose events a core counts that has room for so many layers."""
    return max(COUNTED, layers + 1)


@cache
def result_dtype(classes: int, layers: int = 1) -> np.dtype:
    """A frame's result as it is on the wire: a header of whole words, then the logits.

    Events of signals beyond the fifth come after the decision; ``events_of`` joins them.
    Made once: numpy loses a Ctrl-C that comes while it makes a dtype.
    """
    return np.dtype([("frame", "<u4"), ("cycles", "<u4"), ("weight_words", "<u4"), ("events", "<u2", (COUNTED,)),
                     ("decision", "<u2"), ("more_events", "<u2", (counted_signals(layers) - COUNTED,)),
                     ("logits", f"<i{LOGIT_BYTES}", (classes,))])


def events_of(results: np.ndarray) -> np.ndarray:
    """Events of each signal (T, signals), of results (T,) of ``result_dtype``."""
    return np.concatenate([results["events"], results["more_events"]], 1)


def result_header_bytes(layers: int = 1) -> int:
    """Bytes of a result before its logits, of a network of so many layers."""
    return result_dtype(0, layers).itemsize


@dataclass(frozen=True)
class Result:
    """Answer to a frame: its number since reset (from 0), cycles, weight words read, events per signal, logits.

    ``decision``: class + 1 that is decided in this frame, 0: none.
    """

    frame: int
    cycles: int
    weight_words: int
    events: tuple[int, ...]
    logits: tuple[int, ...]
    decision: int = 0

    def pack(self) -> bytes:
        layers = max(1, len(self.events) - 1)
        events = self.events + (0,) * (counted_signals(layers) - len(self.events))
        values = (self.frame, self.cycles, self.weight_words, events[:COUNTED], self.decision, events[COUNTED:],
                  self.logits)
        return np.array(values, result_dtype(len(self.logits), layers)).tobytes()

    @staticmethod
    def unpack(data: bytes, signals: int) -> "Result":
        layers = signals - 1
        (values,) = results = np.frombuffer(
            data, result_dtype((len(data) - result_header_bytes(layers)) // LOGIT_BYTES, layers))
        names = ("frame", "cycles", "weight_words", "decision")
        frame, cycles, weight_words, decision = (int(values[name]) for name in names)
        return Result(frame, cycles, weight_words, tuple(events_of(results)[0, :signals].tolist()),
                      tuple(values["logits"].tolist()), decision)


def most_features() -> int:
    """The most features of a frame that a request can have room for."""
    return MOST_PAYLOAD // FEATURE_BYTES


def payload_for(features: int) -> int:
    """Bytes of a request's payload, of a board that is built for frames of so many features.

    Those of one frame, rounded up to a power of two, and PAYLOAD at least.
    """
    return max(PAYLOAD, 1 << (FEATURE_BYTES * features - 1).bit_length())


def most_classes() -> int:
    """The most logits of a result that an answer has room for, of a network of up to four layers."""
    return (PAYLOAD - result_header_bytes()) // LOGIT_BYTES


def most_frames(features: int, classes: int, payload: int | None = None, layers: int = 1) -> int:
    """The largest n of a FRAMES request of this network: its frames fit a payload, and their results an answer.

    ``payload``: of the board; None: of one that is just large enough for the network's frames, so that n, on which the
    cycles of a frame depend, is that of the network on any board.
    """
    frames = (payload_for(features) if payload is None else payload) // (FEATURE_BYTES * features)
    return min(frames, PAYLOAD // (result_header_bytes(layers) + LOGIT_BYTES * classes))
