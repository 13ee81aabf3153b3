from dataclasses import replace

import numpy as np
import pytest
import torch

from tidegate.host.frontend import log_energies
from tidegate.spec.formats import SIGNAL
from tidegate.train.data.augment import Augmenter
from tidegate.train.data.features import load_features
from tidegate.train.data.folders import scan
from tidegate.train.recipe import Augmentation

NOTHING = Augmentation(gain=0, noise_share=0, lead=0, tail=0, stretch=0, warp=0, mask_bands=0, mask_frames=0, jitter=0)


@pytest.fixture
def features(write_words, recipe, tmp_path):
    return load_features(scan(write_words(clips=25, noise=True)), recipe.frontend, tmp_path / "cache")


def batch(features, options, seed=0, clips=(3, 30, 60)):
    augmenter = Augmenter(features, options, *features.normalisation())
    return augmenter(torch.tensor(clips), torch.Generator().manual_seed(seed))


def test_without_variation_the_frames_are_those_of_evaluation(features, recipe):
    made = batch(features, NOTHING)
    mean, scale = features.normalisation()
    ((ends, targets),) = made.decisions
    for column, clip in enumerate((3, 30, 60)):
        scaled = (log_energies(features.clip(clip), features.settings) - mean) * scale * 256
        expected = np.clip(np.floor(scaled + 0.5), -SIGNAL.max, SIGNAL.max)
        assert ends[column] == len(expected) - 1 and targets[column] == features.targets[clip]
        difference = np.abs(made.frames[: len(expected), column].numpy() - expected)
        assert difference.max() <= 1         # torch's and numpy's logarithm differ in the last place


def test_normalised_training_frames_have_unit_variance(features):
    mean, scale = features.normalisation()
    frames = np.concatenate([features.clip(i) for i in features.of("train")])
    scaled = (log_energies(frames, features.settings) - mean) * scale
    assert np.abs(scaled.mean(0)).max() < 1e-2 and np.abs(scaled.std(0) - 1).max() < 1e-2


@pytest.mark.parametrize("change", [
    {"gain": 10.0}, {"noise_share": 1.0}, {"lead": 8}, {"tail": 8}, {"stretch": 0.2}, {"warp": 1.0}, {"crop": 3},
    {"mask_bands": 4}, {"mask_frames": 4}, {"jitter": 0.2}, {"lead": 8, "hold": 1.0}], ids=str)
def test_each_variation_changes_the_frames_and_is_seeded(features, change):
    options = replace(NOTHING, **change)
    plain, one, same, other = (batch(features, o, s).frames for o, s in
                               ((NOTHING, 1), (options, 1), (options, 1), (options, 3)))
    assert torch.equal(one, same)
    assert one.shape != plain.shape or not torch.equal(one, plain)
    assert one.shape != other.shape or not torch.equal(one, other)
    assert torch.equal(one, one.round()) and one.abs().max() <= SIGNAL.max


def test_lead_and_tail_are_silence_and_the_decision_is_after_the_tail(features):
    made = batch(features, replace(NOTHING, lead=8, tail=8), clips=(3,))
    mean, scale = features.normalisation()
    floor = np.floor((np.log(np.float32(features.settings.floor)) - mean) * scale * 256 + 0.5)
    ((ends, _),) = made.decisions
    frames = made.frames[:, 0].numpy()
    silent = (np.abs(frames - np.clip(floor, -SIGNAL.max, SIGNAL.max)) <= 1).all(1)
    assert len(frames) == ends[0] + 1
    assert len(frames) - silent.sum() == len(features.clip(3))


def test_context_puts_another_word_before(features):
    made = batch(features, replace(NOTHING, context=1.0))
    (first, before), (second, targets) = made.decisions
    assert (second > first).all() and len(made.frames) == int(second.max()) + 1
    assert sorted(before.tolist()) == sorted(targets.tolist())


def test_backwards_words_are_unknown(write_words, recipe, tmp_path):
    data = scan(write_words(clips=20, noise=True), ("high", "rise"))
    features = load_features(data, recipe.frontend, tmp_path / "cache")
    rise, silence = (features.targets.tolist().index(data.labels.index(label)) for label in ("rise", "silence"))
    turned, plain = (batch(features, replace(NOTHING, backwards=share), clips=(rise, silence)) for share in (1.0, 0.0))
    size = len(features.clip(rise))
    assert torch.equal(turned.frames[:size, 0].flip(0), plain.frames[:size, 0])
    assert torch.equal(turned.frames[:, 1], plain.frames[:, 1])
    assert [data.labels[t] for t in turned.decisions[0][1]] == ["unknown", "silence"]


def test_without_recordings_noise_is_made_up(write_words, recipe, tmp_path):
    features = load_features(scan(write_words(clips=25)), recipe.frontend, tmp_path / "cache")
    options = replace(NOTHING, noise_share=1.0, noise=(0.0, 0.0))
    noisy, plain = batch(features, options).frames, batch(features, NOTHING).frames
    assert not torch.equal(noisy, plain) and noisy.mean() > plain.mean()


def test_splices_are_two_halves_and_unknown(write_words, recipe, tmp_path):
    data = scan(write_words(clips=20, noise=True), ("high", "rise", "low"))
    features = load_features(data, recipe.frontend, tmp_path / "cache")
    clips = [features.targets.tolist().index(data.labels.index(x)) for x in ("rise", "high", "silence")]
    made, plain = (batch(features, replace(NOTHING, splice=share), 6, clips) for share in (1.0, 0.0))
    ((_, targets),) = made.decisions
    spliced = [column for column in (0, 1) if data.labels[targets[column]] == "unknown"]
    assert spliced and data.labels[targets[2]] == "silence"         # silence is never half of a word
    assert torch.equal(made.frames[:, 2], plain.frames[:, 2])
    for column in spliced:
        other, size = 1 - column, len(features.clip(clips[column]))
        same = (made.frames[:size, column] == plain.frames[:size, column]).all(1)
        middle = int(same.int().argmin())
        assert 0 < middle < size and same[:middle].all() and not same[middle:].any()
        rest = plain.frames[: len(features.clip(clips[other])), other]
        start = next(i for i in range(len(rest)) if torch.equal(rest[i], made.frames[middle, column]))
        length = min(size - middle, len(rest) - start)
        assert torch.equal(made.frames[middle : middle + length, column], rest[start : start + length])
