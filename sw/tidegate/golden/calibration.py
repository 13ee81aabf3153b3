"""Calibration data: sequences such as the model will hear, padded to one batch, and what is right for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..spec.errors import ModelError
from ..spec.formats import SIGNAL
from .chain import READOUTS

MOST_FRAMES = 10_000        # that are evaluated; more would only take longer
_LONGEST = 1_000            # frames of a sequence; a longer one is cut into several


@dataclass(frozen=True)
class CalibrationBatch:
    """``frames`` (T, N, features) float64, sequence n padded with its last frame from ``lengths[n]`` on.

    ``targets``: class numbers (N,), or (T, N) of every frame, or None.  ``readout``: the frames in which an answer is
    read, see ``FloatChain``.  ``given``: of how many sequences these were taken; 0: it is not known.
    ``places`` (N, 2): of each, the number of the sequence that was given, and the frame in it where this one begins.
    """

    frames: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray | None
    readout: str
    given: int = 0
    places: np.ndarray | None = None

    def place(self, sequence: int, frame: int) -> tuple[int, int]:
        """(sequence, frame) of the data that were given, of a frame here."""
        if self.places is None:
            return sequence, frame
        number, start = map(int, self.places[sequence])
        return number, start + frame

    @cached_property
    def valid(self) -> np.ndarray:
        """(T, N): the frames that are no padding."""
        return np.arange(len(self.frames))[:, None] < self.lengths

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """Logits (T, N, classes) → those of the answers (answers, classes)."""
        if self.readout == "frames":
            return logits[self.valid]
        if self.readout == "last":
            return logits[self.lengths - 1, np.arange(len(self.lengths))]
        return (logits * self.valid[..., None]).sum(0) / self.lengths[:, None]

    @property
    def right(self) -> np.ndarray | None:
        """The right class (answers,) of each answer."""
        if self.targets is None or (self.targets.ndim == 1 and self.readout != "frames"):
            return self.targets
        if self.targets.ndim == 1:
            return np.broadcast_to(self.targets, self.valid.shape)[self.valid]
        return self.targets[self.valid]


def all_frames(calibration: Any, features: int) -> list[np.ndarray]:
    """Sequences, each (frames, features) float64, of calibration data: one array (frames, features) or (sequences,
    frames, features), or a list of sequences.  ModelError for anything else, for integers, which
    elsewhere are what enters a core in LSBs, and for NaN."""
    try:
        ragged = isinstance(calibration, list | tuple) and len({len(part) for part in calibration}) > 1
        given = [np.asarray(part) for part in (calibration if ragged else [calibration])]
        if other := [part.dtype for part in given if part.dtype.kind != "f" and part.size]:
            raise ModelError(f"the calibration data are {other[0]}; give features as the network hears them, as "
                             "floats, such as x.astype('float32'): integers mean LSBs of 1/256 of what enters a core")
        parts = [part.astype(np.float64) for part in given]
    except (ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"the calibration data make no array ({' '.join(str(error).split())})") from None
    for part in parts:
        wrong = part.ndim < 2 or part.shape[-1] != features or not part.size or (ragged and part.ndim != 2)
        if wrong:
            raise ModelError(f"calibration data are finite features (frames, {features}), not {part.shape}; "
                             "correct them")
        if not np.isfinite(part).all():
            raise ModelError("the calibration data hold NaN or infinity; leave those frames out")
    if ragged or parts[0].ndim == 2:
        return parts
    return list(parts[0].reshape(-1, *parts[0].shape[-2:]))


def sequences_of(pieces: Sequence[np.ndarray], targets: Any, classes: int, readout: str | None,
                 most: int = MOST_FRAMES) -> CalibrationBatch:
    """A batch of at most about ``most`` frames, taken evenly from ``pieces`` (frames, features).

    ``targets``: None, or a class number for each sequence, or a sequence of them for each of its frames.  ``readout``:
    None for the last frame if there is one target for a sequence, else every frame.  ModelError for targets that do not
    belong to the sequences.
    """
    if readout not in (None, *READOUTS):
        raise ModelError(f"an answer is read in {' or '.join(READOUTS)}, not '{readout}'; choose one of these")
    right = None if targets is None else _targets(targets, pieces, classes)
    per_frame = right is not None and isinstance(right[0], np.ndarray)
    if per_frame and readout not in (None, "frames"):
        raise ModelError(f"there is a target for every frame, but answers are read in '{readout}'; give one target for "
                         "each sequence, or leave the readout out")
    readout = readout or ("frames" if right is None or per_frame else "last")
    given, cuts = len(pieces), [(i, 0) for i in range(len(pieces))]
    if readout == "frames" and (right is None or per_frame):        # long ones are cut, so that they make a batch
        cuts = [(i, start) for i, piece in enumerate(pieces) for start in range(0, len(piece), _LONGEST)]
        right = right and [right[i][start : start + _LONGEST] for i, start in cuts]     # pyright: ignore
        pieces = [pieces[i][start : start + _LONGEST] for i, start in cuts]
    count = max(1, min(len(pieces), int(most / np.mean([len(p) for p in pieces]))))
    chosen = np.unique(np.linspace(0, len(pieces) - 1, count).astype(int))
    lengths = np.array([len(pieces[i]) for i in chosen])
    longest = int(lengths.max())

    def padded(parts: list[np.ndarray]) -> np.ndarray:
        return np.stack([p[np.minimum(np.arange(longest), len(p) - 1)] for p in parts], 1)

    batch = padded([pieces[i] for i in chosen])
    if right is not None:
        right = padded([right[i] for i in chosen]) if per_frame else np.array([right[i] for i in chosen])   # pyright: ignore
    return CalibrationBatch(batch, lengths, right, readout, max(given, len(cuts)), np.array(cuts)[chosen])


def _targets(targets: Any, pieces: Sequence[np.ndarray], classes: int) -> list[np.ndarray] | list[int]:
    try:
        right = [np.asarray(t) for t in targets]
    except (ValueError, TypeError) as error:
        raise ModelError(f"the targets make no array ({' '.join(str(error).split())})") from None
    if len(right) != len(pieces):
        raise ModelError(f"there are {len(right)} targets for {len(pieces)} sequences; give one for each")
    for t, piece in zip(right, pieces, strict=True):
        if t.shape not in ((), piece.shape[:1]) or t.dtype.kind not in "iu" or (t.shape != right[0].shape[:t.ndim] and (
                t.ndim != right[0].ndim)):
            raise ModelError(f"a target is one class number for a sequence of {len(piece)} frames, or one for each of "
                             f"its frames, not {t.dtype}{t.shape}; correct the targets")
        if t.min() < 0 or t.max() >= classes:
            raise ModelError(f"a target is {int(t.max() if t.max() >= classes else t.min())}, the network has the "
                             f"classes 0 to {classes - 1}; correct the targets")
    return right if right[0].ndim else [int(t) for t in right]


def taken(sequences: int, given: int, frames: int) -> str:
    """How much of the calibration data was looked at, in words, such as "166 of 300 sequences, 9960 frames"."""
    if given <= sequences:
        return f"{sequences} sequences, {frames} frames"
    return f"{sequences} of {given} sequences (taken evenly, about {MOST_FRAMES} frames at most), {frames} frames"


def normalisation(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and 1 / standard deviation (1 for a feature that is constant), as float32 holds them.

    A feature that goes beyond ±8 deviations, where a core saturates, is divided by up to twice its deviation.
    """
    mean, deviation = frames.mean(0), frames.std(0)
    deviation[deviation < 1e-6 * np.maximum(np.abs(frames).max(0), 1e-6)] = 1
    reach = np.abs(frames - mean).max(0) / ((SIGNAL.max - 1) * 2.0**-SIGNAL.frac)
    deviation = np.clip(reach, deviation, 2 * deviation)
    return mean.astype(np.float32), (1 / deviation).astype(np.float32)
