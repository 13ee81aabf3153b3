"""The verb ``fit``: does a model fit a board, and how fast would it be; answered before any synthesis."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from tidegate.spec.errors import TidegateError

from .console import (
    LANES_OF_BOARDS,
    JsonOption,
    MemoryOption,
    StepsOption,
    err,
    hint_at_extras,
    names_in,
    out,
    print_json,
)

if TYPE_CHECKING:
    from tidegate.spec.model import Model
    from tidegate.spec.network import Network


def fit(
    model: Annotated[str, typer.Argument(
        show_default=False, help="Name of a shipped model, a model file, or sizes of a network that nobody trained: "
        "features-neurons-classes, such as 40-256-12, or with two layers 40-192-192-12.")],
    cell: Annotated[str | None, typer.Option(
        "--cell", help="Cell of the layers, if MODEL is given as sizes (default: gru).", show_default=False)] = None,
    board: Annotated[str | None, typer.Option(
        "--board", "-b", help="icebreaker or ulx3s (default: the virtual board).", show_default=False)] = None,
    lanes: Annotated[int | None, typer.Option(
        "--lanes", help="Lanes of the virtual board: 8, 16, 64 (default) or 128; or which of the --board's designs: "
        f"{LANES_OF_BOARDS}.",
        show_default=False)] = None,
    cells: Annotated[str | None, typer.Option(
        "--cells", help="Cells of a --board that is built with others than its own, such as gru,lstm.",
        show_default=False)] = None,
    rules: Annotated[str | None, typer.Option(
        "--rules", help="Its encoder rules, such as delta,diffuse.", show_default=False)] = None,
    features: Annotated[int | None, typer.Option(
        "--features", help="Its elements of a frame.", show_default=False)] = None,
    memory: MemoryOption = 1,
    occupancy: Annotated[list[float] | None, typer.Option(
        "--occupancy", min=0, max=100,
        help="Percent of elements that fire: one number for all signals, or one per signal, such as 30 20 (default: "
             "the card's).")] = None,
    data: Annotated[Path | None, typer.Option(
        "--data", "-d", help="Instead, .npy or .npz files of frames, or a folder of them, on which the golden model "
        "measures the occupancy.", show_default=False)] = None,
    steps: StepsOption = None,
    clock: Annotated[float | None, typer.Option(
        "--clock", min=0.001, help="MHz (default: the --board's, else 100).", show_default=False)] = None,
    seconds: Annotated[float, typer.Option(
        "--seconds", min=0.001, help="Sound that a decision takes, for its estimated energy.")] = 1,
    json: JsonOption = False,
) -> None:
    """Whether a model fits a board (each memory), and by the cycle model: cycles, frames/s, duty, weight traffic.

    A neuron slot is the place of a neuron in the core: of convolutions a core needs more of them than there are
    neurons, as channels are padded to the lanes.

    The energy is an estimate from published figures for 45 nm silicon, not what a board draws.
    """
    from tidegate.host.fit import design_of, fit, network_of
    from tidegate.spec.layout import Layout

    network, loaded = network_of(model, cell)
    built = {"cells": names_in(cells), "rules": names_in(rules), "features": features, "memory": memory}
    if data is not None:
        occupancy = _measured(loaded, data, occupancy, steps)
    elif steps is not None:
        raise TidegateError("--steps is of the images in --data; give both, or none")
    fits = Layout(network, design_of(board, lanes, **built)[0], check=False).refusal() is None
    report = {"model": model, **fit(
        loaded or network, board, lanes, **built, occupancy=_shares(network, loaded, occupancy) if fits else None,
        clock=clock * 1e6 if clock else None, seconds=seconds)}
    refusal = report.pop("refusal")
    print_json(report) if json else _print(report, network)
    if board is not None and clock is not None:
        _mention_fmax(board, clock)
    if refusal:
        raise TidegateError(refusal)


def _measured(model: "Model | None", data: Path, percent: list[float] | None,
              steps: int | None) -> list[float]:
    """Percent of elements that fire, per signal, on frames from files of arrays."""
    from tidegate.host.arrays import array_files, frame_sequences

    if model is None:
        raise TidegateError("a network that nobody trained has no weights to measure with; leave --data out and give "
                            "--occupancy")
    if percent is not None:
        raise TidegateError("--data measures the occupancy and --occupancy gives it; leave one of them out")
    if not (files := array_files(data)):
        raise TidegateError(f"no .npy or .npz file in '{data}'; give files of frames (T, {model.network.features})")
    sequences = [each.frames for each in frame_sequences(model, files, steps)]
    with hint_at_extras():
        from tidegate.golden.figures import measured

        return [100 * share for share in measured(model, sequences).occupancy]


def _shares(network: "Network", model: "Model | None", percent: list[float] | None) -> list[float] | None:
    """The occupancy of each signal from the option, or None for that of the model's card."""
    from tidegate.host.fit import measured_occupancy

    if percent is None:
        if model is None:
            raise TidegateError("nobody trained this network, so nothing says how often it fires; "
                                "give --occupancy in percent")
        if measured_occupancy(model) is None:
            raise TidegateError("the model's card has no occupancy; give --occupancy in percent, or --data with frames "
                                "that it may hear")
        return None
    if len(percent) not in (1, network.signals):
        raise TidegateError("give --occupancy one number, or one number for each of the model's "
                            f"{network.signals} signals")
    return [x / 100 for x in percent]


def _mention_fmax(board: str, clock: float) -> None:
    """Says so where a clock in MHz is faster than the board's bitstream, if there is one."""
    from tidegate.host.bitstreams import MANIFEST, bitstreams_folder, read_manifest

    try:
        fmax = read_manifest(bitstreams_folder(board) / MANIFEST).fmax_mhz
    except TidegateError:
        return
    if fmax is not None and clock > fmax:
        err.print(f"{clock:g} MHz is beyond the board: its bitstream runs at up to {fmax:.1f} MHz by nextpnr's timing")


def _print(report: dict, network: "Network") -> None:
    from tidegate.spec.layout import SLOTS

    where = f"{report['board']}, {report['lanes']} lanes" if report["board"] else f"{report['lanes']} lanes"
    table = Table("memory", "need", "have", "", title=f"{report['model']} on {where}")
    for need in report["needs"]:
        less = need["need"] - need["have"]
        table.add_row(need["what"], str(need["need"]), str(need["have"]),
                      Text(f"✗ {less} too few", "red") if less > 0 else Text("✓", "green"))
    out.print(table)
    if any(need["what"] == SLOTS for need in report["needs"]):
        out.print(f"{SLOTS}: the network has {sum(layer.size for layer in network.layers)} neurons; channels of a "
                  f"convolution are padded to a multiple of the {report['lanes']} lanes")
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
