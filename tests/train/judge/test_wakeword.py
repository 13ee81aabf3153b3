from dataclasses import replace

import numpy as np
import pytest
import soundfile
from made_streams import RATE, SETTINGS, always, heard, random_model, said

from tidegate.host.detector import DetectorSettings
from tidegate.train.data.folders import scan_words
from tidegate.train.data.soundscape import Sources
from tidegate.train.errors import DataError
from tidegate.train.judge import wakeword
from tidegate.train.judge.wakeword import judge, make_wake_track, wake_word

LABELS = ("rise", "unknown", "silence")


@pytest.fixture(scope="module")
def words(write_words):
    return write_words(("rise", "low"), clips=60)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("speech"), np.random.default_rng(1)
    for k in range(5):
        soundfile.write(root / f"{k}.wav", rng.normal(0, 0.05 + 0.02 * k, 30 * RATE), RATE)
    return Sources.of([root])


def test_the_benchmarks_rules():
    words = [said("rise", 10, 10.6), said("rise", 20, 20.5), said("rise", 30, 30.5)]
    detections = [heard("rise", t) for t in (
        3.0, 3.9,                   # one false accept: less than 1 s apart
        4.0,                        # another
        9.99,                       # before the word: another
        10.0, 11.6,                 # the word, from its start to 1 s after its end, and any number of times
        21.51)]                     # too late: a miss and a false accept
    assert judge(words, detections) == (2, 4)
    assert judge(words, [heard("rise", 20.2), heard("rise", 31.4), heard("rise", 10.1)]) == (0, 0)
    assert judge(words, []) == (3, 0)


def test_a_stream_in_its_manner(words, speech):
    data = scan_words(words, ("rise",))
    track, again, other = (make_wake_track(data, "rise", "validation", SETTINGS, speech, seed) for seed in (1, 1, 2))
    assert np.array_equal(track.sound, again.sound) and track.words == again.words != other.words
    assert track.samples == 1200 * RATE and np.abs(track.sound).max() == pytest.approx(1)
    assert sum(len(piece) for piece in track.audio()) == track.samples
    starts = np.array([word.start_s for word in track.words])
    assert len(starts) == 50 and starts[-1] == pytest.approx(570, abs=0.01) and (np.diff(starts) > 2).all()
    said = {word.path for word in track.words}
    assert {clip.part for clip in data.clips if clip.path in said} == {"validation"}
    rms = [float(track.sound[a * RATE : b * RATE].std()) for a, b in ((600, 1200), (300, 600), (100, 300))]
    assert rms[1] / rms[0] == pytest.approx(1, abs=0.2)             # 0.5 each, and words in one of them
    words_alone = np.zeros(track.samples, bool)
    for word in track.words:
        words_alone[int(word.start_s * RATE) : int(word.end_s * RATE) + 1] = True
    assert not track.sound[: 100 * RATE][~words_alone[: 100 * RATE]].any()
    babble = track.sound[100 * RATE : 300 * RATE][~words_alone[100 * RATE : 300 * RATE]]
    assert babble.std() / rms[0] == pytest.approx(0.05 * 8**0.5 / 0.5, rel=0.1)
    loud = [track.sound[int(w.start_s * RATE) : int(w.end_s * RATE)].std() / rms[0] * 0.5
            for w in track.words if w.start_s < 100]
    assert 0.45 < min(loud) and max(loud) < 0.8


def test_the_score_of_a_model(words, speech, monkeypatch):
    model = random_model(LABELS)
    monkeypatch.setattr(wakeword, "SECONDS", 120.0)
    for name, value in (("_BABBLE", (10.0, 30.0, 0.05, 8)), ("_MUSIC", (30.0, 60.0, 0.5)),
                        ("_VOICE", (60.0, 120.0, 0.5)), ("_LEAST_S", 0.1)):
        monkeypatch.setattr(wakeword, name, value)
    steps = []
    report = wake_word(model, words, speech, seeds=(1, 2), progress=lambda *at: steps.append(at),
                       settings=DetectorSettings(smooth=0, threshold=0.6, release=1.0, refractory_s=0.1))
    assert steps == [(1, 2), (2, 2)] and report["official"] is False and report["word"] == "rise"
    assert [(s["seed"], s["words"]) for s in report["streams"]] == [(1, 50), (2, 50)]
    misses = [s["misses"] for s in report["streams"]]
    assert report["misses"] == {"mean": np.mean(misses), "std": pytest.approx(np.std(misses, ddof=1)),
                                "most": max(misses)}
    assert report["passed"] == (report["misses"]["mean"] <= 8 and report["false_accepts"]["mean"] <= 8)
    with pytest.raises(DataError, match="made of what was not trained on"):
        wake_word(model, words, speech, "train")
    # a network that says "rise" all the time is heard once, at its beginning: all but nothing is missed
    once = wake_word(always("rise", LABELS), words, speech, seeds=(1,))
    assert once["misses"]["mean"] >= 49 and once["false_accepts"]["mean"] <= 1 and not once["passed"]


def test_what_cannot_be_scored_is_one_line(words, speech):
    with pytest.raises(DataError, match="one wake word, but this model has 2: yes, no"):
        wake_word(random_model(), words, speech)
    with pytest.raises(DataError, match="needs continuous speech; give a folder of it with --negative"):
        wake_word(random_model(LABELS), words, Sources())
    with pytest.raises(DataError, match="no usable clip of 'rise' in its test part"):
        data = scan_words(words, ("rise",))
        none = replace(data, clips=tuple(c for c in data.clips if c.part != "test"))
        make_wake_track(none, "rise", "test", SETTINGS, speech)
