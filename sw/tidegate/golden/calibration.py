"""Calibration data: sequences such as the model will hear, padded to one batch, and what is right for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..spec.errors import ModelError
from .chain import READOUTS

MOST_FRAMES = 10_000        # that are evaluated; more would only take longer
_LONGEST = 1_000            # frames of a sequence; a longer one is cut into several


@dataclass(frozen=True)
class CalibrationBatch:
    """``frames`` (T, N, features) float64, sequence n padded with its last frame from ``lengths[n]`` on.

    ``targets``: class numbers (N,), or (T, N) of every frame, or None.  ``readout``: the frames in which an answer is
    read, see ``FloatChain``.
    """

    frames: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray | None
    readout: str

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
    frames, features), or a list of sequences.  ModelError for anything else, and for NaN."""
    try:
        ragged = isinstance(calibration, list | tuple) and len({len(part) for part in calibration}) > 1
        parts = [np.asarray(part, np.float64) for part in (calibration if ragged else [calibration])]
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
    return CalibrationBatch(batch, lengths, right, readout)


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


def normalisation(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and 1 / standard deviation (1 for a feature that is constant), as float32 holds them."""
    deviation = frames.std(0)
    deviation[deviation < 1e-6 * np.maximum(np.abs(frames).max(0), 1e-6)] = 1
    return frames.mean(0).astype(np.float32), (1 / deviation).astype(np.float32)
