"""The report of one model, and the parts of it that a sweep's report shows as well."""

from pathlib import Path

import numpy as np

from tidegate.host.features import settings_of
from tidegate.host.figures import ratio_text
from tidegate.spec.model import Model, read_model

from ...errors import DataError
from . import charts, page
from .raster import Example, clip_events, example, raster
from .results import PARTS, read_log


def write_model_report(model_path: str | Path, log_csv: str | Path | None, out_html: str | Path,
                       clip: str | Path | None = None, data_dir: str | Path | None = None) -> Path:
    """One HTML file about a model: card, training curves, occupancy, events of a clip, confusion.

    ``log_csv``: its training log, if there is one.  ``clip``: the recording to show; without, a bundled one, or one
    of the folder of words ``data_dir``.  TidegateError if a file is missing or damaged or ``out_html`` cannot be
    written.
    """
    model_path, out_html = Path(model_path), Path(out_html)
    model = read_model(model_path)
    body = [*_facts(model, model_path.stat().st_size), page.heading("Training")]
    if log_csv is None:
        body.append(page.paragraph("There is no training log beside this model, so there are no curves."))
    else:
        seed = _dict(model.card.get("recipe")).get("seed")
        caption = ("Training by epoch, one run" + f" (seed {seed})" * (seed is not None)
                   + ". Θ: features solid, layers dashed and dotted.")
        body.append(page.figure(charts.curves([("", read_log(log_csv))]), "curves", caption))
    body += closer_look(model, Example(Path(clip), f"the recording {clip}") if clip is not None else None, data_dir)
    page.write(page.document(f"Model {model_path.stem}", body), out_html)
    return out_html


def closer_look(model: Model, clip: Example | None, data_dir: str | Path | None) -> list[str]:
    """Occupancy, events of a clip and confusion of a model, as HTML."""
    return [*_occupancy(model), *_events(model, clip, data_dir), *_confusion(model)]


def part_figures(model: Model) -> dict[str, dict]:
    """Figures on the model's card: part → figures of ``train.evaluate``."""
    return {part: model.card[part] for part in PARTS if _dict(model.card.get(part)).get("accuracy") is not None}


def theta_text(thresholds) -> str:
    return ", ".join(f"{t:g}" for t in thresholds) + " / 256"


def _facts(model: Model, size: int) -> list[str]:
    net, card = model.network, model.card
    recipe, clips = _dict(card.get("recipe")), _dict(card.get("clips"))
    rows = [
        ("classes", ", ".join(model.labels)),
        ("network", f"delta-{net.shape} on {net.features} features, "
                    f"{net.widths} weights, {net.dense_weights} weights a dense frame"),
        ("thresholds Θ", f"{theta_text(net.thresholds)} (features, then each layer)"),
        ("file", f"{size / 1000:.1f} kB, digest {model.digest[:16]}"),
        ("clips", ", ".join(f"{n} {part}" for part, n in clips.items())),
        ("training", ", ".join(f"{name} {value}" for name, value in (
            ("recipe", recipe.get("name")), ("seed", recipe.get("seed")), ("epochs", recipe.get("epochs")),
            ("epoch kept", card.get("epoch"))) if value is not None)),
        ("data", str(recipe.get("attribution", ""))),
        ("not good for", " ".join(map(str, recipe.get("limits", ())))),
    ]
    body = [page.paragraph(str(recipe.get("about", ""))), page.facts(rows)]
    figures = part_figures(model)
    if not figures:
        return [*body, page.paragraph("Its card has no figures of accuracy.")]
    return [*body, page.table(
        ("part", "clips", "accuracy", "fetch reduction", "temporal sparsity"),
        [(part, _text(f, "utterances", "d"), _text(f, "accuracy", ".2%"), ratio_text(f.get("fetch_reduction"), 2),
          _text(f, "temporal_sparsity", ".2%")) for part, f in figures.items()],
        f"Golden model, one seed; integers, so the same on any board. {_decision(model, figures)} "
        "Epochs are chosen by the validation part, never by the test part.")]


def _decision(model: Model, figures: dict[str, dict]) -> str:
    used = [f"{f['frames_used']:.1%} ({part})" for part, f in figures.items() if f.get("frames_used") is not None]
    if model.stop is None or not used:
        return "The decision is a clip's last frame."
    return ("The decision is the first frame in which the best logit leads by more than "
            f"{model.stop_margin:g}, on average after {' and '.join(used)} of a clip's frames; "
            "later ones do not count.")


def _occupancy(model: Model) -> list[str]:
    parts = {part: tuple(f["occupancy"]) for part, f in part_figures(model).items() if f.get("occupancy")}
    body = [page.heading("Occupancy per signal")]
    if not parts:
        return [*body, page.paragraph("The model's card has no occupancy at this Θ.")]
    if any(len(values) != model.network.signals for values in parts.values()):
        raise DataError("the model's card does not fit its network; train it again")
    clips = " and ".join(f"{part} ({_text(part_figures(model)[part], 'utterances', 'd')} clips)" for part in parts)
    return [*body, page.figure(charts.occupancy_bars(parts), "occupancy",
                               f"Share of elements that fire in a frame; all clips of {clips}, one seed.")]


def _events(model: Model, clip: Example | None, data_dir: str | Path | None) -> list[str]:
    body = [page.heading("Events of one clip")]
    found = example(model, data_dir)        # it complains of a bad folder
    clip = clip or found
    if clip is None:
        why = "the model has no feature front end" if not model.frontend else (
            "the model knows none of the words that are bundled; give a folder of words or a recording")
        return [*body, page.paragraph(f"Left out: {why}.")]
    events = clip_events(model, clip.path)
    settings = settings_of(model)
    at, cost = events.probabilities[events.decided], events.figures
    early = f", in frame {events.decided} (dotted)" if events.decided < cost.frames - 1 else ""
    decided = f"decided: “{model.labels[at.argmax()]}” with {at.max():.0%}{early}. " if len(at) else ""
    caption = (f"One clip from reset at Θ = {theta_text(model.network.thresholds)}: {clip.what}; {decided}"
               f"{cost.frames} frames of {settings.hop_ms:g} ms, fetch reduction {ratio_text(cost.fetch_reduction)}. "
               "A dash is an event: the element had moved by Θ since it last sent. Top: log-mel "
               "features, dark is loud.")
    return [*body, page.figure(raster(events, model.labels, settings.hop_ms / 1000), "events", caption)]


def _confusion(model: Model) -> list[str]:
    body, drawn = [page.heading("Confusion")], []
    for part, f in part_figures(model).items():
        if f.get("confusion") is None:
            continue
        counts, classes = np.array(f["confusion"]), model.network.classes
        if counts.shape != (classes, classes) or counts.dtype.kind not in "iu":
            raise DataError(f"the {part} confusion on the model's card is damaged; train it again")
        caption = (f"{part}, {counts.sum()} clips, one seed: {np.trace(counts)} right. Rows are the truth; the colour "
                   "is the share of the row; an empty cell is 0.")
        drawn.append(page.figure(charts.confusion(counts, model.labels, part), f"confusion-{part}", caption))
    if not drawn:
        return [*body, page.paragraph("The model's card has no confusion at this Θ.")]
    return [*body, f'<div class="row">{"".join(drawn)}</div>']


def _text(figures: dict, name: str, form: str) -> str:
    value = figures.get(name)
    return "-" if value is None else format(value, form)


def _dict(value) -> dict:
    return value if isinstance(value, dict) else {}
