from types import SimpleNamespace

import numpy as np
import pytest
from made_streams import BUSY, HOURS, LABELS, RATE, SETTINGS, heard, random_model, said

from tidegate.golden import Golden
from tidegate.host.detector import DetectorSettings
from tidegate.host.frontend import FrontEnd
from tidegate.spec.stop import STOP_SHIFT
from tidegate.train.data.compose import make_stream
from tidegate.train.data.folders import scan
from tidegate.train.data.soundscape import Span, Track
from tidegate.train.judge import streaming
from tidegate.train.judge.intervals import poisson_interval, share_interval
from tidegate.train.judge.stream_tables import cost_table, kinds_table, row
from tidegate.train.judge.streaming import (
    FALSE,
    WRONG,
    Count,
    StreamScore,
    TrackDetector,
    at_margin,
    count,
    detections_of,
    exposure,
    first_frames,
    frames_of,
    hear,
    kinds_of_frames,
)


@pytest.fixture(scope="module")
def words(write_words):
    return write_words(clips=40)


@pytest.fixture(scope="module")
def noisy_words(write_words):
    return write_words(clips=40, noise=True)


def test_what_a_detection_is_worth():
    words = [said("yes", 1.0, 1.5), said("unknown", 3.0, 3.5), said("no", 5.0, 5.5), said("yes", 7.0, 7.5)]
    detections = [
        heard("yes", 0.99),         # before the word: background
        heard("yes", 1.0),          # hit, at its very start
        heard("yes", 1.4),          # again
        heard("no", 1.9),           # confused, within the tolerance
        heard("no", 2.01),          # after it: background
        heard("yes", 3.2),          # an unknown word
        heard("yes", 4.0),          # an unknown word, at the very end of the tolerance
        heard("yes", 5.1),          # confused; the word can still be hit
        heard("no", 6.0),           # hit, at the very end of the tolerance
        heard("yes", 8.01),         # too late: a miss, and a wrong answer of its own kind
    ]
    found = count(words, detections)
    assert found.keywords == 3
    assert found.from_start == pytest.approx((0.0, 1.0)) and found.from_end == pytest.approx((-0.5, 0.5))
    assert found.false_accepts == dict(zip(FALSE, (2, 0, 0, 2), strict=True))
    assert found.wrong_answers == dict(zip(WRONG, (2, 1, 1), strict=True))
    assert found.said == {"yes": 2, "no": 1} and found.heard == {"yes": 1, "no": 1}
    assert found.accepted == {"yes": 6, "no": 2} and (found.misses, found.false) == (1, 4)
    assert count(words, detections, tolerance_s=0.3).false_accepts["background"] == 4
    nothing = count([], [heard("yes", 1)]).to_dict(0.5)
    assert (nothing["hits"], nothing["misses"], nothing["hit_rate"], nothing["miss_rate"]) == (0, 0, None, None)
    assert nothing["false_accepts_per_hour"] == 2.0 and nothing["false_accepts"]["background"] == 1
    assert nothing["wrong_rate"] is None
    assert nothing["delay_from_end_s"] == {"median": None, "p95": None} and nothing["miss_interval"] == [0, 1]
    both = (found + found).to_dict(2.0)
    assert (both["hits"], both["misses"], both["hit_rate"]) == (4, 2, 1 - 2 / 6)
    assert both["false_accepts_per_hour"] == 4.0 and both["wrong_rate"] == 8 / 6
    assert both["delay_from_start_s"]["median"] == 0.5
    assert both["false_accepts_interval"] == list(poisson_interval(8, 2.0))
    assert both["miss_interval"] == list(share_interval(2, 6))


def test_of_two_words_that_are_close_the_later_one_is_meant():
    words = [said("yes", 1.0, 1.5), said("no", 1.6, 2.0)]
    found = count(words, [heard("yes", 1.55), heard("no", 1.7), heard("yes", 1.8)])
    assert len(found.from_start) == 2 and found.wrong_answers["confused"] == 1


SPANS = (Span("speech", "dutch", 10.0, 20.0), Span("noise", "rain", 22.0, 25.0))


def test_what_is_detected_in_speech_and_noise():
    words = [said("yes", 1.0, 1.5), said("no", 20.2, 20.8)]
    detections = [heard("yes", 1.2), heard("no", 9.99), heard("no", 10.0), heard("yes", 20.1), heard("yes", 20.3),
                  heard("no", 20.4), heard("no", 22.5), heard("yes", 25.4), heard("yes", 25.6)]
    found = count(words, detections, spans=SPANS)
    assert found.false_accepts == {"unknown": 0, "speech": 2, "noise": 2, "background": 2}
    assert found.wrong_answers == {"confused": 1, "repeated": 0, "late": 0}
    assert found.sources == {"speech/dutch": 2, "noise/rain": 2} and found.misses == 0


