"""Whether a network fits a board, and how fast it would be there: answered before any synthesis.

    from tidegate import fit
    fit("commands", board="ulx3s")["speed"]["cycles"]
"""

from collections.abc import Sequence
from pathlib import Path
from re import fullmatch

from .. import zoo
from ..spec.boards import board_spec
from ..spec.cells import GRU, cell_of
from ..spec.cycles import latency_cycles, steady_cycles
from ..spec.design import Design, simulated
from ..spec.energy import energy_comparison
from ..spec.errors import TidegateError
from ..spec.layer import Layer
from ..spec.layout import Layout
from ..spec.model import Model
from ..spec.network import Network
from .features import settings_of

FASTEST = 1e11                  # Hz that a clock may have
LANES, CLOCK = 64, 100e6        # without a board: lanes of the virtual board, and the Hz that turn cycles into seconds


def fit(model: str | Path | Model | Network, board: str | None = None, lanes: int | None = None, *,
        cell: str | None = None, cells: Sequence[str] | None = None, rules: Sequence[str] | None = None,
        features: int | None = None, memory: int = 1, occupancy: float | Sequence[float] | None = None,
        clock: float | None = None, seconds: float = 1.0) -> dict:
    """Each memory that a model needs on a board and, if it fits, cycles, frames per second, and estimated energy.

    ``model``, ``cell``: see ``network_of``.  ``board``: a name of ``spec/boards.py``; None: the virtual board.
    ``lanes``: which of the board's designs; None: the board's own.  ``cells``, ``rules``, ``features``: of a board
    that is built with others than its own.  ``memory``: of a virtual board, times the usual.
    ``occupancy``: share of elements that fire, one for all signals or one per signal; None: as the
    model's card measured it.  ``clock``: Hz; None: the board's.
    ``seconds``: of sound that a decision takes.

    Plain data: ``board``, ``lanes``, ``fits``, ``refusal`` (why it does not fit, or None), ``needs`` (per memory),
    ``speed`` and ``energy_estimate`` (None if it does not fit).  The cycles are those of the cycle model; the energy is
    an estimate, see ``spec.energy.NOTE``.  TidegateError if nothing says how often the network fires, or
    ``clock`` is none.
    """
    if clock is not None and not 1 <= clock <= FASTEST:
        raise TidegateError(f"a clock of {clock / 1e6:g} MHz is no board's; give 0.001 to {FASTEST / 1e6:g} MHz")
    network, known = network_of(model, cell)
    design, own_clock = design_of(board, lanes, cells, rules, features, memory)
    layout = Layout(network, design, check=False)
    refusal = layout.refusal()
    speed = None
    if refusal is None:
        shares = _shares(network, known, occupancy)
        speed = speed_of(layout, shares, own_clock if clock is None else clock, frame_rate(known))
        if used := _frames_used(known):
            # frames do not overlap on a clip that is decided, so each takes as long as one alone
            speed["early"] = {"frames_used": used, "cycles": speed["latency_cycles"]}
    return {"board": board, "lanes": design.lanes, "fits": refusal is None, "refusal": refusal,
            "needs": [{"what": n.what, "need": n.need, "have": n.have} for n in layout.needs],
            "speed": speed, "energy_estimate": speed and _energy(layout, speed, seconds)}


def network_of(model: str | Path | Model | Network, cell: str | None = None) -> tuple[Network, Model | None]:
    """A network, and the model that it is part of, if there is one.

    ``model``: a model, a network, the name or file of a model, or sizes of a network that nobody trained: features,
    layers, classes, such as "40-256-12".  ``cell``: of all layers, if ``model`` is sizes; None: GRU.
    """
    if isinstance(model, Network):
        return model, None
    if isinstance(model, Model):
        return model.network, model
    text = str(model)
    if text in zoo.names() or Path(text).is_file() or not fullmatch(r"[0-9]{1,9}(-[0-9]{1,9})+", text):
        if cell is not None:
            raise TidegateError("a model has its own cells; leave --cell out, or give sizes, such as 40-256-12")
        loaded = zoo.load(text)
        return loaded.network, loaded
    features, *sizes, classes = map(int, text.split("-"))
    if not sizes:
        raise TidegateError(f"'{text}' lacks a size; give features-neurons-classes, such as 40-256-12")
    kind = cell_of(GRU.name if cell is None else cell)
    layers = tuple(Layer(size, cell=kind, activation="tanh" if kind.activations else "") for size in sizes)
    return Network(features, layers, Layer(classes), (0,) * (1 + len(sizes))), None


