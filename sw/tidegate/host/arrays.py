"""Frames that do not come from sound: from ``.npy`` and ``.npz`` files, and random walks.

A file holds one sequence (T, features) or several (N, T, features); an ``.npz`` holds them as the array ``x``, or as
its only array.  Floats are features in the model's units, which the model quantises (``Model.quantise``); integers are
what enters the network, in LSBs of 2**-8 within ±2047.  For a model that was converted, a file may hold images
(``images.py``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..spec.errors import TidegateError
from ..spec.formats import SIGNAL
from ..spec.model import Model
from .contents import NPY, NPZ, PART, contents_of
from .images import held_images, image_of

ARRAYS = (".npy", ".npz")
WALK = 200                  # frames of a random walk, at most
_PULL = 0.02                # share of a walk that goes back to 0 per frame


@dataclass(frozen=True)
class FrameSequence:
    """``frames`` (T, features): SIGNAL integers, T at least 1.  ``source``: the file, and which of several it is."""

    source: str
    frames: np.ndarray


def holds_arrays(path: str | Path) -> bool:
    """Whether a file is one of arrays, by its suffix, or a folder has such files and nothing beside them but hidden
    ones and folders."""
    path = Path(path)
    if not path.is_dir():
        return path.suffix.lower() in ARRAYS
    files = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
    return bool(files) and all(file.suffix.lower() in ARRAYS for file in files)


def array_files(path: str | Path) -> list[Path]:
    """The file itself, or all files of arrays in a folder and its folders, sorted."""
    path = Path(path)
    return sorted(p for p in path.rglob("*") if p.suffix.lower() in ARRAYS) if path.is_dir() else [path]


def frame_sequences(model: Model, paths: Iterable[str | Path], steps: int | None = None) -> list[FrameSequence]:
    """The sequences of files of arrays, as the model takes them.

    ``steps``: frames for which an image is held; None: as the model's card says.  TidegateError of one line if a file
    is missing, damaged, empty, or holds anything but finite numbers of the model's number of features; if it holds no
    images, but ``steps`` are given.
    """
    found = []
    for path in paths:
        values = read_array(path)
        frames = held_images(model, values, path, steps)
        if frames is None:
            frames = _quantised(model, values, path)
            if steps is not None:
                raise TidegateError(f"'{path}' holds frames, not images of a converted model; leave --steps out")
        several = frames.ndim == 3
        for k, sequence in enumerate(frames if several else [frames]):
            found.append(FrameSequence(f"{path}[{k}]" if several else str(path), sequence))
    return found


def limited(sequences: Iterable[np.ndarray], count: int) -> list[np.ndarray]:
    """The first ``count`` frames of sequences (T, features), in all: the last sequence is cut, those after left out."""
    kept = []
    for frames in sequences:
        if count > 0:
            kept.append(frames[:count])
            count -= len(kept[-1])
    return kept


def read_array(path: str | Path, name: str = "x") -> np.ndarray:
    """The array of an ``.npy`` file, or of an ``.npz`` file that of this name or else the only one.

    TidegateError of one line if it cannot be read or there are several.
    """
    held = read_arrays(path)
    if name not in held and len(held) != 1:
        raise TidegateError(f"'{path}' has {len(held)} arrays ({', '.join(held) or 'none'}); name the one with the "
                            f"frames {name}")
    return held[name if name in held else next(iter(held))]


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz`` file by their names, or that of an ``.npy`` file under the name "".

    TidegateError of one line if the file is missing, damaged, or holds objects.
    """
    path = Path(path)
    if path.is_dir():
        raise TidegateError(f"'{path}' is a folder; give an .npy or .npz file of frames")
    try:
        if (found := contents_of(path)) not in (None, NPY, NPZ, PART):
            raise TidegateError(f"'{path}' is no .npy or .npz file, but holds {found}; save arrays by numpy.save or "
                                "numpy.savez")
        held = np.load(path, allow_pickle=False)
        if isinstance(held, np.ndarray):
            return {"": held}
        with held:
            arrays = {name: held[name] for name in held.files}
    except TidegateError:
        raise
    except FileNotFoundError:
        raise TidegateError(f"no file '{path}'; give an .npy or .npz file of frames") from None
    except Exception as error:      # numpy, zipfile and zlib raise a dozen kinds for damaged files
        if "Object arrays" in str(error):
            raise TidegateError(f"'{path}' holds objects of Python, which could run code; save arrays of numbers, and "
                                "sequences of different lengths each by itself") from None
        why = "" if "allow_pickle" in str(error) else f" ({' '.join(str(error).split()) or type(error).__name__})"
        raise TidegateError(f"cannot read '{path}'{why}; give an .npy or .npz file of numbers") from None
    if other := [name for name, value in arrays.items() if not isinstance(value, np.ndarray)]:
        raise TidegateError(f"'{path}' holds '{other[0]:.40}', which is no array; save arrays by numpy.savez")
    return arrays


def features_of_integers(model: Model, values: np.ndarray, path: str | Path) -> np.ndarray:
    """The features (..., features) that become these integers by ``Model.quantise``; of floats, the values themselves.

    TidegateError as of ``frame_sequences`` for integers that cannot enter the network.
    """
    if values.dtype.kind not in "iu":
        return values
    lsbs = _quantised(model, values, path)
    mean, scale = (model.tensors[f"frontend.{what}"].astype(np.float64) for what in ("mean", "scale"))
    return lsbs * 2.0**-SIGNAL.frac / np.where(scale == 0, 1, scale) + mean


def _quantised(model: Model, values: np.ndarray, path: str | Path) -> np.ndarray:
    features = model.network.features
    if values.ndim not in (2, 3) or values.shape[-1] != features or values.dtype.kind not in "iuf":
        images = "" if (image := image_of(model)) is None else f", or images (n, {', '.join(map(str, image))})"
        raise TidegateError(f"'{path}' holds {values.dtype} {values.shape}; this model needs numbers "
                            f"(T, {features}) or (N, T, {features}){images}")
    if not values.size:
        raise TidegateError(f"'{path}' holds no frame, its shape is {values.shape}; give at least one")
    if values.dtype.kind != "f":
        if ((values < -SIGNAL.max) | (values > SIGNAL.max)).any():
            raise TidegateError(f"'{path}' holds integers beyond ±{SIGNAL.max}; they are LSBs of 1/256")
        return values.astype(np.int16)
    if len(bad := np.argwhere(~np.isfinite(values))):
        raise TidegateError(f"'{path}' holds NaN or infinity, first at {tuple(map(int, bad[0]))}; check what made it")
    return model.quantise(values)


def random_walks(model: Model, frames: int, seed: int) -> list[np.ndarray]:
    """Walks (T, features) of SIGNAL integers, of ``WALK`` frames or fewer and ``frames`` in all, the same for one seed.

    Per frame each feature moves by about half the model's Θ of the features, at least 8 LSBs, and a little back to 0,
    so that some features fire in each frame and none does in all.
    """
    rng, step = np.random.default_rng(seed), max(8.0, model.network.thresholds[0] / 2)
    walks = []
    while frames > 0:
        count = min(WALK, frames)
        frames -= count
        moves = rng.normal(0, step, (count, model.network.features))
        at = rng.normal(0, 1 << SIGNAL.frac, model.network.features)
        walk = np.empty_like(moves)
        for t, move in enumerate(moves):
            at = (1 - _PULL) * at + move
            walk[t] = at
        walks.append(np.clip(np.round(walk), -SIGNAL.max, SIGNAL.max).astype(np.int16))
    return walks
