"""The verb ``sweep``: a task's figure, such as accuracy, against weight fetches over any fields of a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from tidegate.host.figures import ratio_text
from tidegate.spec.errors import TidegateError
from tidegate.train.data.split import JUDGED
from tidegate.train.judge.stat import spread
from tidegate.train.tasks.primary import Primary

from .console import JsonOption, err, hint_at_extras, out, print_json, progress

if TYPE_CHECKING:
    from tidegate.train.study.sweep import Outcome, Sweep


def sweep(
    spec: Annotated[str, typer.Argument(help="Name of a sweep that ships, or a JSON file.", show_default=False)],
    data: Annotated[Path | None, typer.Option(
        "--data", "-d", help="Folder of words, or data of the recipe's task (default: data/NAME, as the sweep names "
        "it).")] = None,
    out_folder: Annotated[Path | None, typer.Option(
        "--out", "-o", help="Folder of results; goes on with what is missing there (default: results/NAME).")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes (default: one per core).")] = None,
    cluster: Annotated[str | None, typer.Option(
        "--cluster", help="Train on a Dask cluster: address of its scheduler, such as tcp://host:8786.")] = None,
    report: Annotated[bool, typer.Option(help="Write a report, too.")] = True,
    json: JsonOption = False,
) -> None:
    """Train every point of a sweep and evaluate it at every Θ; each is kept as soon as it is finished."""
    if cluster and workers:
        raise TidegateError("--workers is for this machine and --cluster for others; choose one")
    from tidegate.train.study.plan import read_plan

    plan = read_plan(spec)
    folder = data or Path("data") / (plan.data or plan.name)
    results = out_folder or Path("results") / plan.name
    with hint_at_extras():
        from tidegate.train.study.sweep import Sweep, read_early, read_results, summary

        task = Sweep(plan, folder, results, progress=True)
        points, failed = len(task.points), _train(task, workers, cluster)
    rows = read_results(results)
    groups, early = summary(rows), summary(read_early(results)) if rows else []
    if not json:
        _print(plan.name, list(plan.vary), groups, plan.primary)
        if early:
            _print_early(list(plan.vary), early)
    page = _report(results, folder) if report and rows else None
    if json:
        print_json({"sweep": plan.name, "folder": str(results), "points": points, "failed": failed, "summary": groups,
                    **({"early": early} if early else {}), "report": page and str(page)})
    else:
        out.print(f"{points - len(failed)} of {points} points are in {results}" + (f", report {page}" if page else ""))
    if failed:
        raise TidegateError(f"{len(failed)} of {points} points failed, the first: {failed[0]}; the same command tries "
                            "them again")


def _train(task: "Sweep", workers: int | None, cluster: str | None) -> list[str]:
    """Train what is left, with a line a point; returns what failed."""
    from tidegate.train.tasks.registry import find_task

    points, failed, primary = len(task.points), [], task.plan.primary
    for line in dict.fromkeys(line for features in task.features.values()
                              for line in find_task(features.task).lines(features)):
        err.print(line, soft_wrap=True)       # once, if several front ends or speakers say the same
    there = points - len(task.left)
    err.print(f"{points} points, {there} of them are there; Ctrl-C keeps what is finished, the same command goes on",
              soft_wrap=True)
    with progress("training") as step:
        step(there, points)
        for outcome in task.outcomes(workers, cluster):
            err.print(_line(outcome, primary), soft_wrap=True)
            step(outcome.number, points)
            if outcome.error:
                failed.append(f"{outcome.point}: {outcome.error}")
    return failed


def _line(outcome: "Outcome", primary: Primary) -> str:
    """A point in one line, with its figures at the Θ that it was trained with, or else at the first."""
    start = f"{outcome.number}/{outcome.total} {outcome.point}: "
    if outcome.error:
        return f"{start}failed: {outcome.error}"
    row = next((row for row in outcome.rows if row["factor"] == 1), outcome.rows[0])
    figures = [f"{part} {primary.told(row[f'{part}_{primary.name}'])} at "
               f"{ratio_text(row[f'{part}_fetch_reduction'], 2)}"
               for part in JUDGED if row.get(f"{part}_{primary.name}") is not None]
    return f"{start}{', '.join(figures)}, {row['seconds']:.0f} s"


def _print(name: str, varied: list[str], groups: list[dict[str, Any]], primary: Primary) -> None:
    """One row a group; only columns that say something."""
    from tidegate.train.study.results import BITS

    labels = any(g["label"] for g in groups)
    fields = [field for field in varied if field != "seed"]
    parts = [part for part in JUDGED if any(g[f"{part}_{primary.name}"] is not None for g in groups)]
    bits = any(f"{part}_{BITS}" in g for part in parts for g in groups)
    figures = [primary.name, "fewer fetches", *["bits per weight"] * bits]
    table = Table(*["variant"] * labels, *fields, "Θ", "n", *(f"{part} {x}" for part in parts for x in figures),
                  title=name)
    for g in groups:
        cells = [g["label"]] * labels + ["" if g[field] is None else str(g[field]) for field in fields]
        cells += [_theta(g), str(g["n"])]
        for part in parts:
            cells += [primary.spread(g[f"{part}_{primary.name}"], g[f"{part}_{primary.name}_std"]),
                      ratio_text(g[f"{part}_fetch_reduction"], 2)]
            if bits:
                cells.append("-" if (mean := g.get(f"{part}_{BITS}")) is None else f"{mean:.2f}")
        table.add_row(*cells)
    out.print(table)


def _print_early(varied: list[str], groups: list[dict[str, Any]]) -> None:
    """One row a group and margin, on the part that was tested."""
    from tidegate.train.study.early import margin_text

    part = next((p for p in reversed(JUDGED) if any(g[f"{p}_accuracy"] is not None for g in groups)), JUDGED[0])
    fields = [field for field in varied if field != "seed"]
    table = Table("variant", *fields, "Θ", "margin", "n", "accuracy", "frames used", "words a decision",
                  "fewer weights", title=f"Decided early, {part} part")
    for g in groups:
        words = g[f"{part}_weight_words_per_decision"]
        table.add_row(g["label"], *("" if g[field] is None else str(g[field]) for field in fields), _theta(g),
                      margin_text(g["margin"]), str(g["n"]),
                      spread(g[f"{part}_accuracy"], g[f"{part}_accuracy_std"]),
                      spread(g[f"{part}_frames_used"], g[f"{part}_frames_used_std"]),
                      "-" if words is None else f"{words:.0f}", ratio_text(g[f"{part}_decision_reduction"]))
    out.print(table)


def _theta(group: dict[str, Any]) -> str:
    theta = "" if group["theta"] is None else " ".join(map(str, group["theta"]))
    factor = "" if group["factor"] is None else f"x{group['factor']:g}"
    return f"{factor} ({theta})" if theta and factor else theta or factor


def _report(results: Path, data: Path) -> Path:
    with hint_at_extras():
        from tidegate.train.publish.report import write_report

        return write_report(results, data)
