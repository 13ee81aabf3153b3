"""A wire that hits a share of the packets in both directions."""

import random

from tidegate.host.transport import Transport

FAULTS = ("drop packet", "drop byte", "flip bit", "repeat packet", "insert bytes", "cut delimiter")


class LossyTransport(Transport):
    """Wraps a transport; each packet is hit with probability ``rate``.  ``hits`` counts what was done to whom."""

    def __init__(self, inner: Transport, seed: int, rate: float = 0.01):
        self.inner, self.rate, self.name = inner, rate, inner.name
        self.hits: dict[tuple[str, str], int] = {}
        self._random = random.Random(seed)
        self._partial = bytearray()

    def write(self, data: bytes) -> None:
        *packets, _ = data.split(b"\0")
        self.inner.write(b"".join(self._hit(p + b"\0", "to board") for p in packets))

    def read(self, timeout: float) -> bytes:
        self._partial += self.inner.read(timeout)
        *packets, rest = bytes(self._partial).split(b"\0")
        self._partial = bytearray(rest)
        return b"".join(self._hit(p + b"\0", "to host") for p in packets)

    def discard(self) -> None:
        self.inner.discard()
        self._partial.clear()

    def close(self) -> None:
        self.inner.close()

    def _hit(self, packet: bytes, way: str) -> bytes:
        draw = self._random
        if draw.random() >= self.rate:
            return packet
        fault = draw.choice(FAULTS)
        self.hits[way, fault] = self.hits.get((way, fault), 0) + 1
        at = draw.randrange(len(packet))
        if fault == "drop packet":
            return b""
        if fault == "drop byte":
            return packet[:at] + packet[at + 1 :]
        if fault == "flip bit":
            return packet[:at] + bytes([packet[at] ^ 1 << draw.randrange(8)]) + packet[at + 1 :]
        if fault == "repeat packet":
            return packet * draw.randint(2, 4)
        if fault == "insert bytes":
            return packet[:at] + draw.randbytes(draw.randint(1, 20)) + packet[at:]
        return packet[:-1]
