"""Sequences that are no sound: what they are made of, and that networks learn when to answer.  MNIST is a stand-in."""

import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from tidegate import zoo
from tidegate.golden import Golden
from tidegate.spec.model import read_model
from tidegate.spec.stop import first_decisions
from tidegate.train import run
from tidegate.train.data import sequences as made
from tidegate.train.data.split import ALL_PARTS
from tidegate.train.errors import DataError
from tidegate.train.fit.loop import Trainer
from tidegate.train.judge.evaluate import evaluate, evaluate_directory, padded
from tidegate.train.publish.card import card
from tidegate.train.recipe import Recipe
from tidegate.train.study.plan import read_plan
from tidegate.train.study.sweep import Sweep

SIDE = 28


def idx(array):
    """A file in MNIST's format."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def digits(count, rng):
    """Blobs for digits: (images, labels), the class is where the bright one is, and dim spots are anywhere."""
    labels = rng.integers(10, size=count).astype(np.uint8)
    images = np.zeros((count, SIDE, SIDE), np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = 6 + 9 * (label // 5), 4 + 4 * (label % 5)
        image[row : row + 4, column : column + 3] = rng.integers(150, 256, (4, 3))
        image[rng.integers(SIDE, size=20), rng.integers(SIDE, size=20)] = rng.integers(1, 100, 20)
    return images, labels


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("mnist"), np.random.default_rng(3)
    for prefix, count in (("train", 1800), ("t10k", 200)):
        images, labels = digits(count, rng)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


@pytest.fixture
def few(monkeypatch):
    """Less of what is made from a seed."""
    monkeypatch.setattr(made, "_COUNTS", {"train": 1600, "validation": 200, "test": 200})


def shipped(name, **changes):
    return replace(Recipe.read(zoo.recipe_path(name)), **changes)


def decided(path, sequences, part="test"):
    """(clip numbers, frame of the decision, right) of a model on a part."""
    model, found = read_model(path), []
    for batch, frames, lengths in padded(model, sequences, sequences.of(part)):
        at, label, _ = first_decisions(Golden(model).run(frames).logits, lengths, model.stop)
        found += [(batch, at, label == sequences.targets[batch])]
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))


def test_a_pixel_is_one_event_and_the_brighter_the_earlier():
    images = np.arange(0, 256, dtype=np.uint8).repeat(4)[: SIDE**2].reshape(1, SIDE, SIDE)
    frames = made.spikes(images)[0]
    pixels = images.ravel()
    assert frames.shape == (made.MNIST_STEPS, SIDE**2) and frames.dtype == np.float32
    assert (np.diff(frames, axis=0) >= 0).all() and set(np.unique(frames)) == {0, made.MNIST_UP}
    up = frames.any(0)
    assert np.array_equal(up, pixels > 0)
    first = frames.argmax(0)[up]
    assert np.array_equal(first, (255 - pixels[up].astype(int)) * made.MNIST_STEPS // 256)
    assert (np.diff(first) <= 0).all() and first[-1] == first[pixels[up] == pixels.max()][0]


def test_shifted_images_keep_what_is_in_the_middle():
    images = np.zeros((200, SIDE, SIDE), np.uint8)
    images[:, 10:18, 12:15] = np.arange(1, 25, dtype=np.uint8).reshape(8, 3)
    moved = made.shifted(images, torch.Generator().manual_seed(0))
    places = set()
    for image in moved:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        places.add((int(rows[0]) - 10, int(columns[0]) - 12))
        assert np.array_equal(image[rows[0] : rows[0] + 8, columns[0] : columns[0] + 3], images[0, 10:18, 12:15])
    span = set(range(-made.MNIST_SHIFT, made.MNIST_SHIFT + 1))
    assert places == {(y, x) for y in span for x in span}


@pytest.mark.parametrize("task", ["cue", "evidence"])
def test_made_sequences_are_the_same_again(task, few):
    one, other = made.load_sequences(task), made.load_sequences(task)
    assert np.array_equal(one.values, other.values) and np.array_equal(one.targets, other.targets)
    assert [len(one.of(part)) for part in ALL_PARTS] == [1600, 200, 200, 0]
    assert one.frames(0).shape == (one.steps, one.width) and one.offsets[-1] == 2000 * one.steps
    batch = one.batch(torch.tensor([3, 1, 4]), torch.Generator())
    assert np.array_equal(batch.frames[:, 2], np.floor(one.frames(4) * 256 + 0.5).clip(-2047, 2047))
    (last, target), = batch.decisions
    assert last.tolist() == [one.steps - 1] * 3 and target.tolist() == one.targets[[3, 1, 4]].tolist()


def test_a_cue_comes_once_and_at_any_time(few):
    sequences = made.load_sequences("cue")
    at = made.cue_times(sequences)
    cues = sequences.values[:, :, made.CUE_LINES :]
    assert (cues.sum((1, 2)) == 1).all() and set(at) == set(range(made.CUE_STEPS))
    assert np.array_equal(cues.max(1).argmax(1), sequences.targets)


def test_parts_of_mnist(blobs):
    sequences = made.load_sequences("mnist", blobs)
    assert [len(sequences.of(part)) for part in ALL_PARTS] == [1500, 300, 200, 0]
    assert sequences.labels == tuple("0123456789") and (sequences.steps, sequences.width) == (4, 784)
    assert not sequences.skipped and sequences.of("validation")[0] == 1500


def test_a_network_answers_when_the_cue_has_come(few, tmp_path):
    path = run(None, shipped("toy-cue", epochs=8), tmp_path / "cue.tidegate", progress=False)
    figures = read_model(path).card["test"]
    assert figures["accuracy"] > 0.95
    sequences = made.load_sequences("cue")
    clips, at, right = decided(path, sequences)
    waited = at - made.cue_times(sequences)[clips]
    assert (waited[right] == 0).mean() > 0.9
    assert evaluate_directory(read_model(path), None, early=True) == figures | {"skipped": [], "warnings": []}


def test_sure_cases_are_decided_sooner(few, tmp_path):
    path = run(None, shipped("toy-evidence", epochs=8), tmp_path / "evidence.tidegate", progress=False)
    model, sequences = read_model(path), made.load_sequences("evidence")
    clips, at, right = decided(path, sequences)
    assert right.mean() > 0.85 and model.card["test"]["frames_used"] < 0.6
    strength = np.abs(sequences.values[clips, :, 0].mean(1))
    weak, strong = strength < np.quantile(strength, 0.3), strength > np.quantile(strength, 0.7)
    assert at[strong].mean() < at[weak].mean() / 2
    hasty, careful = (evaluate(model.deciding(margin), sequences, "test", early=True) for margin in (0.5, 3))
    assert hasty["frames_used"] < careful["frames_used"] and hasty["accuracy"] < careful["accuracy"]


def test_pictures_are_decided_in_their_first_frame(blobs, tmp_path):
    recipe = shipped("mnist", gru=(128,), epochs=6, batch=32, stop_margin=2.0)
    path = run(blobs, recipe, tmp_path / "blobs.tidegate", progress=False)
    model = read_model(path)
    assert model.frontend == {} and model.labels == tuple("0123456789") and model.card["clips"]["train"] == 1500
    figures = evaluate_directory(model, blobs, early=True)
    assert figures == model.card["test"] | {"skipped": [], "warnings": []}
    assert figures["accuracy"] > 0.95 and figures["decided_at_once"] > 0.5, figures
    _, at, _ = decided(path, made.load_sequences("mnist", blobs))
    assert figures["decided_at_once"] == (at == 0).mean() and figures["frames_used"] == ((at + 1) / 4).mean()
    assert "784 of the task mnist" in card(model, "blobs", path.stat().st_size)


@pytest.mark.parametrize("name, task", [("toy-cue", "cue"), ("toy-evidence", "evidence"), ("mnist", "mnist")])
def test_recipes_start_with_what_a_board_can_prove(name, task, blobs, few, tmp_path):
    recipe = shipped(name)
    assert recipe.name == name and recipe.task == task and recipe.task in made.SOURCES and recipe.stop_margin
    trainer = Trainer(recipe, made.load_sequences(task, blobs if task == "mnist" else None), tmp_path / "m.tidegate")
    trainer._model({})                      # a ModelError if an accumulator could wrap
    assert (trainer.mean == 0).all() and (trainer.scale == 1).all()


def test_resumed_equals_uninterrupted(few, tmp_path):
    recipe, sequences = shipped("toy-evidence", epochs=3), made.load_sequences("evidence")
    list(Trainer(recipe, sequences, tmp_path / "a.tidegate").epochs())
    next(Trainer(recipe, sequences, tmp_path / "b.tidegate").epochs())
    list(Trainer(recipe, sequences, tmp_path / "b.tidegate", resume=True).epochs())
    assert (tmp_path / "a.tidegate").read_bytes() == (tmp_path / "b.tidegate").read_bytes()


def test_folders_that_will_not_do(blobs, tmp_path):
    def fails(why, folder=tmp_path):
        with pytest.raises(DataError, match=why) as error:
            made.load_sequences("mnist", folder)
        assert "\n" not in str(error.value)

    fails("needs its data: run `tidegate data mnist`", None)
    fails("no file '.*train-images-idx3-ubyte'; run `tidegate data mnist`")
    for file in blobs.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    images = tmp_path / "t10k-images-idx3-ubyte"
    whole = images.read_bytes()
    for content in (whole[:-1], whole[:10], b"", b"\x1f\x8b" + whole, b"\0\0\x0d\x03" + whole[4:]):
        images.write_bytes(content)
        fails("t10k-images-idx3-ubyte' is damaged .*delete the folder, then run `tidegate data mnist`")
    images.write_bytes(idx(np.zeros((200, 20, 20), np.uint8)))
    fails("images of 28 x 28 pixels, each with a label")
    images.write_bytes(whole)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(np.full(1800, 10, np.uint8)))
    fails("labels that are not 0 to 9")
    labels.unlink()
    labels.mkdir()
    fails("train-labels-idx1-ubyte' cannot be read .*give the folder of its files")


def test_recipes_that_will_not_do(tmp_path):
    for field in ({"keywords": ("yes",)}, {"leave_out": ("yes",)}, {"reject": 0.01}):
        with pytest.raises(DataError, match=r"keywords, leave_out and reject are for words.* 'cue' has none"):
            run(None, Recipe("r", task="cue", **field), tmp_path / "r.tidegate", progress=False)
    with pytest.raises(DataError, match="trains on a folder of words; give one"):
        run(None, Recipe("r"), tmp_path / "r.tidegate", progress=False)
    with pytest.raises(DataError, match="the task 'cue' is made from a seed; leave the folder out"):
        run(tmp_path, shipped("toy-cue"), tmp_path / "r.tidegate", progress=False)
    with pytest.raises(DataError, match="the task 'cue' has no speakers; leave 'jane' out"):
        run(None, shipped("toy-cue"), tmp_path / "r.tidegate", progress=False, speaker="jane")
    assert Recipe.from_dict({"name": "r"}).task == "words"


def test_a_model_of_words_needs_words():
    with pytest.raises(DataError, match="hears words; give a folder of them with --data"):
        evaluate_directory(zoo.load("digits"), None)


def test_a_sweep_of_a_made_task_takes_no_folder(write_words, tmp_path):
    (tmp_path / "s.json").write_text(
        '{"name": "s", "recipe": "toy-cue", "vary": {"seed": [1]}, "theta": [1]}')
    with pytest.raises(DataError, match="is made from a seed; leave the folder out"):
        Sweep(read_plan(tmp_path / "s.json"), write_words(clips=20), tmp_path / "out")
