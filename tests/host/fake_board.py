"""A board in Python for tests of the driver.

Its "core" hashes every frame since the last reset into the logits, so that a frame applied twice, skipped or
reordered changes all the results after it.
"""

import struct
import time
import zlib

import numpy as np

from tidegate.host.transport import Transport
from tidegate.spec.design import SIMULATED, Design
from tidegate.spec.packets import Result
from tidegate.spec.registers import DENSE
from tidegate_sim.board_model import BoardModel

DIGEST = bytes(range(0xA0, 0xB0))


class FakeBoard(BoardModel):
    """Bytes in (``receive``), bytes out."""

    def __init__(self, design: Design = SIMULATED[64], last: int = 0):
        super().__init__(design, DIGEST, last)
        self.state = 0

    def clear(self) -> None:
        self.state = 0

    def frame(self, number: int, values: tuple[int, ...]) -> Result:
        theta = struct.pack("<5H", *(self.registers[f"THETA{s}"] for s in range(5)))
        frame = struct.pack(f"<{len(values)}h", *values)
        self.state = zlib.crc32(frame + theta + bytes([self.registers["MODE"] & DENSE]), self.state)
        logits = np.random.default_rng(self.state).integers(-(1 << 17), 1 << 17, self.registers["CLASSES"])
        signals = range(self.registers["LAYERS"] + 1)
        events = tuple(16 if self.registers["MODE"] & DENSE else self.state >> (4 * s) & 15 for s in signals)
        return Result(number, 40 + sum(events), 3 * sum(events), events, tuple(map(int, logits)))


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

