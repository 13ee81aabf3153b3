"""Recorded words as the pieces of strings: cut to what is spoken, of one loudness, and placed after each other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from tidegate.host.frontend import FrontEndSettings

from ..recipe import Augmentation
from .augment import Augmenter, Batch, speech_level
from .features import Features, load_features
from .string_corpora import Corpus
from .string_options import StringOptions

LOUDNESS = 0.3      # of every word: the mean energy of a band in its loud frames (``augment.speech_level``)
_EARLY, _SURE = 0.5, 0.88       # of a word: from here on its token may be told, and from here on it is marked
_LATE = 6                       # frames after the word in which its token may still be told


@dataclass(frozen=True)
class StringWords:
    """Recorded words to train with.  ``features``: cut and of one loudness, with tokens for targets.  ``voices``
    (clips,): number of who says it; ``corpora`` (clips,): number of the corpus."""

    features: Features
    voices: np.ndarray
    corpora: np.ndarray

    def draw(self, count: int, one_voice: float, rng: np.random.Generator) -> list[int]:
        """Numbers of ``count`` clips: each token is as likely, and each corpus by the square root of its clips of the
        token.  With the probability ``one_voice`` all are by one voice, of those tokens that it says."""
        targets = self.features.targets
        if rng.random() < one_voice:
            own = np.flatnonzero(self.voices == self.voices[rng.integers(len(self.voices))])
            said = np.unique(targets[own])
            return [int(rng.choice(own[targets[own] == token])) for token in rng.choice(said, count)]
        drawn = []
        for token in rng.integers(len(self.by_token), size=count):
            groups, odds = self.by_token[token]
            drawn.append(int(rng.choice(groups[rng.choice(len(groups), p=odds)])))
        return drawn

    @cached_property
    def by_token(self) -> list[tuple[list[np.ndarray], np.ndarray]]:
        """Per token: the clips of each corpus that has it, and how likely the corpus is."""
        made = []
        for token in range(len(self.features.labels)):
            own = np.flatnonzero(self.features.targets == token)
            groups = [own[self.corpora[own] == corpus] for corpus in np.unique(self.corpora[own])]
            odds = np.sqrt([len(group) for group in groups])
            made.append((groups, odds / odds.sum()))
        return made


def spoken_frames(energies: np.ndarray, options: StringOptions, settings: FrontEndSettings) -> tuple[int, int]:
    """First frame and end of what is spoken in a recording's energies (frames, bands), with the margins."""
    loudness = energies.mean(1)
    loud = np.flatnonzero(loudness >= loudness.max() * 10 ** (-options.trim / 10))
    margin = round(options.margin_s * settings.sample_rate / settings.hop)
    return max(0, int(loud[0]) - margin), min(len(energies), int(loud[-1]) + 1 + margin)


def loudness_of(energies: np.ndarray) -> float:
    """Mean energy of a band in the loud frames of (frames, bands); above 0."""
    return max(float(speech_level(torch.from_numpy(energies[:, None]))[0]), 1e-12)


def load_words(corpora: Sequence[Corpus], options: StringOptions, settings: FrontEndSettings, cache=None,
               progress: bool = False) -> StringWords:
    """All clips of the part train; those that cannot be used are in ``features.skipped``."""
    pieces, targets, voices, origin, noise, skipped = [], [], [], [], [], []
    names: dict[tuple[int, str], int] = {}
    for number, corpus in enumerate(corpora):
        clips = tuple(clip for clip in corpus.data.clips if clip.part == "train")
        if not clips:
            continue
        found = load_features(replace(corpus.data, clips=clips), settings, cache, progress, training=False)
        left_out = {path for path, _ in found.skipped}
        skipped += [(f"{corpus.name}/{path}", why) for path, why in found.skipped]
        noise.append(found.noise)
        for i, clip in enumerate(clip for clip in clips if clip.path not in left_out):
            energies = found.clip(i)
            begin, end = spoken_frames(energies, options, settings)
            pieces.append(energies[begin:end] * np.float32(LOUDNESS / loudness_of(energies[begin:end])))
            targets.append(found.targets[i])
            voices.append(names.setdefault((number, clip.speaker or clip.path), len(names)))
            origin.append(number)
    empty = np.zeros((0, settings.bands), np.float32)
    offsets = np.cumsum([0, *map(len, pieces)])
    features = Features(settings, corpora[0].data.labels, np.concatenate([empty, *pieces]), offsets,
                        np.array(targets, np.int64), np.zeros(len(pieces), np.int64), np.concatenate([empty, *noise]),
                        tuple(skipped))
    return StringWords(features, np.array(voices), np.array(origin))


