"""Training batches: clips varied in time, pitch, level and surroundings, on linear mel energies.

Energies of independent sounds add, E = g²·E_clip + s²·E_noise, so mixing needs no samples.  One gather with
linear interpolation does time shift, stretch, lead and tail.  Every number is drawn from one seeded generator.
"""

import math

import numpy as np
import torch
from torch import Tensor

from tidegate.host.frontend import log_energies
from tidegate.spec.formats import SIGNAL

from ..recipe import Augmentation
from .features import Features
from .folders import SILENCE, UNKNOWN


class Batch:
    """``frames`` (T, B, bands): SIGNAL integers held in floats.  ``decisions``: pairs of last frame (B,) and target
    (B, ...); after the last frame of the last one there is only padding.  ``marks`` (T, B): the label that is right in
    a frame, -1 where any may be told; None if nobody knows.  ``progress``: share of the run's epochs that are over."""

    def __init__(self, frames: Tensor, decisions: list[tuple[Tensor, Tensor]], marks: Tensor | None = None,
                 progress: float = 0.0):
        self.frames, self.decisions, self.marks, self.progress = frames, decisions, marks, progress

    def to(self, device: torch.device) -> "Batch":
        decisions = [(last.to(device), target.to(device)) for last, target in self.decisions]
        marks = None if self.marks is None else self.marks.to(device)
        return Batch(self.frames.to(device), decisions, marks, self.progress)


