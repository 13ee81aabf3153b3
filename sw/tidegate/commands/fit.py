"""The verb ``fit``: does a model fit a board, and how fast would it be; answered before any synthesis."""

from pathlib import Path
from re import fullmatch
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from tidegate.spec.errors import TidegateError

from .console import JsonOption, err, out, print_json

if TYPE_CHECKING:
    from tidegate.spec.design import Design
    from tidegate.spec.layout import Layout
    from tidegate.spec.model import Model
    from tidegate.spec.network import Network

_LANES, _MHZ = 64, 100      # without a board: a virtual one's, and what its cycles are turned into seconds with


def fit(
    model: Annotated[str, typer.Argument(
        show_default=False, help="Name of a shipped model, a model file, or sizes of a network that nobody trained: "
        "features-neurons-classes, such as 40-256-12, or with two layers 40-192-192-12.")],
    cell: Annotated[str | None, typer.Option(
        "--cell", help="Cell of the layers, if MODEL is given as sizes (default: gru).", show_default=False)] = None,
    board: Annotated[str | None, typer.Option(
        "--board", "-b", help="icebreaker or ulx3s (default: the virtual board).", show_default=False)] = None,
    lanes: Annotated[int | None, typer.Option(
        "--lanes", help="Lanes of the virtual board: 8, 16, 64 (default) or 128; or which of the --board's designs.",
        show_default=False)] = None,
    occupancy: Annotated[list[float] | None, typer.Option(
        "--occupancy", min=0, max=100,
        help="Percent of elements that fire: one number for all signals, or one per signal, such as 30 20 (default: "
             "the card's).")] = None,
    clock: Annotated[float | None, typer.Option(
        "--clock", min=0.001, help="MHz (default: the --board's, else 100).", show_default=False)] = None,
    seconds: Annotated[float, typer.Option(
        "--seconds", min=0.001, help="Sound that a decision takes, for its estimated energy.")] = 1,
    json: JsonOption = False,
) -> None:
    """Whether a model fits a board (each memory), and by the cycle model: cycles, frames/s, duty, weight traffic.

    The energy is an estimate from published figures for 45 nm silicon, not what a board draws.
    """
    from tidegate.spec.layout import Layout

    network, loaded = _network(model, cell)
    design, default_clock = _design(board, lanes)
    layout = Layout(network, design, check=False)
    refusal = layout.refusal()
    speed = None
    if refusal is None:
        shares = _occupancy(network, loaded, occupancy)
        speed = _speed(layout, shares, clock * 1e6 if clock else default_clock, _frame_rate(loaded))
        if speed and (used := _frames_used(loaded)):
            # frames do not overlap on a clip that is decided, so each takes as long as one alone
            speed["early"] = {"frames_used": used, "cycles": speed["latency_cycles"]}
    report = {"model": model, "board": board, "lanes": design.lanes, "fits": refusal is None,
              "needs": [{"what": n.what, "need": n.need, "have": n.have} for n in layout.needs],
              "speed": speed, "energy_estimate": speed and _energy(layout, speed, seconds)}
    print_json(report) if json else _print(report)
    if board is not None and clock is not None:
        _mention_fmax(board, clock)
    if refusal:
        raise TidegateError(refusal)


def _network(text: str, cell: str | None) -> "tuple[Network, Model | None]":
    """That of a model; or of sizes such as 40-256-12 (features, layers, classes), without a model."""
    from tidegate import load_model, zoo
    from tidegate.spec.cells import GRU, cell_of
    from tidegate.spec.network import Layer, Network

    if text in zoo.names() or Path(text).is_file() or not fullmatch(r"[0-9]{1,9}(-[0-9]{1,9})+", text):
        if cell is not None:
            raise TidegateError("a model has its own cells; leave --cell out, or give sizes, such as 40-256-12")
        model = load_model(text)
        return model.network, model
    features, *sizes, classes = map(int, text.split("-"))
    if not sizes:
        raise TidegateError(f"'{text}' lacks a size; give features-neurons-classes, such as 40-256-12")
    layers = tuple(Layer(size, cell=cell_of(cell or GRU.name)) for size in sizes)
    return Network(features, layers, Layer(classes), (0,) * (1 + len(sizes))), None