def place(lengths: Sequence[int], options: StringOptions, per_second: float,
          rng: np.random.Generator) -> tuple[list[int], int]:
    """Where words of these lengths begin, and the length of the string, in units of which there are ``per_second``."""
    def drawn(span: tuple[float, float]) -> int:
        return round(rng.uniform(*span) * per_second)

    starts, at = [], drawn(options.edge_s)
    for number, length in enumerate(lengths):
        if number:
            kind = rng.random()
            if kind < options.overlap:
                at -= min(drawn((0.0, options.overlap_s)), lengths[number - 1] // 2)
            else:
                at += drawn(options.pause_s if kind < options.overlap + options.pause else options.gap_s)
        starts.append(at)
        at += length
    return starts, at + drawn(options.edge_s)


class StringMaker:
    """Makes training batches of strings: words are drawn, varied and placed anew, with noise, on their energies."""

    def __init__(self, words: StringWords, options: StringOptions, augmentation: Augmentation, mean: np.ndarray,
                 scale: np.ndarray):
        settings = words.features.settings
        self.words, self.options = words, options
        self.per_second = settings.sample_rate / settings.hop
        varied = replace(augmentation, gain=options.word_level, snr=options.snr, lead=0, tail=0, crop=0, hold=0.0)
        self.augmenter = Augmenter(words.features, varied, mean, scale)

    def strings(self, counts: Sequence[int], rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Strings of so many tokens each: energies (T, B, bands), lengths (B,), tokens (B, most), -1 where a string has
        no more, and marks (T, B): the token in the last part of its word, -1 before and just after that, else the
        blank."""
        chance = np.random.default_rng(int(torch.randint(2**62, (), generator=rng)))
        drawn = [self.words.draw(count, self.options.one_voice, chance) for count in counts]
        clips = torch.tensor([clip for string in drawn for clip in string])
        energies, sizes, tokens = self.augmenter.vary(clips, rng)
        starts, lengths, at = [], [], 0
        for string in drawn:
            begun, length = place(sizes[at : at + len(string)].tolist(), self.options, self.per_second, chance)
            starts += begun
            lengths.append(length)
            at += len(string)
        of = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor([len(string) for string in drawn]))
        time = torch.arange(len(energies))[:, None]
        there = time < sizes
        mixed = torch.zeros(max(lengths), len(counts), energies.shape[2])
        index = ((torch.tensor(starts) + time) * len(counts) + of)[there]
        mixed.view(-1, energies.shape[2]).index_add_(0, index, energies[there])
        mixed = mixed + self.augmenter.noise_beside(mixed, rng)
        decibel = (2 * torch.rand(len(counts), generator=rng) - 1) * self.options.level
        targets = torch.full((len(counts), max(counts)), -1)
        targets[torch.arange(max(counts)) < torch.tensor([len(string) for string in drawn])[:, None]] = tokens
        marks = torch.full((len(mixed), len(counts)), len(self.words.features.labels))      # the blank
        marks[torch.arange(len(mixed))[:, None] >= torch.tensor(lengths)] = -1
        for begun, size, string, token in zip(starts, sizes.tolist(), of.tolist(), tokens.tolist(), strict=True):
            early, sure = begun + round(_EARLY * size), begun + round(_SURE * size)
            marks[early : begun + size + _LATE, string] = -1
            marks[sure : begun + size, string] = token
        return mixed * (10 ** (decibel / 10))[:, None], torch.tensor(lengths), targets, marks

    def batch(self, counts: Sequence[int], rng: torch.Generator) -> Batch:
        energies, lengths, targets, marks = self.strings(counts, rng)
        return Batch(self.augmenter.heard(energies, rng), [(lengths - 1, targets)], marks)
