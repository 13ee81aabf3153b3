"""``tidegate run`` with the shipped models: what the board decides is what golden decides."""

import json
from pathlib import Path
from random import Random

import pytest
from command import tidegate

from tidegate import load_model
from tidegate.clips import clips
from tidegate.golden import Golden
from tidegate.host.features import features_of

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
        trace = golden.run(model.quantise(features_of(model, path))[:, None])
        expected.append((str(path), model.labels[int(trace.logits[-1, 0].argmax())]))
    assert [(row["file"], row["decided"]) for row in json.loads(done.stdout)["files"]] == expected
    assert len({label for _, label in expected}) > 5
