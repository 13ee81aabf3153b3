"""Accuracy and sparsity of a model on a part of a data set, by the golden model; figures as in ``host/figures.py``.

The decision on a clip is the largest logit at its last frame, or ``early`` that of the first frame in which the
model's stop rule is met (``spec/stop.py``); then no frame after it counts.  A model with a detector, which was trained
to answer once in a stream, is taken at its clearest answer anywhere in the clip (``spec.stop.clearest``).

Frames that only pad a clip to its batch's length count nowhere; first-frame transients and the classifier's rows count
everywhere.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tidegate.golden import Golden
from tidegate.golden.figures import figures
from tidegate.host.features import settings_of
from tidegate.spec.design import Design
from tidegate.spec.layout import Layout
from tidegate.spec.model import Model
from tidegate.spec.network import Network
from tidegate.spec.stop import clearest, first_decisions

from ..data.features import Features, load_features
from ..data.folders import SILENCE, UNKNOWN, leave_out, scan
from ..data.split import ALL, ALL_PARTS, with_test_part
from ..data.tasks import Sequences, load_task
from ..errors import DataError
from ..recipe import WORDS

LANES = 64      # on which words are counted: the virtual board's
_BATCH = 256


def evaluate(model: Model, features: Features | Sequences, part: str = "validation", early: bool = False) -> dict:
    """Figures of a model on one part, or on ALL clips; DataError if there are none, or ``early`` is set and there is no
    stop rule.

    ``part``, ``utterances``, ``accuracy``; all of ``golden.figures.Figures``, as ``fetch_reduction``,
    ``temporal_sparsity`` and, per signal, ``occupancy``; ``recall`` per label (None without clips); ``confusion``:
    rows are the truth; ``rejected``: share of the clips of ``unknown`` that were taken for no keyword.
    ``early`` adds ``margin`` (of the rule, in units of the logits); ``decided``: share of the clips that met the rule
    before or at their end, ``decided_at_once``: in their first frame; ``frames_used``: mean share of a clip's frames up
    to the decision; ``weights_per_decision``, and on ``lanes`` lanes ``weight_words_per_decision``: means over the
    clips; ``decision_reduction``: weights that a dense network reads over the whole clips / weights read.
    """
    if early and model.stop is None:
        raise DataError("this model has no stop rule; give a --margin, or train one with a stop_margin")
    clips = np.arange(len(features.targets)) if part == ALL else features.of(part)
    if not len(clips):
        raise DataError(_no_part(features, part))
    if tuple(model.labels) != tuple(features.labels):
        raise _other_words(model, features.labels)
    net, golden = model.network, Golden(model)
    events, used, decided, at_once = [], [], 0, 0
    confusion = np.zeros((net.classes, net.classes), np.int64)
    for batch, frames, lengths in padded(model, features, clips):
        trace = golden.run(frames)
        at = lengths - 1
        if early and model.stop is not None:
            at, _, met = first_decisions(trace.logits, lengths, model.stop)
            used += list((at + 1) / lengths)
            decided += int(met.sum())
            at_once += int((met & (at == 0)).sum())
        counts = np.arange(len(frames))[:, None] <= at
        events.append(trace.events[counts])
        if model.detector is None or early:
            decisions = trace.logits[at, np.arange(len(lengths))].argmax(-1)
        else:
            decisions = np.array([clearest(trace.logits[:n, k], model.detector)[1] for k, n in enumerate(lengths)])
        np.add.at(confusion, (features.targets[batch], decisions), 1)
    recall = {label: float(row[k] / row.sum()) if row.sum() else None
              for k, (label, row) in enumerate(zip(model.labels, confusion, strict=True))}
    cost = figures(net, np.concatenate(events)[:, None]).to_dict()
    cost |= {name: list(cost[name]) for name in ("events", "occupancy")}        # as they come back from a card
    if early:
        cost |= _per_decision(model, cost, used, decided, int(np.diff(features.offsets)[clips].sum()))
        cost["decided_at_once"] = at_once / len(clips)
    return {"part": part, "utterances": len(clips), "accuracy": float(np.trace(confusion) / len(clips)), **cost,
            "recall": recall, "confusion": confusion.tolist(), "rejected": _rejected(model.labels, confusion)}


def _no_part(features: Features | Sequences, part: str) -> str:
    there = [f"{len(clips)} clips in {name}" for name in ALL_PARTS if len(clips := features.of(name))]
    return (f"no clip that can be used is in the {part} part; there are {', '.join(there)}: name one of these with "
            f"--part, or judge all clips with --part {ALL}" if there else "no clip can be used; give other recordings")


def _other_words(model: Model, labels: Iterable[str]) -> DataError:
    return DataError(f"the model's classes {', '.join(model.labels)} are not the data set's {', '.join(labels)}; "
                     "evaluate it on a data set with the same words")


def column_words(network: Network, lanes: int) -> list[int]:
    """Weight words of a column of each signal on a board of so many lanes."""
    return [c.length for c in Layout(network, Design(lanes, cell_rate=1), check=False).columns]


def words_read(network: Network, events: Iterable[int]) -> int:
    """Weight words, on LANES lanes, that so many events of each signal read."""
    return sum(n * c for n, c in zip(events, column_words(network, LANES), strict=True))


def _per_decision(model: Model, cost: dict, used: list[float], decided: int, frames: int) -> dict:
    """What ``early`` adds; ``frames``: of the whole clips."""
    net, clips = model.network, len(used)
    return {"margin": model.stop_margin, "decided": decided / clips,
            "frames_used": float(np.mean(used)), "weights_per_decision": cost["weights"] / clips, "lanes": LANES,
            "weight_words_per_decision": words_read(net, cost["events"]) / clips,
            "decision_reduction": net.dense_weights * frames / cost["weights"] if cost["weights"] else None}


def _rejected(labels: tuple[str, ...], confusion: np.ndarray) -> float | None:
    """None without clips of ``unknown``."""
    if UNKNOWN not in labels or not confusion[labels.index(UNKNOWN)].any():
        return None
    row = confusion[labels.index(UNKNOWN)]
    return float(sum(row[i] for i, label in enumerate(labels) if label in (UNKNOWN, SILENCE)) / row.sum())


def last_logits(model: Model, features: Features, clips: np.ndarray) -> np.ndarray:
    """Logits (clips, classes) at the last frame of these clips, accumulator LSBs, in the order given."""
    golden, logits = Golden(model), np.zeros((int(clips.max(initial=0)) + 1, model.network.classes), np.int32)
    for batch, frames, lengths in padded(model, features, clips):
        logits[batch] = golden.run(frames).logits[lengths - 1, np.arange(len(lengths))]
    return logits[clips]


def padded(model: Model, features: Features | Sequences, clips: np.ndarray) -> Iterator[tuple]:
    """Batches of similar length: (clip numbers (B,), frames (T, B, bands) SIGNAL integers, lengths (B,))."""
    sizes = np.diff(features.offsets)[clips]
    order = clips[np.argsort(sizes, kind="stable")]
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        lengths = np.diff(features.offsets)[batch]
        frames = np.zeros((lengths.max(), len(batch), features.width), np.int16)
        for column, i in enumerate(batch):
            clip = model.quantise(features.frames(i))
            frames[: len(clip), column] = clip
        yield batch, frames, lengths


def evaluate_directory(model: Model, directory: str | Path | None, part: str | None = None,
                       cache: str | Path | None = None, progress: bool = False, speaker: str = "",
                       early: bool = False) -> dict:
    """Figures of a model on a folder of words, and what was ``skipped``, and ``warnings``; by default its test part, or
    validation where there is none, or else all clips.

    ``part`` ALL judges every clip, whatever part it is in.  A model is judged on any clips of its words, of whom not
    all need be there, and of other words if it has a class for them.
    ``speaker``: the test part is all of this speaker's clips, see ``data.scan``.
    """
    if part not in (None, ALL, *ALL_PARTS):
        raise DataError(f"no part '{part}'; the parts are {', '.join(ALL_PARTS)}, and {ALL}")
    recipe = model.card.get("recipe", {})
    if (task := recipe.get("task", WORDS)) != WORDS:
        sequences = load_task(task, directory)
        return evaluate(model, sequences, part or "test", early) | {"skipped": []}
    if directory is None:
        raise DataError("this model hears words; give a folder of them with --data")
    if not model.frontend:
        raise DataError("this model has no feature front end, so it cannot hear clips; train one with a recipe")
    labels = tuple(label for label in model.labels if label not in (UNKNOWN, SILENCE))
    classes = {name: recipe.get(name, "folder") for name in (UNKNOWN, SILENCE)}
    if SILENCE not in model.labels:
        classes[SILENCE] = "none"
    data = scan(directory, labels, speaker, **classes, training=False)
    data = replace(data, clips=tuple(with_test_part(list(data.clips), recipe.get("test_share", 0.0))))
    there = {clip.folder for clip in data.clips if clip.label == UNKNOWN}
    data = leave_out(data, tuple(word for word in recipe.get("leave_out", ()) if word in there))
    if not set(data.labels) <= set(model.labels):       # before all is decoded
        raise _other_words(model, data.labels)
    own = tuple(clip for clip in data.clips if part != ALL or not Path(clip.path).is_absolute())     # no bundled ones
    data = replace(data, labels=tuple(model.labels), clips=own)
    features = load_features(data, settings_of(model), cache, progress, training=False)
    part = part or next((name for name in ("test", "validation") if len(features.of(name))), ALL)
    return evaluate(model, features, part, early) | {"skipped": [list(item) for item in features.skipped],
                                                     "warnings": list(features.warnings)}