def _design(board: str | None, lanes: int | None) -> "tuple[Design, float]":
    """The design that is asked about, and its clock in Hz."""
    from tidegate.spec.boards import board_spec
    from tidegate.spec.design import SIMULATED

    if board is not None:
        spec = board_spec(board)
        return spec.design(lanes), spec.clock
    lanes = _LANES if lanes is None else lanes
    if lanes not in SIMULATED:
        raise TidegateError(f"there is no virtual board with {lanes} lanes; choose {', '.join(map(str, SIMULATED))}")
    return SIMULATED[lanes], _MHZ * 1e6


def _occupancy(network: "Network", model: "Model | None", percent: list[float] | None) -> list[float]:
    """Share of elements that fire, per signal: as given, or what the model's card measured."""
    signals = network.signals
    if percent is None:
        if model is None:
            raise TidegateError("nobody trained this network, so nothing says how often it fires; "
                                "give --occupancy in percent")
        parts = [model.card.get(part) for part in ("test", "validation")]
        found = next((p["occupancy"] for p in parts if isinstance(p, dict) and "occupancy" in p), None)
        if found is None:
            raise TidegateError("the model's card has no occupancy; give --occupancy in percent")
        return list(found)
    if len(percent) not in (1, signals):
        raise TidegateError(f"give --occupancy one number, or one number for each of the model's {signals} signals")
    return [x / 100 for x in percent] * (signals // len(percent))


def _frames_used(model: "Model | None") -> float | None:
    """Mean share of a clip's frames up to the decision, by the card of a model that decides early."""
    parts = [] if model is None or model.stop is None else [model.card.get(part) for part in ("test", "validation")]
    return next((p["frames_used"] for p in parts if isinstance(p, dict) and "frames_used" in p), None)


def _frame_rate(model: "Model | None") -> float | None:
    """Frames a second of the model's front end, if it has one."""
    from tidegate.host.features import settings_of

    settings = settings_of(model) if model is not None and model.frontend else None
    return settings.sample_rate / settings.hop if settings else None


def _speed(layout: "Layout", occupancy: list[float], clock: float, rate: float | None) -> dict:
    """Figures of frames back to back at ``clock`` Hz; what depends on the frame rate is None if that is."""
    from tidegate.spec.cycles import latency_cycles, steady_cycles

    net = layout.network
    elements = [net.elements(s) for s in range(net.signals)]
    events = [share * n for share, n in zip(occupancy, elements, strict=True)]
    words = sum(n * column.length for n, column in zip(events, layout.columns, strict=True))
    weights = sum(n * net.column_weights(s) for s, n in enumerate(events))
    cycles, dense = steady_cycles(layout, events), steady_cycles(layout, elements)
    return {
        "clock_mhz": clock / 1e6, "occupancy": occupancy, "temporal_sparsity": 1 - weights / net.dense_weights,
        "cycles": cycles, "dense_cycles": dense,
        "weight_words": words, "latency_cycles": latency_cycles(layout, events),
        "frames_per_second": clock / cycles,
        "effective_gops": 2 * net.dense_weights * clock / cycles / 1e9,
        "frame_rate": rate, "duty": rate and rate * cycles / clock,
        "weight_bytes_per_second": rate and rate * words * layout.design.lanes,
    }


def _mention_fmax(board: str, clock: float) -> None:
    """Says so where a clock in MHz is faster than the board's bitstream, if there is one."""
    from tidegate.host.bitstreams import MANIFEST, bitstreams_folder, read_manifest

    try:
        fmax = read_manifest(bitstreams_folder(board) / MANIFEST).fmax_mhz
    except TidegateError:
        return
    if fmax is not None and clock > fmax:
        err.print(f"{clock:g} MHz is beyond the board: its bitstream runs at up to {fmax:.1f} MHz by nextpnr's timing")


def _energy(layout: "Layout", speed: dict, seconds: float) -> dict:
    """The estimate of ``tidegate.spec.energy``, and the clock cycles that no cited figure prices."""
    from tidegate.spec.energy import comparison

    rate, busy = speed["frame_rate"], speed["cycles"]
    idle = rate and max(0.0, speed["clock_mhz"] * 1e6 / rate - busy)
    return comparison(layout, speed["weight_words"], rate, seconds) | {"cycles": {"busy": busy, "idle": idle}}


def _print(report: dict) -> None:
    where = f"{report['board']}, {report['lanes']} lanes" if report["board"] else f"{report['lanes']} lanes"
    table = Table("memory", "need", "have", "", title=f"{report['model']} on {where}")
    for need in report["needs"]:
        less = need["need"] - need["have"]
        table.add_row(need["what"], str(need["need"]), str(need["have"]),
                      Text(f"✗ {less} too few", "red") if less > 0 else Text("✓", "green"))
    out.print(table)
    speed = report["speed"]
    if speed is None:
        return
    shares = " ".join(f"{x:.1%}" for x in speed["occupancy"])
    out.print(f"at {speed['clock_mhz']:g} MHz and occupancy {shares} (temporal sparsity "
              f"{speed['temporal_sparsity']:.1%}): {speed['cycles']:.0f} cycles a frame "
              f"({speed['dense_cycles']:.0f} dense), {speed['latency_cycles']:.0f} for one frame alone, "
              f"{speed['frames_per_second']:.0f} frames/s, {speed['effective_gops']:.1f} GOp/s effective")
    if speed["frame_rate"] is not None:
        out.print(f"at the model's {speed['frame_rate']:g} frames/s: duty {speed['duty']:.3%}, "
                  f"{speed['weight_bytes_per_second'] / 1e6:.2f} MB/s of weights")
    if early := speed.get("early"):
        out.print(f"decided early: after {early['frames_used']:.0%} of a clip's frames, {early['cycles']:.0f} cycles "
                  "each, as they do not overlap")
    _print_energy(report["energy_estimate"])


def _print_energy(energy: dict) -> None:
    delta, dense = energy["frame"]["delta"], energy["frame"]["dense"]
    table = Table("nJ a frame", "delta", "share", "dense", "share", title="estimated energy: 45 nm ASIC, not measured")
    for name, nj in delta.items():
        table.add_row(name.replace("_", " "), f"{nj:.1f}", f"{nj / delta['total']:.0%}", f"{dense[name]:.1f}",
                      f"{dense[name] / dense['total']:.0%}")
    out.print(table)
    second, decision = energy["second"], energy["decision"]
    spans = decision and f"; a second {_joules(second)}; a decision of {decision['seconds']:g} s {_joules(decision)}"
    out.print(f"dense / delta {energy['reduction']:.1f}x{spans or ''}")
    registers, dram = energy["what_if"]["accumulators_in_registers"], energy["what_if"]["weights_in_dram"]
    out.print(f"what if, a frame: accumulators in registers {_joules(registers)}; "
              f"weights in external DRAM {' to '.join(map(_joules, dram))}")
    out.print(energy["note"])


def _joules(energy: dict[str, float]) -> str:
    """Energies in nJ, as "5.44 µJ (dense 47.6)"."""
    scale, unit = next(((scale, unit) for scale, unit in ((1, "nJ"), (1e3, "µJ"), (1e6, "mJ"))
                        if energy["dense"] < 1e3 * scale), (1e9, "J"))
    return f"{energy['delta'] / scale:.3g} {unit} (dense {energy['dense'] / scale:.3g})"
