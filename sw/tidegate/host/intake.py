"""Between a source and whoever listens: a bounded queue of sound, filled by a thread.

No sound is lost without notice.  If a live source gives sound while the queue is full, the older half of the queue is
dropped, and the next piece that is taken says how much is missing before it.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from .sources import SOUND_LOST, Piece, SoundSource

AHEAD = 0.5         # of the queue: how far a live source may be ahead of the clock before it is taken for a recording
BEHIND = "the board is slower than the sound"


@dataclass(frozen=True)
class End:
    """The source has ended; ``error``: why, if it should not have."""

    error: BaseException | None = None


class Intake:
    """Reads a source that is open.  ``delivered``: samples that it gave so far, lost ones included.

    ``limit_s``: seconds of sound in the queue at most.  A source that is not live waits while it is full; so does one
    that calls itself live but has given more sound than time has passed: ``cat recording | ...`` loses nothing.
    """

    def __init__(self, source: SoundSource, limit_s: float):
        self.source, self.limit = source, max(1, round(limit_s * source.rate))
        self._ahead_s = AHEAD * limit_s
        self.delivered = 0
        self._queue: deque[Piece | End] = deque()
        self._samples = 0                       # in the queue
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._start = time.monotonic()
        self._thread = threading.Thread(target=self._read, name="tidegate-intake", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading; a read that hangs is left to end on its own."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(0.5)
        if not self._thread.is_alive():
            self.source.close()

    @property
    def waits(self) -> bool:
        """Whether sound that is not taken stays where it is, so that nothing need be dropped."""
        elapsed = time.monotonic() - self._start
        return not self.source.live or self.delivered / self.source.rate > elapsed + self._ahead_s

    def take(self, timeout: float, most: int) -> Piece | End | None:
        """The next sound, up to about ``most`` samples that follow one another; None if none comes in ``timeout`` s."""
        with self._changed:
            if not self._queue:
                self._changed.wait(timeout)
            if not self._queue:
                return None
            first = self._queue.popleft()
            if isinstance(first, End):
                self._queue.append(first)       # it stays the end
                return first
            if len(first.samples) > most:           # a long block, as from Python: no more of it at once
                self._queue.appendleft(Piece(first.samples[most:]))
                first = replace(first, samples=first.samples[:most])
            parts, count = [first.samples], len(first.samples)
            while count < most and first.notice is None and self._queue:
                piece = self._queue[0]
                if isinstance(piece, End) or piece.lost or piece.notice is not None:
                    break
                parts.append(piece.samples)
                count += len(piece.samples)
                self._queue.popleft()
            self._samples -= count
            self._changed.notify_all()
        samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return replace(first, samples=samples)

    def discard(self) -> tuple[list[Piece], End | None]:
        """Drop all that is queued: (what it was, the end if it has come)."""
        with self._changed:
            pieces = [p for p in self._queue if isinstance(p, Piece)]
            end = next((e for e in self._queue if isinstance(e, End)), None)
            self._queue.clear()
            if end is not None:
                self._queue.append(end)
            self._samples = 0
            self._changed.notify_all()
        return pieces, end

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            for piece in self.source.pieces(self._stop):
                self._put(piece)
                if self._stop.is_set():
                    break
        except BaseException as caught:         # whoever listens raises it
            error = caught
        finally:
            with self._changed:
                self._queue.append(End(error))
                self._changed.notify_all()

    def _put(self, piece: Piece) -> None:
        with self._changed:
            while self._full(piece) and self.waits and not self._stop.is_set():
                self._changed.wait(0.1)
            self.delivered += piece.lost + len(piece.samples)
            if self._full(piece):
                piece = self._drop_for(piece)
            self._queue.append(piece)
            self._samples += len(piece.samples)
            self._changed.notify_all()

    def _full(self, piece: Piece) -> bool:
        return self._samples > 0 and self._samples + len(piece.samples) > self.limit

    def _drop_for(self, piece: Piece) -> Piece:
        """Drop the older half, so that what is heard comes in long stretches; the sound after it says so."""
        lost, kept = 0, []          # kept: what else happened, and which sound was lost for another reason
        while self._queue and self._samples > self.limit // 2:
            old = self._queue.popleft()
            assert isinstance(old, Piece)       # nothing is put after the end
            lost += len(old.samples)
            self._samples -= len(old.samples)
            if old.kind == SOUND_LOST:
                lost += old.lost
                old = replace(old, lost=0)
            if old.lost or old.notice is not None:
                kept.append(replace(old, samples=old.samples[:0]))
        if self._queue:
            head = self._queue.popleft()
            assert isinstance(head, Piece)
            self._queue.extendleft(reversed(_after(lost, head)))
        else:
            *before, piece = _after(lost, piece)
            self._queue.extend(before)
        self._queue.extendleft(reversed(kept))
        return piece


def _after(lost: int, piece: Piece) -> list[Piece]:
    """A piece before which so many samples were dropped; a gap of its own, of another kind, is told apart."""
    if piece.lost and piece.kind != SOUND_LOST:
        return [Piece(piece.samples[:0], lost=lost, why=BEHIND), piece]
    return [replace(piece, lost=piece.lost + lost, why=BEHIND)]
