"""Draws the figures of ``train.study.deep``: accuracy by frames, and spikes by depth.

    python -m tidegate.train.publish.deep_plot OUT/vgg.json OUT/resnet.json --plot docs/deep.svg
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter, StrMethodFormatter

from tidegate.golden.spike_norm import BALANCES
from tidegate.spec.errors import TidegateError
from tidegate.spec.files import replacing

from ..study.deep import Converted
from .report.charts import COLOURS
from .report.page import STYLE

_FILE_TYPES = {".svg": {"Date": None}, ".png": {}, ".pdf": {}}


@rc_context(STYLE)
def drawn(studies: list[list[Converted]]) -> Figure:
    """One figure of rows by network: means over the seeds; bars are ± 1 standard deviation."""
    figure = Figure(figsize=(9.2, 4.2), layout="constrained")
    by_frames, by_depth = figure.subplots(1, 2)
    for k, rows in enumerate(studies):
        for balance, line in zip(BALANCES, ("-", "--"), strict=True):
            kind = [row for row in rows if row.balance == balance and row.by_channel and row.initial]
            if kind:
                _accuracy(by_frames, kind, COLOURS[k], line)
                _depth(by_depth, kind, COLOURS[k], line)
    frames = studies[0][0].answers.steps
    by_frames.set_xscale("log", base=2)
    by_frames.xaxis.set_major_locator(FixedLocator(list(frames)))
    by_frames.xaxis.set_minor_locator(NullLocator())
    by_frames.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    by_frames.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    by_frames.set_xlabel("frames (dotted: the trained network)")
    by_frames.set_ylabel("test images told right")
    by_depth.set_xlabel("layer (0: the image)")
    by_depth.set_ylabel("spikes per neuron and frame")
    by_depth.set_ylim(bottom=0)
    figure.legend(*by_frames.get_legend_handles_labels(), loc="outside lower left", ncols=4)
    return figure


def _accuracy(panel: Axes, kind: list[Converted], colour: str, line: str) -> None:
    values = np.array([row.answers.accuracy for row in kind])
    spread = values.std(0, ddof=1) if len(kind) > 1 else np.zeros(values.shape[1])
    panel.errorbar(kind[0].answers.steps, values.mean(0), spread, color=colour, linestyle=line, capsize=2,
                   label=f"{kind[0].network}, balanced on {kind[0].balance}")
    panel.axhline(float(np.mean([row.trained for row in kind])), color=colour, linestyle=":", linewidth=1)


def _depth(panel: Axes, kind: list[Converted], colour: str, line: str) -> None:
    panel.plot(np.mean([row.answers.rates for row in kind], 0), marker="o", markersize=3, color=colour, linestyle=line)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tidegate.train.publish.deep_plot", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path, nargs="+", help="what the study wrote")
    parser.add_argument("--plot", type=Path, required=True, help="file to write: .svg, .png or .pdf")
    wanted = parser.parse_args()
    try:
        if wanted.plot.suffix not in _FILE_TYPES:
            raise TidegateError(f"cannot draw '{wanted.plot}'; name it {', '.join(_FILE_TYPES)}")
        studies = [[Converted.read(row) for row in json.loads(file.read_text(encoding="utf-8"))]
                   for file in wanted.figures]
        with replacing(wanted.plot) as part:
            drawn(studies).savefig(part, format=wanted.plot.suffix[1:], metadata=_FILE_TYPES[wanted.plot.suffix])
    except (TidegateError, OSError, ValueError, KeyError, TypeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {wanted.plot}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
