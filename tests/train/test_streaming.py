import numpy as np
import pytest

from tidegate.golden import Golden
from tidegate.host.detector import Detection, DetectorSettings
from tidegate.host.frontend import FrontEnd, FrontEndSettings
from tidegate.spec.model import Model, expected_tensors
from tidegate.spec.network import Layer, Network
from tidegate.train import streaming
from tidegate.train.data import DataError, scan
from tidegate.train.soundscape import Scene, Stream, Track, Word, make_stream
from tidegate.train.streaming import Count, count, hear, score, score_directory

RATE = 8000                         # of the clips that the fixture writes
SETTINGS = FrontEndSettings(sample_rate=RATE, high_hz=3800.0, bands=12, hop_ms=32.0, window_ms=32.0)
LABELS = ("yes", "no", "unknown", "silence")
BUSY = Scene(pause_s=(0.6, 1.2))
HOURS = 16 * 6 / 3600


def random_model(labels=LABELS, gru=(10, 8), seed=1):
    rng = np.random.default_rng(seed)
    network = Network(SETTINGS.bands, tuple(Layer(h) for h in gru), Layer(len(labels), 6), (64, 32, 32))
    tensors = {}
    for name, (dtype, shape) in expected_tensors(network).items():
        if name.startswith("frontend"):
            tensors[name] = rng.uniform(0.3, 0.6, shape).astype(np.float32)
        else:
            tensors[name] = rng.integers(-40, 41, shape).astype(dtype)
    return Model(network, tensors, labels, SETTINGS.to_dict())


@pytest.fixture(scope="module")
def words(write_words):
    return write_words(clips=40)


@pytest.fixture(scope="module")
def noisy_words(write_words):
    return write_words(clips=40, noise=True)


def said(label, start, end):
    return Word(label, start, end, "")


def heard(label, time):
    return Detection(0, time, label, 0.9)


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
        heard("yes", 8.01),         # too late: background, and a miss
    ]
    found = count(words, detections)
    assert found.keywords == 3
    assert found.from_start == pytest.approx((0.0, 1.0)) and found.from_end == pytest.approx((-0.5, 0.5))
    assert found.false_accepts == {"confused": 2, "unknown": 2, "repeated": 1, "background": 3}
    assert count(words, detections, tolerance_s=0.3).false_accepts["background"] == 6
    assert count([], [heard("yes", 1)]).to_dict(0.5) == {
        "hits": 0, "misses": 0, "hit_rate": None, "false_accepts_per_hour": 2.0,
        "false_accepts": {"confused": 0, "unknown": 0, "repeated": 0, "background": 1},
        "delay_from_start_s": {"median": None, "p95": None}, "delay_from_end_s": {"median": None, "p95": None}}
    both = (found + found).to_dict(2.0)
    assert (both["hits"], both["misses"], both["hit_rate"]) == (4, 2, 2 / 3)
    assert both["false_accepts_per_hour"] == 8.0 and both["delay_from_start_s"]["median"] == 0.5


def test_of_two_words_that_are_close_the_later_one_is_meant():
    words = [said("yes", 1.0, 1.5), said("no", 1.6, 2.0)]
    found = count(words, [heard("yes", 1.55), heard("no", 1.7), heard("yes", 1.8)])
    assert len(found.from_start) == 2 and found.false_accepts["confused"] == 1


