"""A board that can be listened with and broken at will, and sound in which it hears words."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from command import speech_model

from tidegate.host.errors import BoardError
from tidegate.host.sources import Pace, Piece, SoundSource

RATE = 16000


LABELS = ("loud", "other", "unknown", "silence")


def model():
    """Hears "loud" and "other"."""
    return replace(speech_model(), labels=LABELS)


@dataclass(frozen=True)
class Answer:
    frame: int
    logits: tuple[int, ...]
    events: tuple[int, ...]


class Board:
    """Answers each frame by its mean alone: "loud" or "unknown".

    ``fails``: numbers of frames, counted over all stretches, at which the board is lost; it then takes ``away``
    attempts to open it again.  ``pause``: seconds per frame.
    """

    def __init__(self, fails: Iterable[int] = (), away: int = 0, pause: float = 0.0):
        self.model, self.stop = model(), None
        self.fails, self.away, self.pause = set(fails), away, pause
        self.streams = self.answered = self.attempts = 0
        self.sizes: list[int] = []

    def stream(self, frames: Iterable[np.ndarray], reset: bool = True) -> Iterator[Answer]:
        assert reset
        self.streams += 1
        number = 0
        for block in frames:
            assert block.dtype == np.int16 and block.ndim == 2
            self.sizes.append(len(block))
            for frame in block:
                if self.answered in self.fails:
                    self.fails.remove(self.answered)
                    self.attempts = 0
                    raise BoardError("lost the board on fake; check the cable and power, then start again")
                if self.pause:
                    threading.Event().wait(self.pause)
                self.answered += 1
                yield Answer(number, logits(frame), (0,) * self.model.network.signals)
                number += 1

    def reopen(self) -> None:
        self.attempts += 1
        if self.attempts <= self.away:
            raise BoardError("no port 'fake'; `tidegate boards` lists the ones that are there")


def logits(frame: np.ndarray) -> tuple[int, ...]:
    return (1 << 18, 0, 0, 0) if frame.mean() > -1000 else (0, 0, 1 << 18, 0)


def sound(seconds: float, loud=(), rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Faint noise, and bursts of 0.4 s at the times ``loud``."""
    samples = np.random.default_rng(seed).normal(0, 1e-4, round(seconds * rate))
    for at in loud:
        burst = slice(round(at * rate), round((at + 0.4) * rate))
        samples[burst] *= 3000
    return samples.astype(np.float32)


class Paced(SoundSource):
    """Samples at the pace of ``speed`` times real time, as a microphone or a pipe gives them."""

    name = "the paced source"

    def __init__(self, samples: np.ndarray, rate: int = RATE, speed: float = 1.0, block: int = 256):
        self.samples, self.rate, self.speed, self.block = samples, rate, speed, block

    def open(self, stop):
        pass

    def pieces(self, stop):
        pace = Pace(self.rate * self.speed)
        for start in range(0, len(self.samples), self.block):
            part = self.samples[start : start + self.block]
            pace.wait(start + len(part), stop)
            if stop.is_set():
                return
            yield Piece(part)
