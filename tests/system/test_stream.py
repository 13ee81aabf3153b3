"""The verb ``stream`` as a user runs it."""

import json

import pytest
import soundfile
from command import fails, tidegate, write_model

from tidegate.clips import clips


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


def test_stream_json_and_text(words, tmp_path):
    model = write_model(tmp_path)
    done = tidegate("stream", model, "--data", words, "--hours", 0.05, "--seed", 3, "--threshold", 0.3, "--json")
    assert done.returncode == 0 and done.stderr == ""
    report = json.loads(done.stdout)
    assert (report["part"], report["seed"], report["threshold"]) == ("validation", 3, 0.3)
    assert report["hours"] == pytest.approx(0.05) and report["noise"] == "synthetic"
    assert report["hits"] + report["misses"] == report["keywords"] > 10 and report["unknown_words"] == 0
    done = tidegate("stream", model, "--data", words, "--hours", 0.05, "--seed", 3, "--threshold", 0.3, "--snr", 20, 30)
    assert done.returncode == 0 and done.stderr == ""
    assert "0.05 h in 16 streams" in done.stdout and "noise 20 to 30 dB" in done.stdout
    assert f"of {report['keywords']} keywords detected" in done.stdout      # the words do not depend on the noise


def test_what_cannot_be_streamed_is_one_line(words, tmp_path):
    model = write_model(tmp_path)
    fails(tidegate("stream", model, "--data", words, "--part", "train"), "not trained on")
    fails(tidegate("stream", model, "--data", words, "--threshold", 1.5), "between 0 and 1")
    fails(tidegate("stream", "commands", "--data", words), "no clips of the words")      # before any is decoded
