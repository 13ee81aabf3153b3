"""The figures of merit (``host/figures.py``) of the golden model, from the event counts of a trace."""

from dataclasses import asdict, dataclass

import numpy as np

from ..host.figures import fetch_reduction, occupancy, temporal_sparsity, weights_read
from ..spec.network import Network


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


def figures(network: Network, events, lengths=None) -> Figures:
    """Figures of a batch.  ``events`` (T, B, signals) per frame and clip; ``lengths`` (B,) frames of each clip
    (default: all T); frames from a clip's length on are padding and not counted."""
    events = np.asarray(events, np.int64)
    steps, batch = events.shape[:2]
    lengths = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    valid = np.arange(steps)[:, None] < lengths
    frames, total = int(valid.sum()), tuple(map(int, events[valid].sum(0)))
    return Figures(
        frames, total, occupancy(network, total, frames), weights_read(network, total),
        network.dense_weights * frames, temporal_sparsity(network, total, frames),
        fetch_reduction(network, total, frames))
