"""Requests to a board over a byte stream that may lose and damage packets; each is applied exactly once.

Stop and wait: a request is repeated, with its sequence number, until its answer arrives; the board acts on a
number once (``spec/packets.py``).  Answers to older requests and damaged packets are skipped.
"""

import random
import struct
import time
from dataclasses import dataclass

from ..spec.design import IDENTITY_BYTES, Identity
from ..spec.packets import ANSWER, NAK, PAYLOAD, LinkError, Refusal, Request, decode_packet, encode_packet
from .errors import BoardError
from .transport import Transport

_REPEAT = {Refusal.CRC, Refusal.FRAMING, Refusal.TOO_LONG}
_GRACE = 0.005          # seconds that the answer may still take after a NAK that may be an old one
_LONGEST_WAIT = 1.0
_LONGEST_PACKET = 4096  # more bytes than this without a delimiter are not an answer

_REFUSALS: dict[int, str] = {
    Refusal.TYPE: "the board does not know this request; load the bitstream of this version",
    Refusal.LENGTH: "the board has a model with another number of features or classes; load the model again",
    Refusal.SEQUENCE: "the board was restarted or another program used it; open it again and load the model",
    Refusal.ADDRESS: "the board has no such register or memory; load the bitstream of this version",
    Refusal.NO_MODEL: "no model is loaded; load one first",
    Refusal.TIMEOUT: "the board's core did not finish and was reset; load the model again",
}


class Refused(BoardError):
    """The board answered NAK; ``reason`` says why."""

    def __init__(self, reason: int):
        self.reason = reason
        super().__init__(_REFUSALS.get(reason, f"the board refused a request (reason {reason}); open it again"))


@dataclass
class LinkCounters:
    """What happened on the way: requests sent again, packets skipped because they were damaged or old."""

    repeats: int = 0
    damaged: int = 0
    stale: int = 0


@dataclass
class Pending:
    """A request that was sent.  ``answer`` is its payload, ``refusal`` the NAK; neither: not known (yet)."""

    seq: int
    kind: int
    packet: bytes
    answer: bytes | None = None
    refusal: Refused | None = None


class HostLink:
    """One host's end of the link.

    Parameters: ``timeout``, seconds until a request is first repeated (then twice as long, up to 1 s);
    ``patience``, seconds without an answer after which BoardError says that the board is not there.  A
    request that is cut short (Ctrl-C) leaves the link usable: the next one first asks where the board stands.
    """

    def __init__(self, transport: Transport, timeout: float = 0.25, patience: float = 5.0):
        self.transport, self.timeout, self.patience = transport, timeout, patience
        self.counters = LinkCounters()
        self.payload = PAYLOAD                # bytes that a request carries, as of the last identity
        self._received = bytearray()
        self._seq: int | None = None          # of the last finished request; None: ask the board
        self._pending: Pending | None = None

    def identify(self) -> Identity:
        """Drop what lies in the line, ask the board what it is and take over its sequence number."""
        identity, self._seq = self._identify()
        return identity

    def _identify(self) -> tuple[Identity, int]:
        self._seq = self._pending = None
        self.transport.discard()
        self._received.clear()
        self.transport.write(b"\0")           # ends a packet that an earlier program left unfinished
        seq = random.randrange(1 << 16)
        packet = encode_packet(seq, Request.IDENTIFY)
        self.transport.write(packet)
        answer = self._wait_for(seq, Request.IDENTIFY, packet)
        identity = Identity.unpack(answer[:IDENTITY_BYTES])
        if len(answer) != IDENTITY_BYTES + 2:
            raise BoardError("the board's answer has another length; rebuild its bitstream with this version")
        self.payload = identity.design.payload
        return identity, struct.unpack_from("<H", answer, IDENTITY_BYTES)[0]

    def request(self, kind: Request, payload: bytes = b"") -> bytes:
        """Send one request and return its answer's payload; Refused on NAK, BoardError if nothing answers."""
        return self.finish(self.start(kind, payload))

    def start(self, kind: Request, payload: bytes = b"") -> Pending:
        """Send one request and do not wait: ``finish`` gives its answer.

        One request is under way at a time: the answer to an earlier one is awaited first, and kept for its ``finish``.
        """
        self._settle()
        last = self._seq if self._seq is not None else self._identify()[1]
        if len(payload) > self.payload:
            self._seq = last
            raise BoardError(f"a request to this board carries at most {self.payload} bytes, not {len(payload)}")
        seq = (last + 1) % (1 << 16)
        pending = Pending(seq, kind, encode_packet(seq, kind, payload))
        self._seq = None                      # unknown until the answer is here
        self.transport.write(pending.packet)
        self._pending = pending
        return pending

    def finish(self, pending: Pending) -> bytes:
        """The answer's payload of a request that was started; Refused on NAK, BoardError if nothing answers."""
        if pending is self._pending:
            self._settle()
        if pending.refusal is not None:
            raise pending.refusal
        if pending.answer is None:
            raise BoardError("the answer was given up for another request; start again")
        return pending.answer

    def _settle(self) -> None:
        """Wait for the answer to the request that is under way, if there is one."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.answer = self._wait_for(pending.seq, pending.kind, pending.packet)
        except Refused as refusal:
            pending.refusal = refusal
            if refusal.reason == Refusal.SEQUENCE:
                return
        self._seq = pending.seq               # a refused number is used up too

    def close(self) -> None:
        self.transport.close()

    def _wait_for(self, seq: int, kind: int, packet: bytes) -> bytes:
        """The answer to a packet that was sent, which is sent again until it comes."""
        give_up = time.monotonic() + self.patience
        wait = self.timeout
        while True:
            answer = self._answer(seq, kind, min(time.monotonic() + wait, give_up))
            if answer is not None:
                return answer
            if time.monotonic() >= give_up:
                raise BoardError(f"no answer from {self.transport.name}; "
                                 "is the board powered and the bitstream loaded?")
            wait = min(2 * wait, _LONGEST_WAIT)
            self.counters.repeats += 1
            self.transport.write(b"\0" + packet)      # the packet before may have lost its delimiter

    def _answer(self, seq: int, kind: int, deadline: float) -> bytes | None:
        """The answer to (seq, kind); None when it is time to repeat the request."""
        while (packet := self._receive(deadline)) is not None:
            got_seq, got_kind, data = packet
            if (got_seq, got_kind) == (seq, kind | ANSWER):
                return data
            if got_kind == NAK and len(data) == 3:
                reason = data[0]
                if reason in _REPEAT:
                    deadline = min(deadline, time.monotonic() + _GRACE)
                elif got_seq == seq:
                    raise Refused(reason)
            self.counters.stale += 1
            if time.monotonic() >= deadline:      # a port that babbles must not hold us
                break
        return None

    def _receive(self, deadline: float) -> tuple[int, int, bytes] | None:
        """The next undamaged packet; None at the deadline."""
        while True:
            end = self._received.find(0)
            if end >= 0:
                packet = bytes(self._received[:end])
                del self._received[: end + 1]
                try:
                    if packet:
                        return decode_packet(packet)
                except LinkError:
                    self.counters.damaged += 1
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._received += self.transport.read(left)
            if len(self._received) > _LONGEST_PACKET and 0 not in self._received:
                self._received.clear()
                self.counters.damaged += 1
