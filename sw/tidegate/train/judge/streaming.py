"""The always-on score of a model: hours of continuous sound → misses against false accepts per hour, and their cost.

A detection belongs to the word or passage that began last before it, until TOLERANCE_S after its end.  It is a hit, a
false accept, where no keyword was said, of one of FALSE:

    unknown       while a word was said that is no keyword
    speech        during continuous speech
    noise         during noise that is played on its own
    background    any other time: the pauses, with the background that lies under everything

or a wrong answer to a keyword, of one of WRONG:

    confused      another keyword than the one that was said, which is missed unless it is detected, too
    repeated      a keyword that was detected already
    late          the keyword that was said, up to LATE_S after its end; it is missed

False accepts are counted per hour of sound without keywords, as is usual, so that the rate does not depend on how often
keywords are said; wrong answers per keyword.

Hours are heard as parallel tracks, each from reset and continuous from then on: there is a reset per track, and its
first-frame transients are in the figures.  The detector is the rule that a board compares (``tidegate.spec.stop``).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import exp
from typing import Protocol

import numpy as np

from tidegate.golden.continued import Continued
from tidegate.host.detector import Detection, Detector, DetectorSettings, listening_stop
from tidegate.host.features import settings_of
from tidegate.host.frontend import FrontEnd
from tidegate.progress import Progress
from tidegate.spec.errors import TidegateError
from tidegate.spec.model import Model
from tidegate.spec.stop import STOP_SHIFT, UNDECIDED, Decider, best_two

from ..data.folders import UNKNOWN
from ..data.soundscape import Span, SpokenWord, Stream, Track
from .intervals import poisson_interval, share_interval

TOLERANCE_S, LATE_S = 0.5, 1.0
MARGINS = tuple(k / 2 for k in range(1, 25))    # of the curve, in units of the logits: 0.5 to 12
FALSE: tuple[str, ...] = ("unknown", "speech", "noise", "background")
WRONG: tuple[str, ...] = ("confused", "repeated", "late")
TALK, PAUSE = "words", "pauses"                 # what a frame's cost is counted under, beside the spans' kinds
_TOGETHER, _CHUNK = 64, 256                     # tracks side by side; frames of each that are computed at once


@dataclass(frozen=True)
class Count:
    """What detections were worth.

    ``from_start``, ``from_end``: per hit, seconds from the word's start and end to the detection.  ``false_accepts``,
    ``wrong_answers``: by kind.  ``sources``: false accepts during speech and noise, by kind/source.  Per label:
    ``said``, ``heard`` (hits), ``accepted`` (false accepts and wrong answers).
    """

    keywords: int
    from_start: tuple[float, ...]
    from_end: tuple[float, ...]
    false_accepts: dict[str, int]
    wrong_answers: dict[str, int]
    sources: Counter = field(default_factory=Counter)
    said: Counter = field(default_factory=Counter)
    heard: Counter = field(default_factory=Counter)
    accepted: Counter = field(default_factory=Counter)

    @staticmethod
    def none() -> "Count":
        return Count(0, (), (), dict.fromkeys(FALSE, 0), dict.fromkeys(WRONG, 0))

    def __add__(self, other: "Count") -> "Count":
        return Count(self.keywords + other.keywords, self.from_start + other.from_start,
                     self.from_end + other.from_end,
                     _added(self.false_accepts, other.false_accepts), _added(self.wrong_answers, other.wrong_answers),
                     self.sources + other.sources, self.said + other.said, self.heard + other.heard,
                     self.accepted + other.accepted)

    @property
    def misses(self) -> int:
        return self.keywords - len(self.from_start)

    @property
    def false(self) -> int:
        """False accepts of all kinds."""
        return sum(self.false_accepts.values())

    def to_dict(self, hours: float) -> dict:
        """Figures, each ``..._interval`` the 95 % interval of the one before; a share of nothing and a delay without
        hits are None.  ``hours`` without keywords."""
        wrong = sum(self.wrong_answers.values())
        low, high = share_interval(self.misses, self.keywords)
        return {"hits": self.keywords - self.misses, "misses": self.misses,
                "hit_rate": 1 - self.misses / self.keywords if self.keywords else None,
                "miss_rate": self.misses / self.keywords if self.keywords else None,
                "miss_interval": [low, high], "keywords": self.keywords,
                "false_accepts": dict(self.false_accepts), "false_accepts_per_hour": self.false / hours,
                "false_accepts_interval": list(poisson_interval(self.false, hours)),
                "wrong_answers": dict(self.wrong_answers),
                "wrong_rate": wrong / self.keywords if self.keywords else None,
                "delay_from_start_s": _delay(self.from_start), "delay_from_end_s": _delay(self.from_end)}


def _added(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    return {kind: n + b[kind] for kind, n in a.items()}


def _delay(seconds: Sequence[float]) -> dict:
    median, most = np.percentile(seconds, [50, 95]).tolist() if seconds else (None, None)
    return {"median": median, "p95": most}


def count(words: Sequence[SpokenWord], detections: Sequence[Detection], tolerance_s: float = TOLERANCE_S,
          spans: Sequence[Span] = ()) -> Count:
    """Judge the detections in one track; all in order of time."""
    starts, span_starts, hit = [word.start_s for word in words], [span.start_s for span in spans], set()
    from_start, from_end, found = [], [], dict.fromkeys((*FALSE, *WRONG), 0)
    sources, heard, accepted = Counter(), Counter(), Counter()
    for d in detections:
        k = int(np.searchsorted(starts, d.time_s, "right")) - 1
        s = int(np.searchsorted(span_starts, d.time_s, "right")) - 1
        if s >= 0 and d.time_s <= spans[s].end_s + tolerance_s and (k < 0 or starts[k] < span_starts[s]):
            kind = spans[s].kind
            sources[f"{kind}/{spans[s].source}"] += 1
        elif k < 0 or d.time_s > words[k].end_s + tolerance_s:
            late = k >= 0 and words[k].label == d.label and d.time_s <= words[k].end_s + LATE_S and k not in hit
            kind = "late" if late else "background"
        elif words[k].label != d.label:
            kind = "unknown" if words[k].label == UNKNOWN else "confused"
        elif k in hit:
            kind = "repeated"
        else:
            hit.add(k)
            from_start.append(d.time_s - words[k].start_s)
            from_end.append(d.time_s - words[k].end_s)
            heard[d.label] += 1
            continue
        found[kind] += 1
        accepted[d.label] += 1
    said = Counter(word.label for word in words if word.label != UNKNOWN)
    return Count(said.total(), tuple(from_start), tuple(from_end), {kind: found[kind] for kind in FALSE},
                 {kind: found[kind] for kind in WRONG}, sources, said, heard, accepted)


def exposure(track: Track, tolerance_s: float = TOLERANCE_S) -> dict[str, float]:
    """Seconds of a track in which a detection would be judged as a keyword's ("keywords"), another word's ("unknown"),
    "speech", "noise" (each also by kind/source) or "background": together the whole track."""
    end = track.samples / track.settings.sample_rate
    sounds = sorted([*track.words, *track.spans], key=lambda sound: sound.start_s)
    seconds: defaultdict[str, float] = defaultdict(float, background=end)
    for k, sound in enumerate(sounds):
        until = sounds[k + 1].start_s if k + 1 < len(sounds) else end
        length = min(sound.end_s + tolerance_s, until) - sound.start_s
        seconds["background"] -= length
        if isinstance(sound, Span):
            seconds[sound.kind] += length
            seconds[f"{sound.kind}/{sound.source}"] += length
        else:
            seconds["unknown" if sound.label == UNKNOWN else "keywords"] += length
    return seconds


@dataclass(frozen=True)
class EventCounts:
    """Events per kind of sound: ``frames`` and ``events`` (signals,) of each; ``quiet`` frames without an event."""

    frames: Counter
    events: dict[str, np.ndarray]
    quiet: int

    @staticmethod
    def none() -> "EventCounts":
        return EventCounts(Counter(), {}, 0)

    def __add__(self, other: "EventCounts") -> "EventCounts":
        events = dict(self.events)
        for kind, n in other.events.items():
            events[kind] = events.get(kind, 0) + n
        return EventCounts(self.frames + other.frames, events, self.quiet + other.quiet)


def kinds_of_frames(track: Track, frames: int) -> tuple[np.ndarray, list[str]]:
    """What each frame of a track is counted under: (frames,) numbers into the names TALK, "speech", "noise", PAUSE.

    By the middle of the frame's window; the tolerance after a word is a pause.
    """
    names, settings = [TALK, "speech", "noise", PAUSE], track.settings
    middle = (np.arange(frames) * settings.hop + settings.window / 2) / settings.sample_rate
    kinds = np.full(frames, names.index(PAUSE), np.int8)
    for sound in (*track.words, *track.spans):
        first, last = np.searchsorted(middle, [sound.start_s, sound.end_s])
        kinds[first:last] = names.index(sound.kind if isinstance(sound, Span) else TALK)
    return kinds, names


@dataclass(frozen=True)
class StreamScore:
    """What one model made of streams: ``counts``, one per detector setting; ``seconds``: see ``exposure``."""

    counts: tuple[Count, ...]
    cost: EventCounts
    seconds: dict[str, float]
    hours: float

    def __add__(self, other: "StreamScore") -> "StreamScore":
        return StreamScore(tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)), self.cost + other.cost,
                     _sums([self.seconds, other.seconds]), self.hours + other.hours)

    @property
    def keywordless_hours(self) -> float:
        """Hours without keywords: those in which a detection is a false accept."""
        return self.hours - self.seconds.get("keywords", 0.0) / 3600


def _sums(tables: Iterable[dict[str, float]]) -> dict[str, float]:
    total: defaultdict[str, float] = defaultdict(float)
    for table in tables:
        for name, value in table.items():
            total[name] += value
    return dict(total)


class Sounding(Protocol):
    """What can be heard: a ``Track``, or another recording of ``samples``."""

    @property
    def samples(self) -> int: ...

    def audio(self) -> Iterator[np.ndarray]: ...


def frames_of(model: Model, tracks: Sequence[Sounding], size: int = _CHUNK) -> Iterator[np.ndarray]:
    """The tracks, which are equally long, side by side through the model's front end: blocks (up to ``size``, tracks,
    features) of SIGNAL integers."""
    settings = settings_of(model)
    if len({track.samples for track in tracks}) > 1:
        raise TidegateError("tracks that are heard together must be equally long")

    def frames(track: Sounding) -> Iterator[np.ndarray]:
        front_end, left = FrontEnd(settings), np.empty((0, settings.bands), np.int16)
        for piece in track.audio():
            left = np.concatenate([left, model.quantise(front_end.accept(piece))])
            while len(left) >= size:
                yield left[:size]
                left = left[size:]
        if len(left):
            yield left

    for blocks in zip(*(frames(track) for track in tracks), strict=True):
        yield np.stack(blocks, 1)


def first_frames(model: Model, track: Sounding, most: int) -> np.ndarray:
    """The first frames of a track, at most so many: SIGNAL integers (frames, features)."""
    blocks, count = [], 0
    for block in frames_of(model, [track]):
        blocks.append(block[:, 0])
        count += len(block)
        if count >= most:
            break
    return np.concatenate(blocks)[:most]


class TrackDetector:
    """A detector's decisions on tracks side by side, at several settings, from logits as they come."""

    def __init__(self, model: Model, settings: Sequence[DetectorSettings], tracks: int):
        self.model, self.frontend, self.frac = model, settings_of(model), model.network.classifier.weight_frac
        stops = [listening_stop(model, s) for s in settings]
        self.deciders = [Decider(stop, (tracks,)) for stop in stops]
        self.smoothers = {stop.smooth: Decider(stop, (tracks,)) for stop in stops}
        self.found: list[list[list[Detection]]] = [[[] for _ in range(tracks)] for _ in settings]
        self.frames = 0

    def accept(self, logits: np.ndarray) -> None:
        """Raw accumulators (frames, tracks, classes)."""
        values = logits.astype(np.int64) >> STOP_SHIFT
        two = {smooth: best_two(decider.smooth(values)) for smooth, decider in self.smoothers.items()}
        for decider, found in zip(self.deciders, self.found, strict=True):
            lead, best = two[decider.stop.smooth]
            decided = decider.decide(lead, best)
            for t, k in zip(*np.nonzero(decided != UNDECIDED), strict=True):
                frame = self.frames + int(t)
                found[k].append(Detection(frame, self.frontend.heard(frame + 1), self.model.labels[decided[t, k]],
                                          1 / (1 + exp(-int(lead[t, k]) / (1 << self.frac)))))
        self.frames += len(logits)


