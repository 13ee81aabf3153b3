"""One wake word in the manner of MLPerf Tiny's streaming wake word benchmark: unofficial, on streams made here.

The benchmark (github.com/mlcommons/tiny, ``benchmark/training/streaming_wakeword`` and ``benchmark/runner``) plays one
recording of 20 minutes.  Its wake words, 50, are in the first ten minutes, at intervals from an exponential
distribution of at least 3 s; each is cut to its word and brought to an RMS of 0.5 to 0.75.  Under them are:

    0 to 100 s       nothing
    100 to 300 s     eight voices at once, each at an RMS of 0.05
    300 to 600 s     music at 0.5
    600 to 1200 s    one voice at 0.5, without wake words

The whole is then scaled to a peak of 1.  A detection counts for a word from its start until 1 s after its end; of all
others, those within 1 s of one another are one false accept.  At most 8 misses and 8 false accepts pass.

Here the word, the voices and what stands for the music (noise, where there is no music) are a user's recordings, each
seed gives another stream, and the mean of the streams is what counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from tidegate.golden.continued import Continued
from tidegate.host.audio import AudioError, read_audio
from tidegate.host.detector import Detection, DetectorSettings
from tidegate.host.features import settings_of
from tidegate.host.frontend import FrontEndSettings
from tidegate.progress import Progress
from tidegate.spec.model import Model

from ..data.background import synthetic_loop
from ..data.compose import check_part
from ..data.features import MAX_SECONDS
from ..data.folders import DataSet, scan_words
from ..data.sounds import Passage, Recording, passages, read_piece, why_not
from ..data.soundscape import EVERY, Sources, SpokenWord
from ..data.split import with_test_part
from ..errors import DataError
from .scoring import keywords_of
from .streaming import TrackDetector, frames_of

SECONDS, WORDS = 1200.0, 50
ALLOWED = 8                         # misses, and false accepts
WINDOW_S, DEBOUNCE_S = 1.0, 1.0
_LAST = 0.475                       # of the recording: where the last word starts
_LEAST_S, _SCALE_S = 3.0, 7.0       # of the intervals, before they are stretched to end there
_WORD_RMS = (0.5, 0.75)
_TRIM = 0.05                        # of a word's peak
_BABBLE = (100.0, 300.0, 0.05, 8)   # from, to, RMS, voices
_MUSIC = (300.0, 600.0, 0.5)
_VOICE = (600.0, 1200.0, 0.5)
_PIECE_S = 20.0


@dataclass(frozen=True)
class WakeTrack:
    """One stream: ``sound`` (n,) float32 with a peak of 1; ``words``: the truth.  It is heard from reset."""

    settings: FrontEndSettings
    seed: int
    sound: np.ndarray
    words: tuple[SpokenWord, ...]
    music: str

    @property
    def samples(self) -> int:
        return len(self.sound)

    def audio(self) -> Iterator[np.ndarray]:
        """The sound in pieces of some seconds."""
        size = int(_PIECE_S * self.settings.sample_rate)
        for at in range(0, len(self.sound), size):
            yield self.sound[at : at + size]


def make_wake_track(data: DataSet, word: str, part: str, settings: FrontEndSettings, sources: Sources,
                    seed: int = 1) -> WakeTrack:
    """A stream of 20 minutes; the same for the same arguments.

    DataError if the word has no usable clip in the part, or there is no speech to put behind it.
    """
    rate, rng = settings.sample_rate, np.random.default_rng([seed, 9])
    if not sources.speech:
        raise DataError("the MLPerf-like stream needs continuous speech; give a folder of it with --negative")
    sound = np.zeros(int(SECONDS * rate), np.float32)
    words: list[SpokenWord] = []
    for at, (path, clip) in zip(_times(rng), _clips(data, word, part, rate, rng), strict=True):
        begin = int(at * rate)
        sound[begin : begin + len(clip)] += rng.uniform(*_WORD_RMS) * clip
        words.append(SpokenWord(word, begin / rate, (begin + len(clip)) / rate, path))
    voices = _Player(sources.speech, rate, rng)
    begin, end, level, count = _BABBLE
    for _ in range(count):
        _add(sound, voices.play(end - begin), level, begin, rate)
    begin, end, level = _MUSIC
    if sources.noise:
        _add(sound, _Player(sources.noise, rate, rng).play(end - begin), level, begin, rate)
    else:
        loop = synthetic_loop(settings, rng)
        _add(sound, np.resize(loop, int((end - begin) * rate)), level, begin, rate)
    begin, end, level = _VOICE
    _add(sound, voices.play(end - begin), level, begin, rate)
    return WakeTrack(settings, seed, sound / np.abs(sound).max(), tuple(words),
                     "noise" if sources.noise else "synthetic noise")


def _times(rng: np.random.Generator) -> np.ndarray:
    """Seconds at which the words start."""
    intervals: list[float] = []
    while len(intervals) < WORDS:
        if (interval := float(rng.exponential(_SCALE_S))) > _LEAST_S:
            intervals.append(interval)
    times = np.cumsum(intervals)
    return times * _LAST * SECONDS / times[-1]


def _clips(data: DataSet, word: str, part: str, rate: int, rng: np.random.Generator) -> list[tuple[str, np.ndarray]]:
    """WORDS clips of the word, each once before any comes again: (path, samples cut to the word, RMS 1)."""
    pack = [clip for clip in data.clips if clip.label == word and part in (clip.part, EVERY)]
    found: list[tuple[str, np.ndarray]] = []
    deck: list[int] = []
    while pack and len(found) < WORDS:
        deck = deck or list(rng.permutation(len(pack)))
        clip = pack[deck.pop()]
        try:
            sound = read_audio(data.root / clip.path, rate)
        except AudioError:
            sound = np.zeros(0, np.float32)
        loud = np.flatnonzero(sound > _TRIM * sound.max(initial=0.0))
        if len(sound) > MAX_SECONDS * rate or len(loud) < 2:
            pack.remove(clip)
            deck = []
            continue
        sound = sound[loud[0] : loud[-1]]
        found.append((clip.path, sound / sound.std()))
    if not pack:
        raise DataError(f"'{data.root}' has no usable clip of '{word}' in its {part} part; give a folder that has")
    return found


class _Player:
    """Plays recordings one after another, each once before any comes again."""

    def __init__(self, recordings: Sequence[Recording], rate: int, rng: np.random.Generator):
        self.recordings, self.rate, self.rng = recordings, rate, rng
        self.deck: list[Passage] = []

    def play(self, seconds: float) -> np.ndarray:
        """Float32 (seconds·rate,), RMS 1; DataError if no recording can be used."""
        sound, left, idle = [], int(seconds * self.rate), 0
        while left > 0:
            if not self.deck:
                if idle:
                    raise DataError(f"none of the {len(self.recordings)} recordings, as '{self.recordings[0].path}', "
                                    "can be used")
                self.deck, idle = passages(self.recordings, _PIECE_S, self.rng), 1
            for piece in self.deck.pop().pieces:
                if left > 0 and not why_not(piece, self.rate):
                    sound.append(read_piece(piece, self.rate)[:left])
                    left, idle = left - len(sound[-1]), 0
        whole = np.concatenate(sound)
        whole = np.roll(whole, self.rng.integers(len(whole)))       # voices that say the same do not say it at once
        return whole / max(float(whole.std()), 1e-9)


def _add(sound: np.ndarray, what: np.ndarray, level: float, begin_s: float, rate: int) -> None:
    begin = int(begin_s * rate)
    sound[begin : begin + len(what)] += level * what[: len(sound) - begin]


def judge(words: Sequence[SpokenWord], detections: Sequence[Detection]) -> tuple[int, int]:
    """(misses, false accepts), by the benchmark's rules."""
    heard, false, quiet_until = set(), 0, -1.0
    for d in detections:
        hits = [k for k, word in enumerate(words) if word.start_s <= d.time_s <= word.end_s + WINDOW_S]
        if hits:
            heard.update(hits)
        elif d.time_s >= quiet_until:
            false += 1
            quiet_until = d.time_s + DEBOUNCE_S
    return len(words) - len(heard), false


