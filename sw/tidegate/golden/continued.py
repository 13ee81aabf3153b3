"""Golden on sequences that go on: any number of frames at a time, with the state carried from block to block."""

import numpy as np
import torch
from torch import Tensor

from ..spec.model import Model
from .encoder import count_events, encode
from .general import Start
from .judge import Golden


class Continued:
    """Streams side by side, from reset; what comes out does not depend on how the streams are cut into blocks.

    The integers are those of ``Golden.run`` on the whole.
    """

    def __init__(self, model: Model):
        self._golden = Golden(model)
        self.reset()

    def reset(self) -> None:
        """The next frame is the first."""
        self._anchors: list[Tensor | None] = [None] * self._golden.network.signals
        self._states: list[Tensor | None] = [None] * len(self._golden.network.layers)
        self._start: Start | None = None

    def accept(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """SIGNAL integers (T, B, features) → logits (T, B, classes), raw accumulators, and events
        (T, B, signals), int32.

        TidegateError if a frame is no frame.
        """
        golden, net = self._golden, self._golden.network
        x = torch.as_tensor(golden._check(frames, 3)).to(golden.dtype)
        if not net.plain:
            run = golden.forward(x, start=self._start)
            if len(x):
                self._start = run.last
            return run.logits.to(torch.int32).numpy(), golden.events(run)
        tensors = golden._tensor
        events = []
        for s in range(net.signals):
            before = self._anchors[s]
            if s == 0:
                x = encode(x, net.thresholds[0], before)
            else:
                state = self._states[s - 1]
                start = None if before is None or state is None else (before, state)
                x, self._states[s - 1] = golden.advance(x, s - 1, net.thresholds[s], start)
            events.append(count_events(x, start=before))
            if len(x):
                self._anchors[s] = x[-1].clone()
        logits = torch.nn.functional.linear(x, tensors("classifier.weight", golden.dtype),
                                            tensors("classifier.bias", golden.dtype))
        return logits.to(torch.int32).numpy(), torch.stack(events, -1).to(torch.int32).numpy()
