"""The events of one clip: which elements fired when, over the spectrogram; and what the network thought meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tidegate import zoo
from tidegate.clips import clips, expected_label
from tidegate.golden import Golden
from tidegate.golden.figures import Figures, figures
from tidegate.host.features import features_of, settings_of
from tidegate.spec.model import Model
from tidegate.spec.stop import first_decisions

from ...data.folders import SILENCE, UNKNOWN, scan
from ...errors import DataError
from .charts import COLOURS, signal_names
from .page import INK, LINE, STYLE, short

_BUNDLED_RATE = 16000       # of the bundled clips: a faster front end would find nothing in its upper bands
_TRACED = 3         # neurons whose membrane potential is shown
_TOP = 3                    # classes whose probabilities are shown
_SPECTRUM = LinearSegmentedColormap.from_list("spectrum", ["#eef2f6", "#9fb6cc", "#2b4d70", "#0f1d2e"])
EVENT = "#f07a1f"


@dataclass(frozen=True)
class Example:
    """A clip to show: its file and, in words, what it is."""

    path: Path
    what: str


@dataclass(frozen=True)
class ClipEvents:
    """A clip from reset through golden.  ``features`` (T, bands) as the front end gives them; ``fired[s]``
    (T, elements) whether an element sent; ``membranes[s]`` (T, elements) of a signal of the rule ``diffuse``: its
    value and what was left of it from the frames before, in thresholds Θ, before it sends; ``probabilities``
    (T, classes): softmax of the logits; ``decided``: the frame of the decision, by the model's stop rule, or the last.
    """

    features: np.ndarray
    fired: list[np.ndarray]
    membranes: dict[int, np.ndarray]
    probabilities: np.ndarray
    decided: int
    figures: Figures


def example(model: Model, data_dir: str | Path | None) -> Example | None:
    """A clip of the folder of words, of its validation part if there is one; without it, for a model of a shipped
    recipe, a bundled clip of a word that the model knows; else None: a user's own words are spoken by nobody bundled.

    DataError if the folder will not do, even where a bundled clip is shown.
    """
    if data_dir is not None and not Path(data_dir).is_dir():
        raise DataError(f"no folder '{data_dir}'; give a folder of words, or leave --data out")
    if not model.frontend:
        return None
    known = [label for label in model.labels if label not in (UNKNOWN, SILENCE)]
    data = scan(data_dir, tuple(known), training=False) if data_dir is not None else None
    for part in ("validation", "test", "train"):
        for clip in data.clips if data else ():
            if data and clip.part == part and clip.label in known:
                return Example(data.root / clip.path, f"the {part} clip {clip.path}, “{clip.label}”")
    shipped = model.card.get("recipe", {}).get("name") in zoo.names()
    if shipped and settings_of(model).sample_rate <= _BUNDLED_RATE:
        for clip in clips():
            if expected_label(clip.word, model.labels) in known:
                return Example(clip.path, f"the bundled clip {clip.path.name}, a synthetic voice that says "
                                          f"“{clip.word}”")
    return None


def clip_events(model: Model, path: str | Path) -> ClipEvents:
    """TidegateError if the model has no front end or the file is no sound."""
    golden = Golden(model)
    features = features_of(model, path)
    trace = golden.run(model.quantise(features)[:, None], keep_sent=True, keep_anchors=True)
    assert trace.sent is not None and trace.anchors is not None
    logits = trace.logits[:, 0] * 2.0**-golden.logit_frac
    odds = np.exp(logits - logits.max(1, keepdims=True))
    decided = len(logits) - 1
    if model.stop is not None:
        decided = int(first_decisions(trace.logits, np.array([len(logits)]), model.stop)[0][0])
    membranes = {s: _membranes(model, s, trace.sent[s][:, 0], trace.anchors[s][:, 0])
                 for s in range(model.network.signals) if model.network.rule(s)}
    return ClipEvents(features, [sent[:, 0] != 0 for sent in trace.sent], membranes,
                      odds / odds.sum(1, keepdims=True), decided, figures(model.network, trace.events))


def _membranes(model: Model, signal: int, sent: np.ndarray, left: np.ndarray) -> np.ndarray:
    """``ClipEvents.membranes`` of a signal, whose error after each frame is ``left``."""
    rule, theta = model.network.rule(signal), model.network.thresholds[signal]
    assert rule is not None
    if rule.zero:                   # what a spike threw away is not known
        left = np.where(sent != 0, np.maximum(np.abs(sent), theta) * np.sign(sent) - sent, left)
    return (left + sent) / max(1, theta)


@rc_context(STYLE)
def membranes(events: ClipEvents, signal: int, hop: float) -> Figure:
    """Membrane potentials of the _TRACED neurons of a signal that fire most, a dot at each spike, and how often all
    its neurons fire, as a histogram; ``hop``: seconds a frame."""
    potential, fired = events.membranes[signal], events.fired[signal]
    time, name = hop * np.arange(1, len(fired) + 1), signal_names(len(events.fired))[signal]
    figure = Figure(figsize=(9.2, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2.4, 1])
    for k, neuron in enumerate(np.argsort(-fired.sum(0), kind="stable")[:_TRACED]):
        left.step(time, potential[:, neuron], where="mid", color=COLOURS[k], linewidth=1.1, label=f"unit {neuron}")
        spikes = fired[:, neuron]
        left.plot(time[spikes], potential[spikes, neuron], "o", color=COLOURS[k], markersize=3)
    left.axhline(1.0, color=INK, linewidth=1, linestyle=":")
    left.set(title=f"{name}: membrane potential / Θ before a spike", xlabel="time, s")
    left.legend(loc="upper left", ncols=_TRACED)
    right.hist(fired.sum(0) / (hop * len(fired)), bins=20, color=COLOURS[0])
    right.set(title="how often its units fire", xlabel="spikes a second", ylabel="units")
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@rc_context(STYLE)
def codings(clips: Sequence[tuple[str, ClipEvents]], hop: float) -> Figure:
    """What several networks sent of one clip: a row each, features at the left, the last layer at the right."""
    figure = Figure(figsize=(9.2, 0.7 + 1.5 * len(clips)), layout="constrained")
    rows = figure.subplots(len(clips), 2, sharex=True, squeeze=False)
    for n, (row, (name, events)) in enumerate(zip(rows, clips, strict=True)):
        for panel, fired, colour in zip(row, (events.fired[0], events.fired[-1]), (EVENT, COLOURS[0]), strict=True):
            panel.imshow(fired.T, gid=f"sent-{n}-{colour[1:]}", aspect="auto", origin="lower", interpolation="none",
                         vmin=0, vmax=1, cmap=ListedColormap(["#ffffff00", colour]),
                         extent=(0, hop * len(fired), -0.5, fired.shape[1] - 0.5))
            panel.set_title(f"{short(name)}: {fired.mean():.1%} sent")
            panel.yaxis.set_major_locator(MaxNLocator(integer=True))
            panel.grid(visible=False)
        row[0].set_ylabel("mel band")
        row[1].set_ylabel("unit, last layer")
    for panel in rows[-1]:
        panel.set_xlabel("time, s")
    return figure


@rc_context(STYLE)
def raster(events: ClipEvents, labels: Sequence[str], hop: float) -> Figure:
    """Spectrogram with the features' events, a panel of events per layer, events a frame, probabilities of the top
    classes at the decision, which is marked where it is not the last frame; ``hop``: seconds a frame."""
    frames, layers = len(events.features), events.fired[1:]
    time, names = hop * np.arange(frames + 1), signal_names(len(events.fired))
    figure = Figure(figsize=(9.2, 6.4 + 2.2 * len(layers)), layout="constrained")
    panels = figure.subplots(3 + len(layers), 1, sharex=True,
                             height_ratios=[3, *[2.6] * len(layers), 1.4, 1.6])
    panels[0].imshow(events.features.T, aspect="auto", origin="lower", interpolation="none", cmap=_SPECTRUM,
                     extent=(0, time[-1], -0.5, events.features.shape[1] - 0.5))
    for s, (panel, fired) in enumerate(zip(panels, events.fired, strict=False)):
        event_panel(panel, fired, hop, names[s], "mel band" if s == 0 else "unit")
    counts, top = panels[-2], panels[-1]
    for s, fired in enumerate(events.fired):
        counts.stairs(fired.sum(1), time, baseline=None, color=EVENT if s == 0 else COLOURS[s - 1], linewidth=1.3,
                      label=f"{names[s]} (of {fired.shape[1]})")
    counts.set(title="events a frame", ylim=(0, None))
    best = np.argsort(-events.probabilities[events.decided], kind="stable")[:_TOP]
    for k, c in enumerate(map(int, best)):
        top.stairs(events.probabilities[:, c], time, baseline=None, color=(INK, COLOURS[3], COLOURS[2])[k],
                   linewidth=1.3, label=short(labels[c]))
    top.set(title="probability (softmax of the logits)", ylim=(-0.03, 1.03), xlabel="time, s", xlim=(0, time[-1]))
    top.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    if events.decided < frames - 1:
        for panel in panels:
            panel.axvline(time[events.decided + 1], color=INK, linewidth=1, linestyle=":")
    for panel in (counts, top):
        panel.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0, ncols=5)
        panel.grid(color=LINE)
    return figure


def event_panel(panel: Axes, fired: np.ndarray, hop: float, name: str, elements: str) -> None:
    """What a signal sent, (T, elements), and its share as title; ``elements``: what they are, "unit" in a layer."""
    _dashes(panel, fired, hop, (COLOURS[0], 1.4) if elements == "unit" else (EVENT, 1.8))
    total = int(fired.sum())
    panel.set(ylabel=elements, ylim=(-0.5, fired.shape[1] - 0.5),
              title=f"{name}: {total} events of {fired.size} possible ({total / fired.size:.1%})")
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(visible=False)


def _dashes(panel: Axes, fired: np.ndarray, hop: float, look: tuple[str, float]) -> None:
    """One dash per event, as long as its frame: a single path, so that a long clip stays small and sharp."""
    t, element = np.nonzero(fired)
    x = np.stack([hop * (t + 0.1), hop * (t + 0.9), np.full(len(t), np.nan)], 1)
    y = np.stack([element, element, np.full(len(t), np.nan)], 1)
    panel.plot(x.ravel(), y.ravel(), color=look[0], linewidth=look[1], solid_capstyle="butt")
