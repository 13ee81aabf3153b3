"""Hours of continuous sound made from one part of a data set: words, pauses and background, with the truth.

    |..pause..|== clip ==|.pause.|== clip ==|.....    words of the part, each at a gain of its own
    |~~~~~~~ stretch ~~~~~~~~><~~~~~~ stretch ~~~~    background, each at a signal-to-noise ratio of its own

Everything follows from one seed.  Nothing that was trained on is in it: clips come from one part, background from
that part's share of the noise recordings (as ``train.features`` cuts silence: the first 80 % are training's).
Sound is made piece by piece, so that an hour needs no more memory than a word and the pause before it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidegate.host.audio import AudioError, read_audio
from tidegate.host.frontend import FrontEndSettings

from .data import PARTS, SILENCE, UNKNOWN, Clip, DataError, DataSet
from .features import MAX_SECONDS

TRACKS = 16                         # at least
LONGEST_TRACK_S = 900.0
_SYNTHETIC_S, _SYNTHETIC_LOOPS = 16.0, 6
_EDGE_S = 0.02                      # fade at both ends of a clip
_CROSSFADE_S = 0.5                  # between stretches, and where a recording is looped
_WORD_LEVEL = 0.1                   # of the loudest 10 ms: where a word starts and ends


@dataclass(frozen=True)
class Scene:
    """What a stream sounds like; pairs are the ends of uniform distributions.

    ``pause_s`` between clips; ``keyword_share`` of the words; ``gain_db`` per clip, on top of its own loudness;
    ``snr_db``: of the typical word (the median of all) to the background, per stretch of ``stretch_s``.
    """

    pause_s: tuple[float, float] = (1.0, 5.0)
    keyword_share: float = 0.5
    gain_db: tuple[float, float] = (-6.0, 6.0)
    snr_db: tuple[float, float] = (10.0, 40.0)
    stretch_s: tuple[float, float] = (20.0, 60.0)


@dataclass(frozen=True)
class Word:
    """A spoken word in a track; ``label``: a keyword or ``unknown``; ``path``: of its clip, below the root.

    ``start_s``, ``end_s``: from the first to the last 10 ms of the clip that are at most 20 dB below its loudest
    10 ms, so that the silence around a word in its clip is no delay.
    """

    label: str
    start_s: float
    end_s: float
    path: str


@dataclass(frozen=True)
class Slot:
    """A clip's place: ``factor`` times its samples are added from sample ``begin`` to ``end`` of the track."""

    path: Path
    begin: int
    end: int
    factor: float


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
    """One of the recordings of a stream: ``samples`` long; ``words``: the truth about it, in order."""

    settings: FrontEndSettings
    samples: int
    words: tuple[Word, ...]
    slots: tuple[Slot, ...]
    stretches: tuple[Stretch, ...]

    def audio(self) -> Iterator[np.ndarray]:
        """The sound, float32 in ±1, in pieces of some seconds."""
        at = 0
        for slot in self.slots:
            piece = self._background(at, slot.end)
            piece[slot.begin - at :] += slot.factor * _faded(read_audio(slot.path, self.settings.sample_rate),
                                                             int(_EDGE_S * self.settings.sample_rate))
            yield np.clip(piece, -1, 1, out=piece)
            at = slot.end
        yield np.clip(self._background(at, self.samples), -1, 1)

    def _background(self, begin: int, end: int) -> np.ndarray:
        fade = int(_CROSSFADE_S * self.settings.sample_rate)
        t = np.arange(begin, end)
        sound = np.zeros(end - begin, np.float32)
        for s in self.stretches:
            if s.begin < end and begin < s.end + fade:
                level = s.level * _rise((s.end + fade - t) / fade)
                if s.begin:
                    level *= _rise((t - s.begin) / fade)
                sound += level * s.loop[(t + s.offset) % len(s.loop)]
        return sound