class Augmenter:
    """Makes batches of a data set's clips; ``mean``, ``scale`` (bands,) as in the model file."""

    def __init__(self, features: Features, options: Augmentation, mean: np.ndarray, scale: np.ndarray):
        self.options, self.settings, self.bands = options, features.settings, features.settings.bands
        self.energies = torch.from_numpy(features.energies)
        self.offsets = torch.from_numpy(features.offsets)
        self.targets = torch.from_numpy(features.targets)
        self.noise = torch.from_numpy(features.noise) if len(features.noise) else None
        self.middles = torch.from_numpy(_middles(features)) if options.splice else torch.empty(0)
        self.mean, self.scale = torch.from_numpy(mean), torch.from_numpy(scale * (1 << SIGNAL.frac))
        self.silence, self.unknown = (
            features.labels.index(label) if label in features.labels else -1 for label in (SILENCE, UNKNOWN))

    def __call__(self, clips: Tensor, rng: torch.Generator) -> Batch:
        """A batch of these clips (B,)."""
        energies, lengths, targets = self.vary(clips, rng)
        decisions = [(lengths - 1, targets)]
        if torch.rand((), generator=rng) < self.options.context:
            before = clips[torch.randperm(len(clips), generator=rng)]
            earlier, ends, targets_before = self.vary(before, rng)
            decisions = [(ends - 1, targets_before), (lengths - 1 + len(earlier), targets)]
            energies = torch.cat([earlier, energies])
        return Batch(self.heard(energies + self.noise_beside(energies, rng), rng), decisions)

    def heard(self, energies: Tensor, rng: torch.Generator) -> Tensor:
        """SIGNAL integers, held in floats, of energies (T, B, bands), with jitter."""
        features = (self.logarithms(energies) - self.mean) * self.scale
        features += torch.randn(features.shape, generator=rng) * (self.options.jitter * (1 << SIGNAL.frac))
        return torch.floor(features + 0.5).clamp_(-SIGNAL.max, SIGNAL.max)

    def logarithms(self, energies: Tensor) -> Tensor:
        """Features of energies (T, B, bands), each recording (T, bands) from its beginning."""
        if not self.settings.rise_db:
            return torch.log(energies + self.settings.floor)
        return torch.from_numpy(log_energies(energies.numpy(), self.settings))

    def _uniform(self, rng, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=rng) * (high - low) + low

    def vary(self, clips: Tensor, rng) -> tuple[Tensor, Tensor, Tensor]:
        """Energies (T, B, bands), lengths (B,) and targets (B,) of the clips, varied, without noise."""
        o, batch = self.options, len(clips)
        first, size = self.offsets[clips], self.offsets[clips + 1] - self.offsets[clips]
        speed = 1 + self._uniform(rng, -o.stretch, o.stretch, batch)
        lead = torch.randint(-o.crop, o.lead + 1, (batch,), generator=rng)
        lead = torch.maximum(lead, -(size // 4))
        tail = torch.randint(0, o.tail + 1, (batch,), generator=rng)
        lengths = (lead + torch.round(size / speed).long() + tail).clamp_min(1)
        position = (torch.arange(int(lengths.max()))[:, None] - lead) * speed
        limit = (size - 1).float()
        inside = (position > -1) & (position < limit + 1)
        hold = torch.rand(batch, generator=rng) < o.hold
        level = self._gain(clips, rng) * (inside | hold)
        level *= ~self._span(rng, position.shape[0], batch, o.mask_frames)
        position = torch.minimum(position.clamp_min(0), limit)
        targets = self.targets[clips]
        if o.backwards and self.unknown >= 0:
            turned = (torch.rand(batch, generator=rng) < o.backwards) & (targets != self.silence)
            position = torch.where(turned, limit - position, position)
            targets = torch.where(turned, self.unknown, targets)
        if len(self.middles) and self.unknown >= 0:
            first, size, position, targets = self._splice(clips, first, size, position, targets, rng)
        low = position.floor()
        part = (position - low)[..., None]
        index = first + low.long()
        after = torch.minimum(index + 1, first + size - 1)
        flat = self.energies
        energies = torch.lerp(flat[index], flat[after], part) * level[..., None]
        return self._warp(energies, rng), lengths, targets

    def _splice(self, clips: Tensor, first: Tensor, size: Tensor, position: Tensor, targets: Tensor, rng):
        """Some clips go on, from their middle, with another word from its middle: (first, size, position, targets)."""
        other = torch.randperm(len(clips), generator=rng)
        chosen = torch.rand(len(clips), generator=rng) < self.options.splice
        alien = (targets != targets[other]) & (targets != self.silence) & (targets[other] != self.silence)
        chosen &= alien & (self.targets[clips] == targets)       # what is turned already stays as it is
        turn = self.middles[clips].float()
        after = chosen & (position >= turn)
        beyond = (position - turn + self.middles[clips[other]]).clamp_max((size[other] - 1).float())
        return (torch.where(after, first[other], first), torch.where(after, size[other], size),
                torch.where(after, beyond, position), torch.where(chosen, self.unknown, targets))

    def _gain(self, clips: Tensor, rng) -> Tensor:
        """Factor on the energies (B,).  Silence may be much quieter: it is a class at any level."""
        decibel = self._uniform(rng, -self.options.gain, self.options.gain, len(clips))
        quiet = self.targets[clips] == self.silence
        decibel = torch.where(quiet, decibel - self._uniform(rng, 0, 40, len(clips)), decibel)
        return 10 ** (decibel / 10)

    def _span(self, rng, size: int, batch: int, widest: int) -> Tensor:
        """Boolean (size, B): one run of up to ``widest`` entries in each column."""
        width = torch.randint(0, widest + 1, (batch,), generator=rng)
        start = (torch.rand(batch, generator=rng) * size).long()
        at = torch.arange(size)[:, None]
        return (at >= start) & (at < start + width)

    def _warp(self, energies: Tensor, rng) -> Tensor:
        """Move the spectrum by a fraction of a band, then silence a few bands."""
        o, batch = self.options, energies.shape[1]
        if o.warp:
            band = torch.arange(self.bands) + self._uniform(rng, -o.warp, o.warp, batch, 1)
            band = band.clamp(0, self.bands - 1)
            low = band.floor()
            index = low.long().expand(energies.shape)
            after = (low.long() + 1).clamp_max(self.bands - 1).expand(energies.shape)
            energies = torch.lerp(energies.gather(2, index), energies.gather(2, after), band - low)
        return energies * ~self._span(rng, self.bands, batch, o.mask_bands).t()

    def noise_beside(self, energies: Tensor, rng) -> Tensor:
        """Noise energies (T, B, bands) for ``energies``: a stretch of the recordings, or made up of coloured noise."""
        o, (steps, batch) = self.options, energies.shape[:2]
        decibel = self._uniform(rng, *(o.snr or o.noise), batch)
        mixed = torch.rand(batch, generator=rng) < o.noise_share
        if self.noise is None:
            tilt = torch.exp(self._uniform(rng, -1, 1, batch, 1) * torch.linspace(-math.pi, math.pi, self.bands))
            noise = -torch.log(torch.rand(2, steps, batch, self.bands, generator=rng).clamp_min(1e-7)).mean(0) * tilt
        else:
            start = (torch.rand(batch, generator=rng) * max(1, len(self.noise) - steps)).long()
            index = (start + torch.arange(steps)[:, None]).clamp_max(len(self.noise) - 1)
            noise = self.noise[index]
        if o.snr:
            level = 10 ** (-decibel / 10) * mixed * speech_level(energies) / noise.mean((0, 2)).clamp_min(1e-20)
        else:
            level = 10 ** (decibel / 10) * mixed
            level = level * energies.mean((0, 2)) if self.noise is None else level
        return noise * level[:, None]


def speech_level(energies: Tensor) -> Tensor:
    """Mean energy (B,) of the active frames of clips (T, B, bands): those within 20 dB of a clip's loudest."""
    frames = energies.mean(2)
    active = (frames >= 0.01 * frames.amax(0)) & (frames > 0)
    return (frames * active).sum(0) / active.sum(0).clamp_min(1)


def _middles(features: Features) -> np.ndarray:
    """Frame (clips,) at which half of each clip's loudness, summed over bands and frames, has gone by."""
    middles = np.zeros(len(features.targets), np.int64)
    for i in range(len(middles)):
        gone = np.log1p(features.clip(i) / features.settings.floor).sum(1).cumsum()
        middles[i] = np.searchsorted(gone, gone[-1] / 2) if len(gone) else 0
    return middles
