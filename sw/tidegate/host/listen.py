"""Listening all the time: sound → features → board → detector → words, one loop for the command line and for Python.

    with Board.open("virtual") as board:
        board.load(load_model("commands"))
        for word in board.listen("kitchen.flac"):
            print(word.label, word.time_s, word.probability)

Sound that follows without a gap is a stretch.  A stretch begins with front end, board and detector reset.  It ends when
sound was lost, or when the board was lost; what is lost is counted and reported, never passed over:

    sound delivered = sound heard + sound lost + sound left at the end
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ..spec.errors import TidegateError
from ..spec.model import Model
from .any_source import source_of
from .audio import Resampler
from .detector import Detector, DetectorSettings
from .errors import BoardError
from .features import settings_of
from .frontend import FrontEnd
from .intake import End, Intake
from .sources import SOUND_LOST, Notice, Piece, SoundSource

QUEUE_S = 10.0          # seconds of sound that may wait for the board
RETRY_S = 1.0           # seconds between attempts to open a board again
MOST_S = 1.0            # seconds of sound that are sent to the board in one go
_POLL = 0.1             # seconds between looks at whether to stop


class Streams(Protocol):
    """What listening needs of a board, see ``board.Board``."""

    @property
    def model(self) -> Model | None: ...
    @property
    def stop(self) -> Any: ...
    def stream(self, frames: Iterable[np.ndarray], reset: bool = True) -> Iterator[Any]: ...
    def reopen(self) -> None: ...


@dataclass(frozen=True)
class Word:
    """A word that was heard.

    ``time_s``: when the last sample of the frame that decides was heard, in seconds since listening began, lost sound
    included.  ``probability``: the detector's, 0..1.  ``at``: the time of day at which it was decided, in seconds since
    the epoch.  ``stretch``, ``frame``: the frame that decides, from 0 in each stretch.
    """

    label: str
    time_s: float
    probability: float
    at: float
    stretch: int
    frame: int


@dataclass(frozen=True)
class Heard:
    """What one block of frames brought.  ``samples``: new ones at the model's rate, also those that complete no frame.

    ``frames`` (n, features): SIGNAL integers.  ``results``: the board's, one per frame.  ``stretch``: number of the
    stretch.  ``words``: detected in these frames.
    """

    stretch: int
    samples: np.ndarray
    frames: np.ndarray
    results: list[Any]
    words: list[Word]


@dataclass
class Totals:
    """``delivered``, ``heard``, ``lost``, ``left``: seconds of sound.  ``frames``: answered by the board.

    ``frames_lost``: that the lost sound would have been.  ``board_losses``, ``gaps``: how often the board, or sound,
    was lost.
    """

    delivered: float = 0.0
    heard: float = 0.0
    lost: float = 0.0
    left: float = 0.0
    frames: int = 0
    frames_lost: int = 0
    words: int = 0
    board_losses: int = 0
    gaps: int = 0


class Listener:
    """Iterate to listen; it ends with the source, or soon after ``stop`` is set.

    ``board``: with a model that has a front end, and no stop rule that ends a clip.  ``source``: see
    ``any_source.source_of``; ``fast``: a file or pipe is taken as fast as the board is.  ``threshold``: of the
    detector, in place of the model's; or ``settings``, all of them.  ``notice``, ``watch``: called with each Notice
    and each Heard, before its words are yielded, in the thread that iterates.  ``queue_s``: seconds of sound that may
    wait for the board.
    TidegateError if the model cannot listen; AudioError, when iterated, if the source cannot be heard.
    """

    def __init__(self, board: Streams, source: Any = None, *, fast: bool = False, threshold: float | None = None,
                 settings: DetectorSettings | None = None, notice: Callable[[Notice], None] = lambda notice: None,
                 watch: Callable[[Heard], None] = lambda heard: None, stop: threading.Event | None = None,
                 queue_s: float = QUEUE_S):
        model = board.model
        if model is None:
            raise BoardError("no model is loaded; load one first")
        if board.stop is not None and not board.stop.stream:
            raise TidegateError("the board's stop rule ends a clip; set board.stop = None to listen")
        self.board, self.model, self.frontend = board, model, settings_of(model)
        self.source: SoundSource = source_of(source, self.frontend.sample_rate, fast)
        self.detector = Detector.of(model, settings, threshold)
        self._notice, self._watch, self._queue_s = notice, watch, queue_s
        self.stop = stop or threading.Event()
        self._samples = {"heard": 0, "lost": 0}         # of the source
        self._counts = Totals()
        self._stretches = 0
        self._position = 0          # samples that the source gave before the next one
        self._next: Piece | None = None
        self._over = False
        self._intake: Intake | None = None

    @property
    def totals(self) -> Totals:
        """The account so far."""
        if self._intake is None:
            return Totals()
        rate, delivered = self.source.rate, self._intake.delivered
        heard, lost = self._samples["heard"], self._samples["lost"]
        return replace(self._counts, delivered=delivered / rate, heard=heard / rate, lost=lost / rate,
                       left=(delivered - heard - lost) / rate, frames_lost=self._frames_in(lost))

    def _frames_in(self, samples: int) -> int:
        """Frames that so many samples of the source make."""
        return round(samples / self.source.rate * self.frontend.sample_rate / self.frontend.hop)

    def __iter__(self) -> Iterator[Word]:
        if self._intake is not None:
            raise TidegateError("a Listener listens once; make another")
        self.source.open(self.stop)
        if self.stop.is_set():
            self.source.close()
            return
        self._intake = Intake(self.source, self._queue_s)
        try:
            while not self._over and not self.stop.is_set():
                yield from _Stretch(self, self._intake).words()
        finally:
            self._intake.close()


class _Stretch:
    """Sound without a gap, from reset."""

    def __init__(self, listener: Listener, intake: Intake):
        self.all, self.intake = listener, intake
        self.front = FrontEnd(listener.frontend)
        self.resampler = Resampler(listener.source.rate, listener.frontend.sample_rate)
        self.number, self.start = listener._stretches, 0
        self.delivered = 0          # samples of the source in this stretch
        self.frames = 0             # answered by the board
        self._block: tuple[np.ndarray, np.ndarray] | None = None
        self._fresh: list[np.ndarray] = []

    def words(self) -> Iterator[Word]:
        listener = self.all
        listener._stretches += 1
        listener.detector.reset()
        results: list[Any] = []
        try:
            for result in listener.board.stream(self._blocks(), reset=True):
                results.append(result)
                assert self._block is not None
                if len(results) == len(self._block[1]):
                    yield from self._heard(*self._block, results)
                    results = []
        except BoardError as error:
            answered = list(self._heard(*self._part(len(results)), results)) if results else []
            self._account(lost=True)
            yield from answered
            self._reconnect(error)
        except BaseException:               # the source failed, or whoever iterates has had enough
            self._account(lost=False)
            raise
        else:
            self._account(lost=not listener._over and not listener.stop.is_set())

    def _part(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Sound and frames of the first ``count`` frames of a block."""
        assert self._block is not None
        samples, frames = self._block
        return samples[: round(len(samples) * count / len(frames))], frames[:count]

    def _heard(self, samples: np.ndarray, frames: np.ndarray, results: list[Any]) -> Iterator[Word]:
        listener = self.all
        found = listener.detector.accept(np.array([r.logits for r in results], np.int64))
        self.frames += len(results)
        listener._counts.frames += len(results)
        now, before = time.time(), self.start / listener.source.rate
        words = [Word(d.label, before + d.time_s, d.probability, now, self.number, d.frame) for d in found]
        listener._watch(Heard(self.number, samples, frames, results, words))
        for word in words:
            listener._counts.words += 1
            yield word

    def _blocks(self) -> Iterator[np.ndarray]:
        """Blocks of frames for the board, each as soon as there is a frame, until the stretch ends."""
        listener = self.all
        most = max(1, round(MOST_S * listener.source.rate))
        while not listener.stop.is_set():
            piece, listener._next = listener._next, None
            if piece is None:
                taken = self.intake.take(_POLL, most)
                if isinstance(taken, End):
                    if taken.error is not None:
                        raise taken.error
                    listener._over = True
                    yield from self._frames(self.resampler.accept(np.zeros(0, np.float32), last=True))
                    return
                if taken is None:
                    continue
                piece = taken
            if piece.lost and self.delivered:       # a gap: finish what came before it, and begin again after it
                listener._next = piece
                yield from self._frames(self.resampler.accept(np.zeros(0, np.float32), last=True))
                return
            if piece.lost:
                self._gap(piece)
            if piece.notice is not None:
                listener._notice(piece.notice)
            if not len(piece.samples):
                continue
            if not self.delivered:
                self.start = listener._position
            self.delivered += len(piece.samples)
            listener._position += len(piece.samples)
            yield from self._frames(self.resampler.accept(piece.samples))

    def _frames(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        self._fresh.append(samples)
        features = self.front.accept(samples)
        if len(features):
            frames = self.all.model.quantise(features)
            self._block, self._fresh = (np.concatenate(self._fresh), frames), []
            yield frames

    def _gap(self, piece: Piece) -> None:
        listener = self.all
        listener._position += piece.lost
        listener._counts.gaps += 1
        self._lose(piece.lost)
        listener._notice(self._lost_notice(piece.kind, piece.lost, piece.why))

    def _lose(self, samples: int) -> None:
        self.all._samples["lost"] += samples

    def _lost_notice(self, kind: str, samples: int, why: str) -> Notice:
        listener = self.all
        seconds, frames = samples / listener.source.rate, listener._frames_in(samples)
        return Notice(kind, f"{why}: lost {seconds:.2f} s of sound ({frames} frames)", seconds, frames)

    def _account(self, lost: bool) -> int:
        """Book the stretch: what the answered frames cover was heard; the rest was lost, or is left at the end."""
        listener, settings = self.all, self.all.frontend
        covered = 0 if not self.frames else (self.frames - 1) * settings.hop + settings.window
        heard = min(self.delivered, math.ceil(covered * listener.source.rate / settings.sample_rate))
        listener._samples["heard"] += heard
        self._tail = self.delivered - heard
        if lost:
            self._lose(self._tail)
        return self._tail

    def _reconnect(self, error: BoardError) -> None:
        """Say that the board is gone, and try to open it again until it is back or it is time to stop."""
        listener = self.all
        listener._counts.board_losses += 1
        began, last, lost, end = time.monotonic(), str(error), self._tail, None
        listener._notice(Notice("board-lost", f"{error}; trying again every second"))
        if listener._next is not None:
            lost += self._drop(listener._next)
            listener._next = None
        while not listener.stop.is_set():
            lost, end = self._discard(lost)
            if end is not None:
                break
            try:
                listener.board.reopen()
                break
            except TidegateError as why:
                if str(why) != last:
                    listener._notice(Notice("board-lost", f"{why}; trying again every second"))
                last = str(why)
            again = time.monotonic() + RETRY_S
            while time.monotonic() < again and not listener.stop.wait(_POLL):
                lost, end = self._discard(lost)
        else:
            return
        if end is not None:
            listener._over = True
            listener._notice(self._lost_notice("sound-lost", lost, "the sound ended while the board was away"))
            if end.error is not None:
                raise end.error
            return
        lost, _ = self._discard(lost)
        after = time.monotonic() - began
        why = f"the board is back after {after:.1f} s, its model loaded again"
        listener._notice(self._lost_notice("board-back", lost, why))

    def _drop(self, piece: Piece) -> int:
        """Do without a piece that came while the board was away: samples that are lost for this reason."""
        if piece.lost and piece.kind != SOUND_LOST:
            self._gap(piece)
            piece = replace(piece, lost=0)
        if piece.notice is not None:
            self.all._notice(piece.notice)
        samples = piece.lost + len(piece.samples)
        self._lose(samples)
        self.all._position += samples
        return samples

    def _discard(self, lost: int) -> tuple[int, End | None]:
        """Drop the sound that came meanwhile, unless it waits: (``lost`` and what was dropped, the end if it came)."""
        if self.intake.waits:
            return lost, None
        pieces, end = self.intake.discard()
        return lost + sum(map(self._drop, pieces)), end
