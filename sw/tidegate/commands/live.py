"""The line on a terminal while listening: how loud it is, how much the network does, and which features it sends."""

import time
from collections import deque

import numpy as np
from rich.console import Console

from tidegate.host.figures import Cost
from tidegate.host.listen import Heard
from tidegate.spec.model import Model
from tidegate.spec.rules import rule_of

EVERY_S = 0.08          # seconds between two looks of the line
FRAMES = 64             # in the raster and the occupancy: 1 s at the usual hop
METER, QUIETEST_DB = 10, -60.0
_DOTS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))     # braille: left and right column, from the bottom


class Raster:
    """Which features were sent in the last frames, found by the encoder's rule, which the host can follow exactly.

    ``sent``: the last ``FRAMES`` frames, each bool (features,).
    """

    def __init__(self, model: Model):
        self.rule, self.theta = rule_of(model.network.rule(0)), model.network.thresholds[0]
        self.memory = np.zeros(model.network.features, np.int64)
        self.sent: deque[np.ndarray] = deque(maxlen=FRAMES)

    def reset(self) -> None:
        self.memory[:] = 0

    def accept(self, frames: np.ndarray) -> None:
        """More frames (n, features), SIGNAL integers."""
        for frame in frames.astype(np.int64):
            fired, _, self.memory = self.rule(frame, self.memory, self.theta)
            self.sent.append(fired)

    def text(self) -> str:
        """Braille, two frames per character; four rows, low bands at the bottom."""
        rows = np.zeros((FRAMES, 4), bool)
        for t, sent in enumerate(self.sent, FRAMES - len(self.sent)):
            rows[t] = [part.any() for part in np.array_split(sent, 4)]
        return "".join(chr(0x2800 + sum(_DOTS[side][row] for side in (0, 1) for row in range(4)
                                        if rows[t + side, row])) for t in range(0, FRAMES, 2))


class LiveLine:
    """Draws at most every ``EVERY_S``; ``hide`` clears it, so that other lines can be printed."""

    def __init__(self, model: Model, console: Console):
        self.network, self.console = model.network, console
        self.raster = Raster(model)
        self._results: deque = deque(maxlen=FRAMES)
        self._level, self._stretch, self._next, self._shown = QUIETEST_DB, 0, 0.0, False

    def watch(self, heard: Heard) -> None:
        if heard.stretch != self._stretch:
            self._stretch = heard.stretch
            self.raster.reset()
        self.raster.accept(heard.frames)
        self._results.extend(heard.results)
        if len(heard.samples):
            power = float(np.mean(np.square(heard.samples, dtype=np.float64)))
            level = 10 * np.log10(power + 1e-12)
            self._level = max(QUIETEST_DB, level, self._level - 1.0)      # falls slowly, as a meter does
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY_S
            self._draw()

    def text(self) -> str:
        filled = (self._level - QUIETEST_DB) / -QUIETEST_DB * METER * 8
        cells = [_BARS_ACROSS[int(np.clip(filled - 8 * k, 0, 8))] for k in range(METER)]
        occupancy = Cost.of(self._results).overall_occupancy(self.network)
        return f"▕{''.join(cells)}▏{self._level:4.0f} dB  sent {occupancy:5.1%}  {self.raster.text()}"

    def hide(self) -> None:
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = False

    def _draw(self) -> None:
        self._write("\r" + self.text()[: max(1, self.console.width - 1)] + "\x1b[K")
        self._shown = True

    def _write(self, text: str) -> None:
        try:
            self.console.file.write(text)
            self.console.file.flush()
        except (OSError, UnicodeEncodeError, ValueError):
            pass                    # a terminal that is gone, or that knows no such characters: listening goes on


_BARS_ACROSS = " ▏▎▍▌▋▊▉█"
