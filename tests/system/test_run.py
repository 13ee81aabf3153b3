"""``tidegate run`` with the shipped models: what the board decides is what golden decides."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
import soundfile
from command import tidegate

from tidegate import load_model
from tidegate.clips import clips
from tidegate.golden import Golden
from tidegate.host.features import features_of, settings_of
from tidegate.host.word import find_word
from tidegate.spec.stop import first_decisions

DATA = Path(__file__).parents[3] / "shared" / "data"


def recordings(model: str) -> list[Path]:
    """100 recordings of people where they are at hand, else the bundled clips."""
    folder, pattern = {"digits": ("fsdd/recordings", "*_[0-4].wav"), "commands": ("speech_commands", "*/*.opus")}[model]
    found = sorted((DATA / folder).glob(pattern))
    return Random(5).sample(found, 100) if found else [clip.path for clip in clips()]


@pytest.mark.parametrize("name", ["digits", "commands"])
def test_same_decisions_as_golden(compiled, name):
    model, files = load_model(name), recordings(name)
    done = tidegate("run", *files, "--model", name, "--json")
    assert done.returncode == 0, done.stderr
    golden = Golden(model)
    expected = []
    for path in files:
        features = features_of(model, path)
        trace = golden.run(model.quantise(features)[:, None])
        frame = find_word(features, settings_of(model)).decision
        expected.append((str(path), model.labels[int(trace.logits[frame, 0].argmax())]))
    assert [(row["file"], row["decided"]) for row in json.loads(done.stdout)["files"]] == expected
    assert len({label for _, label in expected}) > 5


def test_a_word_before_silence_is_the_word(compiled, tmp_path):
    """A second and three of it, through the board: the label that the word had, of a frame in the word's recording."""
    model, files = load_model("commands"), []
    words = [clip for clip in clips() if clip.word in model.labels and clip.word != "silence"][::4]
    for seconds in (0, 1, 3):
        for clip in words:
            samples, rate = soundfile.read(clip.path)
            files.append(tmp_path / f"{clip.path.stem}-{seconds}.wav")
            soundfile.write(files[-1], np.concatenate([samples, np.zeros(seconds * rate)]), rate)
    done = tidegate("run", *files, "--model", "commands", "--json")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    labels = [row["decided"] for row in json.loads(done.stdout)["files"]]
    spoken = [clip.word for clip in words]
    alone = labels[: len(words)]
    assert sum(a == b for a, b in zip(alone, spoken, strict=True)) >= len(words) - 1 and labels == alone * 3
    frames = [(row["frame"], row["frames"]) for row in json.loads(done.stdout)["files"]]
    assert all(frame == count - 1 for frame, count in frames[: len(words)])
    assert all(frame < 62 < count for frame, count in frames[len(words) :])


def test_early_decisions_are_golden_s(compiled):
    """Label, frame and cost: nothing after the decision is run."""
    model, files = load_model("digits").deciding(4.0), recordings("digits")[:30]
    done = tidegate("run", *files, "--model", "digits", "--margin", "4", "--json")
    assert done.returncode == 0, done.stderr
    golden, early = Golden(model), 0
    for path, row in zip(files, json.loads(done.stdout)["files"], strict=True):
        features = features_of(model, path)
        frames = model.quantise(features)
        trace = golden.run(frames[:, None])
        (at,), (which,), (met,) = first_decisions(trace.logits, np.array([len(frames)]), model.stop)
        if not met:
            which = trace.logits[find_word(features, settings_of(model)).decision, 0].argmax()
        assert (row["decided"], row["decided_at"]) == (model.labels[which], at if met else None)
        assert row["frames"] == at + 1 and row["frames_used"] == (at + 1) / len(frames)
        assert row["decided_at_s"] == ((at * 16 + 32) / 1000 if met else None)
        assert row["seconds"] == ((len(frames) - 1) * 16 + 32) / 1000
        assert row["events"] == trace.events[: at + 1, 0].sum(0).tolist()
        early += bool(met)
    assert early > 15
