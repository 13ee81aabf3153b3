"""N-MNIST (Orchard et al. 2015): digits of MNIST on a screen, seen by an event camera that moves along three saccades.

The published folders ``Train/0 .. 9`` and ``Test/0 .. 9`` hold a file per digit.  An event is five bytes: column, row,
and a word whose highest bit is the polarity (1: brighter) and whose other 23 bits are the time in µs.
"""

from pathlib import Path

import numpy as np

from ..errors import DataError
from .sequences import Sequences
from .split import ALL_PARTS

SIDE, STEPS, DURATION_US = 34, 30, 300_000
_VALIDATION = 12            # one training file of so many validates
_OVERFLOW_ROW = 240         # marks that the sender's clock of 13 bits went round


def read_events(path: Path) -> np.ndarray:
    """(events, 4) int64: column, row, polarity, time in µs; DataError if the file is no list of events."""
    try:
        raw = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise DataError(f"'{path}' cannot be read ({error.strerror}); give the folder of N-MNIST") from None
    if len(raw) % 5:
        raise DataError(f"'{path}' is damaged: an event has 5 bytes; copy it again")
    column, row, high, middle, low = raw.reshape(-1, 5).astype(np.int64).T
    time = (high & 127) << 16 | middle << 8 | low
    over = row == _OVERFLOW_ROW
    time += np.cumsum(over) << 13
    return np.stack([column, row, high >> 7, time], 1)[~over]


def packed(events: np.ndarray, steps: int) -> np.ndarray:
    """Events → uint8 (steps, bytes): a bit per pixel and polarity with an event in a frame, brighter ones first."""
    column, row, polarity, time = events[((events[:, :2] < SIDE).all(1)) & (events[:, 3] < DURATION_US)].T
    frames = np.zeros((steps, 2, SIDE, SIDE), bool)
    frames[time * steps // DURATION_US, 1 - polarity, row, column] = True
    return np.packbits(frames.reshape(steps, -1), axis=1)


def unpacked(values: np.ndarray) -> np.ndarray:
    """uint8 (n, steps, bytes) → float32 (n, steps, 2·34·34) of 0 and 1."""
    return np.unpackbits(values, axis=2, count=2 * SIDE**2).astype(np.float32)


def load_nmnist(directory: str | Path | None, steps: int = 0) -> Sequences:
    """All digits in frames of 300 ms / ``steps`` (0: 30 frames); DataError if the folder is not N-MNIST's."""
    if directory is None:
        raise DataError("the task 'n-mnist' needs its data: give the folder that holds Train and Test")
    steps, values, targets, parts = steps or STEPS, [], [], []
    for folder in ("Train", "Test"):
        for digit in range(10):
            files = sorted((Path(directory) / folder / str(digit)).glob("*.bin"))
            if not files:
                raise DataError(f"no events in '{Path(directory) / folder / str(digit)}'; give the folder that holds "
                                "Train and Test of N-MNIST")
            for k, path in enumerate(files):
                values.append(packed(read_events(path), steps))
                targets.append(digit)
                part = "test" if folder == "Test" else "train" if (k + 1) % _VALIDATION else "validation"
                parts.append(ALL_PARTS.index(part))
    return Sequences("n-mnist", tuple(map(str, range(10))), np.stack(values), np.array(targets), np.array(parts), steps,
                     2 * SIDE**2, unpacked)
