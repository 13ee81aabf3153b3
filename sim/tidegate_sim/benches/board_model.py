"""The board's side of ``tidegate.spec.packets`` in Python, with the stand-in core behind it."""

import struct
import zlib

from tidegate.spec.design import Design, Identity
from tidegate.spec.fixed import saturate, wrap
from tidegate.spec.network import MAX_LAYERS
from tidegate.spec.packets import (
    ANSWER,
    MAX_PAYLOAD,
    NAK,
    OVERHEAD,
    Reason,
    Request,
    Result,
    encode,
)
from tidegate.spec.registers import REGISTERS

from .stand_in_core import HANG

BY_ADDRESS = {r.address: r for r in REGISTERS}


def unstuff(packet: bytes) -> tuple[bytes, bool]:
    """COBS body of a packet without its delimiter, as far as it goes, and whether it is cut."""
    body, at = bytearray(), 0
    while at < len(packet):
        code = packet[at]
        body += packet[at + 1 : at + code]
        at += code
        if code < 255 and at < len(packet):
            body.append(0)
    return bytes(body), at > len(packet)


class Refused(Exception):
    """A request is answered with a NAK."""


class BoardModel:
    """Answers packets; ``weights``, ``clears`` and ``resets`` are what the core has seen."""

    def __init__(self, design: Design, digest: bytes):
        self.design = design
        self.identity = Identity(design, digest).pack()
        self.last, self.stored = 0, None
        self.registers = {r.name: 0 for r in REGISTERS}
        self.weights = bytearray(design.weight_bytes)
        self.clears = self.resets = self.state = 0

    def answer_line(self, line: bytes) -> list[bytes]:
        """Answers to all packets that end in a line."""
        return [self.answer(packet) for packet in line.split(b"\0")[:-1] if packet]

    def answer(self, packet: bytes) -> bytes:
        body, cut = unstuff(packet)
        if len(body) > MAX_PAYLOAD + OVERHEAD:
            return self._nak(0, Reason.TOO_LONG)
        if cut or len(body) < OVERHEAD:
            return self._nak(0, Reason.FRAMING)
        if zlib.crc32(body[:-4]) != int.from_bytes(body[-4:], "little"):
            return self._nak(0, Reason.CRC)
        (seq, kind), payload = struct.unpack_from("<HB", body), body[3:-4]
        if kind == Request.IDENTIFY:
            if payload:
                return self._nak(seq, Reason.LENGTH)
            return encode(seq, kind | ANSWER, self.identity + struct.pack("<H", self.last))
        if seq == self.last and self.stored is not None:
            return self.stored
        if seq != (self.last + 1) % 65536:
            return self._nak(seq, Reason.SEQUENCE)
        self.last = seq
        try:
            self.stored = encode(seq, kind | ANSWER, self._act(kind, payload))
        except Refused as refusal:
            self.stored = self._nak(seq, refusal.args[0])
        return self.stored

    def _nak(self, seq: int, reason: Reason) -> bytes:
        return encode(seq, NAK, struct.pack("<BH", reason, self.last))

    def _act(self, kind: int, payload: bytes) -> bytes:
        actions = {
            Request.READ_REGISTER: self._read, Request.WRITE_REGISTER: self._write, Request.RESET: self._reset,
            Request.WRITE_WEIGHTS: self._write_weights, Request.FRAME: self._frame,
        }
        if kind not in actions:
            raise Refused(Reason.TYPE)
        return actions[kind](payload)

    def _read(self, payload: bytes) -> bytes:
        self._expect(len(payload) == 2)
        register = BY_ADDRESS.get(int.from_bytes(payload, "little"))
        if register is None:
            raise Refused(Reason.ADDRESS)
        return struct.pack("<I", self.registers[register.name])

    def _write(self, payload: bytes) -> bytes:
        self._expect(len(payload) == 6)
        address, value = struct.unpack("<HI", payload)
        register = BY_ADDRESS.get(address)
        if register is None or not register.writable:
            raise Refused(Reason.ADDRESS)
        self.registers[register.name] = value % (1 << register.bits)
        return b""

    def _write_weights(self, payload: bytes) -> bytes:
        self._expect(len(payload) >= 4)
        address, weights = int.from_bytes(payload[:4], "little"), payload[4:]
        if address + len(weights) > self.design.weight_bytes:
            raise Refused(Reason.ADDRESS)
        self.weights[address : address + len(weights)] = weights
        return b""

    def _reset(self, payload: bytes) -> bytes:
        self._expect(not payload)
        self.clears += 1
        self.state = self.registers["FRAMES"] = 0
        if self._hangs(3):
            self._time_out()
        return b""

    def _frame(self, payload: bytes) -> bytes:
        features, classes = self.registers["FEATURES"], self.registers["CLASSES"]
        if not (1 <= self.registers["LAYERS"] <= MAX_LAYERS and 1 <= features <= self.design.features
                and 1 <= classes <= self.design.classes):
            raise Refused(Reason.NO_MODEL)
        self._expect(len(payload) == 2 * features)
        groups = -(-features // self.design.encoder_rate)
        values = [saturate(x, 12) for x in struct.unpack(f"<{features}h", payload)]
        for value in values + [0] * (groups * self.design.encoder_rate - features):
            self.state = (3 * self.state + value) % (1 << 24)
        frame = self.registers["FRAMES"]
        self.registers["FRAMES"] += 1
        if any(self._hangs(k) for k in (0, 1, 2, 4)):
            self._time_out()
        logits = tuple(wrap(self.state + 0x654321 * k, 24) for k in range(classes))
        events = tuple(self.state >> s & 0xFFFF for s in range(5))
        return Result(frame, groups + classes, self.state ^ 0xFFFFFF, events, logits).pack()

    def _expect(self, condition: bool) -> None:
        if not condition:
            raise Refused(Reason.LENGTH)

    def _hangs(self, k: int) -> bool:
        return self.registers[f"THETA{k}"] == HANG

    def _time_out(self) -> None:
        self.resets += 1
        self.state = self.registers["LAYERS"] = self.registers["FRAMES"] = 0
        raise Refused(Reason.TIMEOUT)
