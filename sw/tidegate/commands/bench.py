"""The verb ``bench``: what delta buys against dense mode of the same core, and the speed of the tools."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tidegate.host.figures import ratio_text
from tidegate.spec.errors import TidegateError

from .console import JsonOption, hint_at_extras, out, print_json, progress

if TYPE_CHECKING:
    import numpy as np

    from tidegate.spec.model import Model

HIDDEN = (64, 128, 256)
OCCUPANCY = (2.0, 5.0, 10.0, 13.0, 20.0, 50.0, 100.0)
_SEED = 1       # of the streams that are measured


def bench(
    models: Annotated[list[str] | None, typer.Argument(help="Models (default: all shipped ones).")] = None,
    lanes: Annotated[list[int] | None, typer.Option("--lanes", help="Cores (default: 8, 16, 64 and 128).")] = None,
    hidden: Annotated[list[int] | None, typer.Option(
        "--hidden", min=1, help="Sizes of the synthetic networks (default: 64, 128, 256).")] = None,
    occupancy: Annotated[list[float] | None, typer.Option(
        "--occupancy", min=0, max=100,
        help="Occupancies of the random streams, in percent (default: 2 5 10 13 20 50 100).")] = None,
    frames: Annotated[int, typer.Option("--frames", min=20, help="Frames of each random stream.")] = 300,
    plot: Annotated[Path | None, typer.Option(
        "--plot", help="Draw speedup against occupancy of the synthetic streams: .png, .svg or .pdf.")] = None,
    tools: Annotated[bool, typer.Option("--tools", help="Measure the speed of the tools here instead.")] = False,
    json: JsonOption = False,
) -> None:
    """Measure cycles a frame on the simulated RTL, frames back to back: delta, dense mode, and what would be ideal.

    Networks: models on the bundled clips, and random ones on random streams of a chosen occupancy.  With models given,
    only these; with --hidden or --occupancy, only random ones.
    """
    if tools:
        return _tools(json)
    from tidegate.spec.design import SIMULATED

    synthetic = bool(hidden or occupancy)
    names = list(models or ()) if models or synthetic else None      # None: all
    sizes = tuple(hidden or HIDDEN) if synthetic or not models else ()
    for p in lanes or ():
        if p not in SIMULATED:
            raise TidegateError(f"there is no simulated core with {p} lanes; choose {', '.join(map(str, SIMULATED))}")
    if plot is not None:
        from .plot import check_plot

        check_plot(plot)
        if not sizes:
            raise TidegateError("--plot draws the synthetic streams; add --hidden, or leave the models out")
    with hint_at_extras():
        from tidegate_sim.measure import measure
        from tidegate_sim.simulators import executable

        chosen = lanes or list(SIMULATED)
        work = list(_networks(names, sizes, [x / 100 for x in occupancy or OCCUPANCY], frames))
        for p in chosen:
            executable(SIMULATED[p], top="core")        # the first time shows its own progress
        rows = []
        with progress("measuring") as step:
            for name, model, clips, target in work:
                for p in chosen:
                    rows.append(measure(name, model, p, clips, target))
                    step(len(rows), len(work) * len(chosen))
    if plot is not None:
        from tidegate_sim.plot import draw_speedup

        draw_speedup(rows, plot)
    print_json(rows) if json else _print(rows)
    wrong = [row for row in rows if row["mismatches"] or row["model_mismatches"]]
    if wrong:
        first = wrong[0]
        what = first["first_mismatch"] or f"{first['model_mismatches']} frames take other cycles"
        raise TidegateError(f"{len(wrong)} rows differ from golden or from the cycle model, first {first['network']} "
                            f"with {first['lanes']} lanes: {what}")


def _networks(names: list[str] | None, sizes: tuple[int, ...], occupancies: list[float],
              frames: int) -> "Iterator[tuple[str, Model, list[np.ndarray], float | None]]":
    """(name, model, clips, wanted occupancy) of all that is to be measured."""
    from tidegate import zoo
    from tidegate.clips import clips
    from tidegate.host.features import features_of
    from tidegate_sim.synthetic import at_occupancy, random_network, random_stream

    shipped = [name for name in zoo.names() if zoo.load(name).frontend]         # those that hear the clips
    for name in shipped if names is None else names:
        model = zoo.load(name)
        yield name, model, [model.quantise(features_of(model, clip.path)) for clip in clips()], None
    for hidden in sizes:
        for occupancy in occupancies:
            model = at_occupancy(random_network(hidden), occupancy)
            yield f"random-{hidden}", model, [random_stream(frames, occupancy, _SEED)], occupancy


def _print(rows: list[dict]) -> None:
    table = Table("network", "lanes", "occupancy", "cycles/frame", "dense", "speedup", "ideal", "efficiency",
                  "lanes busy, dense", "GOp/s at 100 MHz", "mismatches", "cycles off")
    for row in rows:
        efficiency = row["sparsity_efficiency"]
        table.add_row(
            row["network"], str(row["lanes"]), f"{row['occupancy']:.1%}", f"{row['cycles_delta']:.1f}",
            f"{row['cycles_dense']:.1f}", ratio_text(row["speedup"], 2), ratio_text(row["ideal_speedup"], 2),
            "-" if efficiency is None else f"{efficiency:.1%}", f"{row['lane_utilisation_dense']:.1%}",
            f"{row['effective_gops_at_100mhz']:.1f}", str(row["mismatches"]), str(row["model_mismatches"]))
    out.print(table)
    out.print("ideal: fetch reduction, weights of a dense network / weights read; efficiency: speedup / ideal; "
              "mismatches: integers that differ from golden; cycles off: frames that differ from the cycle model.")


def _tools(json: bool) -> None:
    with hint_at_extras():
        from tidegate_sim.speed import measure_tools

        figures = measure_tools()
    if json:
        return print_json(figures)
    board, golden, step = figures["virtual_board"], figures["golden"], figures["training_step"]
    out.print(f"On {figures['machine']}:")
    out.print(f"virtual board, {board['model']} with {board['lanes']} lanes, terminal and driver included: "
              f"{board['frames_per_second']:.0f} frames/s, {board['times_target']:.0f} times "
              f"{board['target_rate']} frames/s")
    out.print(f"golden, one-second utterances in batches of {golden['batch']}: "
              f"{golden['utterances_per_second']:.0f}/s; features included: "
              f"{golden['utterances_per_second_with_features']:.0f}/s")
    out.print(f"training step ({step['size']}): {step['milliseconds']:.1f} ms, without the kernel in C "
              f"{step['without_kernel_milliseconds']:.1f} ms, torch.nn.GRU "
              f"{step['torch_milliseconds']:.1f} ms, ratio {step['ratio']:.2f}")