def test_the_hours_of_kinds_are_the_whole_track():
    assert exposure(Track(SETTINGS, 30 * RATE, (), (), (), ())) == {"background": 30.0}     # too short for any sound
    words = (said("yes", 1.0, 1.5), said("unknown", 3.0, 3.5), said("no", 3.7, 4.0))
    track = Track(SETTINGS, 30 * RATE, words, (), (), SPANS)
    seconds = exposure(track)
    assert seconds == pytest.approx({
        "keywords": 1.0 + 0.8, "unknown": 0.7, "speech": 10.5, "speech/dutch": 10.5, "noise": 3.5, "noise/rain": 3.5,
        "background": 30 - 1.8 - 0.7 - 10.5 - 3.5})


def test_the_kinds_of_frames():
    track = Track(SETTINGS, 30 * RATE, (said("yes", 1.0, 1.5),), (), (), SPANS)
    kinds, names = kinds_of_frames(track, SETTINGS.frames(track.samples))
    middle = 0.032 * np.arange(len(kinds)) + 0.016
    for name, begin, end in (("words", 1, 1.5), ("speech", 10, 20), ("noise", 22, 25)):
        assert np.array_equal(kinds == names.index(name), (middle >= begin) & (middle < end))
    assert (kinds == names.index("pauses")).sum() == len(kinds) - (kinds != names.index("pauses")).sum() > 100


def known(monkeypatch, logits, events):
    """``hear`` gets these instead of what the golden model says: (frames, tracks, ...)."""
    class Known:
        def __init__(self, model):
            self.at = 0

        def accept(self, frames):
            here = slice(self.at, self.at + len(frames))
            self.at += len(frames)
            return logits[here], events[here]

    monkeypatch.setattr(streaming, "Continued", Known)


def test_the_score_by_hand(monkeypatch):
    """Two tracks of 10 s, a frame every 32 ms, and a model whose leads are known."""
    first = (said("yes", 1.0, 1.4), said("no", 3.0, 3.4), said("unknown", 5.0, 5.4))
    tracks = (Track(SETTINGS, 10 * RATE, first, (), (), (Span("speech", "dutch", 6.5, 9.0),)),
              Track(SETTINGS, 10 * RATE, (said("no", 2.0, 2.5),), (), ()))
    model, steps = random_model(), SETTINGS.frames(10 * RATE)
    logits, events = np.zeros((steps, 2, 4), np.int32), np.zeros((steps, 2, 3), np.int32)
    logits[:, :, 3] = 30 << 14      # weight_frac 6: silence leads

    def say(track, label, seconds, lead):
        first = round(seconds * 1000 / 32) - 1          # the frame that ends then
        logits[first : first + 4, track, LABELS.index(label)] = (30 << 14) + int(lead * 2**14)
        return (first * 32 + 32) / 1000

    times = [say(0, "yes", 1.2, 3.5), say(0, "no", 3.6, 0.9), say(0, "yes", 5.2, 1.2), say(0, "no", 8.0, 0.8),
             say(1, "no", 2.1, 2.4), say(1, "yes", 2.4, 1.7)]
    events[:30, 0], events[5, 1], events[210:215, 0] = (2, 1, 0), (12, 10, 8), (3, 0, 0)
    known(monkeypatch, logits, events)
    base = DetectorSettings(smooth=0, release=0.5, refractory_s=0.25)
    points = [at_margin(base, m) for m in (0.5, 0.85, 1.5, 2.0, 4.0)]
    stream = SimpleNamespace(tracks=tracks, settings=SETTINGS)
    (found,) = hear([model], stream, points)
    assert found.hours == pytest.approx(20 / 3600)
    assert [c.misses for c in found.counts] == [0, 0, 1, 1, 3]
    assert [list(c.false_accepts.values()) for c in found.counts] == [
        [1, 1, 0, 0], [1, 0, 0, 0], [0] * 4, [0] * 4, [0] * 4]
    assert [c.wrong_answers["confused"] for c in found.counts] == [1, 1, 1, 0, 0]
    without = (20 - 0.9 - 0.9 - 1.0) / 3600
    assert found.keywordless_hours == pytest.approx(without)
    line = row(points[2], found, 2)
    assert (line["hits"], line["misses"], line["margin"]) == (2, 1, pytest.approx(1.5))
    assert line["false_accepts_per_hour"] == 0 and line["wrong_rate"] == pytest.approx(1 / 3)
    assert row(points[0], found, 0)["false_accepts_per_hour"] == pytest.approx(2 / without)
    from_end = [times[0] - 1.4, times[4] - 2.5]
    assert line["delay_from_end_s"] == pytest.approx({"median": np.median(from_end),
                                                      "p95": np.percentile(from_end, 95)})
    kinds = kinds_table(found, 0)
    assert kinds["speech"] == kinds["speech/dutch"] and kinds["speech"]["per_hour"] == pytest.approx(1 / (3.0 / 3600))
    assert kinds["background"]["false_accepts"] == 0 and "noise" not in kinds
    assert "confused" not in kinds

    cost = cost_table(model.network, found, 31.25)
    net, total = model.network, (60 + 12 + 15, 30 + 10, 8)
    assert cost["all"]["quiet_frames"] == 1 - 36 / (2 * steps) and cost["all"]["frames"] == 2 * steps
    assert cost["all"]["events"] == list(total)
    assert cost["all"]["occupancy"] == pytest.approx([n / (2 * steps * e)
                                                      for n, e in zip(total, (12, 10, 8), strict=True)])
    weights = sum(n * net.column_weights(s) for s, n in enumerate(total))
    assert cost["all"]["fetch_reduction"] == pytest.approx(net.dense_weights * 2 * steps / weights)
    assert cost["all"]["weights_per_second"] == pytest.approx(weights / (2 * steps) * 31.25)
    speech = cost["kinds"]["speech"]
    assert speech["weights_per_second"] == pytest.approx(15 * net.column_weights(0) / (speech["hours"] * 3600))
    day, pauses = cost["day"], cost["kinds"]["pauses"]
    assert day["weights_per_second"] == pytest.approx(0.2 * speech["weights_per_second"]
                                                      + 0.8 * pauses["weights_per_second"])
    assert day["fetch_reduction"] == pytest.approx(net.dense_weights * 31.25 / day["weights_per_second"])


