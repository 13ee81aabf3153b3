"""A board with the stand-in core behind its link, in Python."""

from tidegate.spec.design import Design
from tidegate.spec.fixed import saturate, wrap
from tidegate.spec.packets import Refusal, Result
from tidegate.spec.registers import EARLY
from tidegate_sim.board_model import BoardModel, Nak

from .stand_in_core import HANG, HANG_FRAME


class StandInBoard(BoardModel):
    """``weights``, ``clears`` and ``resets`` are what the core has seen."""

    def __init__(self, design: Design, digest: bytes):
        super().__init__(design, digest)
        self.clears = self.resets = self.state = 0

    def answer_line(self, line: bytes) -> list[bytes]:
        """Answers to all packets that end in a line."""
        return [self.answer(packet) for packet in line.split(b"\0")[:-1] if packet]

    def clear(self) -> None:
        self.clears += 1
        self.state = 0
        if self._hangs(3):
            self._time_out()

    def frame(self, number: int, values: tuple[int, ...]) -> Result:
        if any(self._hangs(k) for k in (2, 4)) or (number >= HANG_FRAME and any(self._hangs(k) for k in (0, 1))):
            self._time_out()
        classes, groups = self.registers["CLASSES"], -(-len(values) // self.design.encoder_rate)
        padding = (0,) * (groups * self.design.encoder_rate - len(values))
        for value in (*values, *padding):
            self.state = (3 * self.state + saturate(value, 12)) % (1 << 24)
        logits = tuple(wrap(self.state + 0x654321 * k, 24) for k in range(classes))
        events = tuple(self.state >> s & 0xFFFF for s in range(5))
        return Result(number, groups + classes, self.state ^ 0xFFFFFF, events, logits)

    def decision(self, logits: tuple[int, ...]) -> int:
        return 1 + (self.state >> 2 & 1) if self.registers["MODE"] & EARLY and self.state % 4 == 0 else 0

    def _hangs(self, k: int) -> bool:
        return self.registers[f"THETA{k}"] == HANG

    def _time_out(self) -> None:
        self.resets += 1
        self.state = self.registers["LAYERS"] = self.registers["FRAMES"] = 0
        self.forget()
        raise Nak(Refusal.TIMEOUT)
