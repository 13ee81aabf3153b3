"""The verb ``stream``: a model that listens all the time, on continuous sound made from a folder of words."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tidegate.host.detector import DEFAULTS
from tidegate.host.figures import ratio_text

from .console import JsonOption, hint_at_extras, out, print_json, progress
from .models import ModelArgument


def stream(
    model: ModelArgument,
    data: Annotated[Path, typer.Option("--data", "-d", help="Folder of words.", show_default=False)],
    hours: Annotated[float, typer.Option("--hours", min=0.01, max=1000, help="Of sound.")] = 1.0,
    part: Annotated[str, typer.Option("--part", help="validation or test.")] = "validation",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the stream; choose a threshold on other seeds.")] = 1,
    threshold: Annotated[float, typer.Option(
        "--threshold", help="Of the smoothed probability, between 0 and 1.")] = DEFAULTS.threshold,
    snr: Annotated[tuple[float, float] | None, typer.Option(
        "--snr", metavar="LOW HIGH", help="Of a typical word to the background, in dB (default: 10 40).")] = None,
    json: JsonOption = False,
) -> None:
    """Hits, misses, false accepts an hour and delay on continuous sound, by the golden model.

    Of the detector on the host, and of the stop unit on the board, which re-arms when a keyword has passed.
    """
    from tidegate import load_model

    loaded = load_model(model)
    settings = replace(DEFAULTS, threshold=threshold)
    with hint_at_extras():
        from tidegate.train.soundscape import Scene
        from tidegate.train.streaming import score_directory

        scene = Scene() if snr is None else replace(Scene(), snr_db=snr)
        with progress("listening", not json) as step:
            report = score_directory(loaded, data, part, hours, seed, settings, scene, step)
    print_json(report) if json else _print(report)


def _print(report: dict) -> None:
    cost, (low, high) = report["cost"], report["scene"]["snr_db"]
    out.print(f"{report['part']}, seed {report['seed']}: {report['hours']:.2f} h in {report['streams']} streams, "
              f"{report['keywords']} keywords, {report['unknown_words']} other words, "
              f"{report['noise']} noise {low:g} to {high:g} dB below a typical word")
    columns = ("hits", "false accepts/h", "confused", "unknown", "repeated", "background", "after start, s",
               "after end, s")
    table = Table("threshold", *columns, title="False accepts by kind; delays: median and 95 %")
    for row in report["curve"]:
        chosen = row["threshold"] == report["threshold"]
        table.add_row(f"{row['threshold']:g}", *_row(row), style="bold" if chosen else None)
    out.print(table)
    early = report["early"]
    stops = Table("margin", *columns, title="The board's stop unit on the same logits")
    for row in early["curve"]:
        stops.add_row(f"{row['margin']:g}", *_row(row), style="bold" if row["margin"] == early["own"] else None)
    out.print(stops)
    out.print(f"[bold]At {report['threshold']:g}: {report['hits']} of {report['keywords']} keywords detected "
              f"({_percent(report['hit_rate'])}), {report['false_accepts_per_hour']:.1f} false accepts an hour, "
              f"fetch reduction {ratio_text(cost['fetch_reduction'])}[/] (occupancy "
              f"{' '.join(f'{x:.1%}' for x in cost['occupancy'])}; {cost['quiet_frames']:.0%} of frames send nothing)",
              soft_wrap=True)
    if report["skipped"]:
        out.print(f"{len(report['skipped'])} clips could not be used, the first: {': '.join(report['skipped'][0])}",
                  markup=False)


def _row(row: dict) -> list[str]:
    return [_percent(row["hit_rate"]), f"{row['false_accepts_per_hour']:.1f}", *map(str, row["false_accepts"].values()),
            _delays(row["delay_from_start_s"]), _delays(row["delay_from_end_s"])]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _delays(delay: dict) -> str:
    return "-" if delay["median"] is None else f"{delay['median']:.2f}, {delay['p95']:.2f}"
