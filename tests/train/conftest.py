"""Small synthetic data sets: "words" that are tones or sweeps, made from a seed."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tidegate.train.data.material import SoundFolders
from tidegate.train.data.stream_options import Listening
from tidegate.train.recipe import Augmentation, Recipe

sys.path.insert(0, str(Path(__file__).parent))      # made_streams.py, made_tones.py

from made_tones import RATE, SETTINGS, TONES, word


@pytest.fixture(scope="session")
def write_words(tmp_path_factory):
    """Write word folders: ``write_words(words, clips, noise)`` → the new data set's folder."""
    def write(words=tuple(TONES), clips=30, noise=False):
        rng, root = np.random.default_rng(11), tmp_path_factory.mktemp("words")
        for name in words:
            (root / name).mkdir()
            for k in range(clips):
                soundfile.write(root / name / f"{k:04x}_nohash_0.wav", word(name, rng), RATE)
        if noise:
            (root / "_background_noise_").mkdir()
            soundfile.write(root / "_background_noise_" / "hiss.wav",
                            rng.normal(0, 0.02, 20 * RATE).astype(np.float32), RATE)
        return root
    return write


@pytest.fixture(scope="session")
def recipe():
    """A recipe that learns the four tones in seconds."""
    return Recipe("tones", frontend=SETTINGS, gru=(16,), thresholds=(64, 32), anneal=0.3, epochs=6, batch=16,
                  learning_rate=0.02, sparsity_cost=0.1, seed=5, decision_frames=2,
                  augmentation=Augmentation(lead=2, tail=2, mask_bands=1, mask_frames=1, stretch=0.05, warp=0.2))


@pytest.fixture(scope="session")
def folders(write_words, tmp_path_factory):
    """(words, sources): tones as words, and other tones as speech, other words, noise and a room."""
    folder, rng = tmp_path_factory.mktemp("sources"), np.random.default_rng(2)
    for kind, seconds, count in (("speech/a", 2.0, 20), ("words/b", 0.5, 20), ("noise", 1.0, 30), ("rooms", 0.2, 2)):
        (folder / kind).mkdir(parents=True)
        for k in range(count):
            t = np.arange(int(seconds * 8000))
            sound = 0.3 * np.sin(t * rng.uniform(0.1, 1.0)) * (rng.random(len(t)) if kind == "noise" else 1)
            if kind == "rooms":
                sound = 0.3 * rng.normal(size=len(t)) * np.exp(-t / 200)
            soundfile.write(folder / kind / f"{k}.wav", sound, 8000)
    root = write_words(clips=60, noise=True)
    return root, SoundFolders(**{kind: (folder / kind,) for kind in ("speech", "words", "noise", "rooms")})


@pytest.fixture
def listener(recipe) -> Recipe:
    small = Listening(streams=8, chunk=40, chunks=6)
    return replace(recipe, keywords=("low", "rise"), listening=small, epochs=3, budget=500.0, sparsity_cost=0.0)
