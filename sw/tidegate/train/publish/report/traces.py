"""A sequence of frames that is no sound: what the network told, what was to be told, and which elements fired when."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tidegate.golden import Golden
from tidegate.golden.figures import Figures, figures
from tidegate.host.arrays import frame_sequences, read_arrays
from tidegate.spec.model import Model

from ...data.series import Series
from ...errors import DataError
from ...judge.evaluate import evaluated_part, task_name
from ...tasks.registry import find_task
from .charts import COLOURS, signal_names
from .page import INK, STYLE, short
from .raster import EVENT, event_panel

SHOWN = 1500        # frames of a sequence, at most: more would hide each other
_TOP = 3            # classes whose probabilities are shown


@dataclass(frozen=True)
class ToldFrames:
    """A sequence from reset through golden.  ``fired[s]`` (T, elements): whether an element sent.  ``told``
    (T, outputs): numbers in their units, or the softmax of the logits.  ``target`` (T, outputs): what was to be told,
    NaN where that is not judged; None if nobody knows.  ``what``: the sequence, in words."""

    what: str
    fired: list[np.ndarray]
    told: np.ndarray
    target: np.ndarray | None
    figures: Figures


def told_frames(model: Model, clip: str | Path | None, data: str | Path | None,
                steps: int | None = None) -> ToldFrames | None:
    """The first frames of a file of arrays ``clip``, or of the part that a model is judged on of its series ``data``;
    None without either, or if the task's examples are no series.  ``steps``: frames for which an image is held.

    TidegateError if the files will not do.
    """
    if clip is not None:
        first = frame_sequences(model, [clip], steps)[0]
        target = None
        if model.readout is not None and (given := read_arrays(clip).get("y")) is not None:
            target = given.reshape(-1, len(model.labels))[: len(first.frames)] if given.dtype.kind in "iuf" else None
            if target is not None and len(target) < len(first.frames):
                raise DataError(f"'{clip}' has fewer y than frames; give one for each")
        return _told(model, first.frames, target, f"the frames {first.source}")
    if data is None or model.readout is None:
        return None
    examples = find_task(task_name(model)).load_to_judge(model, data, None)
    if not isinstance(examples, Series):
        return None
    part = evaluated_part(examples)
    piece = int(examples.of(part)[0])
    return _told(model, model.quantise(examples.frames(piece)), examples.targets[piece], f"the {part} part of {data}")


def _told(model: Model, frames: np.ndarray, target: np.ndarray | None, what: str) -> ToldFrames:
    frames = frames[:SHOWN]
    trace = Golden(model).run(frames[:, None], keep_sent=True)
    assert trace.sent is not None
    if model.readout is not None:
        told = model.numbers(trace.logits[:, 0])
    else:
        logits = trace.logits[:, 0] * 2.0 ** -Golden(model).logit_frac
        odds = np.exp(logits - logits.max(1, keepdims=True))
        told = odds / odds.sum(1, keepdims=True)
    return ToldFrames(what, [sent[:, 0] != 0 for sent in trace.sent], told,
                      None if target is None else target[: len(frames)].astype(np.float64),
                      figures(model.network, trace.events))


@rc_context(STYLE)
def traces(model: Model, shown: ToldFrames) -> Figure:
    """A panel per output with target and answer, or one with the probabilities of the top classes; below it the events
    of each signal, and their number per frame."""
    rate = model.readout.rate if model.readout is not None else None
    hop, names = 1 / rate if rate else 1.0, signal_names(len(shown.fired))
    outputs = len(model.labels) if model.readout is not None else 1
    time = hop * np.arange(len(shown.told) + 1)
    figure = Figure(figsize=(9.2, 2.2 * outputs + 1.6 * len(shown.fired) + 1.8), layout="constrained")
    panels = figure.subplots(outputs + len(shown.fired) + 1, 1, sharex=True,
                             height_ratios=[2.2] * outputs + [1.6] * len(shown.fired) + [1.4])
    if model.readout is None:
        _probabilities(panels[0], model, shown.told, time)
    else:
        for k, (panel, label, unit) in enumerate(zip(panels, model.labels, model.readout.units, strict=False)):
            if shown.target is not None:
                panel.plot(time[1:], shown.target[:, k], color=INK, linewidth=1.1, label="target")
            panel.plot(time[1:], shown.told[:, k], color=COLOURS[0], linewidth=1.1, label="told")
            panel.set_title(short(f"{label}, {unit}" if unit else label))
            panel.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0, ncols=2)
    for s, (panel, fired) in enumerate(zip(panels[outputs:], shown.fired, strict=False)):
        event_panel(panel, fired, hop, names[s], "feature" if s == 0 else "unit")
    for s, fired in enumerate(shown.fired):
        panels[-1].stairs(fired.sum(1), time, baseline=None, color=EVENT if s == 0 else COLOURS[s - 1], linewidth=1.0,
                          label=f"{names[s]} (of {fired.shape[1]})")
    panels[-1].set(title="events per frame", ylim=(0, None), xlim=(0, time[-1]), xlabel="time, s" if rate else "frame")
    panels[-1].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0, ncols=5)
    return figure


def _probabilities(panel: Axes, model: Model, told: np.ndarray, time: np.ndarray) -> None:
    for k, c in enumerate(map(int, np.argsort(-told[-1], kind="stable")[:_TOP])):
        panel.stairs(told[:, c], time, baseline=None, color=(INK, COLOURS[3], COLOURS[2])[k], linewidth=1.3,
                     label=short(model.labels[c]))
    panel.set(title="probability (softmax of the logits)", ylim=(-0.03, 1.03))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    panel.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0, ncols=5)
