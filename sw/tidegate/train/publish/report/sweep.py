"""The report of a sweep."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tidegate.host.features import settings_of
from tidegate.spec.model import SUFFIX, Model, read_model

from ...data.split import JUDGED
from ...judge.stat import Stat
from ...study.early import group_name, margin_text
from ...study.results import read_early, summary
from . import charts, page
from .model import closer_look, part_figures
from .raster import Example, clip_events, codings
from .raster import example as example_of
from .results import Group, Row, SweepData, read_log, read_sweep


def write_report(folder: str | Path, data_dir: str | Path | None = None, clip: str | Path | None = None,
                 out_html: str | Path | None = None) -> Path:
    """``report.html`` (or ``out_html``), ``pareto.svg`` and ``pareto.png`` of a sweep's folder, from its files alone;
    of one with margins ``early.svg`` and ``early.png``, too, and of one with variants ``codings.svg`` and
    ``codings.png``.

    ``clip``, ``data_dir``: as in ``write_model_report``.  TidegateError if a file of the sweep is missing or damaged,
    or the report cannot be written.
    """
    folder = Path(folder)
    sweep = read_sweep(folder)
    logs, row = _median_logs(sweep), sweep.chosen()        # all files are read before anything is drawn
    model = row and _at(row, read_model(folder / "models" / f"{row.key}{SUFFIX}"))
    drawings = {"pareto": charts.pareto(sweep, sweep.part)}
    early = summary(read_early(folder))
    if early:
        drawings["early"] = charts.early(early, sweep.part)
    example = None if clip is None else Example(Path(clip), f"the recording {clip}")
    shown = _codings(sweep, example, data_dir)
    if shown:
        drawings["codings"] = shown["drawing"]
    text = page.render(
        "sweep.html.jinja", sweep=sweep, part=sweep.part, **_head(sweep), **_summary(sweep), speakers=_speakers(sweep),
        pareto=_pareto(sweep, drawings["pareto"]), curves=charts.curves(logs, sweep.primary), primary=sweep.primary,
        group_name=group_name,
        margin_text=margin_text, early={"groups": early, "drawing": drawings["early"]} if early else None,
        codings=shown, chosen=row,
        **(_chosen(sweep, row, model, example, data_dir) if row and model else {}))
    for name, drawing in drawings.items():
        for suffix in (".svg", ".png"):
            page.save(drawing, folder / f"{name}{suffix}")
    out = folder / "report.html" if out_html is None else Path(out_html)
    page.write(text, out)
    return out


def _head(sweep: SweepData) -> dict[str, Any]:
    plan = sweep.plan.to_dict()
    return {"plan": plan, "varied": _items(plan["vary"]), "variants": _items(plan.get("variants", [])),
            "settings": _items(plan["theta"]), "models": len({row.key for row in sweep.rows}),
            "seeds": sorted({row.seed for row in sweep.rows}),
            "left_out": sorted({row.speaker for row in sweep.rows if row.speaker})}


def _items(value: dict | list) -> list[str]:
    """A piece of a sweep's description in words."""
    return [f"{k}: {_compact(v)}" for k, v in value.items()] if isinstance(value, dict) else [*map(_compact, value)]


def _compact(value) -> str:
    if isinstance(value, dict) and set(value) == {"label", "set"}:          # a variant
        return f"{value['label']} ({_compact(value['set']) or 'as it is'})"
    if isinstance(value, dict):
        return ", ".join(f"{k} = {_compact(v)}" for k, v in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _summary(sweep: SweepData) -> dict[str, Any]:
    clips = {part: found for part in JUDGED
             if (found := [row.parts[part].clips for row in sweep.rows if part in row.parts])}
    front = sweep.front("validation")
    groups = [{"name": charts.series_name(g.first), "first": g.first, "theta": _theta(g), "runs": len(g.rows),
               "primaries": [g.stat(part, "primary") for part in clips],
               "fetches": [g.stat(part, "fetch_reduction") for part in clips],
               "size": Stat.of(row.file_bytes for row in g.rows), "best": any(g is f for f in front)}
              for g in sweep.groups]
    shown = [k for k in range(len(sweep.fields)) if len({row.varied[k] for row in sweep.rows}) > 1]
    return {"shown": shown, "clips": clips, "summary": groups}


def _speakers(sweep: SweepData) -> list[dict[str, Any]]:
    """The primary figure on each speaker that was left out, and last over all of them."""
    speakers, found = sorted({row.speaker for row in sweep.rows if row.speaker}), []
    for g in sweep.groups:
        if g.first.speaker:
            stats = [Group(tuple(r for r in g.rows if r.speaker == s)).stat("test", "primary") for s in speakers]
            over = Stat.of(s.mean if s else None for s in stats)
            found.append({"name": g.name(sweep.fields), "theta": _theta(g), "primaries": [*stats, over]})
    return found


def _codings(sweep: SweepData, clip: Example | None, data_dir: str | Path | None) -> dict[str, Any] | None:
    """What the median run of every variant sends of one clip, if there are several and a clip is at hand."""
    medians: dict[str, Row] = {}
    for g in sweep.groups:
        if any(row in sweep.own for row in g.rows):
            medians.setdefault(g.first.label, g.median())
    models = [(label, _at(row, read_model(sweep.folder / "models" / f"{row.key}{SUFFIX}")))
              for label, row in medians.items()]
    if len(models) < 2 or not (clip := clip or example_of(models[0][1], data_dir)):
        return None
    hop = settings_of(models[0][1]).hop_ms / 1000
    return {"what": clip.what, "drawing": codings([(n, clip_events(model, clip.path)) for n, model in models], hop)}


def _pareto(sweep: SweepData, drawing: Figure) -> dict[str, Any]:
    return {"drawing": drawing, "runs": [s.n for g in sweep.groups if (s := g.stat(sweep.part, "primary"))],
            "missing": sum(None in g.point(sweep.part) for g in sweep.groups)}


def _median_logs(sweep: SweepData) -> list[tuple[str, dict[str, np.ndarray]]]:
    """(name, log) of the median run of every group at its own Θ."""
    medians: dict[str, tuple[Group, Row]] = {}
    for g in sweep.groups:
        if any(row in sweep.own for row in g.rows):
            row = g.median()
            medians.setdefault(row.key, (g, row))       # settings of Θ after training share a run
    return [(f"{g.name(sweep.fields)} (seed {row.seed})", read_log(sweep.folder / "logs" / f"{key}.csv"))
            for key, (g, row) in medians.items()]


def _chosen(sweep: SweepData, row: Row, model: Model, clip: Example | None,
            data_dir: str | Path | None) -> dict[str, Any]:
    return {"chosen_name": Group((row,)).name(sweep.fields), "file": f"models/{row.key}{SUFFIX}",
            **closer_look(model, clip, data_dir)}


def _at(row: Row, model: Model) -> Model:
    """The model at the row's Θ; the figures of its card are dropped if they are for another."""
    if row.theta == model.network.thresholds:
        return model
    rest = {k: v for k, v in model.card.items() if k not in part_figures(model)}
    return replace(model.with_thresholds(*row.theta), card=rest)


def _theta(group: Group) -> str:
    columns = list(zip(*(row.theta for row in group.rows), strict=False))
    return ", ".join(f"{sum(c) / len(c):.4g}" for c in columns)
