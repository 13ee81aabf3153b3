"""Strings of tokens, such as telephone numbers: composed of recorded words to train, composed or recorded to judge.

Training strings are made anew for every batch, on mel energies (``string_words.py``).  Those of the validation and the
test part are made once, on samples, and go through the front end as live sound does.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tidegate.host.audio import AudioError, read_audio
from tidegate.host.frontend import FrontEnd, FrontEndSettings, log_energies
from tidegate.spec.cache import cache_folder

from ..errors import DataError
from ..recipe import Augmentation
from .augment import Batch
from .features import read_cache, write_cache
from .split import ALL_PARTS, PARTS, Clip
from .string_corpora import Corpus, find_corpora, read_transcripts
from .string_options import StringOptions
from .string_words import LOUDNESS, StringMaker, StringWords, load_words, loudness_of, place, spoken_frames

BLANK = "blank"
_VERSION = 1
_OF_TRAINING = ("count", "trained", "one_voice", "train_only", "marks", "marked", "beam")     # no option of judging
MOST_SECONDS = 120.0        # of a recording of a string
_NORMAL = 256               # training strings that say what is normal
_JUDGED_SEED = 20
_TILT = 1.5                 # noise falls with up to this power of the frequency
_LOUDEST = 4.0              # samples of a composed string


@dataclass(frozen=True)
class Strings:
    """Strings to train and to judge; the ``Examples`` of the task ``ctc``.

    The first ``len(counts)`` examples train: example i has ``counts[i]`` tokens, and what they are changes with every
    batch; ``frames`` has one of these strings.  The others are judged: ``energies`` holds their frames one after the
    other.  ``sizes`` (n,): frames.  ``targets`` (n, most): tokens, then -1.
    """

    labels: tuple[str, ...]
    settings: FrontEndSettings
    options: StringOptions
    augmentation: Augmentation
    words: StringWords | None
    counts: tuple[int, ...]
    energies: np.ndarray
    sizes: np.ndarray
    targets: np.ndarray
    parts: np.ndarray
    task: str = "ctc"
    skipped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def width(self) -> int:
        return self.settings.bands

    @property
    def offsets(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.sizes)])

    @property
    def content(self) -> np.ndarray:
        return self.energies if self.words is None else np.concatenate([self.words.features.energies, self.energies])

    def of(self, part: str) -> np.ndarray:
        """Numbers of the examples in a part."""
        return np.flatnonzero(self.parts == ALL_PARTS.index(part))

    def frames(self, i: int) -> np.ndarray:
        """(frames, bands) float32 of example i."""
        if self.words is not None and i < len(self.counts):
            return log_energies(_example(self.words, self.options, self.counts[i], i)[0], self.settings)
        start = int(self.sizes[len(self.counts) : i].sum())
        return log_energies(self.energies[start : start + int(self.sizes[i])], self.settings)

    def maker(self, mean: np.ndarray, scale: np.ndarray) -> StringMaker:
        """Makes training strings."""
        if self.words is None:
            raise DataError("these strings are to be judged, not to train; give a folder of words")
        return StringMaker(self.words, self.options, self.augmentation, mean, scale)

    def batcher(self, mean: np.ndarray, scale: np.ndarray):
        """Makes batches of strings with as many tokens as examples (B,): the ``BatchMaker`` of training."""
        maker = self.maker(mean, scale)

        def batch(examples: Tensor, rng: torch.Generator) -> Batch:
            return maker.batch([self.counts[i] for i in examples.tolist()], rng)

        return batch

    def normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, scale) float32 (bands,) of the frames of training strings, as they are varied."""
        maker = self.maker(np.zeros(self.width, np.float32), np.ones(self.width, np.float32))
        energies, lengths, *_ = maker.strings(self.counts[:_NORMAL], torch.Generator().manual_seed(0))
        there = torch.arange(len(energies))[:, None] < lengths
        frames = maker.augmenter.logarithms(energies)[there].double()
        return frames.mean(0).float().numpy(), (1 / (frames.std(0) + 1e-3)).float().numpy()