def hear(models: Sequence[Model], stream: Stream, settings: Sequence[DetectorSettings],
         tolerance_s: float = TOLERANCE_S, progress: Progress | None = None) -> list[StreamScore]:
    """Every track through the front end and the golden models, from reset: what each model's detector, at each of the
    settings, made of it.

    The models differ in Θ only: the sound is made once for all of them.  ``progress(done, total)`` counts frames.
    """
    total = settings_of(models[0]).frames(stream.tracks[0].samples) * len(stream.tracks)
    heard, done = [], 0
    for first in range(0, len(stream.tracks), _TOGETHER):
        tracks = stream.tracks[first : first + _TOGETHER]
        steps = settings_of(models[0]).frames(tracks[0].samples)
        kinds = np.stack([kinds_of_frames(track, steps)[0] for track in tracks], 1)
        names = kinds_of_frames(tracks[0], 0)[1]
        goldens = [Continued(model) for model in models]
        rules = [TrackDetector(model, settings, len(tracks)) for model in models]
        costs, at = [EventCounts.none() for _ in models], 0
        for frames in frames_of(models[0], tracks, _CHUNK):
            here = kinds[at : at + len(frames)]
            for i, (golden, rule) in enumerate(zip(goldens, rules, strict=True)):
                logits, events = golden.accept(frames)
                rule.accept(logits)
                costs[i] += _cost(events, here, names)
            at += len(frames)
            done += len(frames) * len(tracks)
            if progress:
                progress(done, total)
        seconds = _sums(exposure(track, tolerance_s) for track in tracks)
        hours = sum(track.samples for track in tracks) / stream.settings.sample_rate / 3600
        part = [StreamScore(tuple(_judge(tracks, found, tolerance_s) for found in rule.found), cost, seconds, hours)
                for rule, cost in zip(rules, costs, strict=True)]
        heard = [a + b for a, b in zip(heard, part, strict=True)] if heard else part
    return heard


def _judge(tracks: Sequence[Track], found: Sequence[Sequence[Detection]], tolerance_s: float) -> Count:
    return sum((count(track.words, detections, tolerance_s, track.spans)
                for track, detections in zip(tracks, found, strict=True)), Count.none())


def _cost(events: np.ndarray, kinds: np.ndarray, names: Sequence[str]) -> EventCounts:
    """Of a block: ``events`` (frames, tracks, signals), ``kinds`` (frames, tracks)."""
    frames, sums = Counter(), {}
    for k, name in enumerate(names):
        here = kinds == k
        if here.any():
            frames[name] = int(here.sum())
            sums[name] = events[here].sum(0, dtype=np.int64)
    return EventCounts(frames, sums, int((events.sum(-1) == 0).sum()))


def detections_of(model: Model, logits: np.ndarray, settings: DetectorSettings | None = None) -> list[Detection]:
    """The host's detector on the logits (T, classes) of one track from reset."""
    return Detector.of(model, settings).accept(logits)


def at_margin(settings: DetectorSettings, margin: float) -> DetectorSettings:
    """The settings with the threshold that belongs to a lead, in units of the logits."""
    return replace(settings, threshold=1 / (1 + exp(-margin)))
