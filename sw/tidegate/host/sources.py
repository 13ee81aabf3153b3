"""Sources of sound for listening: a source gives pieces of mono float32 samples in ±1, one after the other.

A microphone is in ``microphone.py``, raw PCM on a pipe in ``pcm.py``; here are files and blocks from Python.
"""

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .audio import CUT, FORMATS, AudioError, Sequential, mono, no_file, one_line

PIECE_S = 0.016         # seconds of sound in a piece of a source that keeps time: a hop of the usual front end
FAST_PIECE_S = 1.0      # ... of one that need not
SOUND_LOST = "sound-lost"       # kind of a notice: of a gap that has no kind of its own


@dataclass(frozen=True)
class Notice:
    """Something that a listener should be told.

    ``kind``: one word for programs: "board-lost", "board-back", "source-lost", "source-back", "sound-lost" or "source".
    ``text``: one line for people.  ``sound_s``, ``frames``: how much sound was lost, in seconds and in frames, or None.
    """

    kind: str
    text: str
    sound_s: float | None = None
    frames: int | None = None


@dataclass(frozen=True)
class Piece:
    """``samples`` (n,) float32, mono.  ``lost``: samples that are missing right before them, ``why``, and the ``kind``
    of the notice that says so.  ``notice``: what else happened meanwhile.
    """

    samples: np.ndarray
    lost: int = 0
    why: str = ""
    kind: str = SOUND_LOST
    notice: Notice | None = None


class SoundSource(ABC):
    """``name``: what messages call it.  ``rate``: samples per second, known once it is open.

    ``live``: sound comes in real time, and is lost if nobody takes it.
    """

    name: str
    rate: float
    live = True

    @abstractmethod
    def open(self, stop: threading.Event) -> None:
        """Get ready, or return early when ``stop`` is set; opening twice is allowed.  AudioError: nothing to hear."""

    @abstractmethod
    def pieces(self, stop: threading.Event) -> Iterator[Piece]:
        """The sound, until it ends or ``stop`` is set; called in a thread of its own.  AudioError on damage."""

    def close(self) -> None:  # noqa: B027 (most have nothing to give back)
        """Give back what ``open`` took; closing twice is allowed."""


def floats(samples: Any, name: str) -> np.ndarray:
    """Samples (n,) or (n, channels) as floats in ±1 or integers of full scale → mono float32 (n,).

    AudioError for another type, more than two channels, NaN, or a peak that no sound in ±1 has.
    """
    try:
        return mono(samples)
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from None


class SoundFile(SoundSource):
    """A sound file (WAV, FLAC, Ogg), in pieces: at the pace at which it would be heard, or ``fast``."""

    def __init__(self, path: str | Path, fast: bool = False):
        self.path, self.fast = Path(path), fast
        self.name, self.live = f"'{path}'", not fast
        self._file: Any = None

    def open(self, stop: threading.Event) -> None:
        if self._file is not None:
            return
        if not self.path.is_file():
            raise no_file(self.path)
        try:
            name: Any = os.fsencode(self.path)      # bytes: a name need not be UTF-8
            self._file = Sequential(name)
        except Exception as error:      # libsndfile's and Python's own, such as TypeError for a .raw file
            raise self._damaged(error) from None
        self.rate = self._file.samplerate

    def pieces(self, stop: threading.Event) -> Iterator[Piece]:
        block = max(1, round(self.rate * (FAST_PIECE_S if self.fast else PIECE_S)))
        pace, heard = Pace(self.rate), 0
        while not stop.is_set():
            try:
                samples = self._file.read(block, dtype="float32", always_2d=True)
            except Exception as error:
                raise self._damaged(error) from None
            if not len(samples):
                break
            heard += len(samples)
            if not self.fast:
                pace.wait(heard, stop)
            yield Piece(floats(samples, self.name))
        if not heard and not stop.is_set():
            raise AudioError(f"{self.name} contains no samples; record it again")
        if not stop.is_set() and (share := self._file.share(heard)) < CUT:
            yield Piece(np.zeros(0, np.float32), notice=Notice(
                "source", f"{self.name} is cut short, {share:.0%} of it is there; copy it again"))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _damaged(self, error: Exception) -> AudioError:
        if self.path.suffix.lower() == ".raw":
            return AudioError(f"{self.name} does not say what its samples are; give it on standard input: "
                              "tidegate listen - --fast < FILE, with --format and --rate")
        return AudioError(f"{self.name} cannot be read as sound ({one_line(error)}); use {FORMATS}")


class Blocks(SoundSource):
    """Blocks of samples (n,) or (n, channels) from Python at ``rate`` Hz; unless ``live`` they wait for the board."""

    def __init__(self, blocks: Iterable[Any], rate: float, live: bool = False):
        self.name, self.blocks, self.rate, self.live = "the source", blocks, rate, live

    def open(self, stop: threading.Event) -> None:
        pass

    def pieces(self, stop: threading.Event) -> Iterator[Piece]:
        for block in self.blocks:
            if stop.is_set():
                return
            yield Piece(floats(block, self.name))


class Pace:
    """Waits until so many samples would have been heard."""

    def __init__(self, rate: float):
        self.rate, self.start = rate, time.monotonic()

    def wait(self, samples: int, stop: threading.Event) -> None:
        left = self.start + samples / self.rate - time.monotonic()
        if left > 0:
            stop.wait(left)