def load_strings(directory: str | Path, tokens: tuple[str, ...], options: StringOptions, settings: FrontEndSettings,
                 augmentation: Augmentation | None = None, test_share: float = 0.0, speaker: str = "",
                 cache: str | Path | None = None, progress: bool = False) -> Strings:
    """Strings of the words in a folder of words, or in several in one folder (``string_corpora.find_corpora``).

    Without ``augmentation`` there are none to train.  DataError if a token has no recording to train with, or nothing
    can be judged.
    """
    corpora = find_corpora(directory, tokens, options, test_share, speaker)
    words, counts, sizes, targets, skipped = None, (), [], [], []
    if augmentation is not None:
        words = load_words(corpora, options, settings, cache, progress)
        skipped += words.features.skipped
        lacking = [token for number, token in enumerate(tokens) if not (words.features.targets == number).any()]
        if lacking:
            raise DataError(f"'{directory}' has no usable recording of {', '.join(lacking)} to train with; add some, "
                            "or leave these tokens out of the recipe's keywords")
        low, high = options.trained or options.tokens
        counts = tuple(low + i % (high - low + 1) for i in range(options.count))
        made = [_example(words, options, count, i) for i, count in enumerate(counts)]
        sizes, targets = [len(energies) for energies, _ in made], [said for _, said in made]
    parts = [0] * len(counts)
    energies = [np.zeros((0, settings.bands), np.float32)]
    for number, part in enumerate(PARTS[1:], 1):
        strings, lost = _kept(corpora, part, options, settings, cache)
        energies += [heard for heard, _ in strings]
        sizes += [len(heard) for heard, _ in strings]
        targets += [said for _, said in strings]
        parts += [number] * len(strings)
        skipped += lost
    if len(parts) == len(counts) or (augmentation is not None and 1 not in parts):
        raise DataError(f"'{directory}' has no recordings of {', '.join(tokens)} in its validation part, with which an "
                        "epoch is chosen; add some by other speakers")
    warnings = tuple(line for corpus in corpora for line in corpus.data.warnings)
    return Strings((*tokens, BLANK), settings, options, augmentation or Augmentation(), words, counts,
                   np.concatenate(energies), np.array(sizes), _padded(targets), np.array(parts),
                   skipped=tuple(dict.fromkeys(skipped)), warnings=warnings)


def load_recorded(path: str | Path, tokens: tuple[str, ...], options: StringOptions,
                  settings: FrontEndSettings) -> Strings:
    """The strings that a CSV tells of recordings, all in the test part (``string_corpora.read_transcripts``)."""
    found, skipped = read_transcripts(path, tokens)
    energies, targets = [], []
    for each in found:
        try:
            samples = read_audio(each.path, settings.sample_rate)
            if len(samples) > MOST_SECONDS * settings.sample_rate:
                raise AudioError(f"longer than {MOST_SECONDS:g} s")
            heard = FrontEnd(settings).energies(samples)
        except AudioError as error:
            skipped.append((str(each.path), str(error)))
            continue
        if len(heard):
            energies.append(heard)
            targets.append(list(each.tokens))
        else:
            skipped.append((str(each.path), "shorter than one window"))
    if not energies:
        raise DataError(f"no recording that '{path}' names can be used: {skipped[0][0]}: {skipped[0][1]}")
    return Strings((*tokens, BLANK), settings, options, Augmentation(), None, (), np.concatenate(energies),
                   np.array([len(e) for e in energies]), _padded(targets),
                   np.full(len(energies), PARTS.index("test")), skipped=tuple(skipped))


def _padded(strings: Sequence[Sequence[int]]) -> np.ndarray:
    padded = np.full((len(strings), max(map(len, strings))), -1, np.int64)
    for row, string in zip(padded, strings, strict=True):
        row[: len(string)] = string
    return padded


def _example(words: StringWords, options: StringOptions, count: int, number: int) -> tuple[np.ndarray, list[int]]:
    """The training string that an example shows: energies (frames, bands), without variation, and its tokens."""
    features, rng = words.features, np.random.default_rng([number, _JUDGED_SEED])
    clips = words.draw(count, options.one_voice, rng)
    pieces = [features.clip(clip) for clip in clips]
    per_second = features.settings.sample_rate / features.settings.hop
    starts, length = place([len(piece) for piece in pieces], options, per_second, rng)
    energies = np.zeros((length, features.settings.bands), np.float32)
    for start, piece in zip(starts, pieces, strict=True):
        energies[start : start + len(piece)] += piece
    return energies, [int(features.targets[clip]) for clip in clips]


def _kept(corpora: Sequence[Corpus], part: str, options: StringOptions, settings: FrontEndSettings,
          cache: str | Path | None) -> tuple[list[tuple[np.ndarray, list[int]]], list[tuple[str, str]]]:
    """``_composed``, or what it made before of the same recordings, from the cache folder (default ``spec.cache``)."""
    files = [[corpus.name, str(corpus.data.root.resolve()), clip.path, clip.label, clip.speaker, stat.st_size,
              stat.st_mtime_ns] for corpus in corpora for clip in corpus.data.clips if clip.part == part
             for stat in [(corpus.data.root / clip.path).stat()]]
    of_judged = {name: value for name, value in asdict(options).items() if name not in _OF_TRAINING}
    wanted = [_VERSION, part, of_judged, settings.of_energies(), corpora[0].data.labels, files]
    key = sha256(json.dumps(wanted).encode()).hexdigest()[:24]
    store = Path(cache or cache_folder()).expanduser() / f"strings-{key}.npz"
    if (found := read_cache(store)) is not None:
        energies, lengths, skipped, said = found
        ends = np.cumsum(lengths)
        strings = [(energies[end - length : end], tokens)
                   for end, length, tokens in zip(ends, lengths, said, strict=True)]
        return strings, [(path, why) for path, why in skipped]
    strings, lost = _composed(corpora, part, options, settings)
    write_cache(store, np.concatenate([np.zeros((0, settings.bands), np.float32), *(heard for heard, _ in strings)]),
                np.array([len(heard) for heard, _ in strings], np.int64), lost, [said for _, said in strings])
    return strings, lost


