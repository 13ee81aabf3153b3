"""What a spiking model answers about images that are held for some frames: right answers and work, by the frame."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..progress import Progress
from ..spec.model import Model
from .judge import Golden

_ELEMENTS = 1 << 26     # of all frames that are run at once


@dataclass(frozen=True)
class ImageAnswers:
    """Results after each number of frames in ``steps``, ascending.  ``accuracy``: share of right answers.
    ``operations``: weights added per image so far.  ``rates``: spikes per element and frame of each signal, over all
    frames."""

    steps: tuple[int, ...]
    accuracy: tuple[float, ...]
    operations: tuple[float, ...]
    rates: tuple[float, ...]

    def to_dict(self) -> dict:
        return asdict(self)

    def at(self, steps: int) -> float:
        """The accuracy after so many frames."""
        return self.accuracy[self.steps.index(steps)]


def answers(model: Model, images: np.ndarray, targets: np.ndarray, steps: Sequence[int],
            progress: Progress | None = None) -> ImageAnswers:
    """Images (n, features), 0..1, whose classes are ``targets`` (n,), each from reset; the answer after T frames is the
    largest sum of logits so far."""
    golden, net, last = Golden(model), model.network, max(steps)
    at = np.array(sorted(steps)) - 1
    elements = np.array([net.elements(s) for s in range(net.signals)])
    right, operations, events = np.zeros(len(at)), np.zeros(len(at)), np.zeros(net.signals)
    batch = max(1, _ELEMENTS // (last * int(elements.sum())))
    for first in range(0, len(images), batch):
        frames = model.quantise(images[first : first + batch]).astype(np.int32)
        run = golden.run(np.broadcast_to(frames, (last, *frames.shape)))
        told = run.logits.cumsum(0, dtype=np.int64)[at].argmax(2)
        right += (told == targets[first : first + batch]).sum(1)
        operations += run.weights.cumsum(0, dtype=np.int64)[at].sum(1)
        events += run.events.sum((0, 1), dtype=np.int64)
        if progress:
            progress(min(first + batch, len(images)), len(images))
    n = len(images)
    return ImageAnswers(tuple((at + 1).tolist()), tuple((right / n).tolist()), tuple((operations / n).tolist()),
                        tuple((events / (n * last * elements)).tolist()))