@dataclass(frozen=True)
class Stream:
    """Tracks of equal length, each to be heard from reset.

    ``synthetic``: the background is made up, for want of recordings.  ``skipped``: (path, reason) of the clips
    that could not be used.
    """

    settings: FrontEndSettings
    part: str
    seed: int
    scene: Scene
    tracks: tuple[Track, ...]
    synthetic: bool
    skipped: tuple[tuple[str, str], ...]

    @property
    def hours(self) -> float:
        """Of all tracks together."""
        return sum(track.samples for track in self.tracks) / self.settings.sample_rate / 3600


def make_stream(data: DataSet, part: str, settings: FrontEndSettings, hours: float = 1.0, seed: int = 1,
                scene: Scene = Scene()) -> Stream:
    """Compose a stream from one part of a data set; the same for the same arguments.

    Clips come in random order, each once before any comes again.  DataError if the part is for training, has no
    keyword or none that can be used, or if ``hours`` are too few for a word.
    """
    if part not in PARTS[1:]:
        raise DataError(f"a stream is made of what was not trained on: its part is {' or '.join(PARTS[1:])}")
    rate, count = settings.sample_rate, max(TRACKS, math.ceil(hours * 3600 / LONGEST_TRACK_S))
    samples = int(hours * 3600 * rate / count)
    words = _Words(data, part, settings, seed, scene)
    placed = [words.place(samples) for _ in range(count)]
    if not words.loudness:
        raise DataError(f"{hours:g} hours in {count} tracks leave no room for a word; give more hours")
    rng, typical = np.random.default_rng([seed, 1]), float(np.median(words.loudness))
    recorded = recorded_loops(data, part, settings)
    loops = recorded or [synthetic_loop(settings, rng) for _ in range(_SYNTHETIC_LOOPS)]
    tracks = tuple(Track(settings, samples, truth, slots,
                         tuple(_stretches(loops, typical, samples, settings, scene, rng))) for truth, slots in placed)
    return Stream(settings, part, seed, scene, tracks, not recorded, tuple(words.skipped.items()))


class _Words:
    """Deals the clips of a part; ``loudness``: RMS of each word as it was placed."""

    def __init__(self, data: DataSet, part: str, settings: FrontEndSettings, seed: int, scene: Scene):
        self.root, self.settings, self.scene = data.root, settings, scene
        self.rng = np.random.default_rng([seed, 0])
        clips = [clip for clip in data.clips if clip.part == part and clip.label != SILENCE]
        self.packs = [[clip for clip in clips if (clip.label == UNKNOWN) == other] for other in (False, True)]
        if not self.packs[0]:
            raise DataError(f"'{data.root}' has no keywords in its {part} part; choose another part or data set")
        self.decks: list[list[Clip]] = [[], []]
        self.loudness: list[float] = []
        self.skipped: dict[str, str] = {}

    def place(self, samples: int) -> tuple[tuple[Word, ...], tuple[Slot, ...]]:
        """Fill a track; after the last word there is time to detect it."""
        rng, rate, scene = self.rng, self.settings.sample_rate, self.scene
        words, slots = [], []
        at = int(rng.uniform(*scene.pause_s) * rate)
        while True:
            deck, clip, sound = self._deal()
            end = at + len(sound)
            if end + scene.pause_s[0] * rate > samples:
                deck.append(clip)
                return tuple(words), tuple(slots)
            factor = min(10 ** (rng.uniform(*scene.gain_db) / 20), 1 / np.abs(sound).max(initial=1e-9))
            first, last = word_bounds(sound, rate)
            words.append(Word(clip.label, (at + first) / rate, (at + last) / rate, clip.path))
            slots.append(Slot(self.root / clip.path, at, end, factor))
            self.loudness.append(factor * _rms(sound[first:last]))
            at = end + int(rng.uniform(*scene.pause_s) * rate)

    def _deal(self) -> tuple[list[Clip], Clip, np.ndarray]:
        """The next clip, its sound, and the deck that it came from."""
        reason = ""
        while self.packs[0]:
            other = bool(self.packs[1]) and self.rng.random() >= self.scene.keyword_share
            pack, deck = self.packs[other], self.decks[other]
            if not deck:
                deck += [pack[i] for i in self.rng.permutation(len(pack))]
            clip = deck.pop()
            try:
                sound = read_audio(self.root / clip.path, self.settings.sample_rate)
                if self.settings.window <= len(sound) <= MAX_SECONDS * self.settings.sample_rate:
                    return deck, clip, sound
                reason = f"not between one window and {MAX_SECONDS:g} s long"
            except AudioError as error:
                reason = str(error)
            self.skipped[clip.path] = reason
            pack.remove(clip)
        raise DataError(f"none of the keywords' clips in '{self.root}' can be used ({reason})")


