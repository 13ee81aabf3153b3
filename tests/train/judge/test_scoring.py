import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from made_streams import BUSY, RATE, SETTINGS, always, random_model

from tidegate import zoo
from tidegate.golden import Golden
from tidegate.host.detector import DetectorSettings
from tidegate.spec.errors import TidegateError
from tidegate.spec.stop import UNDECIDED, decisions
from tidegate.train.data.soundscape import Sources
from tidegate.train.errors import DataError
from tidegate.train.judge import scoring
from tidegate.train.judge.scoring import (
    Job,
    at_rate,
    brief,
    choose_threshold,
    compare_board,
    keywords_of,
    score,
)
from tidegate.train.judge.streaming import at_margin, hear
from tidegate.train.publish.card import card

HOURS = 16 * 6 / 3600
LABELS = ("low", "high", "unknown", "silence")
EASY = DetectorSettings(smooth=0, threshold=0.5, release=0.5, refractory_s=0.1)    # a random network leads by little


@pytest.fixture(scope="module")
def words(write_words):
    return write_words(clips=40, noise=True)


@pytest.fixture(scope="module")
def model():
    """A random model that detects now and then: keywords lead about as often as the rest."""
    model = random_model(LABELS, seed=3)
    tensors = dict(model.tensors)
    tensors["classifier.bias"] = np.zeros(4, np.int32)
    return replace(model, tensors=tensors)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("sources"), np.random.default_rng(2)
    for name in ("talk", "rooms"):
        (root / name).mkdir()
    for k in range(4):
        soundfile.write(root / f"talk/{k}.wav", 0.2 * np.cumsum(rng.normal(0, 0.1, 3 * RATE)) % 0.5, RATE)
    soundfile.write(root / "rooms/a.wav", np.exp(-np.arange(2000) / 300) * rng.normal(0, 1, 2000), RATE)
    return root


def test_seeds_are_pooled(model, words, folders):
    make = dict(hours=HOURS, settings=EASY, scene=BUSY, sources=Sources.of([folders / "talk"], rooms=folders / "rooms"))
    both = Job.make(model, words, seeds=(4, 5), conditions=True, **make)
    steps = []
    report = both.score((1.0, 3.0), lambda done, total: steps.append(done / total))
    assert steps == sorted(steps) and steps[-1] == 1.0
    alone = [Job.make(model, words, seeds=(seed,), **make).score() for seed in (4, 5)]
    for name in ("keywords", "unknown_words", "misses", "streams"):
        assert report[name] == sum(r[name] for r in alone) > 0
    assert report["hours"] == pytest.approx(2 * HOURS) and report["seeds"] == [4, 5]
    for k, line in enumerate(report["curve"]):
        assert line["misses"] == sum(r["curve"][k]["misses"] for r in alone)
        for name in ("false_accepts", "wrong_answers"):
            for kind, n in line[name].items():
                assert n == sum(r["curve"][k][name][kind] for r in alone)
    assert sum(report["false_accepts"].values()) > 10
    falsely = sum(word["falsely"] for word in report["by_keyword"].values())       # of words not said, too
    assert falsely == sum(report["false_accepts"].values()) + sum(report["wrong_answers"].values())
    one = Job.make(always("siren", ("low", "siren", *LABELS[2:])), words, **make).score()["by_keyword"]["siren"]
    assert one["said"] == one["heard"] == 0 < one["falsely"]
    assert [(e["seed"], e["misses"]) for e in report["per_seed"]] == [(4, alone[0]["misses"]), (5, alone[1]["misses"])]
    rates = [r["false_accepts_per_hour"] for r in alone]
    assert report["spread"]["false_accepts_per_hour"] == pytest.approx({"mean": np.mean(rates),
                                                                        "std": np.std(rates, ddof=1)})
    assert alone[0]["spread"]["miss_rate"]["std"] is None
    assert [t["factor"] for t in report["thetas"]] == [1.0, 3.0]
    assert report["thetas"][0]["curve"] == report["curve"]
    costs = [t["cost"]["all"]["weights_per_second"] for t in report["thetas"]]
    assert costs[0] > costs[1] > 0 and costs[0] == report["cost"]["all"]["weights_per_second"]
    assert [(c["snr_db"], c["room"]) for c in report["conditions"]] == [
        (snr, room) for room in (False, True) for snr in (None, 20, 10, 5, 0)]
    assert all(c["keywords"] > 20 and 0 <= c["miss_rate"] <= 1 for c in report["conditions"])
    assert report["absent"] == [] and json.loads(json.dumps(report)) == report
    said = report["by_keyword"]
    assert sum(k["said"] for k in said.values()) == report["keywords"] and set(said) == {"low", "high"}
    assert sum(k["heard"] for k in said.values()) == report["hits"]
    assert report == both.score((1.0, 3.0))


