"""What hours of continuous sound are: words, speech, noise, pauses and background, with the truth about them.

    |..pause..|== word ==|.pause.|=== speech ===|..pause..|== noise ==|..    each at a gain of its own
    |~~~~~~~~~~~ stretch ~~~~~~~~~~~><~~~~~~~~~~~~ stretch ~~~~~~~~~~~~~~    background, each at an SNR of its own

``compose.py`` makes them.  Sound is made piece by piece, so that an hour needs no more memory than half a minute.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tidegate.host.audio import read_audio
from tidegate.host.frontend import FrontEndSettings

from ..errors import DataError
from .sounds import Recording, Segment, find_recordings, in_room, loudness, read_piece, room
from .split import ALL

EVERY = ALL                         # a part: all clips of a corpus that nothing was trained on
SPEECH, NOISE = "speech", "noise"
_EDGE_S = 0.02                      # fade at both ends of a clip
CROSSFADE_S = 0.5                  # between stretches, and where a recording is looped
_QUIETEST = 0.01                    # of the level that a sound is brought to: below, it is taken for silence


@dataclass(frozen=True)
class Scene:
    """What a stream sounds like; pairs are the ends of uniform distributions.

    ``pause_s`` after each word and passage; ``keyword_share`` of the words; ``gain_db`` per word (on top of its own
    loudness) and per passage of speech (which is first brought to the loudness of a typical word, the median of all).
    ``snr_db``: of the typical word to the background, per stretch of ``stretch_s``; None: no background.
    ``speech_share``, ``noise_share`` of the time, where there are recordings; ``noise_db``: how far the noise that is
    played on its own is below a typical word.  ``passage_s``: about how long a passage is.
    ``level``: every word is brought to the loudness of the typical word.
    """

    pause_s: tuple[float, float] = (1.0, 5.0)
    keyword_share: float = 0.5
    gain_db: tuple[float, float] = (-6.0, 6.0)
    snr_db: tuple[float, float] | None = (10.0, 40.0)
    stretch_s: tuple[float, float] = (20.0, 60.0)
    speech_share: float = 0.5
    noise_share: float = 0.15
    noise_db: tuple[float, float] = (0.0, 20.0)
    passage_s: float = 30.0
    level: bool = False

    def __post_init__(self) -> None:
        for name in ("pause_s", "gain_db", "snr_db", "stretch_s", "noise_db"):
            ends = getattr(self, name)
            if ends is not None and not -math.inf < ends[0] <= ends[1] < math.inf:
                raise DataError(f"a scene's {name} is two numbers, the lower one first, not {ends[0]:g} and "
                                f"{ends[1]:g}")


@dataclass(frozen=True)
class Sources:
    """What is played beside the words of a data set: ``speech`` and ``noise``, clips of ``others`` (words that are no
    keywords), and ``rooms``, impulse responses, of which every word gets one.  ``skipped``: (path, reason)."""

    speech: tuple[Recording, ...] = ()
    noise: tuple[Recording, ...] = ()
    others: tuple[Recording, ...] = ()
    rooms: tuple[Path, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of(speech: Sequence[str | Path] = (), noise: Sequence[str | Path] = (), others: Sequence[str | Path] = (),
           rooms: str | Path | None = None, keep: Callable[[Path], bool] | None = None) -> "Sources":
        """Of folder trees of sound files; DataError if one of them is missing or has none.

        ``keep``: which files of speech, noise and others are taken (None: all).
        """
        skipped: list[tuple[str, str]] = []

        def every(folders: Sequence[str | Path], keep: Callable[[Path], bool] | None) -> tuple[Recording, ...]:
            found: list[Recording] = []
            for folder in folders:
                some, bad = find_recordings(folder, keep)
                found += some
                skipped.extend(bad)
            return tuple(found)

        return Sources(every(speech, keep), every(noise, keep), every(others, keep),
                       tuple(r.path for r in every([rooms] if rooms else [], None)), tuple(skipped))


WORDS_ONLY = Sources()
USUAL = Scene()


@dataclass(frozen=True)
class SpokenWord:
    """A spoken word in a track; ``label``: a keyword or ``unknown``; ``path``: of its clip, below the data set's root.

    ``start_s``, ``end_s``: from the first to the last 10 ms of the clip that are at most 20 dB below its loudest
    10 ms, so that the silence around a word in its clip is no delay.
    """

    label: str
    start_s: float
    end_s: float
    path: str


@dataclass(frozen=True)
class Span:
    """A passage in a track: ``kind`` SPEECH or NOISE, from which ``source``."""

    kind: str
    source: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Slot:
    """A sound's place: ``factor`` times its samples are added from sample ``begin`` to ``end`` of the track.

    ``seconds`` None: the whole file, else so many from ``start_s`` on.  ``level``: the sound is first brought to this
    loudness.  ``room``: an impulse response that it is heard through.
    """

    path: Path
    begin: int
    end: int
    factor: float
    start_s: float = 0.0
    seconds: float | None = None
    level: float | None = None
    room: Path | None = None

    def sound(self, rate: int) -> np.ndarray:
        """Float32 (end - begin,)."""
        samples = (read_audio(self.path, rate) if self.seconds is None
                   else read_piece(Segment(self.path, self.start_s, self.seconds), rate))
        factor = self.factor
        if self.level is not None:
            factor *= self.level / max(loudness(samples, rate), _QUIETEST * self.level)
        if self.room is not None:
            samples = in_room(samples, room(self.room, rate))
        samples = samples[: self.end - self.begin]
        faded = factor * _faded(samples, int(_EDGE_S * rate))
        return np.pad(faded, (0, self.end - self.begin - len(faded)))


@dataclass(frozen=True)
class Stretch:
    """Background from sample ``begin`` to ``end`` and into the next stretch: ``level`` times ``loop`` (RMS 1), which
    is at its sample ``offset`` when the track begins."""

    loop: np.ndarray
    offset: int
    level: float
    begin: int
    end: int


@dataclass(frozen=True)
class Track:
    """One of the recordings of a stream: ``samples`` long; ``words`` and ``spans``: the truth about it, in order."""

    settings: FrontEndSettings
    samples: int
    words: tuple[SpokenWord, ...]
    slots: tuple[Slot, ...]
    stretches: tuple[Stretch, ...]
    spans: tuple[Span, ...] = ()

    def audio(self) -> Iterator[np.ndarray]:
        """The sound, float32 in ±1, in pieces of some seconds."""
        at = 0
        for slot in self.slots:
            piece = self._background(at, slot.end)
            piece[slot.begin - at :] += slot.sound(self.settings.sample_rate)
            yield np.clip(piece, -1, 1, out=piece)
            at = slot.end
        yield np.clip(self._background(at, self.samples), -1, 1)

    def _background(self, begin: int, end: int) -> np.ndarray:
        fade = int(CROSSFADE_S * self.settings.sample_rate)
        t = np.arange(begin, end)
        sound = np.zeros(end - begin, np.float32)
        for s in self.stretches:
            if s.begin < end and begin < s.end + fade:
                level = s.level * rise((s.end + fade - t) / fade)
                if s.begin:
                    level *= rise((t - s.begin) / fade)
                sound += level * s.loop[(t + s.offset) % len(s.loop)]
        return sound


@dataclass(frozen=True)
class Stream:
    """Tracks of equal length, each to be heard from reset.

    ``synthetic``: the background is made up, for want of recordings.  ``skipped``: (path, reason) of the clips
    that could not be used.  ``played``: kind/source → (recordings, their hours, hours in the stream).
    """

    settings: FrontEndSettings
    part: str
    seed: int
    scene: Scene
    tracks: tuple[Track, ...]
    synthetic: bool
    skipped: tuple[tuple[str, str], ...]
    played: dict[str, tuple[int, float, float]] = field(default_factory=dict)

    @property
    def hours(self) -> float:
        """Of all tracks together."""
        return sum(track.samples for track in self.tracks) / self.settings.sample_rate / 3600


def _faded(sound: np.ndarray, edge: int) -> np.ndarray:
    ramp = np.ones(len(sound), np.float32)
    ramp[:edge] = rise = (np.arange(edge, dtype=np.float32) + 0.5)[: len(sound)] / edge
    ramp[-edge:] *= rise[::-1]
    return sound * ramp


def rise(x: np.ndarray) -> np.ndarray:
    """Equal-power fade, 0 at x <= 0 and 1 at x >= 1: the squares of x and 1 - x add up to 1."""
    return np.sin(np.pi / 2 * np.clip(x, 0, 1)).astype(np.float32)


def rms(sound: np.ndarray) -> float:
    """Root of the mean square; 0 of nothing."""
    return float(np.sqrt(np.square(sound, dtype=np.float64).mean())) if len(sound) else 0.0
