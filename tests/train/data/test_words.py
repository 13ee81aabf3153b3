"""Words of one's own: classes that are made, few speakers, and what a user does wrong."""

import os
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from tidegate import zoo
from tidegate.host.frontend import FrontEndSettings
from tidegate.spec.model import read_model
from tidegate.train import run
from tidegate.train.data.augment import Augmenter, speech_level
from tidegate.train.data.features import load_features
from tidegate.train.data.folders import PARTS, scan
from tidegate.train.data.made import Words, _spliced, quiet_frames, silence_clips, unknown_clips, word_span
from tidegate.train.data.survey import survey, survey_lines
from tidegate.train.errors import DataError
from tidegate.train.judge.evaluate import evaluate_directory
from tidegate.train.recipe import Augmentation, Recipe

TONES, RATE = ("fall", "high", "low", "rise"), 8000
SETTINGS = FrontEndSettings(sample_rate=RATE, high_hz=3800.0, bands=12, hop_ms=32.0, window_ms=32.0)
AUTO = {"unknown": "auto", "silence": "auto"}


@pytest.fixture(scope="module")
def root(write_words):
    """Four tones, 24 clips each, of 24 speakers; some begin with a stretch of a quiet room."""
    folder, rng = write_words(clips=24), np.random.default_rng(3)
    for path in sorted(folder.glob("*/*.wav"))[::2]:
        samples, _ = soundfile.read(path, dtype="float32")
        room = rng.normal(0, 3e-3, RATE // 2)
        soundfile.write(path, np.concatenate([room, samples]), RATE)
    return folder


@pytest.fixture(scope="module")
def features(root, tmp_path_factory):
    return load_features(scan(root, **AUTO), SETTINGS, tmp_path_factory.mktemp("cache"))


def clips_of(features, label, part):
    target = features.labels.index(label)
    return [features.clip(i) for i in features.of(part) if features.targets[i] == target]


def test_every_part_has_unknown_and_silence_and_it_is_said(features):
    assert features.labels == ("fall", "high", "low", "rise", "unknown", "silence")
    for part in PARTS:
        words = sum(features.counts(part)[name] for name in TONES)
        assert features.made["unknown"][part] == 2 * -(-words // 4), part
        assert features.made["silence"][part] == features.counts(part)["silence"] == -(-words // 4)
    assert features.counts("train")["unknown"] == features.made["unknown"]["train"] + features.bundled
    assert features.counts("test")["unknown"] == features.made["unknown"]["test"]
    line, = (line for line in survey_lines(features) if line.startswith("made: "))
    assert "backwards and spliced" in line and f"{features.bundled} bundled clips" in line and "noise" in line


def test_what_is_made_is_the_same_again_and_disjoint(root, features, tmp_path):
    again = load_features(scan(root, **AUTO), SETTINGS, tmp_path)
    assert np.array_equal(again.energies, features.energies) and np.array_equal(again.targets, features.targets)
    for label in ("unknown", "silence"):
        frames = {part: {row.tobytes() for clip in clips_of(features, label, part) for row in clip} for part in PARTS}
        assert all(frames.values())
        assert not frames["train"] & (frames["validation"] | frames["test"]), label
        assert not frames["validation"] & frames["test"], label


def test_unknown_is_made_of_the_words_of_its_part(features):
    own = {row.tobytes() for name in TONES for clip in clips_of(features, name, "validation") for row in clip}
    for clip in clips_of(features, "unknown", "validation"):
        assert sum(row.tobytes() in own for row in clip) >= len(clip) // 2 - 1      # spliced: one half is scaled


def test_what_sounds_like_a_word_is_not_unknown(features):
    """A steady tone backwards is itself, and a rise backwards is a fall; two halves of different tones are neither."""
    clips = [features.clip(i) for name in range(4) for i in np.flatnonzero(features.targets == name)]
    words = [name for name in range(4) for _ in np.flatnonzero(features.targets == name)]
    heard = [i for i in range(len(clips)) if i % 4 < 2]         # with and without a room, of every word
    fresh = [clips[i] for i in range(len(clips)) if i % 4 > 1]
    known = Words([clips[i] for i in heard], [words[i] for i in heard])
    backwards = np.mean([known.contain(clip[::-1]) for clip in fresh])
    halves = np.mean([known.contain(_spliced(a, b)) for a, b in zip(fresh, fresh[12:], strict=False)])
    assert backwards > 0.15 and halves == 0     # the limit is a median: many real ones are farther, too
    made = unknown_clips(clips, words, known, 40, np.random.default_rng(1))
    assert len(made) == 40 and not any(known.contain(clip) for clip in made)


def test_silence_is_the_room_of_the_clips_or_faint_noise():
    rng = np.random.default_rng(0)
    room = rng.gamma(2.0, 1e-4, (20, 12)).astype(np.float32)
    clip = np.concatenate([room, np.full((15, 12), 3.0, np.float32), room[:2]])
    assert word_span(clip) == (20, 35) and np.array_equal(quiet_frames(clip), room[:18])
    made = silence_clips([clip], 10, 30, rng)
    known = {row.tobytes() for row in room}
    assert all(row.tobytes() in known for some in made[::2] for row in some)
    for some in made[1::2]:
        assert some.shape == (30, 12) and some.dtype == np.float32
        assert -62 < 10 * np.log10(some.mean() / 3.0) < -8


def test_folders_of_other_words_and_of_noise_are_taken_instead(root, tmp_path):
    shutil.copytree(root, tmp_path / "words")
    (tmp_path / "words/rise").rename(tmp_path / "words/_unknown_")
    (tmp_path / "words/_background_noise_").mkdir()
    soundfile.write(tmp_path / "words/_background_noise_/hum.wav",
                    np.random.default_rng(0).normal(0, 0.01, 20 * RATE), RATE)
    data = scan(tmp_path / "words", **AUTO)
    features = load_features(data, SETTINGS, tmp_path / "cache")
    assert features.labels == ("fall", "high", "low", "unknown", "silence")
    assert features.made == {} and features.bundled == 0
    assert sum(features.counts(part)["unknown"] for part in PARTS) == 24
    none = scan(tmp_path / "words", unknown="none", silence="none")
    assert none.labels == ("fall", "high", "low") and len(none.clips) == 72
    assert load_features(none, SETTINGS, tmp_path / "cache").labels == none.labels
    assert scan(root).labels == ("fall", "high", "low", "rise")
    with pytest.raises(DataError, match="'maybe' is no choice for the class 'unknown'; choose folder, auto, none"):
        scan(root, unknown="maybe")


def test_bundled_clips_are_never_one_of_the_words(tmp_path):
    for name in ("Zero", "1", "up"):
        (tmp_path / name).mkdir()
        for k in range(30):
            (tmp_path / name / f"{k}.wav").write_bytes(f"{name}{k}".encode())
    bundled = [c for c in scan(tmp_path, **AUTO).clips if os.path.isabs(c.path)]
    names = {os.path.basename(c.path).split("_")[0] for c in bundled}
    assert {"two", "left"} <= names and not names & {"zero", "one", "up", "silence.flac"}
    assert {c.part for c in bundled} == {"train"} and {c.label for c in bundled} == {"unknown"}


def test_training_and_evaluation_see_the_same_classes(root, recipe, tmp_path):
    mine = replace(recipe, epochs=2, unknown="auto", silence="auto")
    model = read_model(run(root, mine, tmp_path / "m.tidegate", cache=tmp_path, progress=False))
    assert model.labels[-2:] == ("unknown", "silence")
    for part in ("validation", "test"):
        figures = evaluate_directory(model, root, part, tmp_path)
        assert {k: figures[k] for k in model.card[part]} == model.card[part]
        assert None not in figures["recall"].values()


def test_uneven_classes_and_skipped_clips_are_told(root, tmp_path):
    shutil.copytree(root, tmp_path / "words")
    for path in sorted((tmp_path / "words/low").iterdir())[6:]:
        path.unlink()
    bad = sorted((tmp_path / "words/high").iterdir())[:12]
    bad[0].write_text("no sound")
    for path in bad[1:]:
        soundfile.write(path, np.full(RATE // 2, 1e-5), RATE)
    (tmp_path / "words/high/phone.m4a").touch()
    features = load_features(scan(tmp_path / "words", **AUTO), SETTINGS, tmp_path)
    lines, found = survey_lines(features), survey(features)
    assert any(line.startswith("warning: '") and "and 'low' only" in line for line in lines)
    assert "13 clips skipped:" in lines and "  and 3 more, all of them with --json" in lines
    assert len(found["skipped"]) == 13 and found["clips"]["low"]["train"] == features.counts("train")["low"]
    reasons = Counter(reason.split(" (")[0].split("'")[0] for _, reason in found["skipped"])
    assert reasons["silence only"] == 11 and reasons["not WAV, FLAC, Ogg, MP3 or AIFF; convert it"] == 1
    for path in (tmp_path / "words/high").glob("*.wav"):
        soundfile.write(path, np.zeros(RATE // 2), RATE)
    with pytest.raises(DataError, match=r"no usable clip of 'high' .* as: silence only"):
        load_features(scan(tmp_path / "words", **AUTO), SETTINGS, tmp_path)


def test_noise_at_an_snr(features):
    options = Augmentation(noise_share=1.0, snr=(3.0, 20.0))
    augmenter = Augmenter(features, options, *features.normalisation())
    clips = torch.from_numpy(features.of("train")[:40])
    energies = torch.zeros(60, 40, SETTINGS.bands)
    for column, i in enumerate(clips.tolist()):
        clip = torch.from_numpy(features.clip(i))[:60]
        energies[: len(clip), column] = clip
    for noise in (None, torch.rand(500, SETTINGS.bands)):
        augmenter.noise = noise
        mixed = augmenter.noise_beside(energies, torch.Generator().manual_seed(2))
        drawn = torch.rand(40, generator=torch.Generator().manual_seed(2)) * 17 + 3
        measured = 10 * torch.log10(speech_level(energies) / mixed.mean((0, 2)))
        assert torch.allclose(measured, drawn, atol=1e-3)
    loud = torch.tensor([4.0, 2.0, 0.02, 0.0])[:, None, None].expand(4, 1, SETTINGS.bands)
    assert speech_level(loud) == 3.0


def test_the_recipe_is_there():
    assert "words" in zoo.recipes() and "words" not in zoo.names()
    recipe = Recipe.read(zoo.recipe_path("words"))
    assert (recipe.name, recipe.unknown, recipe.silence) == ("words", "auto", "auto")
    assert recipe.augmentation.backwards == 0       # what is made backwards already would become a word again
