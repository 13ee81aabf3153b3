"""The report of a sweep."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tidegate.host.figures import ratio_text
from tidegate.spec.model import SUFFIX, Model, read_model

from ...judge.stat import Stat
from ...study.early import early_summary, group_name, margin_text
from ...study.results import read_early
from .. import card
from . import charts, page
from .model import closer_look, part_figures, theta_text
from .raster import Example
from .results import PARTS, Group, Row, SweepData, read_log, read_sweep


def write_report(folder: str | Path, data_dir: str | Path | None = None, clip: str | Path | None = None,
                 out_html: str | Path | None = None) -> Path:
    """``report.html`` (or ``out_html``), ``pareto.svg`` and ``pareto.png`` of a sweep's folder, from its files alone;
    of one with margins ``early.svg`` and ``early.png``, too.

    ``clip``, ``data_dir``: as in ``write_model_report``.  TidegateError if a file of the sweep is missing or damaged,
    or the report cannot be written.
    """
    folder = Path(folder)
    sweep = read_sweep(folder)
    logs, row = _median_logs(sweep), sweep.chosen()        # all files are read before anything is drawn
    model = row and _at(row, read_model(folder / "models" / f"{row.key}{SUFFIX}"))
    drawings = {"pareto": charts.pareto(sweep, sweep.part)}
    early = early_summary(read_early(folder))
    if early:
        drawings["early"] = charts.early(early, sweep.part)
    example = None if clip is None else Example(Path(clip), f"the recording {clip}")
    body = [*_head(sweep), *_summary(sweep), *_pareto(sweep, drawings["pareto"]),
            *(_early(early, sweep.part, drawings["early"]) if early else ()), *_curves(logs),
            *_chosen(sweep, row, model, example, data_dir)]
    for name, drawing in drawings.items():
        for suffix in (".svg", ".png"):
            page.save(drawing, folder / f"{name}{suffix}")
    out = folder / "report.html" if out_html is None else Path(out_html)
    page.write(page.document(f"Sweep {sweep.plan.name}", body), out)
    return out


def _head(sweep: SweepData) -> list[str]:
    d = sweep.plan.to_dict()
    seeds, speakers = (list(dict.fromkeys(getattr(row, x) for row in sweep.rows)) for x in ("seed", "speaker"))
    left_out = [s for s in speakers if s]
    models, numbers = len({row.key for row in sweep.rows}), ", ".join(map(str, sorted(seeds)))
    rows = [("recipe", d["recipe"]["name"]), ("data", d["data"]), *_items("varied", d["vary"]),
            *_items("variants", d.get("variants", [])), *_items("Θ settings", d["theta"]),
            ("trained", f"{models} models, {len(seeds)} seeds ({numbers})"),
            ("speakers left out", ", ".join(left_out)),
            ("points", f"{len(sweep.rows)} (model and Θ) in {len(sweep.groups)} groups")]
    return [page.paragraph(d["about"]), page.facts(rows)]


def _items(name: str, value: dict | list) -> list[tuple[str, str]]:
    """A piece of a sweep's description as rows."""
    texts = [f"{k}: {_compact(v)}" for k, v in value.items()] if isinstance(value, dict) else map(_compact, value)
    return [(name, "; ".join(texts))] if value else []


