"""The board's side of ``tidegate.spec.packets`` in Python, for benches of the gateware and tests of the driver.

What a core would compute is the affair of subclasses.
"""

import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tidegate.spec.design import Design, Identity
from tidegate.spec.packets import (
    ANSWER,
    LOGIT_BYTES,
    NAK,
    OVERHEAD,
    PAYLOAD,
    Refusal,
    Request,
    Result,
    encode_packet,
    result_header_bytes,
)
from tidegate.spec.registers import EARLY, REGISTERS, STREAM
from tidegate.spec.stop import Decider, Stop


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


class Nak(Exception):
    """A request is answered with a NAK; its argument is the reason."""


class BoardModel(ABC):
    """Answers packets.  ``applied`` counts the requests acted on, refused ones too."""

    def __init__(self, design: Design, digest: bytes, last: int = 0):
        self.design, self.last = design, last
        self.identity = Identity(design, digest).pack()
        self.stored: bytes | None = None
        self.registers = {r.name: 0 for r in REGISTERS}
        self.by_address = {r.address: r for r in REGISTERS if r.there(design)}
        self.weights = bytearray(design.weight_bytes)
        self.applied = 0
        self.forget()
        self._received = bytearray()

    @property
    def frames(self) -> int:
        """Frames applied since the last reset."""
        return self.registers["FRAMES"]

    @abstractmethod
    def clear(self) -> None:
        """What RESET does to the core; Nak if it hangs."""

    @abstractmethod
    def frame(self, number: int, values: tuple[int, ...]) -> Result:
        """What the core makes of a frame of int16; Nak if it hangs."""

    def forget(self) -> None:
        """What a reset does to the stop unit."""
        self.ended, self.heard, self.registers["DECISION"] = False, [], 0

    def decision(self, logits: tuple[int, ...]) -> int:
        """Class + 1 that a frame with these logits decides, or 0, by the rule of ``spec/stop.py``."""
        r = self.registers
        if not r["MODE"] & EARLY:
            return 0
        self.heard.append(logits)
        stream, margin = bool(r["MODE"] & STREAM), r["STOP_MARGIN"]
        stop = Stop(margin, r["STOP_HOLD"], r["STOP_CLASSES"], stream, r["STOP_SMOOTH"],
                    min(r["STOP_RELEASE"], margin) if stream else None)
        return int(self.decider(stop).accept(np.array(self.heard))[-1]) + 1

    def decider(self, stop: Stop) -> Decider:
        """The rule applied to what was heard since a reset."""
        return Decider(stop)

    def receive(self, data: bytes) -> bytes:
        """Answers to the packets that ``data`` completes."""
        self._received += data
        *packets, rest = bytes(self._received).split(b"\0")
        self._received = bytearray(rest)
        return b"".join(self.answer(packet) for packet in packets if packet)

    def answer(self, packet: bytes) -> bytes:
        """Answer to a packet without its delimiter."""
        body, cut = unstuff(packet)
        if len(body) > self.design.payload + OVERHEAD:
            return self._nak(0, Refusal.TOO_LONG)
        if cut or len(body) < OVERHEAD:
            return self._nak(0, Refusal.FRAMING)
        if zlib.crc32(body[:-4]) != int.from_bytes(body[-4:], "little"):
            return self._nak(0, Refusal.CRC)
        (seq, kind), payload = struct.unpack_from("<HB", body), body[3:-4]
        if kind == Request.IDENTIFY:
            if payload:
                return self._nak(seq, Refusal.LENGTH)
            return encode_packet(seq, kind | ANSWER, self.identity + struct.pack("<H", self.last))
        if seq == self.last and self.stored is not None:
            return self.stored
        if seq != (self.last + 1) % 65536:
            return self._nak(seq, Refusal.SEQUENCE)
        self.last = seq
        try:
            self.stored = encode_packet(seq, kind | ANSWER, self._act(kind, payload))
        except Nak as refusal:
            self.stored = self._nak(seq, refusal.args[0])
        return self.stored

    def _nak(self, seq: int, reason: Refusal) -> bytes:
        return encode_packet(seq, NAK, struct.pack("<BH", reason, self.last))

    def _act(self, kind: int, payload: bytes) -> bytes:
        self.applied += 1
        actions: dict[int, Callable[[bytes], bytes]] = {
            Request.READ_REGISTER: self._read, Request.WRITE_REGISTER: self._write, Request.RESET: self._reset,
            Request.WRITE_WEIGHTS: self._write_weights, Request.FRAMES: self._frames,
        }
        if kind not in actions:
            raise Nak(Refusal.TYPE)
        return actions[kind](payload)

    def _read(self, payload: bytes) -> bytes:
        _expect(len(payload) == 2)
        register = self.by_address.get(int.from_bytes(payload, "little"))
        if register is None:
            raise Nak(Refusal.ADDRESS)
        return struct.pack("<I", self.registers[register.name])

    def _write(self, payload: bytes) -> bytes:
        _expect(len(payload) == 6)
        address, value = struct.unpack("<HI", payload)
        register = self.by_address.get(address)
        if register is None or not register.writable:
            raise Nak(Refusal.ADDRESS)
        self.registers[register.name] = register.kept(value, self.design)
        return b""

    def _write_weights(self, payload: bytes) -> bytes:
        _expect(len(payload) >= 4)
        address, weights = int.from_bytes(payload[:4], "little"), payload[4:]
        if address + len(weights) > self.design.weight_bytes:
            raise Nak(Refusal.ADDRESS)
        self.weights[address : address + len(weights)] = weights
        return b""

    def _reset(self, payload: bytes) -> bytes:
        _expect(not payload)
        self.registers["FRAMES"] = 0
        self.forget()
        self.clear()
        return b""

    def _frames(self, payload: bytes) -> bytes:
        features, classes = self.registers["FEATURES"], self.registers["CLASSES"]
        if not (1 <= self.registers["LAYERS"] <= self.design.layers and 1 <= features <= self.design.features
                and 1 <= classes <= self.design.classes):
            raise Nak(Refusal.NO_MODEL)
        frames, rest = divmod(len(payload), 2 * features)
        result_bytes = result_header_bytes(self.registers["LAYERS"]) + LOGIT_BYTES * classes
        _expect(frames >= 1 and rest == 0 and frames * result_bytes <= PAYLOAD)
        answer = b""
        for values in struct.iter_unpack(f"<{features}h", payload):
            number = self.registers["FRAMES"]
            self.registers["FRAMES"] += 1
            if self.ended:
                continue
            result = self.frame(number, values)
            decision = self.decision(result.logits)
            self.registers["DECISION"] = decision
            self.ended = decision > 0 and not self.registers["MODE"] & STREAM
            answer += replace(result, decision=decision).pack()
        return answer


def _expect(condition: bool) -> None:
    if not condition:
        raise Nak(Refusal.LENGTH)
