"""What a run cost: sums over frames and the figures made from them, one meaning each: golden, cards and docs use these.

    occupancy of a signal   events / (elements · frames)
    weights read            Σ events of a signal · weights of its column (without padding to lanes)
    fetch_reduction         weights that a dense network reads / weights read
    temporal_sparsity       1 - weights read / dense weights
    word_reduction          the same ratio in words of the board's memory: what P lanes can make of it

First-frame transients and the classifier's rows count.  A ratio to nothing is None, a share of nothing 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..spec.network import Network

if TYPE_CHECKING:
    from .frame_result import FrameResult


def occupancy(network: Network, events: Sequence[int], frames: int) -> tuple[float, ...]:
    """Share of elements that fire, per signal; ``events``: sums over ``frames``, per signal."""
    return tuple(n / (network.elements(s) * frames) if frames else 0.0 for s, n in enumerate(events))


def weights_read(network: Network, events: Sequence[int], frames: int = 0) -> int:
    """With ``frames``, those of the biases of layers that consume among them, which are read in every frame.

    Events that a convolution hears count as the mean of all pixels, though those at the borders read fewer weights.
    """
    read = sum(n * network.column_weights(s) for s, n in enumerate(events))
    return round(read) + frames * network.replayed_weights


def temporal_sparsity(network: Network, events: Sequence[int], frames: int) -> float:
    """1 - occupancy, weighted by the length of the columns."""
    return 1 - weights_read(network, events, frames) / (network.dense_weights * frames) if frames else 0.0


def fetch_reduction(network: Network, events: Sequence[int], frames: int) -> float | None:
    """None if nothing was read."""
    read = weights_read(network, events, frames)
    return network.dense_weights * frames / read if read else None


def ratio_text(ratio: float | None, digits: int = 1) -> str:
    """As "8.5x", and "-" for a ratio to nothing."""
    return "-" if ratio is None else f"{ratio:.{digits}f}x"


@dataclass(frozen=True)
class Cost:
    """Sums over frames: ``cycles``, ``weight_words`` and ``events`` per signal; costs add up with ``+``."""

    frames: int
    cycles: int
    weight_words: int
    events: tuple[int, ...]

    @staticmethod
    def of(results: Iterable[FrameResult]) -> Cost:
        results = list(results)
        return Cost(len(results), sum(r.cycles for r in results), sum(r.weight_words for r in results),
                    tuple(map(sum, zip(*(r.events for r in results), strict=True))))

    @staticmethod
    def none(network: Network) -> Cost:
        """The cost of no frames, to add to."""
        return Cost(0, 0, 0, (0,) * network.signals)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.frames + other.frames, self.cycles + other.cycles,
                    self.weight_words + other.weight_words,
                    tuple(a + b for a, b in zip(self.events, other.events, strict=True)))

    def occupancy(self, network: Network) -> tuple[float, ...]:
        return occupancy(network, self.events, self.frames)

    def overall_occupancy(self, network: Network) -> float:
        """Share of elements that fire, all signals taken together."""
        elements = sum(network.elements(s) for s in range(network.signals))
        return sum(self.events) / (elements * self.frames) if self.frames else 0.0

    def weights_read(self, network: Network) -> int:
        return weights_read(network, self.events, self.frames)

    def temporal_sparsity(self, network: Network) -> float:
        return temporal_sparsity(network, self.events, self.frames)

    def to_dict(self, network: Network) -> dict:
        return asdict(self) | {"occupancy": self.occupancy(network),
                               "temporal_sparsity": self.temporal_sparsity(network)}


def comparison(delta: Cost, dense: Cost, network: Network) -> dict[str, float | None]:
    """Ratios of a dense and a delta run over the same clips; None where the delta run read nothing at all.

    A delta run that decides early has fewer frames, which then is a part of all ratios.
    """
    fetch = fetch_reduction(network, delta.events, dense.frames)
    speedup = dense.cycles / delta.cycles
    return {
        "speedup": speedup,
        "fetch_reduction": fetch,
        "word_reduction": dense.weight_words / delta.weight_words if delta.weight_words else None,
        "sparsity_efficiency": speedup / fetch if fetch else None,
    }