def word_bounds(sound: np.ndarray, rate: int) -> tuple[int, int]:
    """First sample of a word and the one after its last: 10 ms blocks at most 20 dB below the loudest."""
    size = max(1, rate // 100)
    blocks = np.square(sound[: len(sound) // size * size], dtype=np.float64).reshape(-1, size).mean(1)
    loud = np.flatnonzero(blocks >= _WORD_LEVEL**2 * blocks.max(initial=0))
    return (int(loud[0]) * size, int(loud[-1] + 1) * size) if len(loud) else (0, len(sound))


def recorded_loops(data: DataSet, part: str, settings: FrontEndSettings) -> list[np.ndarray]:
    """A part's share of each noise recording, RMS 1, with its end faded into its beginning; silent ones left out."""
    has_test = any(clip.part == "test" for clip in data.clips)
    low, high = (0.9, 1.0) if part == "test" else (0.8, 0.9 if has_test else 1.0)
    loops = []
    for path in data.noise:
        try:
            sound = read_audio(data.root / path, settings.sample_rate)
        except AudioError:
            continue                # as in training, which lists it
        # A training frame that begins just below 80 % may reach a window beyond.
        sound = sound[int(low * len(sound)) + settings.window : int(high * len(sound))]
        fade = min(int(_CROSSFADE_S * settings.sample_rate), len(sound) // 4)
        if fade and _rms(sound) > 0:
            rise = _rise((np.arange(fade) + 0.5) / fade)
            loop = sound[:-fade].copy()
            loop[:fade] = loop[:fade] * rise + sound[-fade:] * rise[::-1]
            loops.append(loop / np.float32(_rms(loop)))
    return loops


def synthetic_loop(settings: FrontEndSettings, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise, RMS 1, whose power falls by 0 to 6 dB an octave above 20 Hz; its end meets its beginning."""
    n = int(_SYNTHETIC_S * settings.sample_rate)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    f = np.fft.rfftfreq(n, 1 / settings.sample_rate)
    spectrum *= np.where(f > 20, np.maximum(f, 20) ** -rng.uniform(0, 1), 0)
    loop = np.fft.irfft(spectrum, n)
    return (loop / _rms(loop)).astype(np.float32)


def _stretches(loops: list[np.ndarray], typical: float, samples: int, settings: FrontEndSettings, scene: Scene,
               rng: np.random.Generator) -> Iterator[Stretch]:
    begin = 0
    while begin < samples:
        end = begin + int(rng.uniform(*scene.stretch_s) * settings.sample_rate)
        loop, level = loops[rng.integers(len(loops))], typical * 10 ** (-rng.uniform(*scene.snr_db) / 20)
        yield Stretch(loop, int(rng.integers(len(loop))), level, begin, end)
        begin = end


def _faded(sound: np.ndarray, edge: int) -> np.ndarray:
    ramp = np.ones(len(sound), np.float32)
    ramp[:edge] = rise = (np.arange(edge, dtype=np.float32) + 0.5)[: len(sound)] / edge
    ramp[-edge:] *= rise[::-1]
    return sound * ramp


def _rise(x: np.ndarray) -> np.ndarray:
    """Equal-power fade, 0 at x <= 0 and 1 at x >= 1: the squares of x and 1 - x add up to 1."""
    return np.sin(np.pi / 2 * np.clip(x, 0, 1)).astype(np.float32)


def _rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.square(sound, dtype=np.float64).mean())) if len(sound) else 0.0
