"""A user's own arrays of frames, to judge a model of any task on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidegate.host.arrays import array_files, frame_sequences, read_arrays
from tidegate.spec.errors import TidegateError
from tidegate.spec.formats import SIGNAL
from tidegate.spec.model import Model

from ..errors import DataError


@dataclass(frozen=True)
class ArrayExamples:
    """Sequences of SIGNAL integers (T, features) each, as ``Examples`` that are in no part.

    ``targets``: class numbers (n,), empty if the files do not say.  ``mean``, ``scale``: the model's.
    """

    task: str
    labels: tuple[str, ...]
    sequences: tuple[np.ndarray, ...]
    targets: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    skipped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return len(self.mean)

    @property
    def offsets(self) -> np.ndarray:
        return np.cumsum([0, *map(len, self.sequences)])

    @property
    def parts(self) -> np.ndarray:
        return np.full(len(self.sequences), -1)

    @property
    def content(self) -> np.ndarray:
        return np.concatenate(self.sequences)

    def of(self, part: str) -> np.ndarray:
        return np.zeros(0, np.int64)

    def frames(self, i: int) -> np.ndarray:
        """(T, features) float64: what ``Model.quantise`` makes the integers of."""
        return self.sequences[i] / (self.scale.astype(np.float64) * (1 << SIGNAL.frac)) + self.mean

    def normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        return self.mean, self.scale


def has_targets(path: str | Path) -> bool:
    """Whether every file of arrays has an array ``y`` beside its frames; TidegateError of one
    line if one cannot be read."""
    files = array_files(path)
    return bool(files) and all("y" in read_arrays(file) for file in files)


def load_arrays(model: Model, path: str | Path, task: str, steps: int | None = None) -> ArrayExamples:
    """The sequences of a file or folder; ``y`` in an ``.npz`` says the class of each, as numbers or labels (N,).

    ``steps``: frames for which images are held, see ``frame_sequences``.
    DataError or TidegateError of one line if a file is no array of frames, or its ``y`` does not fit.
    """
    files = array_files(path)
    if not files:
        raise DataError(f"no .npy or .npz file in '{path}'; give files of frames (T, {model.network.features})")
    sequences, targets = [], []
    for file in files:
        found = frame_sequences(model, [file], steps)
        sequences += [each.frames for each in found]
        targets.append(None if model.readout is not None else _classes(model.labels, file, len(found)))
    known = [each for each in targets if each is not None]
    if known and len(known) < len(targets):
        raise DataError(f"some files in '{path}' have a y and some have none; give it in all or in none")
    return ArrayExamples(task, tuple(model.labels), tuple(sequences), np.concatenate(known or [np.zeros(0, np.int64)]),
                         model.tensors["frontend.mean"], model.tensors["frontend.scale"])


def _classes(labels: Sequence[str], file: Path, count: int) -> np.ndarray | None:
    if (given := read_arrays(file).get("y")) is None:
        return None
    given = np.atleast_1d(given)
    if given.shape != (count,) or given.dtype.kind not in "iuU":
        raise TidegateError(f"'{file}': y is {given.dtype} {given.shape}; {count} sequences need as many classes, "
                            "numbers or labels")
    if given.dtype.kind == "U":
        given = np.array([labels.index(str(label)) if label in labels else -1 for label in given])
    if ((given < 0) | (given >= len(labels))).any():
        raise TidegateError(f"'{file}': y holds a class that the model has not; it has {', '.join(labels)}, numbers 0 "
                            f"to {len(labels) - 1}")
    return given.astype(np.int64)
