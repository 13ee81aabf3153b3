"""The verb ``bench``: cycles and weight reads of delta against dense, per model and number of lanes."""

import time
from typing import Annotated

import typer
from rich.table import Table

from tidegate.host.figures import Cost, comparison, ratio_text

from .boards import loaded_board
from .console import BoardOption, JsonOption, out, print_json, progress
from .speech import hear


def bench(
    models: Annotated[list[str] | None, typer.Argument(help="Models (default: all shipped ones).")] = None,
    lanes: Annotated[list[int] | None, typer.Option("--lanes", help="Virtual boards (default: 8, 16 and 64).")] = None,
    board: BoardOption = "virtual",
    json: JsonOption = False,
) -> None:
    """Measure cycles per frame on the bundled clips: delta, dense on the same core, and what would be ideal."""
    from tidegate import zoo
    from tidegate.host.board import VIRTUAL
    from tidegate.spec.design import SIMULATED

    loaded = {name: zoo.load(name) for name in models or zoo.names()}
    sizes = (lanes or list(SIMULATED)) if board == VIRTUAL else [None]
    rows = []
    for name, model in loaded.items():
        for p in sizes:
            rows.append(_measure(name, model, board, p))
    if json:
        return print_json(rows)
    table = Table("model", "lanes", "cycles/frame", "dense", "speedup", "ideal, words", "ideal, weights",
                  "efficiency", "occupancy", "frames/s", "real time")
    for row in rows:
        table.add_row(
            row["model"], str(row["lanes"]), f"{row['cycles_per_frame']:.0f}", f"{row['dense_cycles_per_frame']:.0f}",
            ratio_text(row["speedup"]), ratio_text(row["word_reduction"]), ratio_text(row["fetch_reduction"]),
            "-" if row["sparsity_efficiency"] is None else f"{row['sparsity_efficiency']:.0%}",
            " ".join(f"{x:.1%}" for x in row["occupancy"]), f"{row['frames_per_second']:.0f}",
            ratio_text(row["times_real_time"]))
    out.print(table)
    out.print("ideal: fetch reduction, a dense frame's reads / reads, in memory words and in weights; efficiency: "
              "speedup / ideal in weights; frames/s: of this board here, link and driver included.")


def _measure(name: str, model, port: str, lanes: int | None) -> dict:
    from tidegate.clips import clips
    from tidegate.host.features import features_of, settings_of

    net = model.network
    sounds = [features_of(model, clip.path) for clip in clips()]
    costs: dict[bool, Cost] = {}
    with loaded_board(port, lanes, model) as device, progress(f"{name}, {device.design.lanes} lanes") as step:
        for dense in (False, True):
            device.dense = dense
            start = time.perf_counter()
            for n, frames in enumerate(sounds):
                cost = hear(device, frames).cost
                costs[dense] = costs[dense] + cost if dense in costs else cost
                step(n + 1 + dense * len(sounds), 2 * len(sounds))
            if not dense:
                seconds = time.perf_counter() - start
        found = device.design
    delta, full = costs[False], costs[True]
    settings = settings_of(model)
    rate = delta.frames / seconds
    return {
        "model": name, "lanes": found.lanes, "frames": delta.frames,
        "cycles_per_frame": delta.cycles / delta.frames, "dense_cycles_per_frame": full.cycles / full.frames,
        "words_per_frame": delta.weight_words / delta.frames, "dense_words_per_frame": full.weight_words / full.frames,
        **comparison(delta, full, net), "occupancy": delta.occupancy(net),
        "temporal_sparsity": delta.temporal_sparsity(net), "frames_per_second": rate,
        "times_real_time": rate * settings.hop / settings.sample_rate,
    }