def wake_word(model: Model, directory: str | Path, sources: Sources, part: str = "validation",
              seeds: Sequence[int] = (1, 2, 3, 4, 5), settings: DetectorSettings | None = None,
              progress: Progress | None = None) -> dict:
    """The score of a model with one keyword: ``streams`` (misses and false accepts of each seed), their means and
    standard deviations, and ``passed``: whether the means are within what the benchmark allows.

    DataError if the model has several keywords, or nothing can be made of the folders.
    """
    keywords = keywords_of(model)
    if len(keywords) != 1:
        raise DataError(f"the MLPerf-like stream has one wake word, but this model has {len(keywords)}: "
                        f"{', '.join(keywords)}; train one with a single keyword")
    check_part(part)
    own, front_end = settings or DetectorSettings.of(model), settings_of(model)
    data, rows = scan_words(directory, keywords), []
    share = model.card.get("recipe", {}).get("test_share", 0.0)
    data = replace(data, clips=tuple(with_test_part(list(data.clips), share)))
    for n, seed in enumerate(seeds):
        track = make_wake_track(data, keywords[0], part, front_end, sources, seed)
        golden, rule = Continued(model), TrackDetector(model, [own], 1)
        for frames in frames_of(model, [track]):
            logits, _ = golden.accept(frames)
            rule.accept(logits)
        misses, false = judge(track.words, rule.found[0][0])
        rows.append({"seed": seed, "words": len(track.words), "clips": len({word.path for word in track.words}),
                     "misses": misses, "false_accepts": false})
        if progress:
            progress(n + 1, len(seeds))

    def over(name: str) -> dict:
        values = [row[name] for row in rows]
        return {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None, "most": max(values)}

    misses, false = over("misses"), over("false_accepts")
    return {"protocol": "mlperf", "official": False, "model": model.digest, "word": keywords[0], "part": part,
            "minutes": SECONDS / 60, "music": track.music, "detector": {
                "smooth": own.smooth, "threshold": own.threshold, "release": own.release,
                "refractory_s": own.refractory_s},
            "allowed": ALLOWED, "streams": rows, "misses": misses, "false_accepts": false,
            "passed": misses["mean"] <= ALLOWED and false["mean"] <= ALLOWED}
