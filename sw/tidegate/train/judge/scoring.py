"""What ``tidegate stream`` reports: curves, conditions, seeds and cost of a model that listens all the time.

    curve        misses against false accepts per hour, over the detector's threshold
    conditions   misses at the detector's own threshold, by signal-to-noise ratio and with and without a room
    seeds        the same stream made anew: pooled for the figures, apart for their spread

``choose_threshold`` reads a threshold off a curve: on the validation part, never on what is reported.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from tidegate.golden.continued import Continued
from tidegate.host.board import Board
from tidegate.host.detector import DetectorSettings, listening_stop
from tidegate.host.features import settings_of
from tidegate.host.frontend import FrontEndSettings
from tidegate.progress import Progress
from tidegate.spec.errors import TidegateError
from tidegate.spec.model import Model

from ..data.compose import make_stream
from ..data.folders import SILENCE, UNKNOWN, DataSet, scan_words
from ..data.soundscape import WORDS_ONLY, Scene, Sources, Stream
from ..data.split import with_test_part
from .intervals import share_interval
from .stream_tables import cost_table, kinds_table, row
from .streaming import MARGINS, TOLERANCE_S, StreamScore, at_margin, detections_of, first_frames, hear

SNRS: tuple[float | None, ...] = (None, 20.0, 10.0, 5.0, 0.0)      # dB; None: no background
CONDITION_HOURS = 0.25
_CONDITION = Scene(pause_s=(1.0, 2.5), keyword_share=1.0, level=True, speech_share=0.0, noise_share=0.0)
PER_HOUR = 1.0                      # false accepts at which misses are read off a curve
_FINE = tuple(k / 4 for k in range(1, 65))      # margins of ``choose_threshold``: 0.25 to 16


def keywords_of(model: Model) -> tuple[str, ...]:
    """Labels that a detector reports."""
    return tuple(label for label in model.labels if label not in (UNKNOWN, SILENCE))


@dataclass(frozen=True)
class Job:
    """What a model is to be scored on: ``streams``, one per seed, and ``conditions`` (what they are, stream).

    ``absent``: keywords that the data lack.
    """

    model: Model
    settings: DetectorSettings
    streams: tuple[Stream, ...]
    conditions: tuple[tuple[dict, Stream], ...]
    absent: tuple[str, ...]

    @staticmethod
    def make(model: Model, directory: str | Path, part: str = "validation", hours: float = 1.0,
             seeds: Sequence[int] = (1,), settings: DetectorSettings | None = None, scene: Scene | None = None,
             sources: Sources = WORDS_ONLY, conditions: bool = False) -> "Job":
        """Streams of ``hours`` each, one per seed, made of a folder of words and other sources.

        A part that training kept apart (a recipe's ``test_share``) is kept apart here, too.
        ``settings`` None: the model's own.  ``conditions``: by signal-to-noise ratio, and in ``sources.rooms``; the
        streams themselves are heard without a room.  DataError if nothing can be made of the folder.
        """
        data, front_end = scan_words(directory, keywords_of(model)), settings_of(model)
        share = model.card.get("recipe", {}).get("test_share", 0.0)
        data = replace(data, clips=tuple(with_test_part(list(data.clips), share)))
        dry = replace(sources, rooms=())
        streams = tuple(make_stream(data, part, front_end, hours, seed, scene or Scene(), dry) for seed in seeds)
        other = tuple(_conditions(data, part, front_end, hours, seeds[0], sources)) if conditions else ()
        return Job(model, settings or DetectorSettings.of(model), streams, other,
                   tuple(word for word in keywords_of(model) if word not in data.labels))

    def score(self, thetas: Sequence[float] = (1.0,), progress: Progress | None = None) -> dict:
        """``score``, and ``conditions`` and ``absent``."""
        step = _Steps(progress, len(self.streams) + len(self.conditions))
        report = score(self.model, self.streams, self.settings, thetas=thetas, progress=step)
        if self.conditions:
            report["conditions"] = by_condition(self.model, self.conditions, self.settings, step)
        return report | {"absent": list(self.absent)}


def score(model: Model, streams: Sequence[Stream], settings: DetectorSettings | None = None,
          margins: Sequence[float] = MARGINS, thetas: Sequence[float] = (1.0,), tolerance_s: float = TOLERANCE_S,
          progress: Progress | None = None) -> dict:
    """Figures of a model on streams that differ in their seed only.

    What the streams are: ``part``, ``seeds``, ``hours`` (all together), ``streams`` (tracks, each heard from reset),
    ``keywords``, ``unknown_words``, ``noise``, ``scene``, ``played`` (see ``Stream``), ``skipped``.  How it was
    detected: ``detector``, ``tolerance_s``.  The headline, at the detector's own threshold: a row as in ``curve``.
    ``curve``: the same over thresholds.  ``at_rate``: the row of the curve with the fewest misses at PER_HOUR false
    accepts per hour or fewer, or None.  ``kinds``: see ``kinds_table``.  ``by_keyword``: said, heard, falsely accepted.
    ``per_seed``: misses and false accepts per hour of each; ``spread``: their mean and standard deviation.
    ``cost``: see ``cost_table``.  ``thetas``: per factor, the headline, ``at_rate``, ``curve`` and ``cost``.
    """
    own = settings or DetectorSettings.of(model)
    points = sorted({own, *(at_margin(own, m) for m in margins)}, key=lambda s: s.threshold)
    k = points.index(own)
    models = [model.turned(factor) for factor in thetas]
    step = _Steps(progress, len(streams)) if not isinstance(progress, _Steps) else progress
    per_seed: list[list[StreamScore]] = []
    for stream in streams:
        per_seed.append(hear(models, stream, points, tolerance_s, step))
        step.next()
    pooled = [_total(heard[i] for heard in per_seed) for i in range(len(models))]
    frames_per_second = streams[0].settings.sample_rate / streams[0].settings.hop
    rows = [[row(p, heard, i) for i, p in enumerate(points)] for heard in pooled]
    costs = [cost_table(model.network, heard, frames_per_second) for heard in pooled]
    counts, words = pooled[0].counts[k], [word for stream in streams for t in stream.tracks for word in t.words]
    each = [{"seed": stream.seed, "hours": heard[0].hours, "misses": heard[0].counts[k].misses,
             "keywords": heard[0].counts[k].keywords, "false_accepts": heard[0].counts[k].false,
             "miss_rate": heard[0].counts[k].misses / max(1, heard[0].counts[k].keywords),
             "false_accepts_per_hour": heard[0].counts[k].false / heard[0].keywordless_hours}
            for stream, heard in zip(streams, per_seed, strict=True)]
    return {
        "model": model.digest, "part": streams[0].part, "seeds": [stream.seed for stream in streams],
        "hours": pooled[0].hours, "keywordless_hours": pooled[0].keywordless_hours,
        "streams": sum(len(stream.tracks) for stream in streams),
        "keywords": counts.keywords, "unknown_words": len(words) - counts.keywords,
        "noise": "synthetic" if streams[0].synthetic else "recordings", "scene": {
            name: list(value) if isinstance(value, tuple) else value for name, value in
            asdict(streams[0].scene).items()},
        "played": _played(streams), "detector": asdict(own), "tolerance_s": tolerance_s, **rows[0][k],
        "curve": rows[0], "at_rate": at_rate(rows[0]), "kinds": kinds_table(pooled[0], k),
        "by_keyword": {label: {"said": n, "heard": counts.heard[label], "falsely": counts.accepted[label]}
                       for label in sorted({*counts.said, *counts.accepted}) for n in [counts.said[label]]},
        "per_seed": each, "spread": {name: _spread([entry[name] for entry in each])
                                     for name in ("miss_rate", "false_accepts_per_hour")},
        "cost": costs[0],
        "thetas": [{"factor": factor, "thresholds": list(turned.network.thresholds), **lines[k],
                    "at_rate": at_rate(lines), "curve": lines, "cost": cost}
                   for factor, turned, lines, cost in zip(thetas, models, rows, costs, strict=True)],
        "skipped": [list(item) for item in dict.fromkeys(item for stream in streams for item in stream.skipped)]}


def at_rate(rows: Sequence[dict], per_hour: float = PER_HOUR) -> dict | None:
    """The row of a curve, in order of its thresholds, with the lowest threshold from which on false accepts stay at
    ``per_hour`` or fewer; None if even the highest has more."""
    best = None
    for candidate in reversed(rows):
        if candidate["false_accepts_per_hour"] > per_hour:
            break
        best = candidate
    return best


def choose_threshold(model: Model, streams: Sequence[Stream], per_hour: float = PER_HOUR,
                     settings: DetectorSettings | None = None, progress: Progress | None = None) -> DetectorSettings:
    """The settings with the lowest threshold at which a model makes at most so many false accepts per hour on streams.

    ``streams`` must be of what chooses, the validation part: figures that are reported come from others.  Margins from
    0.25 to 16 are tried, in steps of 0.25.  TidegateError if even the highest makes more.
    """
    if not streams:
        raise TidegateError("a threshold is chosen on streams; give at least one")
    own = settings or DetectorSettings.of(model)
    points = [at_margin(own, m) for m in _FINE]
    heard = _total(hear([model], stream, points, progress=progress)[0] for stream in streams)
    found = at_rate([row(p, heard, i) | {"settings": p} for i, p in enumerate(points)], per_hour)
    if found is None:
        least = min(count.false for count in heard.counts) / heard.keywordless_hours
        raise TidegateError(f"no threshold comes to {per_hour:g} false accepts per hour: at the highest there are "
                            f"{least:.1f}; train the model with more of what it falsely accepts")
    return found["settings"]


def compare_board(board: Board, model: Model, stream: Stream, minutes: float,
                  settings: DetectorSettings | None = None, progress: Progress | None = None) -> dict:
    """The first minutes of a stream through a board with the model on it, against golden and the host's detector.

    The board detects by itself, by the rule of ``settings`` (None: the model's own).
    ``frames``, ``tracks`` (each from reset), ``logits_differ``: frames of which a logit is another; ``detections``:
    of the host's detector on golden's logits; ``detections_differ``: those that only one of both made, by frame and
    label; ``first``: the first frame that differs as {track, frame}, or None.
    """
    board.stop = listening_stop(model, settings)
    rate, hop = stream.settings.sample_rate, stream.settings.hop
    left = round(minutes * 60 * rate / hop)
    total, done, tracks, wrong, found, differ, first = left, 0, 0, 0, 0, 0, None
    for k, track in enumerate(stream.tracks):
        if left <= 0:
            break
        frames = first_frames(model, track, left)
        golden = Continued(model).accept(frames[:, None])[0][:, 0]
        results = []
        for result in board.stream(frames):
            results.append(result)
            if progress and len(results) % hop == 0:
                progress(done + len(results), total)
        other = (golden != np.array([result.logits for result in results])).any(1)
        ours = {(d.frame, d.label) for d in detections_of(model, golden, settings)}
        theirs = {(frame, result.label) for frame, result in enumerate(results) if result.decided}
        frames_apart = [*np.flatnonzero(other).tolist(), *(frame for frame, _ in ours ^ theirs)]
        if frames_apart and first is None:
            first = {"track": k, "frame": min(frames_apart)}
        wrong, found, differ = wrong + int(other.sum()), found + len(ours), differ + len(ours ^ theirs)
        left, done, tracks = left - len(frames), done + len(frames), tracks + 1
    return {"frames": done, "minutes": done * hop / rate / 60, "tracks": tracks, "lanes": board.design.lanes,
            "logits_differ": wrong, "detections": found, "detections_differ": differ, "first": first}


def _conditions(data: DataSet, part: str, settings: FrontEndSettings, hours: float, seed: int,
                sources: Sources) -> Iterable[tuple[dict, Stream]]:
    """Streams of keywords only, each in the middle of a background at one ratio, in a room or not."""
    hours = min(CONDITION_HOURS, hours)
    for rooms in (False, True) if sources.rooms else (False,):
        for snr in SNRS:
            scene = replace(_CONDITION, snr_db=None if snr is None else (snr, snr))
            here = Sources(noise=sources.noise, rooms=sources.rooms if rooms else ())
            yield {"snr_db": snr, "room": rooms}, make_stream(data, part, settings, hours, seed, scene, here)


def by_condition(model: Model, streams: Iterable[tuple[dict, Stream]], settings: DetectorSettings | None = None,
                 progress: Progress | None = None) -> list[dict]:
    """Misses at the detector's threshold in each condition (``snr_db``, ``room``)."""
    own, lines = settings or DetectorSettings.of(model), []
    for condition, stream in streams:
        count = hear([model], stream, [own], progress=progress)[0].counts[0]
        if isinstance(progress, _Steps):
            progress.next()
        lines.append(condition | {"keywords": count.keywords, "misses": count.misses,
                                  "miss_rate": count.misses / count.keywords if count.keywords else None,
                                  "miss_interval": list(share_interval(count.misses, count.keywords)),
                                  "wrong": count.wrong_answers["confused"]})
    return lines


_ROW = ("threshold", "margin", "miss_rate", "miss_interval", "false_accepts_per_hour", "false_accepts_interval",
        "wrong_rate", "delay_from_end_s")


def brief(report: dict) -> dict:
    """What a model's card keeps of a report: all but single sources, seeds, other factors on Θ and files skipped."""
    left_out = ("thetas", "per_seed", "skipped", "by_keyword", "absent", "model", "rtl")
    kept = {name: value for name, value in report.items() if name not in left_out}
    return kept | {"curve": [{name: line[name] for name in _ROW} for line in report["curve"]],
                   "kinds": {name: k for name, k in report["kinds"].items() if "/" not in name}}


def _total(heard: Iterable[StreamScore]) -> StreamScore:
    first, *rest = heard
    return sum(rest, first)


def _played(streams: Sequence[Stream]) -> dict[str, dict]:
    """Recordings, their hours, and hours in all streams together, per kind/source."""
    table: dict[str, dict] = {}
    for stream in streams:
        for name, (recordings, there, heard) in stream.played.items():
            entry = table.setdefault(name, {"recordings": recordings, "hours": there, "played_hours": 0.0})
            entry["played_hours"] += heard
    return table


def _spread(values: Sequence[float]) -> dict:
    return {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None}


class _Steps:
    """Progress through streams of which each counts as much."""

    def __init__(self, progress: Progress | None, streams: int):
        self.progress, self.streams, self.done = progress, streams, 0

    def __call__(self, done: int, total: int) -> None:
        if self.progress:
            self.progress(int(1000 * (self.done + done / total)), 1000 * self.streams)

    def next(self) -> None:
        self.done += 1
