"""Metrics and sparsity of a model on a part of a data set, by the golden model; figures as in ``host/figures.py``.

The task says what the answer to a clip is.  The answer comes at the clip's last frame, or ``early`` in the first frame
in which the model's stop rule is met (``spec/stop.py``); then no frame after it counts.

Frames that only pad a clip to its batch's length count nowhere; first-frame transients and the classifier's rows count
everywhere.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tidegate.golden import Golden
from tidegate.golden.figures import activity_bits, bits_per_weight, figures, sent_bits
from tidegate.host.arrays import holds_arrays
from tidegate.spec.design import Design
from tidegate.spec.layout import Layout
from tidegate.spec.model import Model
from tidegate.spec.network import Network
from tidegate.spec.stop import first_decisions

from ..data.arrays import has_targets, load_arrays
from ..data.split import ALL, ALL_PARTS
from ..errors import DataError, other_words
from ..recipe import WORDS
from ..tasks.protocol import Examples
from ..tasks.registry import find_task

LANES = 64      # on which words are counted: the virtual board's
_BATCH, _ELEMENTS = 256, 1 << 26      # clips at once, and elements of all their frames
_NOTHING_TOLD = {"skipped": [], "warnings": []}


def evaluate(model: Model, features: Examples, part: str = "validation", early: bool = False,
             bits: bool | None = None) -> dict:
    """Figures of a model on one part, or on ALL clips; DataError if there are none, or ``early`` is set and there is no
    stop rule.

    ``part``, ``utterances``; where the examples have targets, the metrics of the task, such as ``accuracy``
    (``tasks/classify.py``); all of ``golden.figures.Figures``, as ``fetch_reduction``,
    ``temporal_sparsity`` and, per signal, ``occupancy``.
    ``early`` adds ``margin`` (of the rule, in units of the logits); ``decided``: share of the clips that met the rule
    before or at their end, ``decided_at_once``: in their first frame; ``frames_used``: mean share of a clip's frames up
    to the decision; ``weights_per_decision``, and on ``lanes`` lanes ``weight_words_per_decision``: means over the
    clips; ``decision_reduction``: weights that a dense network reads over the whole clips / weights read.
    ``bits`` (None: for networks that are no plain chain) adds ``activity_bits`` per signal and ``bits_per_weight``
    (``golden/figures.py``), and per clip ``operations``, the additions of events × fan-out, beside the
    ``dense_operations`` of a network that is not sparse.
    """
    if early and model.stop is None:
        raise DataError("this model has no stop rule; give a --margin, or train one with a stop_margin")
    bits = not model.network.plain if bits is None else bits
    clips = np.arange(len(features.offsets) - 1) if part == ALL else features.of(part)
    if not len(clips):
        raise DataError(_no_part(features, part))
    if tuple(model.labels) != tuple(features.labels):
        raise other_words(model.labels, features.labels)
    task, golden = find_task(features.task), Golden(model)
    order, answers, events, weights, used, decided, at_once = [], [], [], [], [], 0, 0
    significant = np.zeros(model.network.signals)
    for batch, frames, lengths in padded(model, features, clips):
        trace = golden.run(frames, keep_sent=bits)
        at = lengths - 1
        if early and model.stop is not None:
            at, _, met = first_decisions(trace.logits, lengths, model.stop)
            used += list((at + 1) / lengths)
            decided += int(met.sum())
            at_once += int((met & (at == 0)).sum())
        counts = np.arange(len(frames))[:, None] <= at
        events.append(trace.events[counts])
        weights.append(trace.weights[counts])
        if trace.sent is not None:
            significant += sent_bits(model.network, trace.sent)[counts].sum(0)
        order.append(batch)
        answers += list(task.answers(model, trace.logits, at, early))
    metrics, first = {}, task.primary.name
    if len(features.targets):
        metrics = task.metrics(model.labels, features.targets[np.concatenate(order)], answers)
    cost = figures(model.network, np.concatenate(events)[:, None], weights=np.concatenate(weights)[:, None]).to_dict()
    cost |= {name: list(cost[name]) for name in ("events", "occupancy")}        # as they come back from a card
    if bits:
        frames = cost["frames"]
        cost |= {"activity_bits": list(activity_bits(model.network)),
                 "bits_per_weight": bits_per_weight(model.network, significant, frames),
                 "operations": cost["weights"] / len(clips), "dense_operations": cost["dense_weights"] / len(clips)}
    if early:
        cost |= _per_decision(model, cost, used, decided, int(np.diff(features.offsets)[clips].sum()))
        cost["decided_at_once"] = at_once / len(clips)
    leading = {first: metrics[first]} if metrics else {}
    return {"part": part, "utterances": len(clips), **leading, **cost, **metrics}


def _no_part(features: Examples, part: str) -> str:
    there = [f"{len(clips)} clips in {name}" for name in ALL_PARTS if len(clips := features.of(name))]
    return (f"no clip that can be used is in the {part} part; there are {', '.join(there)}: name one of these with "
            f"--part, or judge all clips with --part {ALL}" if there else "no clip can be used; give other recordings")


def column_words(network: Network, lanes: int) -> list[float]:
    """Weight words of a column of each signal on a board of so many lanes, the mean of all columns."""
    layout = Layout(network, Design(lanes, cell_rate=1), check=False)
    return [layout.mean_words(s) for s in range(network.signals)]


def words_read(network: Network, events: Iterable[int]) -> int:
    """Weight words, on LANES lanes, that so many events of each signal read."""
    return round(sum(n * c for n, c in zip(events, column_words(network, LANES), strict=True)))


def _per_decision(model: Model, cost: dict, used: list[float], decided: int, frames: int) -> dict:
    """What ``early`` adds; ``frames``: of the whole clips."""
    net, clips = model.network, len(used)
    return {"margin": model.stop_margin, "decided": decided / clips,
            "frames_used": float(np.mean(used)), "weights_per_decision": cost["weights"] / clips, "lanes": LANES,
            "weight_words_per_decision": words_read(net, cost["events"]) / clips,
            "decision_reduction": net.dense_weights * frames / cost["weights"] if cost["weights"] else None}


def last_logits(model: Model, features: Examples, clips: np.ndarray) -> np.ndarray:
    """Logits (clips, classes) at the last frame of these clips, accumulator LSBs, in the order given."""
    golden, logits = Golden(model), np.zeros((int(clips.max(initial=0)) + 1, model.network.classes), np.int32)
    for batch, frames, lengths in padded(model, features, clips):
        logits[batch] = golden.run(frames).logits[lengths - 1, np.arange(len(lengths))]
    return logits[clips]


def padded(model: Model, features: Examples, clips: np.ndarray) -> Iterator[tuple]:
    """Batches of similar length: (clip numbers (B,), frames (T, B, bands) SIGNAL integers, lengths (B,))."""
    sizes = np.diff(features.offsets)[clips]
    order = clips[np.argsort(sizes, kind="stable")]
    net = model.network
    frame = sum(net.elements(s) for s in range(net.signals))
    at_once = max(1, min(_BATCH, _ELEMENTS // (frame * int(sizes.max(initial=1)))))
    for start in range(0, len(order), at_once):
        batch = order[start : start + at_once]
        lengths = np.diff(features.offsets)[batch]
        frames = np.zeros((lengths.max(), len(batch), features.width), np.int16)
        for column, i in enumerate(batch):
            clip = model.quantise(features.frames(i))
            frames[: len(clip), column] = clip
        yield batch, frames, lengths


def evaluate_directory(model: Model, directory: str | Path | None, part: str | None = None,
                       cache: str | Path | None = None, progress: bool = False, speaker: str = "",
                       early: bool = False, bits: bool | None = None, steps: int | None = None) -> dict:
    """Figures of a model on the data of its task, and what was ``skipped``, and ``warnings``; by default its test part,
    or validation where there is none, or else all clips.

    ``part`` ALL judges every clip, whatever part it is in.  ``speaker``: the test part is all of this speaker's clips,
    see ``data.scan``.  A file of arrays, or a folder of such files, is judged as it is, whatever the task; without an
    array ``y`` only the cost is told.  ``steps``: frames for which images in such files are held.
    """
    if part not in (None, ALL, *ALL_PARTS):
        raise DataError(f"no part '{part}'; the parts are {', '.join(ALL_PARTS)}, and {ALL}")
    task = find_task(task_name(model))
    if directory is not None and holds_arrays(directory) and (model.readout is None or not has_targets(directory)):
        if part not in (None, ALL):
            raise DataError(f"arrays of frames have no parts; leave --part {part} out")
        return evaluate(model, load_arrays(model, directory, task.name, steps), ALL, early, bits) | _NOTHING_TOLD
    if steps is not None:
        raise DataError("steps are of images in .npy and .npz files, which a converted model hears; leave --steps out")
    features = task.load_to_judge(model, directory, part, cache=cache, progress=progress, speaker=speaker)
    part = part or evaluated_part(features)
    return evaluate(model, features, part, early, bits) | {"skipped": [list(item) for item in features.skipped],
                                                           "warnings": list(features.warnings)}


def frames_of_clips(model: Model, directory: str | Path | None, count: int) -> Iterator[np.ndarray]:
    """Frames of the clips of the model's task, as ``evaluate_directory`` takes them, with an even step through the
    part: integers (T, features) per clip, ``count`` frames in all or fewer."""
    examples = find_task(task_name(model)).load_to_judge(model, directory, None)
    part = evaluated_part(examples)
    clips = np.arange(len(examples.offsets) - 1) if part == ALL else examples.of(part)
    wanted = -(-count // max(1, len(examples.frames(int(clips[0])))))
    for i in clips[np.linspace(0, len(clips) - 1, min(wanted, len(clips))).astype(int)]:
        clip = model.quantise(examples.frames(int(i)))[:count]
        count -= len(clip)
        if len(clip):
            yield clip


def evaluated_part(examples: Examples) -> str:
    """The part on which a model is judged by default: test, or validation where there is none, or else ALL."""
    return next((name for name in ("test", "validation") if len(examples.of(name))), ALL)


def task_name(model: Model) -> str:
    """Name of the task that a model was trained for, by its card; a model without a recipe hears words."""
    return model.card.get("recipe", {}).get("task", WORDS)
