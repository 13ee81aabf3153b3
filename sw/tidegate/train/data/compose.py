"""Composes streams (``soundscape.py``) from one part of a data set and other sources.

Everything follows from one seed.  Words come from one part of a data set, and background from that part's share of its
noise recordings (as ``features.py`` cuts silence: the first 80 % are training's).  Speech and noise come from the
folders of ``Sources``, whole: whoever trains on some of them scores on others.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tidegate.host.audio import AudioError, read_audio
from tidegate.host.frontend import FrontEndSettings

from ..errors import DataError
from .background import background_loops, stretches
from .features import MAX_SECONDS
from .folders import PARTS, SILENCE, UNKNOWN, Clip, DataSet
from .sounds import Passage, Recording, passages, room, why_not
from .soundscape import (
    EVERY,
    NOISE,
    SPEECH,
    USUAL,
    WORDS_ONLY,
    Scene,
    Slot,
    Sources,
    Span,
    SpokenWord,
    Stream,
    Track,
    rms,
)

TRACKS = 16                         # at least
LONGEST_TRACK_S = 900.0
_WORD_LEVEL = 0.1                   # of the loudest 10 ms: where a word starts and ends
_GAP_S = (0.2, 0.6)                 # between the pieces of a passage
_MOST_HOURS = 1e5
_LEAST_S = 2.0                      # of a passage that ends with its track


def make_stream(data: DataSet, part: str, settings: FrontEndSettings, hours: float = 1.0, seed: int = 1,
                scene: Scene = USUAL, sources: Sources = WORDS_ONLY) -> Stream:
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
    loops, synthetic = background_loops(data, part, settings, sources, seed, rng)
    tracks = tuple(Track(settings, samples, words, _levelled(slots, typical),
                         tuple(stretches(loops, typical, samples, settings, scene, rng)), spans)
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

    def place(self, samples: int) -> tuple[tuple[SpokenWord, ...], tuple[Slot, ...], tuple[Span, ...]]:
        """Fill a track; after the last word there is time to detect it."""
        least = int(self.scene.pause_s[0] * self.settings.sample_rate)
        words: list[SpokenWord] = []
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

    def place(self, at: int, most: int, words: list[SpokenWord], slots: list[Slot], room_path: Path | None) -> int:
        """Append the next word from sample ``at`` on, if it ends before ``most``; the sample after it and its pause."""
        rng, rate, scene = self.rng, self.settings.sample_rate, self.scene
        deck, clip, sound = self._deal()
        end = at + len(sound)
        if end > most:
            deck.append(clip)
            return at
        factor = min(10 ** (rng.uniform(*scene.gain_db) / 20), 1 / np.abs(sound).max(initial=1e-9))
        first, last = word_bounds(sound, rate)
        words.append(SpokenWord(clip.label, (at + first) / rate, (at + last) / rate, clip.path))
        self.loudness.append((1.0 if scene.level else factor) * rms(sound[first:last]))
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


def word_bounds(sound: np.ndarray, rate: int) -> tuple[int, int]:
    """First sample of a word and the one after its last: 10 ms blocks at most 20 dB below the loudest."""
    size = max(1, rate // 100)
    blocks = np.square(sound[: len(sound) // size * size], dtype=np.float64).reshape(-1, size).mean(1)
    loud = np.flatnonzero(blocks >= _WORD_LEVEL**2 * blocks.max(initial=0))
    return (int(loud[0]) * size, int(loud[-1] + 1) * size) if len(loud) else (0, len(sound))
