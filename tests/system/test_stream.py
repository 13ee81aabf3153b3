"""The verb ``stream`` as a user runs it."""

import json

import numpy as np
import pytest
import soundfile
from command import fails, speech_model, tidegate, write_model

from tidegate.clips import clips
from tidegate.spec.model import Model, save_model


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Four words in the voices of the bundled clips; eight "speakers", so that there are clips to validate with."""
    root = tmp_path_factory.mktemp("words")
    for label, word in zip("abcd", ("zero", "one", "two", "three"), strict=True):
        (root / label).mkdir()
        for clip in clips():
            if clip.word == word:
                samples, rate = soundfile.read(clip.path)
                for k in range(12):
                    soundfile.write(root / label / f"{clip.voice}{k}.wav", samples * 0.9**k, rate)
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Continuous speech of the bundled clips, noise, and a room."""
    root, rng = tmp_path_factory.mktemp("sources"), np.random.default_rng(1)
    for name in ("speech/robot", "noise", "rooms"):
        (root / name).mkdir(parents=True)
    said = [soundfile.read(clip.path)[0] for clip in clips() if clip.word in ("cat", "happy", "house", "left")]
    soundfile.write(root / "speech/robot/book.flac", np.concatenate(said * 8), 16000)
    soundfile.write(root / "noise/hiss.wav", rng.normal(0, 0.1, 60000), 16000)
    soundfile.write(root / "rooms/echo.wav", np.exp(-np.arange(4000) / 600) * rng.normal(0, 0.3, 4000), 16000)
    return root


def test_stream_json_and_text(words, folders, tmp_path):
    model = write_model(tmp_path)
    beside = ("--negative", folders / "speech", "--noise", folders / "noise", "--rooms", folders / "rooms")
    asked = ("stream", model, "--data", words, "--hours", 0.05, "--seed", 3, "--seeds", 2, "--threshold", 0.6, *beside)
    done = tidegate(*asked, "--json", "--theta", 1, "--theta", 4, "--plot", tmp_path / "curve.svg")
    assert done.returncode == 0 and done.stderr == ""
    report = json.loads(done.stdout)
    assert (report["part"], report["seeds"], report["threshold"]) == ("validation", [3, 4], 0.6)
    assert report["hours"] == pytest.approx(0.1) and report["noise"] == "recordings"
    assert report["hits"] + report["misses"] == report["keywords"] > 10 and report["unknown_words"] == 0
    assert set(report["played"]) == {"speech/robot", "noise/noise"} and len(report["conditions"]) == 10
    assert [t["factor"] for t in report["thetas"]] == [1, 4]
    assert "<svg" in (tmp_path / "curve.svg").read_text()
    done = tidegate(*asked, "--snr", 20, 30, "--no-conditions", "--theta", 4)
    assert done.returncode == 0 and done.stderr == ""
    assert "0.10 h in 32 streams" in done.stdout and "noise 20 to 30 dB" in done.stdout
    assert f"of {report['keywords']} keywords detected" in done.stdout      # the words do not depend on the noise
    assert "speech/robot" in done.stdout and "day-like mix" in done.stdout and "Over seeds" in done.stdout


def test_a_corpus_for_tests_only(words, tmp_path):
    """No clip trains or validates: it is judged whole, by a list or by --part all."""
    root, model = tmp_path / "own", write_model(tmp_path)
    for label in "ab":
        (root / label).mkdir(parents=True)
        for k, path in enumerate(sorted((words / label).iterdir())[:3]):
            (root / label / f"{k}.wav").write_bytes(path.read_bytes())
    asked = ("stream", model, "--data", root, "--hours", 0.05, "--no-conditions", "--json")
    report = json.loads(tidegate(*asked, "--part", "all").stdout)
    assert report["part"] == "all" and report["keywords"] > 10 and report["absent"] == ["c", "d"]
    (root / "testing_list.txt").write_text("".join(f"{p.parent.name}/{p.name}\n" for p in root.glob("*/*.wav")))
    report = json.loads(tidegate(*asked, "--part", "test").stdout)
    assert report["part"] == "test" and report["keywords"] > 10
    fails(tidegate(*asked, "--part", "validation"), "has no keywords in its validation part")


def test_a_sample_on_the_virtual_board(compiled, words, tmp_path):
    done = tidegate("stream", write_model(tmp_path), "--data", words, "--hours", 0.05, "--rtl", 0.1,
                    "--no-conditions", "--json")
    assert done.returncode == 0, done.stderr
    sample = json.loads(done.stdout)["rtl"]
    assert (sample["logits_differ"], sample["detections_differ"], sample["first"]) == (0, 0, None)
    assert sample["frames"] == 375 and sample["lanes"] == 64


def test_one_wake_word(words, folders, tmp_path):
    model = speech_model(classes=3)
    path = tmp_path / "m.tidegate"
    save_model(Model(model.network, model.tensors, ("a", "unknown", "silence"), model.frontend), path)
    asked = ("stream", path, "--data", words, "--negative", folders / "speech", "--protocol", "mlperf")
    report = json.loads(tidegate(*asked, "--json").stdout)
    assert report["official"] is False and report["word"] == "a" and report["streams"][0]["words"] == 50
    done = tidegate(*asked)
    assert done.returncode == 0 and "Unofficial" in done.stdout and "8 of each are allowed" in done.stdout


def test_what_cannot_be_streamed_is_one_line(words, folders, tmp_path):
    model = write_model(tmp_path)
    fails(tidegate("stream", model, "--data", words, "--part", "train"), "not trained on")
    fails(tidegate("stream", model, "--data", words, "--threshold", 1.5), "at least 0.5 and below 1")
    fails(tidegate("stream", "commands", "--data", words), "no clips of the model's words")      # before any is decoded
    fails(tidegate("stream", model, "--data", words, "--negative", tmp_path / "none"), "no folder")
    fails(tidegate("stream", model, "--data", words, "--noise", words / "none"), "no folder")
    fails(tidegate("stream", model, "--data", words, "--protocol", "x"), "choose hours or mlperf")
    fails(tidegate("stream", model, "--data", words, "--protocol", "mlperf"), "one wake word")
    fails(tidegate("stream", model, "--data", words, "--protocol", "mlperf", "--rtl", "1", "--theta", "2"),
          "the protocol 'mlperf' has its own streams; leave --theta, --rtl out")
    fails(tidegate("stream", model, "--data", words, "--plot", tmp_path / "x.doc"), "cannot draw")
    fails(tidegate("stream", model, "--data", words, "--hours", 0.01), "or more")
    fails(tidegate("stream", model, "--data", words, "--snr", 40, 10), "the lower one first, not 40 and 10")
    fails(tidegate("stream", model, "--data", words, "--snr", "nan", 10), "the lower one first")
