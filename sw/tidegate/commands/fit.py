"""The verb ``fit``: does a model fit a board, and how fast would it be; answered before any synthesis."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tidegate.spec.errors import TidegateError

from .console import JsonOption, out, print_json
from .models import ModelArgument

if TYPE_CHECKING:
    from tidegate.spec.layout import Layout
    from tidegate.spec.model import Model


def fit(
    model: ModelArgument,
    lanes: Annotated[int, typer.Option("--lanes", help="Of the board: 8, 16, 64 or 128.")] = 64,
    occupancy: Annotated[list[float] | None, typer.Option(
        "--occupancy", min=0, max=100,
        help="Percent of elements that fire: one for all signals, or one a signal (default: the card's).")] = None,
    clock: Annotated[float, typer.Option("--clock", min=0.001, help="MHz.")] = 100,
    json: JsonOption = False,
) -> None:
    """Whether a model fits a board (each memory), and by the cycle model: cycles, frames/s, duty, weight traffic."""
    from tidegate import load_model
    from tidegate.spec.design import SIMULATED
    from tidegate.spec.layout import Layout

    loaded = load_model(model)
    if lanes not in SIMULATED:
        raise TidegateError(f"there is no board with {lanes} lanes; choose {', '.join(map(str, SIMULATED))}")
    layout = Layout(loaded.network, SIMULATED[lanes], check=False)
    short = [need for need in layout.needs if not need.fits]
    report = {"model": model, "lanes": lanes, "fits": not short,
              "needs": [{"what": n.what, "need": n.need, "have": n.have} for n in layout.needs],
              "speed": None if short else _speed(loaded, layout, _occupancy(loaded, occupancy), clock * 1e6)}
    print_json(report) if json else _print(report)
    if short:
        raise TidegateError(str(short[0]))


def _occupancy(model: "Model", percent: list[float] | None) -> list[float]:
    """Share of elements that fire, per signal: as given, or what the model's card measured."""
    signals = model.network.signals
    if percent is None:
        parts = [model.card.get(part) for part in ("test", "validation")]
        found = next((p["occupancy"] for p in parts if isinstance(p, dict) and "occupancy" in p), None)
        if found is None:
            raise TidegateError("the model's card has no occupancy; give --occupancy in percent")
        return list(found)
    if len(percent) not in (1, signals):
        raise TidegateError(f"give --occupancy once, or once for each of the model's {signals} signals")
    return [x / 100 for x in percent] * (signals // len(percent))


def _speed(model: "Model", layout: "Layout", occupancy: list[float], clock: float) -> dict:
    """Figures of frames back to back; what depends on the model's frame rate is None if it has no front end."""
    from tidegate.host.features import settings_of
    from tidegate.spec.cycles import latency_cycles, steady_cycles

    net = layout.network
    elements = [net.elements(s) for s in range(net.signals)]
    events = [share * n for share, n in zip(occupancy, elements, strict=True)]
    words = sum(n * column.length for n, column in zip(events, layout.columns, strict=True))
    cycles, dense = steady_cycles(layout, events), steady_cycles(layout, elements)
    settings = settings_of(model) if model.frontend else None
    rate = settings.sample_rate / settings.hop if settings else None
    return {
        "clock_mhz": clock / 1e6, "occupancy": occupancy, "cycles": cycles, "dense_cycles": dense,
        "latency_cycles": latency_cycles(layout, events), "frames_per_second": clock / cycles,
        "effective_gops": 2 * net.dense_weights * clock / cycles / 1e9,
        "frame_rate": rate, "duty": rate and rate * cycles / clock,
        "weight_bytes_per_second": rate and rate * words * layout.design.lanes,
    }


def _print(report: dict) -> None:
    table = Table("memory", "need", "have", "", title=f"{report['model']} on {report['lanes']} lanes")
    for need in report["needs"]:
        fits = need["need"] <= need["have"]
        table.add_row(need["what"], str(need["need"]), str(need["have"]), "[green]✓[/]" if fits else "[red]✗[/]")
    out.print(table)
    speed = report["speed"]
    if speed is None:
        return
    shares = " ".join(f"{x:.1%}" for x in speed["occupancy"])
    out.print(f"at {speed['clock_mhz']:g} MHz and occupancy {shares}: {speed['cycles']:.0f} cycles a frame "
              f"({speed['dense_cycles']:.0f} dense), {speed['latency_cycles']:.0f} for one frame alone, "
              f"{speed['frames_per_second']:.0f} frames/s, {speed['effective_gops']:.1f} GOp/s effective")
    if speed["frame_rate"] is not None:
        out.print(f"at the model's {speed['frame_rate']:g} frames/s: duty {speed['duty']:.3%}, "
                  f"{speed['weight_bytes_per_second'] / 1e6:.2f} MB/s of weights")