def test_the_own_settings_of_a_model(model, words):
    own = replace(model, detector=EASY.rule(LABELS, SETTINGS, model.network.classifier.weight_frac))
    report = Job.make(own, words, hours=HOURS, scene=BUSY).score()
    assert report["detector"]["smooth"] == 0 and report["threshold"] == 0.5
    assert report["threshold"] in [line["threshold"] for line in report["curve"]]


def test_a_part_that_training_kept_apart(model, words):
    """A recipe's ``test_share`` moves speakers of the validation part into a test part, and streams follow."""
    with pytest.raises(DataError, match=r"no keywords in its test part; choose another part \(validation"):
        listed = words.parent / "listed"
        shutil.copytree(words, listed)
        (listed / "validation_list.txt").write_text("".join(
            f"{p.parent.name}/{p.name}\n" for p in sorted(listed.glob("*/*.wav"))[::3]))
        Job.make(model, listed, "test", hours=HOURS, scene=BUSY)
    shared = replace(model, card={"recipe": {"test_share": 0.5}})
    said = {part: {w.path for t in Job.make(shared, listed, part, hours=HOURS, scene=BUSY).streams[0].tracks
                   for w in t.words} for part in ("validation", "test")}
    assert said["validation"] and said["test"]
    speakers = [{path.partition("/")[2] for path in paths} for paths in said.values()]
    assert not speakers[0] & speakers[1]


def test_words_that_are_not_there(words):
    model = random_model(("low", "siren", "unknown", "silence"))
    job = Job.make(model, words, hours=HOURS, scene=BUSY)
    assert job.absent == ("siren",) and job.score()["absent"] == ["siren"]
    assert {w.label for t in job.streams[0].tracks for w in t.words} == {"low", "unknown"}
    with pytest.raises(DataError, match="no clips of the model's words yes, no"):
        Job.make(random_model(("yes", "no", "unknown", "silence")), words)
    assert keywords_of(model) == ("low", "siren")


def test_the_threshold_of_a_rate():
    lines = [{"false_accepts_per_hour": rate, "miss_rate": k} for k, rate in enumerate((9, 1, 3, 1, 0.5, 0))]
    assert at_rate(lines)["miss_rate"] == 3 and at_rate(lines, 0.2)["miss_rate"] == 5
    assert at_rate(lines, 100)["miss_rate"] == 0 and at_rate(lines[:3]) is None


def test_a_threshold_is_chosen(model, words, monkeypatch):
    streams = Job.make(model, words, hours=HOURS, settings=EASY, scene=BUSY, seeds=(1, 2)).streams
    for per_hour in (2000.0, 400.0):
        chosen = choose_threshold(model, streams, per_hour, EASY)
        assert (chosen.smooth, chosen.refractory_s) == (EASY.smooth, EASY.refractory_s)
        below = at_margin(chosen, chosen.margin - 0.25) if chosen.margin > 0.3 else None
        settings = [chosen, *filter(None, [below])]
        found = [hear([model], stream, settings)[0] for stream in streams]
        hours = sum(f.keywordless_hours for f in found)
        rates = [sum(f.counts[k].false for f in found) / hours for k in range(len(settings))]
        assert rates[0] <= per_hour and all(rate > per_hour for rate in rates[1:])
    assert below is not None
    monkeypatch.setattr(scoring, "_FINE", (0.25, 0.5))
    with pytest.raises(TidegateError, match="no threshold comes to 1 false accepts per hour: at the highest"):
        choose_threshold(always("low", LABELS), streams, settings=EASY)