def test_the_score_by_hand(monkeypatch):
    """Two tracks of 10 s, a frame every 32 ms, and a model whose probabilities are known."""
    first = (said("yes", 1.0, 1.4), said("no", 3.0, 3.4), said("unknown", 5.0, 5.4))
    tracks = tuple(Track(SETTINGS, 10 * RATE, words, (), ()) for words in (first, (said("no", 2.0, 2.5),)))
    stream = Stream(SETTINGS, "validation", 7, BUSY, tracks, True, (("x.wav", "damaged"),))
    model, steps = random_model(), SETTINGS.frames(10 * RATE)
    p = np.full((2, steps, 4), 1e-6)

    def say(track, label, seconds, probability):
        first = round(seconds * 1000 / 32) - 1          # the frame that ends then
        p[track, first : first + 4, LABELS.index(label)] = probability
        return (first * 32 + 32) / 1000

    times = [say(0, "yes", 1.2, 0.97), say(0, "no", 3.6, 0.7), say(0, "yes", 5.2, 0.75), say(0, "no", 8.0, 0.6),
             say(1, "no", 2.1, 0.92), say(1, "yes", 2.4, 0.85)]
    p[:, :, 3] += 1 - p.sum(2)
    logits = [np.round(np.log(track) * 2**14).astype(np.int32) for track in p]        # weight_frac 6
    events = np.zeros((2, steps, 3), np.int32)
    events[0, :30], events[1, 5] = (2, 1, 0), (12, 10, 8)
    monkeypatch.setattr(streaming, "hear", lambda *arguments: (logits, list(events)))

    settings = DetectorSettings(smooth=1, threshold=0.8, release=0.5, refractory_s=0.25)
    result = score(model, stream, settings, thresholds=(0.5, 0.65, 0.9, 0.99))
    assert [row["threshold"] for row in result["curve"]] == [0.5, 0.65, 0.8, 0.9, 0.99]
    assert [row["hits"] for row in result["curve"]] == [3, 3, 2, 2, 0]
    assert [row["misses"] for row in result["curve"]] == [0, 0, 1, 1, 3]
    assert [list(row["false_accepts"].values()) for row in result["curve"]] == [
        [1, 1, 0, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert (result["hits"], result["misses"], result["threshold"]) == (2, 1, 0.8)
    assert result["false_accepts_per_hour"] == pytest.approx(1 / (20 / 3600))
    from_start, from_end = [times[0] - 1.0, times[4] - 2.0], [times[0] - 1.4, times[4] - 2.5]
    assert result["delay_from_start_s"]["median"] == pytest.approx(np.median(from_start))
    assert result["delay_from_end_s"] == pytest.approx({"median": np.median(from_end),
                                                        "p95": np.percentile(from_end, 95)})
    assert (result["keywords"], result["unknown_words"], result["streams"], result["seed"]) == (3, 1, 2, 7)
    assert result["noise"] == "synthetic" and result["skipped"] == [["x.wav", "damaged"]]
    cost = result["cost"]
    assert cost["quiet_frames"] == 1 - 31 / (2 * steps)
    assert cost["occupancy"] == pytest.approx([n / (2 * steps) for n in ((60 + 12) / 12, (30 + 10) / 10, 8 / 8)])
    assert cost["frames"] == 2 * steps


def test_tracks_are_heard_by_the_golden_model_from_reset(noisy_words, monkeypatch):
    data = scan(noisy_words, ("low", "high"))
    model, tracks = random_model(), make_stream(data, "validation", SETTINGS, HOURS, 1, BUSY).tracks[:5]
    monkeypatch.setattr(streaming, "_VALUES", 2 * SETTINGS.frames(tracks[0].samples) * 6 * 18)      # two at a time
    steps = []
    logits, events = hear(model, tracks, lambda done, total: steps.append((done, total)))
    assert steps == [(2, 5), (4, 5), (5, 5)]
    for k, track in enumerate(tracks):
        whole = FrontEnd(SETTINGS).accept(np.concatenate(list(track.audio())))      # in one piece
        trace = Golden(model).run(model.quantise(whole)[:, None])
        assert np.array_equal(logits[k], trace.logits[:, 0]) and np.array_equal(events[k], trace.events[:, 0])
        assert len(np.unique(logits[k], axis=0)) > 20


def test_a_model_that_knows_every_word_hits_all(noisy_words, monkeypatch):
    """The truth, turned into logits from each word's start on: only the counting is under test."""
    def perfect(model, tracks, progress=None):
        logits = []
        for track in tracks:
            out = np.tile([0, 0, 0, 20 << 14], (SETTINGS.frames(track.samples), 1))
            for word in track.words:
                first = int(np.ceil(word.start_s * RATE / SETTINGS.hop))
                out[first : first + 18] = 0
                out[first : first + 18, model.labels.index(word.label)] = 20 << 14
            logits.append(out)
        return logits, [np.ones((len(x), 3), np.int32) for x in logits]

    monkeypatch.setattr(streaming, "hear", perfect)
    result = score_directory(random_model(("low", "high", "unknown", "silence")), noisy_words, hours=HOURS, scene=BUSY)
    assert result["hits"] == result["keywords"] > 10 and result["misses"] == 0 and result["unknown_words"] > 10
    assert not any(result["false_accepts"].values()) and result["noise"] == "recordings"
    assert 0 < result["delay_from_start_s"]["median"] < 1 and result["cost"]["quiet_frames"] == 0
    early = result["early"]         # a board's stop unit on the same logits: at once, and never for the other words
    assert early["own"] is None and early["hold_frames"] == round(0.75 / 0.032)
    for row in early["curve"]:
        assert row["hits"] == result["keywords"] and not any(row["false_accepts"].values())
        assert row["delay_from_start_s"]["median"] <= 0.064 < result["delay_from_start_s"]["median"]


def test_words_must_be_the_models(words):
    every = score_directory(random_model(("fall", "high", "low", "rise")), words, hours=HOURS, scene=BUSY)
    assert every["unknown_words"] == 0 and every["noise"] == "synthetic" and every["keywords"] > 20
    with pytest.raises(DataError, match="are not the data set's"):
        score_directory(random_model(("low", "high")), words, hours=HOURS)
    with pytest.raises(DataError, match="no clips of the words yes, no"):
        score_directory(random_model(), words, hours=HOURS)


def test_counts_add_up():
    none = Count(0, (), (), dict.fromkeys(streaming.KINDS, 0))
    some = count([said("yes", 1, 2)], [heard("yes", 1.5), heard("yes", 9)])
    assert none + some == some and (some + some).false_accepts["background"] == 2
