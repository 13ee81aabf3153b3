"""The measurement of an import, on a few made clips."""

import re
import wave

import numpy as np
import pytest

from tidegate.train.study import imported


@pytest.fixture
def folder(tmp_path):
    """Digits that are tones: one speaker, 16 takes."""
    rng, time = np.random.default_rng(0), np.arange(2400) / 8000
    for digit in range(3):
        for take in range(16):
            tone = 0.3 * np.sin(2 * np.pi * (300 + 700 * digit) * time) + rng.normal(0, 0.01, len(time))
            with wave.open(str(tmp_path / f"{digit}_ann_{take}.wav"), "wb") as file:
                file.setparams((1, 2, 8000, len(time), "NONE", ""))
                file.writeframes((32767 * tone).astype("<i2").tobytes())
    return tmp_path


def test_parts_are_takes_and_the_figures_are_printed(folder, monkeypatch, capsys):
    parts = imported.parts_of(str(folder))
    assert {name: len(clips[0]) for name, clips in parts.items()} == {"test": 15, "validation": 24, "train": 9}
    assert parts["test"][1].tolist() == [0] * 5 + [1] * 5 + [2] * 5
    monkeypatch.setattr(imported, "_EPOCHS", 30)
    monkeypatch.setattr(imported, "_HIDDEN", 12)
    monkeypatch.setattr("sys.argv", ["imported", str(folder), "--seeds", "1", "--converted", "2", "--tuned", "3",
                                     "--epochs", "1", "--part", "validation"])
    imported.main()
    said = capsys.readouterr().out
    assert said.startswith("9 clips train, 24 clips of the validation part are judged\nseed 0: ")
    assert re.search(r"converted, 2x: .* %, lost .* \(.* to .*\)\n +fine-tuned, 3x: ", said)
