"""What a run cost: sums over frames and the figures made from them, one meaning each (docs and card use the same).

    occupancy of a signal   events / (elements · frames)
    weights read            Σ events of a signal · weights of its column (without padding to lanes)
    fetch_reduction         weights that a dense network reads / weights read
    temporal_sparsity       1 - weights read / dense weights
    word_reduction          the same ratio in words of the board's memory: what P lanes can make of it
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ..spec.network import Network
from .board import FrameResult


@dataclass(frozen=True)
class Cost:
    """Sums over frames: ``cycles``, ``weight_words`` and ``events`` per signal; costs add up with ``+``."""

    frames: int
    cycles: int
    weight_words: int
    events: tuple[int, ...]

    @staticmethod
    def of(results: Iterable[FrameResult]) -> "Cost":
        results = list(results)
        return Cost(len(results), sum(r.cycles for r in results), sum(r.weight_words for r in results),
                    tuple(map(sum, zip(*(r.events for r in results), strict=True))))

    @staticmethod
    def none(network: Network) -> "Cost":
        """The cost of no frames, to add to."""
        return Cost(0, 0, 0, (0,) * network.signals)

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.frames + other.frames, self.cycles + other.cycles,
                    self.weight_words + other.weight_words,
                    tuple(a + b for a, b in zip(self.events, other.events, strict=True)))

    def times(self, n: int) -> "Cost":
        """The cost of ``n`` runs like this one."""
        return Cost(self.frames * n, self.cycles * n, self.weight_words * n, tuple(k * n for k in self.events))

    def occupancy(self, network: Network) -> tuple[float, ...]:
        """Share of elements that fire, per signal."""
        return tuple(n / (network.elements(s) * self.frames) for s, n in enumerate(self.events))

    def weights_read(self, network: Network) -> int:
        return sum(n * network.column_weights(s) for s, n in enumerate(self.events))

    def temporal_sparsity(self, network: Network) -> float:
        return 1 - self.weights_read(network) / (network.dense_weights * self.frames)

    def to_dict(self, network: Network) -> dict:
        return asdict(self) | {"occupancy": self.occupancy(network),
                               "temporal_sparsity": self.temporal_sparsity(network)}


def comparison(delta: Cost, dense: Cost, network: Network) -> dict[str, float | None]:
    """Ratios of a dense and a delta run over the same frames; None where the delta run read nothing at all."""
    read = delta.weights_read(network)
    fetch = network.dense_weights * delta.frames / read if read else None
    speedup = dense.cycles / delta.cycles
    return {
        "speedup": speedup,
        "fetch_reduction": fetch,
        "word_reduction": dense.weight_words / delta.weight_words if delta.weight_words else None,
        "sparsity_efficiency": speedup / fetch if fetch else None,
    }
