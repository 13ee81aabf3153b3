"""Speedup against occupancy as a picture."""

from pathlib import Path


def draw_speedup(rows: list[dict], file: Path) -> None:
    """One panel a size of network, one line a number of lanes, and the ideal; rows of synthetic streams only."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "tidegate"        # the same file for the same figures
    from matplotlib import pyplot, ticker

    rows = [row for row in rows if row["target_occupancy"] is not None]
    sizes = sorted({row["gru"][0] for row in rows})
    figure, panels = pyplot.subplots(1, len(sizes), figsize=(0.8 + 3.6 * len(sizes), 3.8), sharey=True, squeeze=False,
                                     layout="constrained")
    for panel, size in zip(panels[0], sizes, strict=True):
        mine = [row for row in rows if row["gru"][0] == size]
        ideal = sorted((100 * row["occupancy"], row["ideal_speedup"]) for row in mine if row["ideal_speedup"])
        panel.plot(*zip(*ideal, strict=True), color="black", linestyle="--", linewidth=1, label="ideal")
        # lines that coincide, as of lanes that hold a whole gate in a word, show by their width
        for k, lanes in enumerate(sorted({row["lanes"] for row in mine})):
            points = sorted((100 * row["occupancy"], row["speedup"]) for row in mine if row["lanes"] == lanes)
            panel.plot(*zip(*points, strict=True), marker="os^Dv"[k % 5], markersize=7 - k, linewidth=3 - 0.6 * k,
                       label=f"{lanes} lanes")
        panel.set(xscale="log", yscale="log", title=f"H = {size}", xlabel="occupancy")
        axes = (panel.xaxis, (2, 5, 10, 20, 50, 100), " %"), (panel.yaxis, (1, 2, 5, 10, 20, 50), "x")
        for axis, ticks, unit in axes:
            axis.set_major_locator(ticker.FixedLocator(ticks))
            axis.set_major_formatter(lambda value, _, unit=unit: f"{value:g}{unit}")
            axis.set_minor_locator(ticker.NullLocator())
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("speedup against dense mode")
    panels[0][-1].legend()
    metadata = {"Date": None} if file.suffix.lower() == ".svg" else {}
    figure.savefig(file, dpi=150, metadata=metadata)
    pyplot.close(figure)
