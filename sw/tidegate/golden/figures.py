"""The figures of merit of DESIGN §3, from the event counts of a trace.

    occupancy[s]       events / (elements × frames)
    temporal sparsity  1 − occupancy, weighted by column length = 1 − weights read / dense weights
    fetch_reduction    weights a dense network reads / weights read
"""

from dataclasses import asdict, dataclass

import numpy as np

from ..spec.network import Network


@dataclass(frozen=True)
class Figures:
    """Sums over all frames of all clips, first-frame transients and classifier rows included.

    ``weights``: weights read; ``dense_weights``: what a dense network reads.
    """

    frames: int
    events: tuple[int, ...]
    occupancy: tuple[float, ...]
    weights: int
    dense_weights: int

    @property
    def temporal_sparsity(self) -> float:
        return 1 - self.weights / self.dense_weights if self.dense_weights else 0.0

    @property
    def fetch_reduction(self) -> float:
        """Infinite if nothing was read."""
        return self.dense_weights / self.weights if self.weights else float("inf")

    def to_dict(self) -> dict:
        return asdict(self) | {"temporal_sparsity": self.temporal_sparsity, "fetch_reduction": self.fetch_reduction}


def figures(network: Network, events, lengths=None) -> Figures:
    """Figures of a batch.  ``events`` (T, B, signals) per frame and clip; ``lengths`` (B,) frames of each clip
    (default: all T); frames from a clip's length on are padding and not counted."""
    events = np.asarray(events, np.int64)
    steps, batch, signals = events.shape
    lengths = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    valid = np.arange(steps)[:, None] < lengths
    frames = int(valid.sum())
    total = events[valid].sum(0)
    columns = np.array([network.column_weights(s) for s in range(signals)])
    occupancy = [float(total[s] / (network.elements(s) * frames)) if frames else 0.0 for s in range(signals)]
    return Figures(frames, tuple(map(int, total)), tuple(occupancy), int(total @ columns),
                   network.dense_weights * frames)
