"""The report of one model, and the parts of it that a sweep's report shows as well."""

from pathlib import Path
from typing import Any

import numpy as np

from tidegate.host.arrays import holds_arrays
from tidegate.host.features import settings_of
from tidegate.spec.model import Model, read_model

from ...data.split import JUDGED
from ...errors import DataError
from ...judge.evaluate import task_name
from ...tasks.primary import Primary
from ...tasks.registry import find_task
from . import charts, page
from .raster import Example, clip_events, example, membranes, raster
from .results import read_log
from .traces import told_frames, traces


def write_model_report(model_path: str | Path, log_csv: str | Path | None, out_html: str | Path,
                       clip: str | Path | None = None, data_dir: str | Path | None = None,
                       steps: int | None = None) -> Path:
    """One HTML file about a model: card, training curves, occupancy, events of a clip, confusion.

    ``log_csv``: its training log, if there is one.  ``clip``: the recording, or file of arrays, to show; without, a
    bundled one, or one of the folder of words or the series ``data_dir``.  ``steps``: frames for which an image of
    ``clip`` is held.  TidegateError if a file is missing or damaged or ``out_html`` cannot be written.
    """
    model_path, out_html = Path(model_path), Path(out_html)
    model = read_model(model_path)
    card, figures = model.card, part_figures(model)
    recipe = _dict(card.get("recipe"))
    training = {"recipe": recipe.get("name"), "seed": recipe.get("seed"), "epochs": recipe.get("epochs"),
                "epoch kept": card.get("epoch")}
    used = {part: f["frames_used"] for part, f in figures.items() if f.get("frames_used") is not None}
    told, example_clip = None, None
    if (clip is not None and holds_arrays(clip)) or not model.frontend:
        told = told_frames(model, clip, data_dir, steps)
    elif clip is not None:
        example_clip = Example(Path(clip), f"the recording {clip}")
    seen = closer_look(model, example_clip, None if told else data_dir)
    seen |= {"told": told and {"what": told.what, "figures": told.figures, "drawing": traces(model, told)}}
    page.write(page.render(
        "model.html.jinja", name=model_path.stem, size=model_path.stat().st_size, net=model.network, recipe=recipe,
        clips=_dict(card.get("clips")), made_with=_dict(card.get("made_with")),
        training={what: value for what, value in training.items() if value is not None},
        figures=figures, used=used if model.stop is not None else {},
        curves=None if log_csv is None else charts.curves([("", read_log(log_csv))], primary_of(model)),
        primary=primary_of(model), conversion=_conversion(model), **seen), out_html)
    return out_html


def closer_look(model: Model, clip: Example | None, data_dir: str | Path | None) -> dict[str, Any]:
    """What ``closer_look.html.jinja`` shows of a model: occupancy, events of a clip and confusion."""
    return {"model": model, "occupancy": _occupancy(model), "clip": _clip(model, clip, data_dir), "told": None,
            "confusion": _confusion(model)}


def part_figures(model: Model) -> dict[str, dict]:
    """Figures on the model's card: part → figures of ``train.evaluate``."""
    return {part: model.card[part] for part in JUDGED
            if _dict(model.card.get(part)).get(primary_of(model).name) is not None}


def primary_of(model: Model) -> Primary:
    """The figure of a model's task."""
    return find_task(task_name(model)).primary


def _occupancy(model: Model) -> dict[str, Any] | None:
    figures = {part: f for part, f in part_figures(model).items() if f.get("occupancy")}
    if not figures and (made := _conversion(model)):
        figures = {"conversion": {"occupancy": made["occupancy"], "utterances": made.get("images")}}
    if not figures:
        return None
    if any(len(f["occupancy"]) != model.network.signals for f in figures.values()):
        raise DataError("the model's card does not fit its network; train it again")
    return {"clips": {part: f.get("utterances") for part, f in figures.items()},
            "drawing": charts.occupancy_bars({part: tuple(f["occupancy"]) for part, f in figures.items()})}


def _conversion(model: Model) -> dict[str, Any] | None:
    """What ``tidegate convert`` wrote into the card: of each layer, and accuracy by frames if images were judged."""
    said = _dict(model.card.get("conversion"))
    if "image" not in said:
        return None
    judged = _dict(said.get("judged"))
    told = _dict(judged.get("answers"))
    try:
        answers = list(zip(told["steps"], told["accuracy"], told["operations"], strict=True)) if told else []
        return said | {"rate": said["occupancy"][0], "judged": judged, "answers": answers}
    except (KeyError, IndexError, TypeError, ValueError):
        raise DataError("what the model's card says about its conversion is damaged; convert it again") from None


def _clip(model: Model, clip: Example | None, data_dir: str | Path | None) -> dict[str, Any] | None:
    found = example(model, data_dir)        # it complains of a bad folder
    clip = clip or found
    if clip is None:
        return None
    events, hop_ms = clip_events(model, clip.path), settings_of(model).hop_ms
    at = events.probabilities[events.decided]
    decides = len(at) and model.tokens is None
    return {"what": clip.what, "events": events, "hop_ms": hop_ms,
            "decision": {"label": model.labels[at.argmax()], "probability": at.max()} if decides else None,
            "drawing": raster(events, model.labels, hop_ms / 1000),
            "membranes": [membranes(events, s, hop_ms / 1000) for s in events.membranes if s]}


def _confusion(model: Model) -> dict[str, dict[str, Any]]:
    shown = {}
    for part, f in part_figures(model).items():
        if f.get("confusion") is None:
            continue
        counts, classes = np.array(f["confusion"]), model.network.classes
        if counts.shape != (classes, classes) or counts.dtype.kind not in "iu":
            raise DataError(f"the {part} confusion on the model's card is damaged; train it again")
        shown[part] = {"clips": counts.sum(), "right": np.trace(counts),
                       "drawing": charts.confusion(counts, model.labels, part)}
    return shown


def _dict(value) -> dict:
    return value if isinstance(value, dict) else {}
