"""Hours of continuous sound: words, continuous speech, noise, pauses and background, with the truth about it.

    |..pause..|== word ==|.pause.|=== speech ===|..pause..|== noise ==|..    each at a gain of its own
    |~~~~~~~~~~~ stretch ~~~~~~~~~~~><~~~~~~~~~~~~ stretch ~~~~~~~~~~~~~~    background, each at an SNR of its own

Everything follows from one seed.  Words come from one part of a data set, and background from that part's share of its
noise recordings (as ``train.features`` cuts silence: the first 80 % are training's).  Speech and noise come from the
folders of ``Sources``, whole: whoever trains on some of them scores on others.
Sound is made piece by piece, so that an hour needs no more memory than half a minute.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tidegate.host.audio import AudioError, read_audio
from tidegate.host.frontend import FrontEndSettings

from ..errors import DataError
from .features import MAX_SECONDS
from .folders import PARTS, SILENCE, UNKNOWN, Clip, DataSet
from .sounds import Passage, Piece, Recording, find_recordings, in_room, loudness, passages, read_piece, room, why_not
from .split import ALL

TRACKS = 16                         # at least
LONGEST_TRACK_S = 900.0
EVERY = ALL                         # a part: all clips of a corpus that nothing was trained on
SPEECH, NOISE = "speech", "noise"
_SYNTHETIC_S, _SYNTHETIC_LOOPS = 16.0, 6
_LOOPS = 12                         # of recordings of noise that are no part of the data set
_EDGE_S = 0.02                      # fade at both ends of a clip
_CROSSFADE_S = 0.5                  # between stretches, and where a recording is looped
_WORD_LEVEL = 0.1                   # of the loudest 10 ms: where a word starts and ends
_GAP_S = (0.2, 0.6)                 # between the pieces of a passage
_MOST_HOURS = 1e5
_LEAST_S = 2.0                      # of a passage that ends with its track
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


@dataclass(frozen=True)
class Word:
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
                   else read_piece(Piece(self.path, self.start_s, self.seconds), rate))
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
    words: tuple[Word, ...]
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


def make_stream(data: DataSet, part: str, settings: FrontEndSettings, hours: float = 1.0, seed: int = 1,
                scene: Scene = Scene(), sources: Sources = WORDS_ONLY) -> Stream:
    """Compose a stream from one part of a data set, or EVERY, and other sources; the same for the same arguments.

    Clips and passages come in random order, each once before any comes again.  DataError if the part is for training,
    has no keyword or none that can be used, or if ``hours`` are too few for a word.
    """
    check_part(part)
    if not 0 < hours < _MOST_HOURS:
        raise DataError(f"a stream is some hours long, less than {_MOST_HOURS:g}, not {hours:g}")
    if not isinstance(seed, int) or seed < 0:
        raise DataError(f"a seed is a whole number from 0 on, not {seed!r}")
    rate, count = settings.sample_rate, max(TRACKS, math.ceil(hours * 3600 / LONGEST_TRACK_S))
    samples = int(hours * 3600 * rate / count)
    composer = _Composer(data, part, settings, seed, scene, sources)
    placed = [composer.place(samples) for _ in range(count)]
    if not composer.words.loudness:
        need = math.ceil(100 * count * (2 * scene.pause_s[1] + 2) / 3600) / 100
        raise DataError(f"{hours:g} hours in {count} tracks leave no room for a word; give {need:g} hours or more")
    rng, typical = np.random.default_rng([seed, 1]), float(np.median(composer.words.loudness))
    loops, synthetic = _loops(data, part, settings, sources, seed, rng)
    tracks = tuple(Track(settings, samples, words, _levelled(slots, typical),
                         tuple(_stretches(loops, typical, samples, settings, scene, rng)), spans)
                   for words, slots, spans in placed)
    skipped = (*composer.words.skipped.items(), *composer.skipped.items(), *sources.skipped)
    return Stream(settings, part, seed, scene, tracks, synthetic, skipped, composer.played(tracks))


def check_part(part: str) -> None:
    """DataError for a part that a model was trained on, or none."""
    if part not in (*PARTS[1:], EVERY):
        raise DataError(f"a stream is made of what was not trained on: its part is {', '.join(PARTS[1:])}, or {EVERY} "
                        "for a corpus that nothing was trained on")


def _levelled(slots: Sequence[Slot], typical: float) -> tuple[Slot, ...]:
    """Levels, so far in units of a typical word."""
    return tuple(slot if slot.level is None else replace(slot, level=slot.level * typical) for slot in slots)


class _Composer:
    """Fills tracks: the kind that is furthest behind its share of the time comes next."""

    def __init__(self, data: DataSet, part: str, settings: FrontEndSettings, seed: int, scene: Scene,
                 sources: Sources):
        self.settings, self.scene = settings, scene
        self.words = _Words(data, part, settings, seed, scene, sources.others)
        self.rng = np.random.default_rng([seed, 2])
        self.recordings = {SPEECH: sources.speech, NOISE: sources.noise}
        self.shares = {SPEECH: scene.speech_share if sources.speech else 0.0,
                       NOISE: scene.noise_share if sources.noise else 0.0}
        if sum(self.shares.values()) >= 1:
            raise DataError("speech and noise take all the time of this stream; leave a share for words")
        self.spent = dict.fromkeys(self.shares, 0)
        self.total = 0
        self.decks: dict[str, list[Passage]] = {SPEECH: [], NOISE: []}
        self.dealt: set[str] = set()        # kinds of which a deck was begun, and of which a passage was placed
        self.heard: set[str] = set()
        self.skipped: dict[str, str] = {}
        self.rooms = sources.rooms
        self.room_rng = np.random.default_rng([seed, 3])

    def place(self, samples: int) -> tuple[tuple[Word, ...], tuple[Slot, ...], tuple[Span, ...]]:
        """Fill a track; after the last word there is time to detect it."""
        least = int(self.scene.pause_s[0] * self.settings.sample_rate)
        words: list[Word] = []
        slots: list[Slot] = []
        spans: list[Span] = []
        at = self.words.pause()
        while at < samples:
            kind = max(self.shares, key=lambda k: self.shares[k] * self.total - self.spent[k])
            begin = at
            if self.shares[kind] * self.total > self.spent[kind]:
                at = self._passage(kind, at, samples - least, slots, spans)
                self.spent[kind] += at - begin
            else:
                at = self.words.place(at, samples - least, words, slots, self._room())
            self.total += at - begin
            if at == begin:
                break
        self.total += samples - min(at, samples)
        return tuple(words), tuple(slots), tuple(spans)

    def _room(self) -> Path | None:
        return self.rooms[self.room_rng.integers(len(self.rooms))] if self.rooms else None

    def _passage(self, kind: str, at: int, most: int, slots: list[Slot], spans: list[Span]) -> int:
        """Append the next passage from sample ``at`` on, cut at ``most``; the sample after it and its pause."""
        rng, rate, scene = self.rng, self.settings.sample_rate, self.scene
        while most - at >= _LEAST_S * rate:
            passage = self._deal(kind)
            db = -rng.uniform(*scene.noise_db) if kind == NOISE else rng.uniform(*scene.gain_db)
            begin = last = at
            for piece in passage.pieces:
                if reason := why_not(piece, rate):
                    self.skipped[str(piece.path)] = reason
                    continue
                end = min(at + int(piece.seconds * rate), most)
                if end - at < self.settings.window:
                    break
                slots.append(Slot(piece.path, at, end, 1.0, piece.start_s, piece.seconds, 10 ** (db / 20)))
                at, last = end + int(rng.uniform(*_GAP_S) * rate), end
            if last > begin:
                self.heard.add(kind)
                spans.append(Span(kind, passage.source, begin / rate, last / rate))
                return last + self.words.pause()
        return at

    def _deal(self, kind: str) -> Passage:
        """The next passage; DataError if all of them were dealt and none could be heard."""
        deck = self.decks[kind]
        if not deck:
            if kind in self.dealt and kind not in self.heard:
                why = next((self.skipped[str(r.path)] for r in self.recordings[kind] if str(r.path) in self.skipped),
                           "too short")
                raise DataError(f"none of the recordings of {kind} can be used ({why})")
            self.dealt.add(kind)
            deck += passages(self.recordings[kind], self.scene.passage_s, self.rng)
        return deck.pop()

    def played(self, tracks: Sequence[Track]) -> dict[str, tuple[int, float, float]]:
        """See ``Stream``."""
        table: dict[str, list[float]] = {}
        for kind, recordings in self.recordings.items():
            for recording in recordings:
                row = table.setdefault(f"{kind}/{recording.source}", [0, 0.0, 0.0])
                row[0] += 1
                row[1] += recording.seconds / 3600
        for track in tracks:
            for span in track.spans:
                table[f"{span.kind}/{span.source}"][2] += (span.end_s - span.start_s) / 3600
        return {name: (int(n), there, heard) for name, (n, there, heard) in table.items()}


class _Words:
    """Deals the clips of a part; ``loudness``: RMS of each word as it was placed."""

    def __init__(self, data: DataSet, part: str, settings: FrontEndSettings, seed: int, scene: Scene,
                 others: Sequence[Recording] = ()):
        self.root, self.settings, self.scene = data.root, settings, scene
        self.rng = np.random.default_rng([seed, 0])
        clips = [clip for clip in data.clips if part in (clip.part, EVERY) and clip.label != SILENCE]
        self.packs = [[clip for clip in clips if (clip.label == UNKNOWN) == other] for other in (False, True)]
        self.packs[1] += [Clip(str(r.path.resolve()), UNKNOWN, part) for r in others]
        if not self.packs[0]:
            there = sorted({c.part for c in data.clips if c.label not in (UNKNOWN, SILENCE)} - {PARTS[0]}) or [EVERY]
            raise DataError(f"'{data.root}' has no keywords in its {part} part; choose another part "
                            f"({', '.join(there)}) or data set")
        self.decks: list[list[Clip]] = [[], []]
        self.loudness: list[float] = []
        self.skipped: dict[str, str] = {}

    def pause(self) -> int:
        """Samples."""
        return int(self.rng.uniform(*self.scene.pause_s) * self.settings.sample_rate)

    def place(self, at: int, most: int, words: list[Word], slots: list[Slot], room_path: Path | None) -> int:
        """Append the next word from sample ``at`` on, if it ends before ``most``; the sample after it and its pause."""
        rng, rate, scene = self.rng, self.settings.sample_rate, self.scene
        deck, clip, sound = self._deal()
        end = at + len(sound)
        if end > most:
            deck.append(clip)
            return at
        factor = min(10 ** (rng.uniform(*scene.gain_db) / 20), 1 / np.abs(sound).max(initial=1e-9))
        first, last = word_bounds(sound, rate)
        words.append(Word(clip.label, (at + first) / rate, (at + last) / rate, clip.path))
        self.loudness.append((1.0 if scene.level else factor) * _rms(sound[first:last]))
        pause = self.pause()
        tail = 0 if room_path is None else min(len(room(room_path, rate)) - 1, pause, most - end)
        slot = Slot(self.root / clip.path, at, end + tail, factor, room=room_path)
        slots.append(replace(slot, factor=1.0, level=1.0) if scene.level else slot)
        return end + pause

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


def _loops(data: DataSet, part: str, settings: FrontEndSettings, sources: Sources, seed: int,
           rng: np.random.Generator) -> tuple[list[np.ndarray], bool]:
    """What background is made of, and whether it is made up."""
    loops = recorded_loops(data, part, settings)
    choice = np.random.default_rng([seed, 4])
    for i in choice.permutation(len(sources.noise))[:_LOOPS]:
        recording = sources.noise[i]
        seconds = min(recording.seconds, _SYNTHETIC_S)
        try:
            sound = read_piece(Piece(recording.path, 0.0, seconds), settings.sample_rate)
        except AudioError:
            continue
        if (loop := _loop(sound, settings)) is not None:
            loops.append(loop)
    if loops:
        return loops, False
    return [synthetic_loop(settings, rng) for _ in range(_SYNTHETIC_LOOPS)], True


def word_bounds(sound: np.ndarray, rate: int) -> tuple[int, int]:
    """First sample of a word and the one after its last: 10 ms blocks at most 20 dB below the loudest."""
    size = max(1, rate // 100)
    blocks = np.square(sound[: len(sound) // size * size], dtype=np.float64).reshape(-1, size).mean(1)
    loud = np.flatnonzero(blocks >= _WORD_LEVEL**2 * blocks.max(initial=0))
    return (int(loud[0]) * size, int(loud[-1] + 1) * size) if len(loud) else (0, len(sound))


def recorded_loops(data: DataSet, part: str, settings: FrontEndSettings) -> list[np.ndarray]:
    """A part's share of each noise recording, RMS 1, with its end faded into its beginning; silent ones left out."""
    has_test = any(clip.part == "test" for clip in data.clips)
    low, high = {"test": (0.9, 1.0), EVERY: (0.0, 1.0)}.get(part, (0.8, 0.9 if has_test else 1.0))
    loops = []
    for path in data.noise:
        try:
            sound = read_audio(data.root / path, settings.sample_rate)
        except AudioError:
            continue                # as in training, which lists it
        # A training frame that begins just below 80 % may reach a window beyond.
        sound = sound[int(low * len(sound)) + settings.window : int(high * len(sound))]
        if (loop := _loop(sound, settings)) is not None:
            loops.append(loop)
    return loops


def _loop(sound: np.ndarray, settings: FrontEndSettings) -> np.ndarray | None:
    """A recording with its end faded into its beginning, RMS 1; None of silence."""
    fade = min(int(_CROSSFADE_S * settings.sample_rate), len(sound) // 4)
    if not fade or _rms(sound) <= 0:
        return None
    rise = _rise((np.arange(fade) + 0.5) / fade)
    loop = sound[:-fade].copy()
    loop[:fade] = loop[:fade] * rise + sound[-fade:] * rise[::-1]
    return loop / np.float32(_rms(loop))


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
    while begin < samples and scene.snr_db is not None:
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
