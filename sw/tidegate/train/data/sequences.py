"""Sequences that are no sound: the demonstrations of rank coding, in the manner of its paper (arXiv:2110.02865).

    cue        40 steps of 12 lines, on each of which a pulse comes at random; in one step, at a random time, one of 4
               further lines says the class.  To answer when it has come, and not before, is all there is to learn.
    evidence   50 steps of one number, ± μ + noise of 1, μ one of 0.15, 0.3, 0.6 or 1.2: the sign is the class.  More
               steps are more evidence: a network that knows how sure it is decides the easy ones early.
    mnist      handwritten digits (LeCun et al. 1998), time to first spike: of 28 x 28 lines each goes up once and stays
               up, the brighter its pixel the earlier, in 4 steps; dark pixels never do.  A line costs one event.

The first two are made from a seed, whatever the recipe's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tidegate.spec.formats import SIGNAL

from ..errors import DataError
from .augment import Batch
from .image_sets import load_image_set
from .split import ALL_PARTS

SOURCES = ("cue", "evidence", "mnist")
CUE_STEPS, CUE_LINES, CUE_CLASSES = 40, 12, 4
EVIDENCE_STEPS, EVIDENCE_MEANS = 50, (0.15, 0.3, 0.6, 1.2)
MNIST_STEPS, MNIST_SIDE, MNIST_SHIFT = 4, 28, 2
MNIST_UP = 4.0      # not 1: with small weights 784 lines pass the proof of the accumulators, which takes each at 8
_COUNTS = {"train": 4000, "validation": 1000, "test": 1000}        # of the made ones


@dataclass(frozen=True)
class Sequences:
    """Sequences of frames as a model takes them, all of one length: the ``Examples`` of the ``task`` of this name.

    ``values`` (clips, ...): what ``code`` makes (clips, steps, width) float32 of; ``targets`` (clips,), ``parts``
    (clips,) indices into ALL_PARTS; ``vary``: a batch of values for training, from (values, generator).
    """

    task: str
    labels: tuple[str, ...]
    values: np.ndarray
    targets: np.ndarray
    parts: np.ndarray
    steps: int
    width: int
    code: Callable[[np.ndarray], np.ndarray]
    vary: Callable[[np.ndarray, torch.Generator], np.ndarray] = lambda values, rng: values
    skipped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    def of(self, part: str) -> np.ndarray:
        """Numbers of the sequences in a part."""
        return np.flatnonzero(self.parts == ALL_PARTS.index(part))

    @property
    def offsets(self) -> np.ndarray:
        return np.arange(len(self.targets) + 1) * self.steps

    @property
    def content(self) -> np.ndarray:
        return self.values

    def frames(self, i: int) -> np.ndarray:
        """(steps, width) float32 of sequence i."""
        return self.code(self.values[i : i + 1])[0]

    def normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, scale) float32 (width,): sequences are taken as they are."""
        return np.zeros(self.width, np.float32), np.ones(self.width, np.float32)

    def batch(self, clips: Tensor, rng: torch.Generator) -> Batch:
        """Sequences (B,) to train with; each is to be decided at its last frame at the latest."""
        frames = torch.tensor(self.code(self.vary(self.values[clips.numpy()], rng))).swapaxes(0, 1)
        ints = torch.floor(frames * (1 << SIGNAL.frac) + 0.5).clamp_(-SIGNAL.max, SIGNAL.max)
        last = torch.full((len(clips),), self.steps - 1)
        return Batch(ints.contiguous(), [(last, torch.from_numpy(self.targets[clips.numpy()]))])


def load_sequences(task: str, directory: str | Path | None = None) -> Sequences:
    """The sequences of one of SOURCES; DataError if it needs a folder and there is none, or it needs none, or its files
    are not the task's."""
    if task == "mnist":
        if directory is None:
            raise DataError("the task 'mnist' needs its data: run `tidegate data mnist` and give the folder data/mnist")
        return _mnist(Path(directory))
    if directory is not None:
        raise DataError(f"the task '{task}' is made from a seed; leave the folder out")
    return _cue() if task == "cue" else _evidence()


def _made(task: str, labels: tuple[str, ...], frames: np.ndarray, targets: np.ndarray) -> Sequences:
    parts = np.repeat([ALL_PARTS.index(part) for part in _COUNTS], list(_COUNTS.values()))
    _, steps, width = frames.shape
    return Sequences(task, labels, frames.astype(np.float32), targets.astype(np.int64), parts, steps, width,
                     lambda x: x)


def _cue() -> Sequences:
    rng, n = np.random.default_rng(1), sum(_COUNTS.values())
    targets, at = rng.integers(CUE_CLASSES, size=n), rng.integers(CUE_STEPS, size=n)
    frames = np.zeros((n, CUE_STEPS, CUE_LINES + CUE_CLASSES))
    frames[:, :, :CUE_LINES] = rng.random((n, CUE_STEPS, CUE_LINES)) < 0.2
    frames[np.arange(n), at, CUE_LINES + targets] = 1
    return _made("cue", tuple(f"line {k}" for k in range(CUE_CLASSES)), frames, targets)


def cue_times(sequences: Sequences) -> np.ndarray:
    """The step (clips,) in which each sequence of the task ``cue`` says its class."""
    return sequences.values[:, :, CUE_LINES:].any(2).argmax(1)


def _evidence() -> Sequences:
    rng, n = np.random.default_rng(2), sum(_COUNTS.values())
    targets, mean = rng.integers(2, size=n), rng.choice(EVIDENCE_MEANS, n)
    frames = (2 * targets - 1)[:, None] * mean[:, None] + rng.standard_normal((n, EVIDENCE_STEPS))
    return _made("evidence", ("minus", "plus"), frames[:, :, None], targets)


def spikes(images: np.ndarray) -> np.ndarray:
    """Time to first spike: uint8 (n, 28, 28) → float32 (n, MNIST_STEPS, 784), up from step ⌊(255 − p)·4 / 256⌋ on."""
    step = (255 - images.reshape(len(images), 1, -1).astype(np.int64)) * MNIST_STEPS // 256
    up = (np.arange(MNIST_STEPS)[:, None] >= step) & (images.reshape(len(images), 1, -1) > 0)
    return up * np.float32(MNIST_UP)


def shifted(images: np.ndarray, rng: torch.Generator, most: int = MNIST_SHIFT) -> np.ndarray:
    """Each image moved by up to ``most`` pixels in both directions."""
    s = most
    moves = torch.randint(0, 2 * s + 1, (len(images), 2), generator=rng).numpy()
    padded = np.pad(images, ((0, 0), (s, s), (s, s)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, images.shape[1:], (1, 2))
    return windows[np.arange(len(images)), moves[:, 0], moves[:, 1]]


def _mnist(folder: Path) -> Sequences:
    image_set = load_image_set("mnist", folder)
    return Sequences("mnist", image_set.labels, image_set.values[..., 0], image_set.targets, image_set.parts,
                     MNIST_STEPS, MNIST_SIDE**2, spikes, shifted)
