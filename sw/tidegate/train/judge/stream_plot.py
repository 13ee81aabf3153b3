"""``tidegate stream --plot``: misses against false accepts per hour, and what they cost."""

from pathlib import Path


def draw_stream(report: dict, file: Path) -> None:
    """Left: the curve of each factor on Θ, with 95 % intervals; right: fetches per second by kind of sound, or, of
    several factors, misses at one false accept per hour against fetches."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "tidegate"        # the same file for the same figures
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.2, 4), layout="constrained")
    least = 0.3 / report["hours"]                           # where no false accept at all is drawn
    for theta in report["thetas"]:
        rows = [row for row in theta["curve"] if row["misses"] < row["keywords"]] or theta["curve"][:1]
        x = [max(row["false_accepts_per_hour"], least) for row in rows]
        y = [100 * row["miss_rate"] for row in rows]
        lows, highs = zip(*(row["false_accepts_interval"] for row in rows), strict=True)
        beside = [[max(0.0, a - max(low, least)) for a, low in zip(x, lows, strict=True)],
                  [max(0.0, high - a) for a, high in zip(x, highs, strict=True)]]
        above = [[max(0.0, b - 100 * row["miss_interval"][0]) for b, row in zip(y, rows, strict=True)],
                 [max(0.0, 100 * row["miss_interval"][1] - b) for b, row in zip(y, rows, strict=True)]]
        bars = left.errorbar(x, y, yerr=above, xerr=beside, marker="o", markersize=3, linewidth=1, elinewidth=0.5,
                             label=f"Θ × {theta['factor']:g}")
        own = next(row for row in theta["curve"] if row["threshold"] == report["threshold"])
        left.plot(max(own["false_accepts_per_hour"], least), 100 * own["miss_rate"], "D", markersize=7,
                  markerfacecolor="none", markeredgecolor=bars[0].get_color())
    left.set(xscale="log", ylim=(0, None), xlabel="false accepts per hour (0 is drawn at the left edge)",
             ylabel="keywords missed, %", title=f"{report['hours']:.1f} h, {report['keywords']} keywords")
    left.axvline(1, color="grey", linewidth=0.5)
    if len(report["thetas"]) > 1:
        left.legend()
        for theta in report["thetas"]:
            if theta["at_rate"]:
                right.plot(theta["cost"]["all"]["weights_per_second"] / 1e3, 100 * theta["at_rate"]["miss_rate"], "o",
                           label=f"Θ × {theta['factor']:g}")
        right.set(xlabel="weights read per second, thousands", ylabel="missed at 1 false accept per hour, %",
                  ylim=(0, None), title="Quality against cost")
        if right.get_legend_handles_labels()[0]:
            right.legend()
    else:
        cost = report["cost"]
        kinds = {"all": cost["all"], **cost["kinds"], **({"day-like mix": cost["day"]} if cost["day"] else {})}
        bars = right.bar(list(kinds), [c["weights_per_second"] / 1e3 for c in kinds.values()], color="#2f78b7")
        right.bar_label(bars, [f"{c['fetch_reduction']:.1f}x" if c["fetch_reduction"] else "-" for c in kinds.values()])
        right.set(ylabel="weights read per second, thousands",
                  title=f"Cost; dense: {cost['dense_weights_per_second'] / 1e3:.0f} thousand")
        right.tick_params(axis="x", rotation=30)
    for panel in (left, right):
        panel.grid(alpha=0.3)
    figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix.lower() == ".svg" else {})
    pyplot.close(figure)