def test_decisions_are_the_detectors(monkeypatch):
    """Tracks side by side, in blocks, decide as the host's detector on each track alone."""
    model, rng = random_model(), np.random.default_rng(4)
    walk = np.cumsum(rng.normal(0, 0.35, (600, 3, 4)), 0)
    logits = np.round((walk - walk.mean(2, keepdims=True)) * 2**14).astype(np.int32)
    settings = [at_margin(DetectorSettings(smooth=s, refractory_s=0.2), m) for s in (0, 2, 3) for m in (0.5, 2.0)]
    rule = TrackDetector(model, settings, 3)
    for block in np.split(logits, (1, 7, 300)):
        rule.accept(block)
    found = 0
    for one, here in zip(settings, rule.found, strict=True):
        for k in range(3):
            assert here[k] == detections_of(model, logits[:, k], one)
            found += len(here[k])
    assert found > 30 and STOP_SHIFT == 8


def test_tracks_are_heard_by_the_golden_model_from_reset(noisy_words, monkeypatch):
    data = scan(noisy_words, ("low", "high"))
    model, stream = random_model(("low", "high", "unknown", "silence")), make_stream(
        data, "validation", SETTINGS, HOURS, 1, BUSY)
    tracks, alone = stream.tracks[:5], []
    blocks = list(frames_of(model, tracks, 50))
    assert [len(block) for block in blocks[:-1]] == [50] * (len(blocks) - 1)
    together = np.concatenate(blocks)
    for k, track in enumerate(tracks):
        whole = model.quantise(FrontEnd(SETTINGS).accept(np.concatenate(list(track.audio()))))      # in one piece
        assert np.array_equal(together[:, k], whole)
        assert np.array_equal(first_frames(model, track, 70), whole[:70])
        alone.append(whole)
    monkeypatch.setattr(streaming, "_TOGETHER", 2)
    monkeypatch.setattr(streaming, "_CHUNK", 37)
    steps, settings = [], at_margin(DetectorSettings(smooth=1, refractory_s=0.1), 0.2)
    some = SimpleNamespace(tracks=tracks, settings=SETTINGS)
    models = [model, model.turned(3)]
    for one, found in zip(models, hear(models, some, [settings], progress=lambda *at: steps.append(at)), strict=True):
        trace = Golden(one).run(np.stack(alone, 1))
        expected = sum((count(track.words, detections_of(one, trace.logits[:, k], settings))
                        for k, track in enumerate(tracks)), Count.none())
        assert found.counts[0] == expected and expected.false > 1
        events = sum(found.cost.events.values())
        assert np.array_equal(events, trace.events.sum((0, 1)))
        assert sum(found.cost.frames.values()) == 5 * len(together)
        assert found.cost.quiet == (trace.events.sum(-1) == 0).sum()
    assert steps[-1] == (5 * len(together), 5 * len(together))


def test_heard_adds_up():
    none = Count.none()
    some = count([said("yes", 1, 2)], [heard("yes", 1.5), heard("yes", 9)])
    assert none + some == some and (some + some).false_accepts["background"] == 2
    cost = streaming.EventCounts.none()
    both = (StreamScore((some,), cost, {"speech": 1.5}, 1.0)
            + StreamScore((some,), cost, {"speech": 1.0, "noise": 2.0}, 2.0))
    assert both.counts[0].keywords == 2 and both.seconds == {"speech": 2.5, "noise": 2.0} and both.hours == 3.0
