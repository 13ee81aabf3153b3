"""The always-on score of a model: an hour of continuous sound → hits, misses, false accepts an hour, delay.

In the manner of MLPerf Tiny's streaming wakeword benchmark (github.com/mlcommons/tiny,
``benchmark/training/streaming_wakeword``), which adds 50 wake words to 20 minutes of background and calls a word
detected if the detector is on between its start and 0.5 s after its end.  Here are many keywords, so that a
detection must also name the right one, and other words.  Stricter: what comes up to 1 s after a word is no false
positive there, and a second detection of the same word counts only once; here it is a false accept.

Beside the detector on the host, with its smoothed probabilities, ``early`` judges a board's stop unit on the same
logits (``host.detector.listening_stop``): one comparison of integers a frame, re-armed when a keyword has passed.

The hour is heard as parallel tracks (16 or more), each from reset and continuous from then on: there is a reset a
track, and its first-frame transients are in the figures.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from tidegate.golden import Golden
from tidegate.golden.figures import figures
from tidegate.host.detector import DEFAULTS, Detection, Detector, DetectorSettings
from tidegate.host.features import settings_of
from tidegate.host.frontend import FrontEnd
from tidegate.spec.model import Model

from .data import SILENCE, UNKNOWN, DataError, scan
from .soundscape import Scene, Stream, Track, Word, make_stream

TOLERANCE_S = 0.5
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
MARGINS = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0)     # in units of the logits
KINDS: tuple[str, ...] = ("confused", "unknown", "repeated", "background")
_VALUES = 3 << 24               # floats that a golden run may hold


@dataclass(frozen=True)
class Count:
    """What detections were worth.

    ``from_start``, ``from_end``: per hit, seconds from the word's start and end to the detection.
    ``false_accepts``, one of KINDS each: a wrong keyword during a keyword, a keyword during an unknown word, a
    keyword that was already detected, and any other time.
    """

    keywords: int
    from_start: tuple[float, ...]
    from_end: tuple[float, ...]
    false_accepts: dict[str, int]

    def __add__(self, other: "Count") -> "Count":
        return Count(self.keywords + other.keywords, self.from_start + other.from_start,
                     self.from_end + other.from_end,
                     {kind: n + other.false_accepts[kind] for kind, n in self.false_accepts.items()})

    def to_dict(self, hours: float) -> dict:
        """Figures; a rate without words and a delay without hits are None."""
        hits, total = len(self.from_start), sum(self.false_accepts.values())
        return {"hits": hits, "misses": self.keywords - hits,
                "hit_rate": hits / self.keywords if self.keywords else None,
                "false_accepts": dict(self.false_accepts), "false_accepts_per_hour": total / hours,
                "delay_from_start_s": _delay(self.from_start), "delay_from_end_s": _delay(self.from_end)}


def _delay(seconds: Sequence[float]) -> dict:
    median, most = np.percentile(seconds, [50, 95]).tolist() if seconds else (None, None)
    return {"median": median, "p95": most}


def _none() -> dict[str, int]:
    return dict.fromkeys(KINDS, 0)


def count(words: Sequence[Word], detections: Sequence[Detection], tolerance_s: float = TOLERANCE_S) -> Count:
    """Judge the detections in one track, both in order of time.

    A detection belongs to the word that began last before it, until ``tolerance_s`` after that word's end.
    """
    starts, hit = [word.start_s for word in words], set()
    from_start, from_end, wrong = [], [], _none()
    for d in detections:
        k = int(np.searchsorted(starts, d.time_s, "right")) - 1
        if k < 0 or d.time_s > words[k].end_s + tolerance_s:
            wrong["background"] += 1
        elif words[k].label != d.label:
            wrong["unknown" if words[k].label == UNKNOWN else "confused"] += 1
        elif k in hit:
            wrong["repeated"] += 1
        else:
            hit.add(k)
            from_start.append(d.time_s - words[k].start_s)
            from_end.append(d.time_s - words[k].end_s)
    keywords = sum(word.label != UNKNOWN for word in words)
    return Count(keywords, tuple(from_start), tuple(from_end), wrong)


def hear(model: Model, tracks: Sequence[Track],
         progress: Callable[[int, int], None] | None = None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Every track through the front end and the golden model, from reset: logits (T, classes), events (T, signals)."""
    golden, settings = Golden(model), settings_of(model)
    steps = settings.frames(tracks[0].samples)
    together = max(1, _VALUES // (steps * sum(6 * layer.size for layer in model.network.gru)))
    logits, events = [], []
    for first in range(0, len(tracks), together):
        frames = []
        for track in tracks[first : first + together]:
            front_end = FrontEnd(settings)
            frames.append(np.concatenate([model.quantise(front_end.accept(piece)) for piece in track.audio()]))
        trace = golden.run(np.stack(frames, 1))
        logits += list(trace.logits.swapaxes(0, 1))
        events += list(trace.events.swapaxes(0, 1))
        if progress:
            progress(len(logits), len(tracks))
    return logits, events


def score(model: Model, stream: Stream, settings: DetectorSettings = DEFAULTS,
          thresholds: Sequence[float] = THRESHOLDS, progress: Callable[[int, int], None] | None = None) -> dict:
    """Figures of a model on a stream.

    What the stream is: ``part``, ``seed``, ``hours``, ``streams`` (tracks, each heard from reset), ``keywords``,
    ``unknown_words``, ``noise``, ``scene``, ``skipped``.  How it was detected: ``detector``, ``tolerance_s``.  The
    headline, at the detector's own threshold: ``hits``, ``misses``, ``hit_rate``, ``false_accepts`` by kind and
    ``false_accepts_per_hour``, delays from a word's start and end.  ``curve``: the same at each of ``thresholds``.
    ``early``: the same of a board's stop unit, a row for each of MARGINS and the model's own margin (``own``, or None);
    ``hold_frames``: for so many after a reset or a decision it decides nothing.
    ``cost``: all of ``golden.figures.Figures``, and ``quiet_frames``, the share of frames without an event.
    ``progress(done, total)`` counts tracks.
    """
    logits, events = hear(model, stream.tracks, progress)
    words = [word for track in stream.tracks for word in track.words]
    points = [replace(settings, threshold=p) for p in sorted({*thresholds, settings.threshold})]
    rows = [{"threshold": p.threshold} | judge(model, stream, logits, p).to_dict(stream.hours) for p in points]
    headline = next(row for row in rows if row["threshold"] == settings.threshold)
    each = np.stack(events, 1)
    cost = figures(model.network, each).to_dict() | {"quiet_frames": float((each.sum(-1) == 0).mean())}
    unknown = sum(word.label == UNKNOWN for word in words)
    return {
        "part": stream.part, "seed": stream.seed, "hours": stream.hours, "streams": len(stream.tracks),
        "keywords": len(words) - unknown, "unknown_words": unknown,
        "noise": "synthetic" if stream.synthetic else "recordings", "scene": asdict(stream.scene),
        "detector": asdict(settings), "tolerance_s": TOLERANCE_S, **headline, "curve": rows,
        "cost": {k: list(v) if isinstance(v, tuple) else v for k, v in cost.items()},
        "skipped": [list(item) for item in stream.skipped]}


def judge(model: Model, stream: Stream, logits: Sequence[np.ndarray], settings: DetectorSettings) -> Count:
    """Detect in each track's logits (T, classes) and add up what that was worth."""
    total = Count(0, (), (), _none())
    for track, answers in zip(stream.tracks, logits, strict=True):
        total += count(track.words, Detector.of(model, settings).accept(answers))
    return total


def score_directory(model: Model, directory: str | Path, part: str = "validation", hours: float = 1.0, seed: int = 1,
                    settings: DetectorSettings = DEFAULTS, scene: Scene | None = None,
                    progress: Callable[[int, int], None] | None = None) -> dict:
    """``score`` of a model on a stream made from a folder of words; DataError if its words are not the model's."""
    front_end = settings_of(model)
    keywords = tuple(label for label in model.labels if label not in (UNKNOWN, SILENCE))
    data = scan(directory, keywords if UNKNOWN in model.labels else ())
    if set(data.labels) - {UNKNOWN, SILENCE} != set(keywords):
        raise DataError(f"the model's words {', '.join(keywords)} are not the data set's {', '.join(data.labels)}; "
                        "score it on a data set with the same words")
    stream = make_stream(data, part, front_end, hours, seed, scene or Scene())
    return score(model, stream, settings, progress=progress)