def design_of(board: str | None = None, lanes: int | None = None,
              cells: Sequence[str] | None = None, rules: Sequence[str] | None = None,
              features: int | None = None, memory: int = 1) -> tuple[Design, float]:
    """A board's design, with its own cells, rules and features or others, and its clock in Hz; None: of the virtual
    board, with so many times the usual ``memory``."""
    if board is not None and memory != 1:
        raise TidegateError("only a virtual board can have more memory; leave --memory or --board out")
    if board is not None:
        spec = board_spec(board)
        return spec.design(lanes, cells, rules, features), spec.clock
    if (cells, rules, features) != (None, None, None):
        raise TidegateError("the virtual board has all cells and rules; leave --cells, --rules and --features out, or "
                            "name a --board")
    return simulated(LANES if lanes is None else lanes, memory), CLOCK


def measured_occupancy(model: Model | None) -> tuple[float, ...] | None:
    """Share of elements that fire, per signal, as the model's card has it of the test or else the validation
    part; of an imported model, of its calibration data."""
    found = _of_card(model, "occupancy")
    return None if found is None else tuple(found)


def frame_rate(model: Model | None) -> float | None:
    """Frames per second of the model's front end or of its readout, if it has one."""
    if model is not None and model.readout is not None:
        return model.readout.rate
    settings = settings_of(model) if model is not None and model.frontend else None
    return settings.sample_rate / settings.hop if settings else None


def speed_of(layout: Layout, occupancy: Sequence[float], clock: float, rate: float | None = None) -> dict:
    """Figures of frames back to back at ``clock`` Hz.

    ``occupancy``: share of elements that fire, per signal.  ``rate``: frames per second; figures that depend on
    it are None without a rate.
    """
    net = layout.network
    elements = [net.elements(s) for s in range(net.signals)]
    events = [share * n for share, n in zip(occupancy, elements, strict=True)]
    words = sum(n * layout.mean_words(s) for s, n in enumerate(events))
    weights = sum(n * net.column_weights(s) for s, n in enumerate(events)) + net.replayed_weights
    cycles, dense = steady_cycles(layout, events), steady_cycles(layout, elements)
    return {
        "clock_mhz": clock / 1e6, "occupancy": list(occupancy), "temporal_sparsity": 1 - weights / net.dense_weights,
        "cycles": cycles, "dense_cycles": dense,
        "weight_words": words, "latency_cycles": latency_cycles(layout, events),
        "frames_per_second": clock / cycles,
        "effective_gops": 2 * net.dense_weights * clock / cycles / 1e9,
        "frame_rate": rate, "duty": rate and rate * cycles / clock,
        "weight_bytes_per_second": rate and rate * words * layout.design.lanes,
    }


def _shares(network: Network, model: Model | None, occupancy: float | Sequence[float] | None) -> tuple[float, ...]:
    """Per signal: as given, or as measured."""
    if occupancy is None:
        if (measured := measured_occupancy(model)) is None:
            raise TidegateError("nothing says how often this network fires; give its occupancy")
        return measured
    shares = (occupancy,) if isinstance(occupancy, int | float) else tuple(occupancy)
    if len(shares) not in (1, network.signals):
        raise TidegateError(f"give one occupancy, or one for each of the model's {network.signals} signals")
    if not all(0 <= share <= 1 for share in shares):
        raise TidegateError(f"an occupancy is a share from 0 to 1, not {max(shares, key=abs):g}")
    return shares * (network.signals // len(shares))


def _frames_used(model: Model | None) -> float | None:
    """Mean share of a clip's frames up to the decision, by the card of a model that decides early."""
    return None if model is None or model.stop is None else _of_card(model, "frames_used")


def _of_card(model: Model | None, figure: str):
    names = ("test", "validation", "finetuned", "conversion")
    parts = [] if model is None else [model.card.get(part) for part in names]
    return next((p[figure] for p in parts if isinstance(p, dict) and figure in p), None)


def _energy(layout: Layout, speed: dict, seconds: float) -> dict:
    """The estimate of ``spec/energy.py``, and the clock cycles that no cited figure prices."""
    rate, busy = speed["frame_rate"], speed["cycles"]
    idle = rate and max(0.0, speed["clock_mhz"] * 1e6 / rate - busy)
    return energy_comparison(layout, speed["weight_words"], rate, seconds) | {"cycles": {"busy": busy, "idle": idle}}
