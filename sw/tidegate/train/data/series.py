"""Series: records of frames at regular steps, each frame with the numbers to be told from it and those before.

A record is an ``.npz`` file with ``x`` (T, features) or (N, T, features) and ``y``, the same but for the last
dimension, or without it where there is one output.  Also in the file, if one likes: ``names`` and ``units`` of the
outputs (lists of text), and ``rate``, frames per second.

Each record is split in time, so that the parts do not overlap:

    train ...... gap  validation ... gap  test ...

and a part's first frames are its warm-up: the network begins each part from reset.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tidegate.host.arrays import read_arrays
from tidegate.spec.formats import SIGNAL

from ..errors import DataError
from .augment import Batch
from .series_options import SeriesOptions
from .split import ALL_PARTS, PARTS

PIECE = 4096        # frames of validation or test that are judged from one reset at most
_WHAT = "give .npz files with x (T, features) and y (T, outputs)"


@dataclass(frozen=True)
class Record:
    """``x`` (T, features), ``y`` (T, outputs) float32, all finite."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Records:
    """Records of the same features and outputs.  ``names``, ``units``: of the outputs; ``rate``: frames per second."""

    records: tuple[Record, ...]
    names: tuple[str, ...]
    units: tuple[str, ...]
    rate: float | None = None