def _compact(value) -> str:
    if isinstance(value, dict) and set(value) == {"label", "set"}:          # a variant
        return f"{value['label']} ({_compact(value['set']) or 'as it is'})"
    if isinstance(value, dict):
        return ", ".join(f"{k} = {_compact(v)}" for k, v in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _summary(sweep: SweepData) -> list[str]:
    shown = [k for k in range(len(sweep.fields)) if len({row.varied[k] for row in sweep.rows}) > 1]
    parts = [p for p in PARTS if any(p in row.parts for row in sweep.rows)]
    head = ["", *(sweep.fields[k] for k in shown), "factor", "Θ / 256", "runs", *(f"{p} accuracy" for p in parts),
            *(f"{p} fetches" for p in parts), "file, kB"]
    front = sweep.front("validation")
    rows = []
    for g in sweep.groups:
        size = Stat.of(row.file_bytes for row in g.rows)
        rows.append([charts.series_name(g.first), *(g.first.varied[k] for k in shown),
                     "" if g.first.factor is None else f"{g.first.factor:g}", _theta(g), str(len(g.rows)),
                     *(accuracy_text(g.stat(p, "accuracy"), len(g.rows)) for p in parts),
                     *(_mean_ratio(g.stat(p, "fetch_reduction")) for p in parts),
                     "" if size is None else f"{size.mean / 1000:.1f}"])
    clips = ", ".join(f"{p} {_range([r.parts[p].clips for r in sweep.rows if p in r.parts])}" for p in parts)
    caption = ("Accuracy: mean ± sample standard deviation over runs, in %; fetches: mean fetch reduction. "
               f"Clips: {clips}. Θ: mean over the runs where they differ. Shaded: on the Pareto front of the "
               "validation means.")
    body = [page.heading("Summary"),
            page.table(head, rows, caption, 1 + len(shown), [any(g is f for f in front) for g in sweep.groups])]
    return body + _speakers(sweep)


def _speakers(sweep: SweepData) -> list[str]:
    """Accuracy on each speaker that was left out."""
    speakers = sorted({row.speaker for row in sweep.rows if row.speaker})
    if not speakers:
        return []
    rows = []
    for g in sweep.groups:
        if not g.first.speaker:
            continue
        stats = [Group(tuple(r for r in g.rows if r.speaker == s)).stat("test", "accuracy") for s in speakers]
        over = Stat.of(s.mean if s else None for s in stats)
        rows.append([g.name(sweep.fields), _theta(g), *(accuracy_text(s) for s in stats), accuracy_text(over)])
    return [page.table(
        ("left out", "Θ / 256", *speakers, "all"), rows,
        "Test accuracy on the clips of a speaker who was left out of training, in %: mean ± sample standard deviation "
        "over seeds; last, over the speakers' means.")]


def _pareto(sweep: SweepData, drawing) -> list[str]:
    part = sweep.part
    n = [s.n for g in sweep.groups if (s := g.stat(part, "accuracy"))]
    points = [g.point(part) for g in sweep.groups]
    missing = sum(None in p for p in points)
    caption = (f"Accuracy on the {part} part against fetch reduction (logarithmic). A marker is the mean of "
               f"{_range(n)} runs, its bars ± 1 standard deviation over them; faint dots are single runs; thin lines "
               "join the Θ settings of the same models. The step line is the Pareto front of these means"
               + ("; it is drawn, and nothing was chosen by it." if part == "test" else "."))
    if missing:
        caption += f" {missing} groups without figures on this part, or without any fetches, are not drawn."
    return [page.heading("Accuracy against fetches"), page.figure(drawing, "pareto", caption)]


def _early(groups: list[dict], part: str, drawing) -> list[str]:
    head = ["", "margin", "runs", "accuracy", "decided", "frames used", "words a decision", "fewer weights"]
    rows = []
    for g in groups:
        accuracy, used, words, fewer = (g[f"{part}_{name}"] for name in (
            "accuracy", "frames_used", "weight_words_per_decision", "decision_reduction"))
        decided = g[f"{part}_decided"]
        rows.append([group_name(g), margin_text(g["margin"]), str(g["n"]),
                     card.spread(accuracy, g[f"{part}_accuracy_std"]), "-" if decided is None else f"{decided:.1%}",
                     card.spread(used, g[f"{part}_frames_used_std"]), "-" if words is None else f"{words:.0f}",
                     ratio_text(fewer)])
    caption = (f"Decided at the first frame in which the best logit leads by more than the margin, else at the clip's "
               f"end ({part} part): mean ± sample standard deviation over the runs. Fewer weights: than a dense "
               "network reads over the whole clips.")
    return [page.heading("Deciding early"), page.figure(drawing, "early", caption), page.table(head, rows, caption, 2)]


def _median_logs(sweep: SweepData) -> list[tuple[str, dict[str, np.ndarray]]]:
    """(name, log) of the median run of every group at its own Θ."""
    medians: dict[str, tuple[Group, Row]] = {}
    for g in sweep.groups:
        if any(row in sweep.own for row in g.rows):
            row = g.median()
            medians.setdefault(row.key, (g, row))       # settings of Θ after training share a run
    return [(f"{g.name(sweep.fields)} (seed {row.seed})", read_log(sweep.folder / "logs" / f"{key}.csv"))
            for key, (g, row) in medians.items()]


def _curves(logs: list[tuple[str, dict[str, np.ndarray]]]) -> list[str]:
    caption = ("One run a group, by epoch: the one whose validation accuracy at its trained Θ is the median over the "
               "seeds (the lower of two). Θ: features solid, layers dashed and dotted.")
    return [page.heading("Training"), page.figure(charts.curves(logs), "curves", caption)]


def _chosen(sweep: SweepData, row: Row | None, model: Model | None, clip: Example | None,
            data_dir: str | Path | None) -> list[str]:
    if row is None or model is None:
        return [page.paragraph("There are no validation figures to choose a model by, so none is looked at closely.")]
    figures = row.parts["validation"]
    name = Group((row,)).name(sweep.fields)
    text = (f"{name}, seed {row.seed}, Θ = {theta_text(row.theta)}, file models/{row.key}{SUFFIX}: validation "
            f"accuracy {figures.accuracy:.2%} of {figures.clips} clips at a fetch reduction of "
            f"{ratio_text(figures.fetch_reduction, 2)}. Of the runs at {'their own' if row.factor == 1 else 'any'} Θ "
            "(of those with thresholds above 0, if there are any) it has the best validation accuracy on their Pareto "
            "front by validation; test figures were not looked at.")
    return [page.heading("One model more closely"), page.paragraph(text), *closer_look(model, clip, data_dir)]


def _at(row: Row, model: Model) -> Model:
    """The model at the row's Θ; the figures of its card are dropped if they are for another."""
    if row.theta == model.network.thresholds:
        return model
    rest = {k: v for k, v in model.card.items() if k not in part_figures(model)}
    return replace(model.with_thresholds(*row.theta), card=rest)


def accuracy_text(stat: Stat | None, runs: int | None = None) -> str:
    """In %, as "98.13 ± 0.21"; says of how many where these are not all ``runs``."""
    if stat is None:
        return "-"
    text = f"{100 * stat.mean:.2f}" + (f" ± {100 * stat.sd:.2f}" if stat.sd is not None else "")
    return text if runs in (None, stat.n) else f"{text} (n = {stat.n})"


def _mean_ratio(stat: Stat | None) -> str:
    return ratio_text(stat and stat.mean, 2)


def _theta(group: Group) -> str:
    columns = list(zip(*(row.theta for row in group.rows), strict=False))
    return ", ".join(f"{sum(c) / len(c):.4g}" for c in columns)


def _range(values: Sequence[int]) -> str:
    if not values:
        return "0"
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
