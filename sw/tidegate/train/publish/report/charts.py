"""Figures from numbers: a task's figure against fetches, training curves, occupancy, confusion."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from ...judge.evaluate import LANES
from ...study.early import group_name
from ...tasks.primary import ACCURACY, Primary
from .page import INK, MUTED, STYLE, short
from .results import SweepData, series_name

# mid-tones: they are seen on white and on a dark page
COLOURS = ("#2f78b7", "#d97b29", "#3c9a6c", "#c64f4a", "#8b68b8", "#96764f", "#cf6fa5", "#3aa3ad")
_DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
_ZOOM, _WIDE = 0.04, 0.12       # a second panel shows the best figures if the first one spans more than _WIDE
_WIDTH = 9.2                    # inches


def colours(n: int) -> list:
    """n colours that can be told apart as well as may be."""
    return list(COLOURS[:n]) if n <= len(COLOURS) else [to_hex(colormaps["turbo"](0.05 + 0.9 * k / (n - 1)))
                                                        for k in range(n)]


@rc_context(STYLE)
def pareto(sweep: SweepData, part: str) -> Figure:
    """The primary figure against fetch reduction: a marker per group, ± 1 sd over its runs, runs as faint dots, the
    front."""
    means = [y for g in sweep.groups for x, y in [g.point(part)] if x is not None and y is not None]
    zoom = sweep.primary.share and len(means) > 1 and max(means) - min(means) > _WIDE
    figure = Figure(figsize=(_WIDTH, 4.6), layout="constrained")
    panels = figure.subplots(1, 1 + zoom, squeeze=False)[0]
    for panel in panels:
        _pareto_panel(panel, sweep, part)
        panel.set_xlabel("fetch reduction (weights a dense network reads / weights read)")
    panels[0].set_ylabel(f"{sweep.primary.name}, {part} part")
    if zoom:
        panels[0].set_title("all")
        panels[1].set_title("the most accurate" if sweep.primary == ACCURACY else "the best")
        spread = 0.1 * _ZOOM
        if sweep.primary.lower:
            panels[1].set_ylim(max(0.0, min(means)) - spread, min(means) + _ZOOM)
        else:
            panels[1].set_ylim(max(means) - _ZOOM, min(1.0, max(means)) + spread)
        for panel in panels:
            panel.set_xlabel("fetch reduction")
    if handles := panels[0].get_legend_handles_labels()[0]:
        figure.legend(handles=handles, loc="outside lower left", ncols=3)
    return figure


def _pareto_panel(panel: Axes, sweep: SweepData, part: str) -> None:
    names = list(dict.fromkeys(series_name(g.first) for g in sweep.groups))
    for k, (name, colour) in enumerate(zip(names, colours(len(names)), strict=True)):
        groups = [g for g in sweep.groups if series_name(g.first) == name and None not in g.point(part)]
        runs = np.array([(f.fetch_reduction, f.primary) for g in groups for row in g.rows
                         if (f := row.parts.get(part)) and f.fetch_reduction is not None]).reshape(-1, 2)
        panel.plot(*runs.T, "o", color=colour, alpha=0.3, markersize=3, markeredgewidth=0)
        for varied in dict.fromkeys(g.first.varied for g in groups):     # one model, several Θ: a thin line
            points = sorted(g.point(part) for g in groups if g.first.varied == varied)
            panel.plot(*zip(*points, strict=True), color=colour, linewidth=0.8, alpha=0.5)
        stats = [(x, y) for g in groups if (x := g.stat(part, "fetch_reduction")) and (y := g.stat(part, "primary"))]
        x, y = [[s[axis].mean for s in stats] for axis in (0, 1)]
        sd_x, sd_y = [[s[axis].sd or 0.0 for s in stats] for axis in (0, 1)]
        if x:
            low = [min(sd, 0.9 * mean) for sd, mean in zip(sd_x, x, strict=True)]       # the axis is logarithmic
            panel.errorbar(x, y, sd_y, [low, sd_x], fmt="os^Dvph*"[k % 8], color=colour, markersize=6, linewidth=0,
                           elinewidth=1.2, capsize=2, label=short(name))
    for left_out in (False, True):
        front = [g.point(part) for g in sweep.front(part) if bool(g.first.speaker) == left_out]
        if front:
            panel.plot(*zip(*front, strict=True), color=INK, linewidth=1, drawstyle="steps-pre", zorder=1,
                       label="Pareto front of the means" + " (speakers left out)" * left_out)
    panel.set_xscale("log")
    axis = panel.xaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    if sweep.primary.share:
        panel.yaxis.set_major_formatter(FuncFormatter(_percent))


@rc_context(STYLE)
def early(groups: Sequence[Mapping], part: str) -> Figure:
    """Accuracy against mean frames used, and against weight words a decision: a line per variant, varied fields
    and Θ, a marker a margin.

    ``groups``: as ``summary`` gives them for early rows; bars are ± 1 standard deviation over the runs.
    """
    figure = Figure(figsize=(_WIDTH, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    names = list(dict.fromkeys(map(group_name, groups)))
    for panel, figure_name, label in zip(panels, ("frames_used", "weight_words_per_decision"), (
            "mean share of a clip's frames until the decision", f"weight words a decision ({LANES} lanes)"),
            strict=True):
        for name, colour in zip(names, colours(len(names)), strict=True):
            rows = sorted((g for g in groups if group_name(g) == name
                           and None not in (g[f"{part}_{figure_name}"], g[f"{part}_accuracy"])),
                          key=lambda g: g[f"{part}_{figure_name}"])
            if rows:
                x, y = ([g[f"{part}_{column}"] for g in rows] for column in (figure_name, "accuracy"))
                sd_x, sd_y = ([g[f"{part}_{column}_std"] or 0.0 for g in rows] for column in (figure_name, "accuracy"))
                panel.errorbar(x, y, sd_y, sd_x, fmt="o-", color=colour, markersize=4, linewidth=1.2, elinewidth=0.8,
                               capsize=2, label=short(name))
        panel.set_xlabel(label)
        panel.yaxis.set_major_formatter(FuncFormatter(_percent))
    panels[0].xaxis.set_major_formatter(FuncFormatter(_percent))
    panels[0].set_ylabel(f"accuracy, {part} part")
    if handles := panels[0].get_legend_handles_labels()[0]:
        figure.legend(handles=handles, loc="outside lower left", ncols=3)
    return figure


@rc_context(STYLE)
def curves(logs: Sequence[tuple[str, dict[str, np.ndarray]]], primary: Primary = ACCURACY) -> Figure:
    """Training logs (name, columns) by epoch: loss, the task's figure, fetch reduction and thresholds, where they
    are."""
    figure = Figure(figsize=(_WIDTH, 5.2 + 0.1 * len(logs)), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    for panel, (column, title) in zip(panels.flat, (
            ("loss", "loss (training)"), (primary.name, f"{primary.name} (validation)"),
            ("fetch_reduction", "fetch reduction (validation)"), ("thresholds", "Θ / 256")), strict=True):
        for (name, log), colour in zip(logs, colours(len(logs)), strict=True):
            for s, values in enumerate(log.get(column, np.empty((0, 0))).T):
                panel.plot(log["number"][:, 0], values, color=colour, linestyle=_DASHES[s % len(_DASHES)],
                           linewidth=1.3, marker="o" if len(values) == 1 else "", markersize=3,
                           label=short(name) if s == 0 else None)
        panel.set_title(title)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0, 1].yaxis.set_major_formatter(FuncFormatter(_percent))
    panels[1, 0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    for panel in panels[1]:
        panel.set_xlabel("epoch")
    handles = next((h for p in panels.flat if (h := p.get_legend_handles_labels()[0])), [])
    if len(logs) > 1 and handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=2)
    return figure


@rc_context(STYLE)
def occupancy_bars(parts: Mapping[str, Sequence[float]]) -> Figure:
    """Bars: part → share of elements that fire, per signal."""
    names = signal_names(max(len(values) for values in parts.values()))
    figure = Figure(figsize=(6.0, 0.7 + 0.34 * len(parts) * len(names)), layout="constrained")
    panel = figure.subplots()
    for k, (part, values) in enumerate(parts.items()):
        at = np.arange(len(values)) + (k - (len(parts) - 1) / 2) * 0.8 / len(parts)
        bars = panel.barh(at, [100 * v for v in values], 0.72 / len(parts), color=COLOURS[k], label=part)
        panel.bar_label(bars, [f"{v:.1%}" for v in values], padding=3, color=INK)
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
    panel.margins(x=0.12)
    panel.grid(visible=False, axis="y")
    panel.set_xlabel("occupancy: events / (elements x frames), %")
    figure.legend(loc="outside upper left", ncols=2)
    return figure


@rc_context(STYLE)
def confusion(counts: np.ndarray, labels: Sequence[str], title: str) -> Figure:
    """Counts (classes, classes), rows the truth; colour is the share of the row, a count of 0 stays empty."""
    n, cell = len(labels), 0.31
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    widest = 0.075 * max(len(short(label)) for label in labels)
    side = max(cell * n + widest, 2.0)
    figure = Figure(figsize=(side + 0.5, side + 0.7), layout="constrained")
    panel = figure.subplots()
    red, green, blue = (int(COLOURS[0][k : k + 2], 16) / 255 for k in (1, 3, 5))
    shade = LinearSegmentedColormap.from_list("shade", [(red, green, blue, 0), (red, green, blue, 1)])
    panel.pcolormesh(shares, cmap=shade, vmin=0, vmax=1, edgecolors="none", snap=True)
    for truth, decided in zip(*np.nonzero(counts), strict=True):
        count = counts[truth, decided]
        panel.text(decided + 0.5, truth + 0.5, f"{count}", ha="center", va="center",
                   fontsize=7.5 if count < 1000 else 6, color="#ffffff" if shares[truth, decided] > 0.5 else INK)
    for axis, rotation in ((panel.xaxis, 90), (panel.yaxis, 0)):
        axis.set_ticks(np.arange(n) + 0.5, [short(label) for label in labels], rotation=rotation)
        axis.set_ticks(np.arange(n + 1), minor=True)
        axis.set_tick_params(which="both", length=0)
    panel.grid(visible=False)
    panel.grid(visible=True, which="minor", linewidth=0.5)
    panel.set(aspect="equal", title=title, xlabel="decided", ylabel="spoken")
    panel.invert_yaxis()
    for side in ("left", "bottom"):
        panel.spines[side].set_color(MUTED)
    return figure


def signal_names(signals: int) -> list[str]:
    """What the signals of a network are called."""
    return ["features", *(f"layer {s}" for s in range(1, signals))]


def _percent(value: float, _=None) -> str:
    return f"{100 * value:.4g} %"
