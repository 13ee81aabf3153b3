"""From a folder of words to a verified model on the virtual board, in the four commands of docs/words.md."""

import json

import soundfile
from command import fails, tidegate

from tidegate import zoo
from tidegate.clips import clips


def write_words(folder):
    """Two words of the bundled (synthetic) voices, 24 takes each, and one file that is no sound."""
    for clip in clips():
        if clip.word in ("zero", "one"):
            samples, rate = soundfile.read(clip.path)
            place = folder / clip.word / clip.voice
            place.mkdir(parents=True)
            for k in range(8):
                soundfile.write(place / f"{k}.wav", samples[100 * k :] * 0.8**k, rate)
    (folder / "zero/broken.wav").write_text("no sound")


def test_four_commands(compiled, tmp_path):
    words, model = tmp_path / "my_words", tmp_path / "mine.tidegate"
    write_words(words)
    done = tidegate("train", words, "--recipe", "words", "--out", model, "--epochs", 2, "--json")
    assert done.returncode == 0, done.stderr
    assert "recipe words: GRU " in done.stderr and "made: unknown" in done.stderr and "1 clips skipped:" in done.stderr
    report = json.loads(done.stdout)
    found = report["data"]
    assert list(found["clips"]) == ["one", "zero", "unknown", "silence"]
    assert set(found["made"]) == {"unknown", "silence"}
    assert [path for path, _ in found["skipped"]] == ["zero/broken.wav"]
    assert report["card"]["clips"]["train"] == sum(of["train"] for of in found["clips"].values())

    done = tidegate("eval", model, "--data", words, "--json")
    assert done.returncode == 0, done.stderr
    assert {k: json.loads(done.stdout)[k] for k in report["card"]["test"]} == report["card"]["test"]

    done = tidegate("verify", model, "--data", words, "--frames", 60, "--json")
    assert done.returncode == 0, done.stderr
    verified = json.loads(done.stdout)
    assert verified["mismatches"] == 0 and verified["frames"] == 60 * len(verified["thresholds"])

    sound = next((words / "one").rglob("*.wav"))
    done = tidegate("run", sound, "--model", model, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"][0]["decided"] in found["clips"]


def test_a_recipe_alone_is_no_model(tmp_path):
    assert "words" in zoo.recipes()
    fails(tidegate("eval", "words", "--data", tmp_path), "no model 'words'")
    fails(tidegate("train", tmp_path, "--recipe", "words"), "contains no recorded words")
