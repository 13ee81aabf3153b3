"""The figures of merit (``host/figures.py``) of the golden model, from the event counts of a trace."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import log2

import numpy as np

from ..host.figures import occupancy, weights_read
from ..spec.model import Model
from ..spec.network import Network
from .judge import Golden


@dataclass(frozen=True)
class Figures:
    """Sums over all frames of all clips, and their ratios.

    ``events``, ``occupancy``: per signal.  ``weights``: weights read; ``dense_weights``: what a dense network reads.
    ``fetch_reduction``: None if nothing was read.
    """

    frames: int
    events: tuple[int, ...]
    occupancy: tuple[float, ...]
    weights: int
    dense_weights: int
    temporal_sparsity: float
    fetch_reduction: float | None

    def to_dict(self) -> dict:
        return asdict(self)


def activity_bits(network: Network) -> tuple[float, ...]:
    """Bits of activity of each signal: log2 of how many values the rule may send of an element in a frame.

    A spike has 1; a signal of the rule ``delta`` has the 12 bits of an event's Δ, less those that it never needs.
    """
    bits = []
    for s in range(network.signals):
        rule = network.rule(s)
        values = 2 * network.reach(s, consumes=True) + 1 if rule is None else rule.highest - rule.lowest + 1
        bits.append(log2(values))
    return tuple(bits)


def sent_bits(network: Network, sent: Sequence[np.ndarray]) -> np.ndarray:
    """Significant bits of what was sent, (T, B, signals), summed over elements; ``sent[s]`` (T, B, elements).

    A value has the bits of its magnitude, in steps of a rule ``diffuse`` and in LSBs of ``delta``, and a sign if it may
    be negative; 0 has none.
    """
    sums = []
    for s, values in enumerate(sent):
        rule = network.rule(s)
        step, sign = (1, 1) if rule is None else (rule.step, int(rule.lowest < 0))
        _, length = np.frexp(np.abs(values).astype(np.float32) / step)      # k < 2**length
        sums.append((length + sign * (values != 0)).sum(-1))
    return np.stack(sums, -1)


def bits_per_weight(network: Network, bits: Iterable[float], frames: int) -> float:
    """Significant bits per weight: mean over all weights and frames of the bits of what multiplies it; ``bits``: sum of
    ``sent_bits`` of each signal."""
    total = sum(n * network.column_weights(s) for s, n in enumerate(bits))
    return float(total) / (network.dense_weights * frames) if frames else 0.0


def figures(network: Network, events, lengths=None, weights=None) -> Figures:
    """Figures of a batch.  ``events`` (T, B, signals) per frame and clip; ``lengths`` (B,) frames of each clip
    (default: all T); frames from a clip's length on are padding and not counted.  ``weights`` (T, B): those that were
    read, as ``Trace.weights``; events tell them, too, but in convolutions only about."""
    events = np.asarray(events, np.int64)
    steps, batch = events.shape[:2]
    lengths = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    valid = np.arange(steps)[:, None] < lengths
    read = None if weights is None else int(np.asarray(weights, np.int64)[valid].sum())
    return figures_of(network, tuple(map(int, events[valid].sum(0))), int(valid.sum()), read)


def figures_of(network: Network, total: tuple[int, ...], frames: int, weights: int | None = None) -> Figures:
    """Figures of the events of each signal in so many frames; ``weights``: read, if that is known."""
    read, dense = weights_read(network, total, frames) if weights is None else weights, network.dense_weights * frames
    return Figures(frames, total, occupancy(network, total, frames), read, dense,
                   1 - read / dense if frames else 0.0, dense / read if read else None)


def measured(model: Model, sequences: Sequence[np.ndarray]) -> Figures:
    """Figures of sequences (T, features) of SIGNAL integers, each from reset."""
    golden = Golden(model)
    runs = [golden.run(frames[:, None]) for frames in sequences]
    return figures(model.network, np.concatenate([run.events for run in runs]),
                   weights=np.concatenate([run.weights for run in runs]))
