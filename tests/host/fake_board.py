"""A board in Python for tests of the driver: the board's side of ``spec/packets.py`` without the core.

Its "core" hashes every frame since the last reset into the logits, so that a frame applied twice, skipped or
reordered changes all the results after it.
"""

import struct
import time
import zlib

import numpy as np

from tidegate.host.transport import Transport
from tidegate.spec.design import SIMULATED, Design, Identity
from tidegate.spec.packets import (
    ANSWER,
    MAX_PAYLOAD,
    NAK,
    OVERHEAD,
    LinkError,
    Reason,
    Request,
    Result,
    decode,
    encode,
)
from tidegate.spec.registers import REGISTERS

BY_ADDRESS = {r.address: r for r in REGISTERS}
DIGEST = bytes(range(0xA0, 0xB0))


class Nak(Exception):
    def __init__(self, reason: Reason):
        self.reason = reason


class FakeBoard:
    """Bytes in (``receive``), bytes out.  ``applied`` counts the requests acted on; ``frames`` since reset."""

    def __init__(self, design: Design = SIMULATED[64], last: int = 0):
        self.design, self.last = design, last
        self.stored: bytes | None = None
        self.registers = {r.name: 0 for r in REGISTERS}
        self.weights = bytearray(design.weight_bytes)
        self.applied, self.frames, self.state = 0, 0, 0
        self._received = bytearray()

    def receive(self, data: bytes) -> bytes:
        """The answers to the packets that ``data`` completes."""
        answers = b""
        self._received += data
        while (end := self._received.find(0)) >= 0:
            packet = bytes(self._received[:end])
            del self._received[: end + 1]
            if packet:
                answers += self._packet(packet)
        return answers

    def _packet(self, packet: bytes) -> bytes:
        if len(packet) > MAX_PAYLOAD + OVERHEAD + 3:
            return self._nak(0, Reason.TOO_LONG)
        try:
            seq, kind, payload = decode(packet)
        except LinkError as error:
            return self._nak(0, Reason.CRC if "checksum" in str(error) else Reason.FRAMING)
        if kind == Request.IDENTIFY:
            identity = Identity(self.design, DIGEST).pack()
            return encode(seq, kind | ANSWER, identity + struct.pack("<H", self.last))
        if seq == self.last and self.stored is not None:
            return self.stored
        if seq != (self.last + 1) % 65536:
            return self._nak(seq, Reason.SEQUENCE)
        self.last = seq
        try:
            self.stored = encode(seq, kind | ANSWER, self._act(kind, payload))
        except Nak as nak:
            self.stored = self._nak(seq, nak.reason)
        return self.stored

    def _nak(self, seq: int, reason: Reason) -> bytes:
        return encode(seq, NAK, struct.pack("<BH", reason, self.last))

    def _act(self, kind: int, payload: bytes) -> bytes:
        self.applied += 1
        if kind == Request.READ_REGISTER:
            (address,) = struct.unpack("<H", payload)
            if address not in BY_ADDRESS:
                raise Nak(Reason.ADDRESS)
            name = BY_ADDRESS[address].name
            return struct.pack("<I", self.frames if name == "FRAMES" else self.registers[name])
        if kind == Request.WRITE_REGISTER:
            address, value = struct.unpack("<HI", payload)
            register = BY_ADDRESS.get(address)
            if register is None or not register.writable:
                raise Nak(Reason.ADDRESS)
            self.registers[register.name] = value & ((1 << register.bits) - 1)
            return b""
        if kind == Request.WRITE_WEIGHTS:
            (start,) = struct.unpack_from("<I", payload)
            if start + len(payload) - 4 > len(self.weights):
                raise Nak(Reason.ADDRESS)
            self.weights[start : start + len(payload) - 4] = payload[4:]
            return b""
        if kind == Request.RESET:
            self.frames, self.state = 0, 0
            return b""
        if kind == Request.FRAME:
            return self._frame(payload)
        raise Nak(Reason.TYPE)

    def _frame(self, payload: bytes) -> bytes:
        if not self.registers["LAYERS"]:
            raise Nak(Reason.NO_MODEL)
        if len(payload) != 2 * self.registers["FEATURES"]:
            raise Nak(Reason.LENGTH)
        theta = struct.pack("<5H", *(self.registers[f"THETA{s}"] for s in range(5)))
        self.state = zlib.crc32(payload + theta + bytes([self.registers["MODE"]]), self.state)
        logits = np.random.default_rng(self.state).integers(-(1 << 17), 1 << 17, self.registers["CLASSES"])
        signals = range(self.registers["LAYERS"] + 1)
        events = tuple(16 if self.registers["MODE"] else self.state >> (4 * s) & 15 for s in signals)
        result = Result(self.frames, 40 + sum(events), 3 * sum(events), events, tuple(map(int, logits)))
        self.frames += 1
        return result.pack()


class FakeTransport(Transport):
    """A fake board on the other end of a wire without delay; ``sent`` logs what the host wrote."""

    name = "fake"

    def __init__(self, board: FakeBoard):
        self.board, self.sent, self.closed = board, bytearray(), False
        self._answers = bytearray()

    def write(self, data: bytes) -> None:
        self.sent += data
        self._answers += self.board.receive(data)

    def read(self, timeout: float) -> bytes:
        if not self._answers:
            time.sleep(min(timeout, 0.001))
        data = bytes(self._answers)
        self._answers.clear()
        return data

    def discard(self) -> None:
        self._answers.clear()

    def close(self) -> None:
        self.closed = True