class OneBoard:
    """Answers as golden does, but for what ``wrong`` (frame → added to the first logit) says; decides by the rule that
    it is given, ``late`` frames late."""

    def __init__(self, model, wrong, late=0):
        self.model, self.wrong, self.late, self.design = model, wrong, late, SimpleNamespace(lanes=8)

    def stream(self, frames):
        logits = Golden(self.model).run(frames[:, None]).logits[:, 0]
        for frame, more in self.wrong.items():
            logits[frame, 0] += more
        decided = np.roll(decisions(logits[:, None], self.stop)[:, 0], self.late)
        return (SimpleNamespace(logits=tuple(map(int, line)), decided=which != UNDECIDED, label=LABELS[which])
                for line, which in zip(logits, decided, strict=True))


def test_a_board_is_compared_frame_by_frame(model, words):
    stream = Job.make(model, words, hours=HOURS, settings=EASY, scene=BUSY).streams[0]
    minutes = 1.5 * stream.tracks[0].samples / RATE / 60
    steps = []
    same = compare_board(OneBoard(model, {}), model, stream, minutes, EASY, lambda *at: steps.append(at))
    assert (same["logits_differ"], same["detections_differ"], same["first"]) == (0, 0, None)
    assert same["frames"] == round(minutes * 60 * RATE / SETTINGS.hop) and same["tracks"] == 2
    assert same["detections"] > 3
    other = compare_board(OneBoard(model, {20: 1}), model, stream, minutes, EASY)
    assert (other["logits_differ"], other["detections_differ"]) == (2, 0)
    assert other["first"] == {"track": 0, "frame": 20}
    other = compare_board(OneBoard(model, {30: 1 << 22}), model, stream, minutes, EASY)
    assert other["detections_differ"] > 0
    late = compare_board(OneBoard(model, {}, late=1), model, stream, minutes, EASY)
    assert (late["logits_differ"], late["detections_differ"]) == (0, 2 * late["detections"])


def test_a_card_shows_the_curve(model, words, folders):
    report = Job.make(model, words, hours=HOURS, settings=EASY, scene=BUSY, conditions=True,
                      sources=Sources.of([folders / "talk"])).score()
    kept = brief(json.loads(json.dumps(report)))
    assert "per_seed" not in kept and "speech/talk" in report["kinds"] and "speech/talk" not in kept["kinds"]
    shipped = zoo.load("commands")
    text = card(replace(shipped, card=shipped.card | {"stream": kept}), "commands", 1)
    (line,) = [line for line in text.splitlines() if line.startswith("| 0.00 | 0.5 |")]
    assert f"| {report['false_accepts_per_hour']:.2f} |" in line and f"| {report['miss_rate']:.1%} |" in line
    for text_of_it in ("| speech |", "| 10 dB | no |", "day-like mix", "false accepts per hour", "docs/streams.md"):
        assert text_of_it in text
    assert "earlier version" not in text and "earlier version" in card(shipped, "commands", 1)


def test_streams_without_a_detection_have_figures(words):
    """Silence always leads: nothing is hit, and there is no delay."""
    model = always("silence", LABELS)
    report = score(model, Job.make(model, words, hours=HOURS, scene=BUSY).streams)
    assert report["hits"] == 0 == report["false_accepts_per_hour"] and report["miss_rate"] == 1
    assert report["at_rate"]["margin"] == pytest.approx(0.5) and report["delay_from_end_s"]["median"] is None
