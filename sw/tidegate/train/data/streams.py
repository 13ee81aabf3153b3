"""Endless streams to train with, made on the fly from mel energies: words, other words, speech, sounds and pauses.

    stream b   |gap|== keyword ==|gap|=== speech ===|gap|== other word ==|gap| pause |...
    background  ~~~~~~~~ a noise recording at its signal-to-noise ratio ~~~~~~~><~~~~~~~ another ~~~~~

Energies of independent sounds add, so mixing needs no samples.  ``Mixer.chunk`` gives the next frames of all streams
together with what the network is to answer in each:

    a class     after the end of a word, while it is quiet, and the class ``silence`` in long pauses
    REJECT      any class but a keyword: continuous speech, sounds, the gaps
    IGNORE      nothing: inside a word and while an answer may last

A word within continuous speech is not answered: speech is full of words that sound like keywords ("to", "for",
"right"), and only the quiet before and after it tells a command.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tidegate.host.frontend import FrontEndSettings, LogScale
from tidegate.spec.formats import SIGNAL

from .feature_bank import FeatureBank, Material
from .folders import SILENCE, UNKNOWN
from .stream_options import Listening

IGNORE, REJECT = -1, -2
_CUT = 25                # frames around the place where speech is to be cut
_ONSET = 8               # frames at the beginning of an item in which the one before may still be answered
_KNOTS = 5               # of the curve that colours an item
KINDS = ("keyword", "other", "speech", "sound", "pause")


@dataclass(frozen=True)
class Spoken:
    """A word in stream ``stream``: ``label``, and the frames ``first`` to ``end`` that hold it."""

    stream: int
    label: str
    first: int
    end: int


@dataclass
class Chunk:
    """``frames`` (T, B, bands): SIGNAL integers held in floats.  ``targets`` (T, B): class, REJECT or IGNORE.
    ``origin`` (T, B): number of the item in ``items``, pairs of kind and recording, or -1; ``at`` (T, B): frame of the
    recording.  ``fresh`` (B,): streams that begin with this chunk."""

    frames: Tensor
    targets: Tensor
    origin: np.ndarray
    at: np.ndarray
    items: list[tuple[str, int]]
    fresh: np.ndarray


@dataclass
class _Item:
    energies: np.ndarray
    targets: np.ndarray
    at: np.ndarray
    source: tuple[str, int]
    number: int = -1
    spoken: tuple[str, int, int] | None = None


@dataclass
class Mined:
    """What the network took for a keyword: (recording, frame) of continuous speech and recordings of other words; the
    newest ``most`` of each."""

    most: int = 4000
    speech: list[tuple[int, int]] = field(default_factory=list)
    words: list[int] = field(default_factory=list)

    def add_speech(self, recording: int, frame: int) -> None:
        self.speech.append((recording, frame))
        del self.speech[: -self.most]

    def add_word(self, recording: int) -> None:
        self.words.append(recording)
        del self.words[: -self.most]


class Mixer:
    """Makes the chunks of ``options.streams`` streams; everything follows from the generator of ``restart``.

    ``vary``: stretch, warp and mask the words (an ``Augmentation``), None: take them as they are.  ``mean``, ``scale``
    (bands,) as in the model file; ``settings`` of the front end.
    """

    def __init__(self, material: Material, options: Listening, mean: np.ndarray, scale: np.ndarray,
                 settings: FrontEndSettings, vary=None, mined: Mined | None = None):
        self.material, self.options, self.vary, self.settings = material, options, vary, settings
        self.mined = mined or Mined()
        self.mean, self.scale = torch.from_numpy(mean), torch.from_numpy(scale * (1 << SIGNAL.frac))
        self.unknown, self.silence = (material.labels.index(x) if x in material.labels else -1
                                      for x in (UNKNOWN, SILENCE))
        targets = material.words.targets
        self.other = np.flatnonzero(targets == self.unknown)
        self.keywords = [some for k in range(len(material.labels)) if k not in (self.unknown, self.silence)
                         and len(some := np.flatnonzero(targets == k))]      # of a few speakers one may lack a word
        shares = np.array(options.shares, np.float64)
        here = [True, len(self.other) > 0, len(material.speech) > 0, len(material.sounds) > 0, True]
        self.shares = shares * here / (shares * here).sum()
        lengths = material.speech.lengths.astype(np.float64)
        self.speech_chance = lengths / lengths.sum() if len(lengths) else lengths

        jitters = 4 * options.chunk * options.streams * len(mean) if getattr(vary, "jitter", 0) else 0
        self.noise = torch.from_numpy(np.random.default_rng(0).standard_normal(jitters, np.float32))

    def restart(self, rng: np.random.Generator) -> None:
        """Begin all streams anew."""
        streams = self.options.streams
        self.rng, self.frame, self.scale_of = rng, 0, LogScale(self.settings)
        self.pending: list[list[_Item]] = [[] for _ in range(streams)]
        self.begun = [0] * streams          # frames of the first pending item that were given
        self.left = np.zeros(streams, np.int64)
        self.place, self.level, self.gain = np.zeros(streams, np.int64), np.zeros(streams), np.ones(streams)
        self.spoken: list[Spoken] = []

    def chunk(self) -> Chunk:
        """The next frames of all streams."""
        o, material = self.options, self.material
        steps, streams, bands = o.chunk, o.streams, material.words.energies.shape[1]
        energies = np.zeros((streams, steps, bands), np.float32)
        targets = np.full((streams, steps), IGNORE, np.int64)
        origin, at = np.full((streams, steps), -1, np.int64), np.zeros((streams, steps), np.int64)
        fresh = self.rng.random(streams) < o.reset if self.frame else np.ones(streams, bool)
        items: list[tuple[str, int]] = []
        for b in range(streams):
            if fresh[b]:
                self.pending[b], self.begun[b] = [], 0
            self._fill(b, energies[b], targets[b], origin[b], at[b], items)
        self._background(energies)
        features = (torch.from_numpy(self._logarithms(energies, fresh)) - self.mean) * self.scale
        jitter = getattr(self.vary, "jitter", 0)
        if jitter:
            first = int(self.rng.integers(len(self.noise) - features.numel()))
            noise = self.noise[first : first + features.numel()].view(features.shape)
            features += noise * (jitter * (1 << SIGNAL.frac))
        features = torch.floor(features + 0.5).clamp_(-SIGNAL.max, SIGNAL.max)
        self.frame += steps
        return Chunk(features.contiguous(), torch.from_numpy(targets).t().contiguous(),
                     origin.T, at.T, items, fresh)

    def _logarithms(self, energies: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Energies (B, T, bands) → features (T, B, bands), the noise floors carried on but for fresh streams."""
        frames = np.ascontiguousarray(energies.swapaxes(0, 1))
        if self.scale_of.noise is not None and fresh.any():
            self.scale_of.noise[fresh] = frames[0, fresh] + self.settings.floor
        return self.scale_of.accept(frames)

    def _fill(self, b, energies, targets, origin, at, items) -> None:
        done, steps, pending = 0, len(energies), self.pending[b]
        while done < steps:
            if not pending:
                item = self._next()
                if item.spoken:
                    label, first, end = item.spoken
                    start = self.frame + done
                    self.spoken.append(Spoken(b, label, start + first, start + end))
                pending.append(item)
                item.number = -1
            item, begun = pending[0], self.begun[b]
            n = min(steps - done, len(item.targets) - begun)
            if item.number < 0 or begun == 0 or done == 0:
                item.number = len(items)
                items.append(item.source)
            inside = min(n, max(0, len(item.energies) - begun))
            energies[done : done + inside] = item.energies[begun : begun + inside]
            targets[done : done + n] = item.targets[begun : begun + n]
            origin[done : done + n] = item.number
            at[done : done + n] = item.at[begun : begun + n]
            done += n
            self.begun[b] += n
            if self.begun[b] == len(item.targets):
                pending.pop(0)
                self.begun[b] = 0

    def _background(self, energies: np.ndarray) -> None:
        o, rng, noise, steps = self.options, self.rng, self.material.noise, energies.shape[1]
        new = np.flatnonzero(self.left <= 0)
        count = len(new)
        if count:
            self.left[new] = rng.integers(600, 2500, count)
            self.place[new] = rng.integers(0, max(1, len(noise) - 2600), count)
            decibel = rng.uniform(*o.snr, count)
            self.level[new] = np.where(rng.random(count) < o.clean, 0, 10 ** (-decibel / 10) * self.material.typical)
            self.gain[new] = 10 ** (rng.uniform(-o.gain, o.gain, count) / 10)
        for b in range(len(energies)):
            if self.level[b] and len(noise):
                at = (self.place[b] + np.arange(steps)) % len(noise)
                energies[b] += np.float32(self.level[b]) * noise[at]
            energies[b] *= np.float32(self.gain[b])
        self.place += steps
        self.left -= steps

    def _next(self) -> _Item:
        kind = KINDS[self.rng.choice(len(KINDS), p=self.shares)]
        return getattr(self, f"_{kind}")()

    def _gap(self, least: int = 0) -> int:
        low, high = self.options.gap
        return max(least, int(low + (high - low) * self.rng.random() ** 2))

    def _pick(self, dry: FeatureBank, wet: FeatureBank | None, i: int) -> np.ndarray:
        return (wet if wet is not None and self.rng.random() < self.options.wet else dry).clip(i)

    def _keyword(self) -> _Item:
        some = self.keywords[int(self.rng.integers(len(self.keywords)))]
        return self._word(int(some[self.rng.integers(len(some))]))

    def _other(self) -> _Item:
        if self.rng.random() < self.options.splice:
            return self._spliced()
        if self.mined.words and self.rng.random() < self.options.mined:
            return self._word(self.mined.words[int(self.rng.integers(len(self.mined.words)))])
        return self._word(int(self.other[self.rng.integers(len(self.other))]))

    def _word(self, i: int) -> _Item:
        words, target = self.material.words, int(self.material.words.targets[i])
        energies = self._pick(words, self.material.words_wet, i)
        first, end = int(words.first[i]), int(words.end[i])
        energies, (first, end) = self._varied(energies, (first, end))
        keyword = target != self.unknown
        last = max(end + self.options.answer, len(energies))
        size = max(last + 2, len(energies) + self._gap(self.options.after if keyword else 6))
        targets = np.full(size, REJECT, np.int64)
        targets[:_ONSET] = IGNORE
        targets[first : end - 1] = IGNORE if keyword else REJECT
        settled = self.options.settle if self.rng.random() >= self.options.prompt else 0
        targets[end - 1 : end - 1 + settled] = IGNORE if keyword else REJECT
        targets[end - 1 + settled : last] = target
        targets[last : last + self.options.hold] = IGNORE if keyword else REJECT
        self._quiet(targets, last + self.options.hold)
        label = self.material.labels[target]
        return _Item(energies, targets, np.arange(size), ("keyword" if keyword else "other", i),
                     spoken=(label, first, end))

    def _spliced(self) -> _Item:
        """Half a word, or the halves of two: what begins or ends like a keyword and is none."""
        words, rng = self.material.words, self.rng
        halves = []
        for front in (True, False):
            some = self.keywords[int(rng.integers(len(self.keywords)))] if rng.random() < 0.7 or not len(self.other) \
                else self.other
            i = int(some[rng.integers(len(some))])
            clip, first, end = words.clip(i), int(words.first[i]), int(words.end[i])
            share = rng.uniform(0.3, 0.5)           # more than half of a short word sounds like all of it
            middle = first + max(1, int((end - first) * (share if front else 1 - share)))
            half = clip[:middle] if front else clip[middle:]
            halves.append((half if len(half) else clip, i))     # none is left of a click at the very end
        kind = rng.random()
        if kind < 0.4:
            pieces, target = [halves[0][0], halves[1][0]], self.unknown
            if words.targets[halves[0][1]] == words.targets[halves[1][1]]:
                target = IGNORE                 # the same word again
        else:
            pieces, target = [halves[int(kind < 0.7)][0]], REJECT
        energies, _ = self._varied(np.concatenate(pieces), (0, 1))
        size = len(energies) + self._gap(6)
        targets = np.full(size, REJECT if target != IGNORE else IGNORE, np.int64)
        targets[:_ONSET] = IGNORE
        if target == self.unknown:
            targets[len(energies) - 1 : len(energies) + 6] = target
        self._quiet(targets, len(energies) + 12)
        return _Item(energies, targets, np.arange(size), ("splice", -1))

    def _speech(self) -> _Item:
        speech, rng, o = self.material.speech, self.rng, self.options
        mined = self.mined.speech if rng.random() < o.mined else []
        if mined:
            i, frame = mined[int(rng.integers(len(mined)))]
            length = int(speech.lengths[i])
            frame = min(frame, length - 1)
            start = frame - int(rng.integers(40, 120))
            end = frame + int(rng.integers(15, 60))
        else:
            i = int(rng.choice(len(speech), p=self.speech_chance))
            length = int(speech.lengths[i])
            size = min(length, int(rng.integers(*o.speech)))
            start = int(rng.integers(0, length - size + 1))
            end = start + size
        level = speech.clip(i).mean(1)
        start, end = _calm(level, start, begins=True), _calm(level, end, begins=False)
        piece = self._pick(speech, self.material.speech_wet, i)[start : max(end, start + 1)]
        energies, _ = self._varied(piece, (0, 1), self.options.speech_warp)
        size = len(energies) + self._gap()
        targets = np.full(size, REJECT, np.int64)
        targets[:_ONSET] = IGNORE
        self._quiet(targets, len(energies) + 12)
        at = start + np.arange(size) * len(piece) // len(energies)
        return _Item(energies, targets, at, ("speech", i))

    def _sound(self) -> _Item:
        sounds, rng = self.material.sounds, self.rng
        i = int(rng.integers(len(sounds)))
        length = int(sounds.lengths[i])
        size = min(length, int(rng.integers(*self.options.sound)))
        start = int(rng.integers(0, length - size + 1))
        energies = sounds.clip(i)[start : start + size] * self._loudness()
        size += self._gap()
        targets = np.full(size, REJECT, np.int64)
        targets[:_ONSET] = IGNORE
        return _Item(energies, targets, start + np.arange(size), ("sound", i))

    def _pause(self) -> _Item:
        size = int(self.rng.integers(*self.options.pause))
        targets = np.full(size, REJECT, np.int64)
        targets[:_ONSET] = IGNORE
        self._quiet(targets, 0)
        bands = self.material.words.energies.shape[1]
        return _Item(np.empty((0, bands), np.float32), targets, np.arange(size), ("pause", -1))

    def _quiet(self, targets: np.ndarray, begin: int) -> None:
        """From 20 frames after ``begin`` on it is silence."""
        if self.silence >= 0:
            targets[begin + 20 :] = self.silence

    def _loudness(self) -> np.float32:
        return np.float32(10 ** (self.rng.uniform(-self.options.word_gain, self.options.word_gain) / 10))

    def _varied(self, energies: np.ndarray, span: tuple[int, int],
                warp: float | None = None) -> tuple[np.ndarray, tuple[int, int]]:
        """A word or speech at another level, speed, pitch (``warp`` bands at most, else the augmentation's) and colour,
        parts of it masked; and where a word then is."""
        energies = energies * self._loudness()
        o, rng = self.vary, self.rng
        if o is None:
            return energies, span
        frames, bands = energies.shape
        speed = 1 + rng.uniform(-o.stretch, o.stretch)
        size = max(2, round(frames / speed))
        at = np.minimum(np.arange(size) * speed, frames - 1.001)
        low = at.astype(np.int64)
        part = (at - low).astype(np.float32)[:, None]
        energies = energies[low] * (1 - part) + energies[np.minimum(low + 1, frames - 1)] * part
        first, end = (int(np.clip(round(x / speed), 0, size)) for x in span)
        if self.options.colour:
            knots = rng.normal(0, self.options.colour, _KNOTS)
            curve = np.interp(np.linspace(0, _KNOTS - 1, bands), np.arange(_KNOTS), knots)
            energies = energies * (10 ** (curve / 10)).astype(np.float32)
        if reach := o.warp if warp is None else warp:
            band = np.clip(np.arange(bands) + rng.uniform(-reach, reach), 0, bands - 1)
            low = band.astype(np.int64)
            share = (band - low).astype(np.float32)
            energies = energies[:, low] * (1 - share) + energies[:, np.minimum(low + 1, bands - 1)] * share
        if o.mask_bands and (width := int(rng.integers(0, o.mask_bands + 1))):
            start = int(rng.integers(0, bands - width + 1))
            energies[:, start : start + width] = 0
        if o.mask_frames and (width := int(rng.integers(0, o.mask_frames + 1))):
            start = int(rng.integers(0, size))
            energies[start : start + width] = 0
        return energies, (min(first, size - 1), max(1, end))


def _calm(level: np.ndarray, at: int, begins: bool) -> int:
    """Where to begin or end speech near a frame: the quietest one around, so that no word is cut; or where the
    recording begins or ends, if that is near."""
    low, high = max(0, at - _CUT), min(len(level), at + _CUT)
    if begins and low == 0:
        return 0
    if not begins and high == len(level):
        return len(level)
    return low + int(level[low:high].argmin())
