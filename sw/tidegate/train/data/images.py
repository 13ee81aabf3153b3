"""Images as sequences of frames, for spiking networks and networks with a long memory.

    mnist-frames   an image is held for some frames; the rule of the features makes spikes of it, whose rate is the
                   pixel's brightness (rule ``diffuse``), or sends it once (``delta``)
    mnist-pixels   permuted sequential MNIST: a pixel per frame, in one random order for all images (Le et al. 2015,
                   arXiv:1504.00941): 784 frames, or 196 if the image is first shrunk to 14 x 14, by the mean of 2 x 2
                   pixels
    mnist-events   a stand-in for N-MNIST: the image moves along three saccades, and each pixel that gets brighter or
                   darker by a sixth of full scale is an event, of one of two polarities

All take the files of MNIST, see ``sequences.py``; none of the three is a recording of a camera.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import DataError
from .sequences import MNIST_SIDE, Sequences, load_sequences, shifted

FRAMES_STEPS, EVENTS_STEPS = 20, 30
PIXELS_STEPS = (MNIST_SIDE**2, MNIST_SIDE**2 // 4)
EVENT_SIDE, EVENT_LEVEL = 34, 1 / 6        # N-MNIST's camera window, and the change that is an event
_ORDER_SEED = 92916                         # of the pixels' order
_CORNERS = ((0.0, 0.0), (3.0, 6.0), (6.0, 0.0), (0.0, 0.0))     # offsets (rows, columns) between which the image moves


def held_frames(steps: int, images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) → float32 (n, steps, 784), 0..1, each frame the same."""
    flat = images.reshape(len(images), 1, -1).astype(np.float32) / 255
    return np.broadcast_to(flat, (len(images), steps, flat.shape[2]))


def pixels(steps: int, images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) → float32 (n, steps, 1), 0..1, one pixel after the other, in the order of all images."""
    side = MNIST_SIDE if steps == PIXELS_STEPS[0] else MNIST_SIDE // 2
    small = images.reshape(len(images), side, MNIST_SIDE // side, side, -1).mean((2, 4), dtype=np.float32) / 255
    order = np.random.default_rng(_ORDER_SEED).permutation(side**2)
    return small.reshape(len(images), -1)[:, order, None]


def saccade(steps: int) -> np.ndarray:
    """Where the image is in each of ``steps`` + 1 moments: (rows, columns) of its corner in the window."""
    at = np.linspace(0, len(_CORNERS) - 1, steps + 1)
    return np.stack([np.interp(at, np.arange(len(_CORNERS)), [c[k] for c in _CORNERS]) for k in (0, 1)], 1)


def events(steps: int, images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) → float32 (n, steps, 2·34·34) of 0 and 1: pixels that got brighter, then those that got darker.

    Like a camera's, a pixel has an event when it differs from what it was at its last event by EVENT_LEVEL.
    """
    n, side = len(images), EVENT_SIDE
    window = np.zeros((n, side + 1, side + 1), np.float32)
    window[:, : MNIST_SIDE, : MNIST_SIDE] = images.astype(np.float32) / 255
    frames = np.zeros((n, steps, 2, side, side), np.float32)
    last = None
    for t, (row, column) in enumerate(saccade(steps)):
        now = _moved(window, row, column)
        if last is None:
            last = now
            continue
        change = now - last
        frames[:, t - 1, 0], frames[:, t - 1, 1] = change >= EVENT_LEVEL, change <= -EVENT_LEVEL
        last = np.where(np.abs(change) >= EVENT_LEVEL, now, last)
    return frames.reshape(n, steps, -1)


def _moved(window: np.ndarray, row: float, column: float) -> np.ndarray:
    """The window with the image moved down and right by parts of pixels, between which is linear interpolation."""
    (r, a), (c, b) = ((int(x), x - int(x)) for x in (row, column))
    moved = np.roll(window, (r, c), (1, 2))
    moved = (1 - a) * moved + a * np.roll(moved, 1, 1)
    return ((1 - b) * moved + b * np.roll(moved, 1, 2))[:, :-1, :-1]


# task → what codes an image in so many steps, the steps if none are asked for, those there may be (None: any), width
CODES: dict[str, tuple[Callable[[int, np.ndarray], np.ndarray], int, tuple[int, ...] | None, int]] = {
    "mnist-frames": (held_frames, FRAMES_STEPS, None, MNIST_SIDE**2),
    "mnist-pixels": (pixels, PIXELS_STEPS[0], PIXELS_STEPS, 1),
    "mnist-events": (events, EVENTS_STEPS, None, 2 * EVENT_SIDE**2),
}


def load_images(task: str, directory: str | Path | None = None) -> Sequences:
    """The images of MNIST for one of CODES, unmoved; DataError without the files."""
    if directory is None:
        raise DataError(f"the task '{task}' needs its data: run `tidegate data mnist` and give the folder data/mnist")
    _, steps, _, width = CODES[task]
    made = replace(load_sequences("mnist", directory), task=task, width=width)
    return in_steps(made, steps)


def in_steps(sequences: Sequences, steps: int = 0, shift: int = 0) -> Sequences:
    """The same images in another number of frames (0: as it is), moved by up to ``shift`` pixels while they train."""
    code, _, choice, _ = CODES[sequences.task]
    steps = steps or sequences.steps
    if choice is not None and steps not in choice:
        raise DataError(f"the task '{sequences.task}' has {' or '.join(map(str, choice))} steps, not {steps}")
    vary = partial(shifted, most=shift) if shift else lambda values, rng: values
    return replace(sequences, steps=steps, code=partial(code, steps), vary=vary)