def _composed(corpora: Sequence[Corpus], part: str, options: StringOptions,
              settings: FrontEndSettings) -> tuple[list[tuple[np.ndarray, list[int]]], list[tuple[str, str]]]:
    """The strings of a part that is judged: (energies, tokens) of each, and the recordings that cannot be used.

    Each is by one speaker: of one corpus, each as likely as the others, and there of one who says at least half as many
    tokens as the one who says most.
    """
    rng = np.random.default_rng([PARTS.index(part), _JUDGED_SEED])
    choices = [(corpus, voices) for corpus in corpora if (voices := _voices(corpus, part))]
    made, skipped = [], []
    while choices and len(made) < options.judged:
        corpus, voices = choices[rng.integers(len(choices))]
        own = voices[rng.integers(len(voices))]
        count = int(rng.integers(options.tokens[0], options.tokens[1] + 1))
        clips = [own[token][rng.integers(len(own[token]))] for token in rng.choice(sorted(own), count)]
        pieces = []
        for clip in clips:
            try:
                pieces.append(_word(corpus.data.root / clip.path, options, settings))
            except AudioError as error:
                skipped.append((f"{corpus.name}/{clip.path}", str(error)))
        if len(skipped) > options.judged:
            raise DataError(f"hardly a recording of the {part} part can be used, as {skipped[0][0]}: {skipped[0][1]}")
        if len(pieces) == count:
            tokens = [corpus.data.labels.index(clip.label) for clip in clips]
            made.append((FrontEnd(settings).energies(_mixed(pieces, options, settings, rng)), tokens))
    return made, skipped


def _voices(corpus: Corpus, part: str) -> list[dict[int, list[Clip]]]:
    """Token → clips of each speaker of a part who says enough of them."""
    voices: dict[str, dict[int, list[Clip]]] = {}
    for clip in corpus.data.clips:
        if clip.part == part:
            voices.setdefault(clip.speaker, {}).setdefault(corpus.data.labels.index(clip.label), []).append(clip)
    most = max(map(len, voices.values()), default=0)
    return [own for own in voices.values() if 2 * len(own) >= most]


def _word(path: Path, options: StringOptions, settings: FrontEndSettings) -> np.ndarray:
    """Samples of a recorded word, cut to what is spoken, of the loudness of all."""
    samples = read_audio(path, settings.sample_rate, lambda text: None)
    energies = FrontEnd(settings).energies(samples)
    if not len(energies):
        raise AudioError("shorter than one window")
    begin, end = spoken_frames(energies, options, settings)
    cut = samples[begin * settings.hop : (end - 1) * settings.hop + settings.window].copy()
    fade = np.linspace(0, 1, min(len(cut) // 2, settings.hop // 2), dtype=np.float32)
    cut[: len(fade)] *= fade
    cut[len(cut) - len(fade) :] *= fade[::-1]
    return cut * np.float32((LOUDNESS / loudness_of(energies[begin:end])) ** 0.5)


def _mixed(words: Sequence[np.ndarray], options: StringOptions, settings: FrontEndSettings,
           rng: np.random.Generator) -> np.ndarray:
    """Samples of a string, with noise of a random slope."""
    starts, length = place([len(word) for word in words], options, settings.sample_rate, rng)
    sound = np.zeros(max(length, settings.window), np.float64)
    for start, word in zip(starts, words, strict=True):
        sound[start : start + len(word)] += word * 10 ** (rng.uniform(-options.word_level, options.word_level) / 20)
    spectrum = np.fft.rfft(rng.standard_normal(len(sound)))
    spectrum *= np.maximum(np.fft.rfftfreq(len(sound)), settings.low_hz / settings.sample_rate) ** (
        -rng.uniform(0, _TILT) / 2)
    noise = np.fft.irfft(spectrum, len(sound))
    noise *= 0.1 / np.abs(noise).max()
    heard, hiss = (FrontEnd(settings).energies(np.clip(part, -_LOUDEST, _LOUDEST).astype(np.float32))
                   for part in (sound, noise))
    noise *= (10 ** (-rng.uniform(*options.snr) / 10) * loudness_of(heard) / hiss.mean()) ** 0.5    # as in training
    level = 10 ** (rng.uniform(-options.level, options.level) / 20)
    return np.clip((sound + noise) * level, -_LOUDEST, _LOUDEST).astype(np.float32)
