"""Draws the timing diagram of docs/core.md from the waveform of two frames in a row.

    python -m tidegate_sim.timing docs/timing.svg

A random network of the size that leaves least to overlap: H = 64 on 64 lanes, one accumulator word a gate.
"""

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tidegate.spec.design import SIMULATED
from tidegate.spec.formats import SIGNAL
from tidegate.spec.layout import Layout
from tidegate_hw.records.job import Copy, tags_layout

from .coresim import simulate
from .random_networks import random_model
from .streams import unpack

CORE, DESIGN = "TOP.core.core", SIMULATED[64]
FETCHES = {          # what the lanes fetch → row's label, colour
    "features": ("features of the next frame", "#4c78a8"), "closing": ("last feature, closes and copies", "#f58518"),
    "copy": ("nh, copied", "#ffbf79"), "hidden": ("hidden events", "#54a24b"), "logits": ("logits, copied", "#b279a2"),
}
# component → row, colour, signals of which all are 1
ROWS = {
    "x_encoder": ("x encoder takes", "#4c78a8", ("i__valid", "i__ready")),
    "handover.snapshot": ("snapshot hands out", "#f58518", ("o__valid",)),
    f"handover.{'cell' if len(DESIGN.cells) == 1 else 'cell_gru'}": ("cell finishes", "#e45756", ("trace__valid",)),
    "h_encoder": ("h events leave", "#54a24b", ("o__valid", "o__ready")),
    "logits": ("logits leave", "#b279a2", ("o__valid", "o__ready")),
}


def read_vcd(path: Path, wanted: Iterable[str]) -> dict[str, np.ndarray]:
    """Values of signals (full names) in each clock cycle, sampled before its rising edge; two steps of time a cycle."""
    wanted, scope, codes = set(wanted), [], {}
    values: dict[str, int] = {}
    samples: dict[str, list[int]] = {name: [] for name in wanted}
    with open(path, encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if not words:
                continue
            if words[0] == "$scope":
                scope.append(words[2])
            elif words[0] == "$upscope":
                scope.pop()
            elif words[0] == "$var" and (name := ".".join([*scope, words[4]])) in wanted:
                codes.setdefault(words[3], []).append(name)
                values[name] = 0
            elif words[0][0] == "#" and int(words[0][1:]) % 2 == 0:
                for name, value in values.items():
                    samples[name].append(value)
            elif words[0][0] in "01" and (code := words[0][1:]) in codes:
                values.update(dict.fromkeys(codes[code], int(words[0][0])))
            elif words[0][0] == "b" and words[1] in codes:
                values.update(dict.fromkeys(codes[words[1]], int(words[0][1:].replace("x", "0"), 2)))
    if missing := wanted - values.keys():
        raise SystemExit(f"the waveform has no {', '.join(sorted(missing))}")
    return {name: np.array(sample) for name, sample in samples.items()}


def kind_of(bits: int) -> str:
    """Which of FETCHES a word with these tags is."""
    tags = unpack(tags_layout(DESIGN), bits)
    assert isinstance(tags, dict)
    if tags["copy"] == Copy.LOGITS.value:
        return "logits"
    if tags["copy"] == Copy.GATES.value:
        return "copy" if tags["closes"] else "closing"
    return "features" if tags["signal"] == 0 else "hidden"


def record() -> tuple[dict[str, np.ndarray], str]:
    """What is active in each cycle, ROWS' parts (bool) and "lanes" (a key of FETCHES or ""); a line about the run."""
    model = random_model(20, [64], 10, seed=1, extreme=False).with_thresholds(60, 120)
    rng = np.random.default_rng(1)
    frames = np.clip(np.cumsum(rng.choice([0, 0, 0, 0, 90, -90], (60, 20)), 0), -SIGNAL.max, SIGNAL.max)
    names = [f"{CORE}.lanes.{x}" for x in ("fetch__valid", "fetch__tags")]
    names += [f"{CORE}.{part}.{x}" for part, (_, _, signals) in ROWS.items() for x in signals]
    with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
        vcd = Path(folder) / "core.vcd"
        cycles = simulate(DESIGN, model, frames, waveform=vcd, trace=False).cycles[1:-1]
        waves = read_vcd(vcd, names)
    active = {part: np.logical_and.reduce([waves[f"{CORE}.{part}.{x}"] == 1 for x in signals])
              for part, (_, _, signals) in ROWS.items()}
    fetches = zip(waves[f"{CORE}.lanes.fetch__valid"], waves[f"{CORE}.lanes.fetch__tags"], strict=True)
    active["lanes"] = np.array([kind_of(int(tags)) if valid else "" for valid, tags in fetches])
    lengths = [column.length for column in Layout(model.network, DESIGN).columns]
    return active, (f"H = 64, 64 lanes, columns of {lengths} words; frames of {cycles.min()} to {cycles.max()} cycles")


def draw_timeline(active: dict[str, np.ndarray], file: Path) -> None:
    """Two frames from the middle, from closing to closing."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "tidegate"        # the same file for the same run
    from matplotlib import pyplot

    closing = active["lanes"] == "closing"
    closings = np.flatnonzero(closing & ~np.roll(closing, 1))[20:23]
    begin, end = closings[0] - 2, closings[2] + 6
    figure, axis = pyplot.subplots(figsize=(11, 3.2), layout="constrained")

    def bars(row: int, when: np.ndarray, colour: str, label: str | None = None) -> None:
        spans = [(int(t), 1) for t in np.flatnonzero(when[begin:end])]
        axis.broken_barh(spans, (row + 0.1, 0.8), color=colour, label=label)

    rows = list(reversed(ROWS))
    for n, part in enumerate(rows):
        bars(n, active[part], ROWS[part][1])
    for kind, (label, colour) in FETCHES.items():
        bars(len(rows), active["lanes"] == kind, colour, label)
    for t in closings:
        axis.axvline(t - begin, color="black", linewidth=0.8, linestyle=":")
    axis.set(yticks=np.arange(len(rows) + 1) + 0.5, xlim=(0, end - begin), ylim=(0, len(rows) + 1),
             xlabel="clock cycle", yticklabels=[*(ROWS[part][0] for part in rows), "lanes fetch"])
    axis.legend(ncols=len(FETCHES), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=8)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else {})


def main(file: Path) -> None:
    active, line = record()
    draw_timeline(active, file)
    print(f"{file}: {line}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tidegate_sim.timing FILE.svg")
    main(Path(sys.argv[1]))