@dataclass(frozen=True)
class Series:
    """Windows to train and pieces to judge, of ``x`` (frames, features) and ``y`` (frames, outputs), in which all
    records follow each other: the ``Examples`` of the task ``series``.

    Example i is frames ``starts[i]`` to ``starts[i] + lengths[i] - 1``; ``rooms[i]``: by how much later it may begin.
    ``offset``, ``scale`` (outputs,): mean and standard deviation of ``y`` in the part train.
    """

    x: np.ndarray
    y: np.ndarray
    labels: tuple[str, ...]
    units: tuple[str, ...]
    rate: float | None
    options: SeriesOptions
    starts: np.ndarray
    lengths: np.ndarray
    rooms: np.ndarray
    parts: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    mean: np.ndarray
    inverse: np.ndarray
    jitter: float = 0.0
    task: str = "series"
    skipped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def width(self) -> int:
        return self.x.shape[1]

    @property
    def offsets(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.lengths)])

    @property
    def content(self) -> np.ndarray:
        return np.concatenate([self.x, self.y], 1)

    @property
    def targets(self) -> np.ndarray:
        """(n, T, outputs) float32 in the outputs' units; NaN in frames that are not judged: the warm-up, and those
        after an example's end, for T is the length of the longest."""
        targets = np.full((len(self.starts), int(self.lengths.max()), self.y.shape[1]), np.nan, np.float32)
        for row, start, length in zip(targets, self.starts, self.lengths, strict=True):
            row[self.options.warm_up : length] = self.y[start + self.options.warm_up : start + length]
        return targets

    def of(self, part: str) -> np.ndarray:
        """Numbers of the examples in a part."""
        return np.flatnonzero(self.parts == ALL_PARTS.index(part))

    def frames(self, i: int) -> np.ndarray:
        """(frames, features) float32 of example i."""
        return self.x[self.starts[i] : self.starts[i] + self.lengths[i]]

    def normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, scale) float32 (features,), measured in the part train."""
        return self.mean, self.inverse

    def batcher(self, mean: np.ndarray, scale: np.ndarray):
        """Makes batches of windows (B,), each beginning up to a stride later than at first, with Gaussian noise of
        ``jitter`` on the features: the ``BatchMaker`` of training."""
        x, y = torch.from_numpy((self.x - mean) * scale), torch.from_numpy(self.y)

        def batch(windows: Tensor, rng: torch.Generator) -> Batch:
            later = torch.rand(len(windows), generator=rng) * torch.from_numpy(self.rooms + 1)[windows]
            start = torch.from_numpy(self.starts)[windows] + later.long()
            at = start + torch.arange(self.options.window)[:, None]
            frames = x[at]
            frames = frames + torch.randn(frames.shape, generator=rng) * self.jitter
            target = y[at].swapaxes(0, 1).clone()
            target[:, : self.options.warm_up] = torch.nan
            ints = torch.floor(frames * (1 << SIGNAL.frac) + 0.5).clamp_(-SIGNAL.max, SIGNAL.max)
            return Batch(ints, [(torch.full((len(windows),), self.options.window - 1), target)])

        return batch


def read_records(path: str | Path) -> Records:
    """The records of an ``.npz`` file, or of all in a folder, in the order of their names.

    DataError if there are none, one is damaged, or they differ in features, outputs or rate.
    """
    path = Path(path)
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"no .npz file in '{path}'; {_WHAT}")
    found = [_read(file) for file in files]
    first = found[0]
    for file, other in zip(files, found, strict=True):
        for what, a, b in (("features", first.records[0].x.shape[1], other.records[0].x.shape[1]),
                           ("outputs", first.names, other.names), ("units", first.units, other.units),
                           ("rate", first.rate, other.rate)):
            if a != b:
                raise DataError(f"'{file}' has other {what} than '{files[0]}' ({b}, not {a}); give files that agree")
    return Records(tuple(record for each in found for record in each.records), first.names, first.units, first.rate)


def cut(records: Records, options: SeriesOptions, jitter: float = 0.0, labels: tuple[str, ...] = ()) -> Series:
    """Records split and cut as ``options`` say; DataError if a part is too short or an output never changes there.

    ``labels``: what a model calls the outputs, in place of the records' names; it has as many.
    """
    labels = labels or records.names
    if len(labels) != len(records.names):
        raise DataError(f"the data have {len(records.names)} outputs ({', '.join(records.names)}), the model has "
                        f"{len(labels)}; give the data that it was trained for")
    starts, lengths, rooms, parts, train, at = [], [], [], [], [], 0
    xs, ys = [], []
    for record in records.records:
        frames = len(record.x) - options.ahead
        xs.append(record.x[: max(0, frames)])
        later = record.y[options.ahead :]
        ys.append(later - record.y[: len(later)] if options.change else later)
        for part, (begin, end) in _spans(frames, options).items():
            cuts = _windows(begin, end, options) if part == "train" else _pieces(begin, end, options)
            if part == "train":
                train.append(slice(at + begin, at + end))
            for start, length, room in cuts:
                starts.append(at + start)
                lengths.append(length)
                rooms.append(room)
                parts.append(ALL_PARTS.index(part))
        at += max(0, frames)
    x, y = np.concatenate(xs), np.concatenate(ys)
    fit_x, fit_y = (np.concatenate([values[span] for span in train]).astype(np.float64) for values in (x, y))
    spread = fit_x.std(0)
    made = Series(x, y, labels, records.units, records.rate, options, np.array(starts), np.array(lengths),
                  np.array(rooms), np.array(parts), fit_y.mean(0), fit_y.std(0), fit_x.mean(0).astype(np.float32),
                  (1 / np.where(spread > 0, spread, 1)).astype(np.float32), jitter)
    for part in PARTS:
        judged = made.targets[made.of(part)].reshape(-1, len(labels))
        still = np.nanmin(judged, 0, initial=np.inf) == np.nanmax(judged, 0, initial=-np.inf)
        if len(judged) and still.any():
            raise DataError(f"the output '{labels[int(still.argmax())]}' never changes in the {part} part, so nothing "
                            "can be learned or judged there; give longer records or other shares")
    return made


def _spans(frames: int, options: SeriesOptions) -> dict[str, tuple[int, int]]:
    """Where each part of a record of so many frames begins and ends."""
    test = round(frames * options.test)
    validation = round(frames * options.validation)
    ends = {"test": (frames - test, frames),
            "validation": (frames - test - validation, frames - test - (options.gap if test else 0)),
            "train": (0, frames - test - validation - options.gap)}
    spans = {part: ends[part] for part in PARTS if part != "test" or test}
    least = {"train": options.window, "validation": options.warm_up + 2, "test": options.warm_up + 2}
    for part, (begin, end) in spans.items():
        if end - begin < least[part]:
            raise DataError(f"a record of {frames} frames leaves {max(0, end - begin)} for the {part} part, which "
                            f"needs {least[part]}; give a longer one, or another series in the recipe")
    return spans


def _windows(begin: int, end: int, options: SeriesOptions) -> list[tuple[int, int, int]]:
    """(start, length, room) of each training window."""
    starts = range(begin, end - options.window + 1, options.stride)
    return [(start, options.window, min(options.stride - 1, end - options.window - start)) for start in starts]


def _pieces(begin: int, end: int, options: SeriesOptions) -> list[tuple[int, int, int]]:
    """Pieces of one length or nearly so that overlap by the warm-up, so that each frame after it is judged once."""
    warm, count = options.warm_up, -(-(end - begin - options.warm_up) // PIECE)
    bounds = np.linspace(begin + warm, end, count + 1).astype(int)
    return [(int(a) - warm, int(b - a) + warm, 0) for a, b in pairwise(bounds)]


def _read(file: Path) -> Records:
    held = read_arrays(file)
    if missing := [name for name in ("x", "y") if name not in held]:
        raise DataError(f"'{file}' has no array '{missing[0]}'; {_WHAT}")
    x, y = held["x"], held["y"]
    if y.ndim == x.ndim - 1:
        y = y[..., None]
    if x.ndim not in (2, 3) or x.shape[:-1] != y.shape[:-1] or not x.size or not y.size:
        raise DataError(f"'{file}' holds x {x.shape} and y {held['y'].shape}; {_WHAT}, or (N, T, ·) both")
    for name, values in (("x", x), ("y", y)):
        if values.dtype.kind not in "iuf":
            raise DataError(f"'{file}': {name} is {values.dtype}; give numbers")
        if name == "x" and values.dtype.kind != "f":
            raise DataError(f"'{file}': x is {values.dtype}; save features as floats: integers mean LSBs of 1/256 of "
                            "what enters a core, of which there is none yet")
        with np.errstate(over="ignore"):        # what is too large becomes infinite
            finite = np.isfinite(values.astype(np.float32)).all()
        if not finite:
            raise DataError(f"'{file}': {name} holds NaN, infinity or numbers too large for 32 bits; repair or leave "
                            "out these frames")
    outputs = y.shape[-1]
    names = _texts(file, "names", held, outputs, tuple(f"y{k}" for k in range(outputs)) if outputs > 1 else ("y",))
    units = _texts(file, "units", held, outputs, ("",) * outputs)
    if len(set(names)) < outputs:
        raise DataError(f"'{file}': two outputs have one name ({', '.join(names)}); name them apart")
    rate = held.get("rate")
    if rate is not None and (rate.size != 1 or rate.dtype.kind not in "iuf" or not 0 < float(rate.ravel()[0]) < np.inf):
        raise DataError(f"'{file}': rate is {rate}; give frames per second, one number above 0")
    x, y = (values.astype(np.float32).reshape(-1, *values.shape[-2:]) for values in (x, y))
    return Records(tuple(map(Record, x, y)), names, units, None if rate is None else float(rate.ravel()[0]))


def _texts(file: Path, name: str, held: dict[str, np.ndarray], count: int, default: tuple[str, ...]) -> tuple[str, ...]:
    if name not in held:
        return default
    texts = tuple(map(str, np.atleast_1d(held[name]).ravel()))
    if len(texts) != count:
        raise DataError(f"'{file}': {count} outputs need {count} {name}, not {len(texts)}")
    return texts
