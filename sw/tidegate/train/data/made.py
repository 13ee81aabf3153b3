"""Clips of ``unknown`` and ``silence`` for a data set without such recordings, made of its own clips' mel energies.

An unknown clip is a word played backwards, or the first half of one word and the second half of another.  Some words
are themselves backwards, and "light on" and "light off" spliced give a word again; so whatever sounds as near to
recordings of a word as these sound to each other is dropped.  Silence is a clip's own quiet frames before and after
the word, in random order, or coloured noise far below the words.

All arrays are energies (frames, bands), float32.  Chance comes from the generator given.
"""

import math

import numpy as np

_STEPS = 16                 # of a word's shape in time
_REFERENCES = 100           # clips a word that a made one is compared with
_MARGIN, _SHORTEST = 2, 3   # frames: kept away from the word; fewer quiet ones are no silence
_NOISE_DB = (-60.0, -10.0)  # of made noise, relative to the words


def word_span(energies: np.ndarray) -> tuple[int, int]:
    """(first, end) of the frames that hold the word: above half the way, in dB, from the quietest to the loudest."""
    level = energies.mean(1, dtype=np.float64)
    peak = max(level.max(), 1e-30)
    limit = min(max(math.sqrt(peak * np.quantile(level, 0.1)), 1e-3 * peak), 0.1 * peak)
    loud = np.flatnonzero(level >= limit)
    return (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, len(level))      # digital silence: all of it


def quiet_frames(energies: np.ndarray) -> np.ndarray:
    """The frames before and after the word, a margin away from it; empty where there are next to none."""
    first, end = word_span(energies)
    pieces = (energies[: max(0, first - _MARGIN)], energies[end + _MARGIN :])
    quiet = np.concatenate([p for p in pieces if len(p) >= _SHORTEST] or [energies[:0]])
    return quiet


class Words:
    """What the recordings of each word sound like; tells whether a made clip is one of the words."""

    def __init__(self, clips: list[np.ndarray], words: list[int]):
        """``words``: which word each clip is."""
        kept = [i for word in set(words) for i in [k for k, w in enumerate(words) if w == word][:_REFERENCES]]
        self._shapes = np.stack([_shape(clips[i]) for i in kept])
        labels = np.array([words[i] for i in kept])
        squares = (self._shapes**2).sum(1)
        distances = np.sqrt(np.maximum(0, squares[:, None] + squares - 2 * self._shapes @ self._shapes.T))
        np.fill_diagonal(distances, np.inf)
        distances[labels[:, None] != labels] = np.inf
        nearest = distances.min(1)
        nearest = nearest[np.isfinite(nearest) & (nearest > 0)]
        self._near = float(np.median(nearest)) if len(nearest) else 0.0

    def contain(self, clip: np.ndarray) -> bool:
        """Whether the clip is as near to a recording of a word as these typically are to each other."""
        return bool(np.sqrt(((self._shapes - _shape(clip)) ** 2).sum(1).min()) <= self._near)


def _shape(energies: np.ndarray) -> np.ndarray:
    """A word's spectrogram, its length and level taken out: (_STEPS · bands,)."""
    first, end = word_span(energies)
    at = np.linspace(first, end - 1, _STEPS)
    low = at.astype(int)
    part = (at - low)[:, None]
    frames = energies[low] * (1 - part) + energies[np.minimum(low + 1, end - 1)] * part
    logs = np.log(frames / max(frames.mean(), 1e-30) + 1e-3)
    return (logs - logs.mean()).ravel()


def unknown_clips(clips: list[np.ndarray], words: list[int], known: Words, count: int,
                  rng: np.random.Generator) -> list[np.ndarray]:
    """Up to ``count`` clips that are none of the words, from ``clips`` of ``words``; fewer where most would be."""
    made: list[np.ndarray] = []
    turns = list(rng.permutation(len(clips)))
    for attempt in range(10 * count):
        if len(made) == count:
            break
        if attempt % 2 == 0 and turns:
            clip = clips[turns.pop()][::-1]
        else:
            first = int(rng.integers(len(clips)))
            others = [i for i, word in enumerate(words) if word != words[first]]
            if not others:
                continue
            clip = _spliced(clips[first], clips[others[int(rng.integers(len(others)))]])
        if not known.contain(clip):
            made.append(np.ascontiguousarray(clip))
    return made


def _spliced(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The first half of one word and the second half of another, at the level of the first."""
    (first, end), (other_first, other_end) = word_span(one), word_span(other)
    ratio = one[first:end].mean() / max(float(other[other_first:other_end].mean()), 1e-30)
    return np.concatenate([one[: (first + end + 1) // 2], other[(other_first + other_end) // 2 :] * np.float32(ratio)])


def silence_clips(clips: list[np.ndarray], count: int, frames: int, rng: np.random.Generator) -> list[np.ndarray]:
    """``count`` clips of ``frames`` frames: in turn quiet frames of one of ``clips``, where it has some, and noise."""
    quiet = [q for q in map(quiet_frames, clips) if len(q)]
    level = float(np.median([c[slice(*word_span(c))].mean() for c in clips]))
    made = []
    for k in range(count):
        if quiet and k % 2 == 0:
            some = quiet[int(rng.integers(len(quiet)))]
            made.append(some[rng.integers(len(some), size=frames)])
            continue
        bands = clips[0].shape[1]
        tilt = np.exp(rng.uniform(-1, 1) * np.linspace(-math.pi, math.pi, bands))
        power = rng.gamma(2.0, 0.5, (frames, bands)) * (tilt / tilt.mean())
        made.append((power * level * 10 ** (rng.uniform(*_NOISE_DB) / 10)).astype(np.float32))
    return made
