"""Mel energies of many recordings, packed, and what streams are made of."""

import math
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from .made import word_span


@dataclass(frozen=True)
class FeatureBank:
    """Recordings: number i is ``energies[offsets[i] : offsets[i + 1]]``, (frames, bands) float32.

    ``first``, ``end`` (n,): frames that hold the word, or all.  ``targets`` (n,): class of each, or -1.
    """

    energies: np.ndarray
    offsets: np.ndarray
    first: np.ndarray
    end: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def clip(self, i: int) -> np.ndarray:
        return self.energies[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    @staticmethod
    def of(pieces: list[np.ndarray], targets: np.ndarray | None = None, words: bool = False) -> "FeatureBank":
        """Pack energies (frames, bands) each; with ``words`` find where in each the word is."""
        offsets = np.concatenate([[0], np.cumsum([len(p) for p in pieces], dtype=np.int64)])
        spans = [word_span(p) if words else (0, len(p)) for p in pieces]
        first, end = (np.array([s[k] for s in spans], np.int64) for k in (0, 1))
        bands = pieces[0].shape[1] if pieces else 0
        return FeatureBank(np.concatenate(pieces) if pieces else np.empty((0, bands), np.float32), offsets, first, end,
                    np.full(len(pieces), -1, np.int64) if targets is None else np.asarray(targets, np.int64))


@dataclass(frozen=True)
class Material:
    """What streams are made of: ``words`` (keywords and ``unknown``) with ``words_wet``, the same in rooms and in the
    same order, or None; likewise ``speech``; ``sounds``: noise recordings as events; ``noise`` (frames, bands): as
    background, each recording's mean energy 1; ``typical``: mean energy of a word's frames;
    ``skipped``: "path: reason" of what could not be read."""

    labels: tuple[str, ...]
    words: FeatureBank
    words_wet: FeatureBank | None
    speech: FeatureBank
    speech_wet: FeatureBank | None
    sounds: FeatureBank
    noise: np.ndarray
    typical: float
    skipped: tuple[str, ...] = ()

    @property
    def digest(self) -> bytes:
        """Of which recordings there are, in which order: what was mined are numbers of them."""
        digest = sha256()
        for array in (self.words.offsets, self.words.targets, self.speech.offsets, self.sounds.offsets,
                      self.noise[:, 0]):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.digest()


def noise_bed(pieces: list[np.ndarray], bands: int, rng: np.random.Generator) -> np.ndarray:
    """Background (frames, bands): recordings, each at a mean energy of 1, and coloured noise of some minutes."""
    made = []
    for _ in range(8):
        tilt = np.exp(rng.uniform(-1, 1) * np.linspace(-math.pi, math.pi, bands))
        power = rng.gamma(3.0, 1 / 3, (1500, bands)) * tilt
        made.append((power / power.mean()).astype(np.float32))
    scaled = [p / max(float(p.mean()), 1e-20) for p in pieces if len(p)]
    return np.concatenate([*(p.astype(np.float32) for p in scaled), *made])
