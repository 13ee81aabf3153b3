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
from tidegate_hw.job import TAGS, Copy

from .coresim import simulate
from .streams import unpack
from .verify import random_model

CORE = "TOP.core.core"
FETCHES = {          # what the lanes fetch → row's label, colour
    "features": ("features of the next frame", "#4c78a8"), "closing": ("last feature, closes and copies", "#f58518"),
    "copy": ("nh, copied", "#ffbf79"), "hidden": ("hidden events", "#54a24b"), "logits": ("logits, copied", "#b279a2"),
}
# component → row, colour, signals of which all are 1
ROWS = {
    "x_encoder": ("x encoder takes", "#4c78a8", ("i__valid", "i__ready")),
    "snapshot": ("snapshot hands out", "#f58518", ("o__valid",)),
    "cell": ("cell finishes", "#e45756", ("trace__valid",)),
    "h_encoder": ("h events leave", "#54a24b", ("o__valid", "o__ready")),
    "logits": ("logits leave", "#b279a2", ("o__valid", "o__ready")),
}


def read_vcd(path: Path, wanted: Iterable[str]) -> dict[str, np.ndarray]:
    """Values of signals (full names) in each clock cycle, sampled before its rising edge; two steps of time a cycle."""
    wanted, scope, codes = set(wanted), [], {}
    values: dict[str, int] = {}
    samples: dict[str, list[int]] = {name: [] for name in wanted}
    with open(path) as file:
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
    """Which of FETCHES a word with these TAGS is."""
    tags = unpack(TAGS, bits)
    assert isinstance(tags, dict)
    if tags["copy"] == Copy.LOGITS.value:
        return "logits"
    if tags["copy"] == Copy.NH.value:
        return "copy"
    if tags["copy"] == Copy.GATES.value:
        return "closing"
    return "features" if tags["signal"] == 0 else "hidden"


def main(file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "tidegate"
    from matplotlib import pyplot

    model = random_model(20, [64], 10, seed=1, extreme=False).with_thresholds(60, 120)
    rng = np.random.default_rng(1)
    frames = np.clip(np.cumsum(rng.choice([0, 0, 0, 0, 90, -90], (60, 20)), 0), -SIGNAL.max, SIGNAL.max)
    names = [f"{CORE}.lanes.{x}" for x in ("fetch__valid", "fetch__tags")]
    names += [f"{CORE}.{part}.{x}" for part, (_, _, signals) in ROWS.items() for x in signals]
    with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
        vcd = Path(folder) / "core.vcd"
        run = simulate(SIMULATED[64], model, frames, waveform=vcd, trace=False)
        waves = read_vcd(vcd, names)
    fetches = zip(waves[f"{CORE}.lanes.fetch__valid"], waves[f"{CORE}.lanes.fetch__tags"], strict=True)
    kinds = np.array([kind_of(int(tags)) if valid else "" for valid, tags in fetches])
    # from the closing of one frame in the middle to two frames later
    closings = np.flatnonzero((kinds == "closing") & (np.roll(kinds, 1) != "closing"))[20:]
    begin, end = closings[0] - 2, closings[2] + 6
    figure, axis = pyplot.subplots(figsize=(11, 3.2), layout="constrained")
    for kind, (label, colour) in FETCHES.items():
        axis.broken_barh([(t - begin, 1) for t in range(begin, end) if kinds[t] == kind], (5.1, 0.8), color=colour,
                         label=label)
    for n, (part, (_, colour, signals)) in enumerate(reversed(ROWS.items())):
        active = np.logical_and.reduce([waves[f"{CORE}.{part}.{x}"] == 1 for x in signals])
        axis.broken_barh([(t - begin, 1) for t in range(begin, end) if active[t]], (n + 0.1, 0.8), color=colour)
    for t in closings[:3]:
        axis.axvline(t - begin, color="black", linewidth=0.8, linestyle=":")
    axis.set(yticks=np.arange(6) + 0.5, xlim=(0, end - begin), ylim=(0, 6), xlabel="clock cycle",
             yticklabels=[*(row for row, _, _ in reversed(ROWS.values())), "lanes fetch"])
    axis.legend(ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=8)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else {})
    layout = Layout(model.network, SIMULATED[64])
    print(f"{file}: H = 64, 64 lanes, columns of {[c.length for c in layout.columns]} words; frames of "
          f"{run.cycles[1:-1].min()} to {run.cycles[1:-1].max()} cycles")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tidegate_sim.timing FILE.svg")
    main(Path(sys.argv[1]))
