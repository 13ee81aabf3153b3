"""Public sets of images as they are published: MNIST, Fashion-MNIST and CIFAR-10.

    mnist, fashion-mnist    28 x 28 pixels of one channel, in files such as ``train-images-idx3-ubyte``, also ``.gz``
    cifar-10                32 x 32 pixels of red, green and blue, in ``data_batch_1.bin .. data_batch_5.bin`` and
                            ``test_batch.bin``: records of a label and of 3 x 32 x 32 bytes

The last training images are held out for validation: 5,000, or a sixth of a smaller set.
"""

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import DataError
from .split import ALL_PARTS

VALIDATION = 5000
_IDX, _CIFAR = 28, 32
FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LABELS = {"mnist": tuple(map(str, range(10))), "fashion-mnist": FASHION, "cifar-10": CIFAR}


@dataclass(frozen=True)
class ImageSet:
    """``values`` uint8 0..255 (images, height, width, channels); ``targets`` int64 (images,), numbers of ``labels``;
    ``parts`` (images,) indices into ALL_PARTS."""

    name: str
    labels: tuple[str, ...]
    values: np.ndarray
    targets: np.ndarray
    parts: np.ndarray

    @property
    def image(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.values.shape[3], self.values.shape[1], self.values.shape[2]

    def of(self, part: str) -> np.ndarray:
        """Numbers of the images in a part."""
        return np.flatnonzero(self.parts == ALL_PARTS.index(part))


def load_image_set(name: str, directory: str | Path) -> ImageSet:
    """The set of this name in a folder; DataError if its files are not there, or are another set's."""
    folder = Path(directory)
    if name not in LABELS:
        raise DataError(f"no set of images '{name}'; choose {' or '.join(LABELS)}")
    read = _cifar if name == "cifar-10" else _idx_files
    values, targets, parts = [], [], []
    for training in (True, False):
        images, classes = read(name, folder, training)
        part = np.full(len(classes), ALL_PARTS.index("train" if training else "test"))
        if training:
            part[len(part) - min(VALIDATION, len(part) // 6) :] = ALL_PARTS.index("validation")
        if classes.max(initial=0) >= len(LABELS[name]):
            raise DataError(f"'{folder}' has labels that are not 0 to {len(LABELS[name]) - 1}; {_again(name)}")
        values.append(images)
        targets.append(classes.astype(np.int64))
        parts.append(part)
    return ImageSet(name, LABELS[name], *map(np.concatenate, (values, targets, parts)))


def name_of(directory: str | Path) -> str:
    """The set that a folder's name says, such as "fashion-mnist"; DataError if it says none."""
    name = Path(directory).resolve().name
    if name not in LABELS:
        raise DataError(f"'{directory}' does not say which images it holds; name the folder {' or '.join(LABELS)}, "
                        "as `tidegate data` does")
    return name


def varied(images: torch.Tensor, rng: torch.Generator, shift: int, flip: bool) -> torch.Tensor:
    """Images (n, channels, height, width), each shifted by up to ``shift`` pixels in both directions (zeros enter) and,
    with ``flip``, mirrored with probability 1/2; the same type and shape."""
    n, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (shift,) * 4)
    rows, columns = torch.randint(0, 2 * shift + 1, (2, n), generator=rng)
    y, x = rows[:, None] + torch.arange(height), columns[:, None] + torch.arange(width)
    if flip:
        x = torch.where(torch.rand(n, 1, generator=rng) < 0.5, x.flip(1), x)
    return padded[torch.arange(n)[:, None, None], :, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)


def read_idx(path: Path, dimensions: int, name: str) -> np.ndarray:
    """uint8 array of a file in MNIST's format, or of the same file with .gz; DataError if it is none."""
    try:
        packed = path.with_name(path.name + ".gz")
        data = path.read_bytes() if path.exists() or not packed.exists() else gzip.decompress(packed.read_bytes())
        shape = struct.unpack_from(f">{dimensions}I", data, 4)
        if data[:4] != bytes([0, 0, 8, dimensions]):
            raise ValueError("another kind of file")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except FileNotFoundError:
        raise DataError(f"no file '{path}'; run `tidegate data {name}` and give the folder data/{name}") from None
    except (ValueError, struct.error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"'{path}' is damaged ({error}); {_again(name)}") from None
    except OSError as error:
        raise DataError(f"'{path}' cannot be read ({error.strerror}); give the folder of its files") from None


def _again(name: str) -> str:
    return f"delete the folder, then run `tidegate data {name}`"


def _idx_files(name: str, folder: Path, training: bool) -> tuple[np.ndarray, np.ndarray]:
    prefix = "train" if training else "t10k"
    pixels = read_idx(folder / f"{prefix}-images-idx3-ubyte", 3, name)
    classes = read_idx(folder / f"{prefix}-labels-idx1-ubyte", 1, name)
    if pixels.shape[1:] != (_IDX, _IDX) or len(pixels) != len(classes):
        raise DataError(f"'{folder}' does not hold images of {_IDX} x {_IDX} pixels, each with a label; {_again(name)}")
    return pixels[..., None], classes


def _cifar(name: str, folder: Path, training: bool) -> tuple[np.ndarray, np.ndarray]:
    records = []
    for file in [f"data_batch_{k}.bin" for k in range(1, 6)] if training else ["test_batch.bin"]:
        try:
            data = np.fromfile(folder / file, np.uint8)
        except FileNotFoundError:
            raise DataError(f"no file '{folder / file}'; run `tidegate data {name}` and give the folder data/{name}"
                            ) from None
        except OSError as error:
            raise DataError(f"'{folder / file}' cannot be read ({error.strerror}); give the folder of its files"
                            ) from None
        size = 1 + 3 * _CIFAR**2
        if len(data) % size or not len(data):
            raise DataError(f"'{folder / file}' is damaged: an image has {size} bytes; {_again(name)}")
        records.append(data.reshape(-1, size))
    data = np.concatenate(records)
    return data[:, 1:].reshape(-1, 3, _CIFAR, _CIFAR).transpose(0, 2, 3, 1), data[:, 0]
