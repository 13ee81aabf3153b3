"""Images as frames: what they are coded as, and that spiking networks learn from them.  MNIST is a stand-in."""

import struct
from dataclasses import replace
from pathlib import Path
from re import DOTALL, findall

import numpy as np
import pytest
import torch

from tidegate.spec.model import Model, expected_tensors, read_model
from tidegate.train import run
from tidegate.train.data import images
from tidegate.train.errors import DataError
from tidegate.train.judge.evaluate import evaluate_directory
from tidegate.train.recipe import Convolution, LayerRecipe, Memory, Recipe, Rule
from tidegate.train.tasks.classify import read_out
from tidegate.train.tasks.registry import find_task

SIDE = 28
UNIT = LayerRecipe(activation="identity", recurrent=False, consumes=True)
SPIKE = Rule()
LIF = Recipe("blobs", task="mnist-frames", steps=6, gru=(24,), layers=(UNIT,), classifier=LayerRecipe(consumes=True),
             rules=(SPIKE, Rule(leak=5)), thresholds=(256, 256), readout_frames=0, anneal=0.0, epochs=2, batch=50,
             decision_frames=1, learning_rate=0.02, weight_fracs=(7, 7))


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    """Digits that are a blob in one of ten places, in MNIST's files."""
    folder, rng = tmp_path_factory.mktemp("mnist"), np.random.default_rng(3)
    for prefix, count in (("train", 1200), ("t10k", 100)):
        labels = rng.integers(10, size=count).astype(np.uint8)
        pixels = np.zeros((count, SIDE, SIDE), np.uint8)
        for image, label in zip(pixels, labels, strict=True):
            row, column = 6 + 9 * (label // 5), 4 + 4 * (label % 5)
            image[row : row + 5, column : column + 4] = rng.integers(150, 256, (5, 4))
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(pixels))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


def test_a_held_image_is_the_same_in_every_frame():
    frames = images.held_frames(3, np.full((2, SIDE, SIDE), 51, np.uint8))
    assert frames.shape == (2, 3, 784) and np.allclose(frames, 0.2)


def test_pixels_come_one_by_one_in_the_same_order_for_all_images():
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (2, SIDE, SIDE), np.uint8)
    whole, half = images.pixels(784, pictures), images.pixels(196, pictures)
    assert whole.shape == (2, 784, 1) and half.shape == (2, 196, 1)
    order = np.argsort(np.argsort(pictures[0].ravel(), kind="stable"))
    assert np.array_equal(np.sort(whole[0, :, 0]), np.sort(pictures[0].ravel() / np.float32(255)))
    assert len(order) == 784
    mean = pictures.reshape(2, 14, 2, 14, 2).mean((2, 4), dtype=np.float32) / 255
    assert np.allclose(np.sort(half[1, :, 0]), np.sort(mean[1].ravel()))


def test_a_moving_edge_makes_events_where_it_goes_and_the_opposite_where_it_was():
    picture = np.zeros((1, SIDE, SIDE), np.uint8)
    picture[0, 10:14, 10:14] = 255
    frames = images.events(30, picture).reshape(30, 2, images.EVENT_SIDE, images.EVENT_SIDE)
    assert set(np.unique(frames)) == {0, 1} and frames.sum() > 50
    assert 0.5 < frames[:, 0].sum() / frames[:, 1].sum() < 2
    assert not frames[:, :, 25:].any() and not frames[:, :, :9].any()       # nothing but the square moves
    still = images.saccade(30)
    assert np.allclose(still[0], still[-1]) and np.allclose(still.max(0), (6, 6))


def test_a_spiking_network_learns_and_is_judged_as_it_was_trained(blobs, tmp_path):
    out = run(blobs, LIF, tmp_path / "m.tidegate", progress=False)
    model = read_model(out)
    assert model.card["test"]["accuracy"] > 0.9
    again = evaluate_directory(model, blobs)
    assert {k: again[k] for k in model.card["test"]} == model.card["test"]
    assert again["activity_bits"] == [1.0, 1.0] and 0 < again["bits_per_weight"] < 0.2
    assert again["operations"] == again["weights"] / 100 and again["dense_operations"] == 6 * (784 * 24 + 24 * 10)


def test_the_answer_is_that_of_a_mean_over_frames():
    """The loss's means in floats and the judge's sums in integers choose the same classes."""
    logits = np.random.default_rng(4).integers(-999, 999, (9, 5, 10))
    last, task = np.array([0, 3, 5, 8, 8]), find_task("mnist-frames")
    network = LIF.network(784, 10)
    tensors = {name: np.full(shape, name == "frontend.scale", dtype)
               for name, (dtype, shape) in expected_tensors(network).items()}
    for window in (0, 1, 2, 4, 20):
        model = Model(network, tensors, tuple(map(str, range(10))), card={"recipe": {"readout_frames": window}})
        answers = task.answers(model, logits, last, early=False)
        first = np.zeros(5, int) if window == 0 else np.maximum(last + 1 - window, 0)
        means = [logits[a : b + 1, k].mean(0) for k, (a, b) in enumerate(zip(first, last, strict=True))]
        assert list(answers) == [mean.argmax() for mean in means], window
        assert np.allclose(read_out(torch.tensor(logits), window).numpy()[last, np.arange(5)], means, atol=1e-3)


@pytest.mark.parametrize("changes", [
    {"gradient": "membrane", "error_scale": True, "weight_spread": 4.0, "rate_cost": 0.1, "rate": 0.1},
    {"gradient": "surrogate", "dropout": (0.1, 0.1), "shift": 1},
    {"gru": (20, 10), "layers": (UNIT, replace(UNIT, recurrent=True)), "rules": (SPIKE,) * 3, "inhibition": 0.1,
     "thresholds": (256,) * 3, "weight_fracs": (7,) * 3},
    {"rules": (SPIKE, Rule(64, 0, 8)), "thresholds": (256, 32), "coarsen": 0.5},
], ids=["membrane", "surrogate", "inhibition", "hybrid"])
def test_options_of_spiking_networks(changes, blobs, tmp_path):
    torch.manual_seed(1)
    epochs = 3 if "coarsen" in changes else 1
    model = read_model(run(blobs, replace(LIF, epochs=epochs, **changes), tmp_path / "m.tidegate", progress=False))
    assert model.card["validation"]["accuracy"] > 0.3
    rules = [rule and rule.made for rule in changes.get("rules", LIF.rules)]
    assert list(model.network.rules) == rules and list(model.network.thresholds) == list(
        changes.get("thresholds", LIF.thresholds))


def test_a_legendre_memory_reads_pixels(blobs, tmp_path):
    recipe = Recipe(
        "pixels", task="mnist-pixels", steps=196, gru=(8, 12), memory=Memory(8, 196.0, still=True, gain=2.0),
        layers=(LayerRecipe(activation="identity", hears=(0, 2)), LayerRecipe(activation="tanh", hears=(0, 1))),
        thresholds=(0, 0, 0), anneal=0.0, epochs=1, batch=200, decision_frames=1, learning_rate=0.01)
    model = read_model(run(blobs, recipe, tmp_path / "m.tidegate", progress=False))
    own = model.tensors["unit.0.weight_hh"]
    assert abs(np.diag(own / 128).mean() - 1) < 0.1 and model.network.layers[0].hears == (0, 2)


def test_convolutions_are_trained(blobs, tmp_path):
    unit = {"activation": "relu", "recurrent": False}
    layers = (LayerRecipe(conv=Convolution(1, 28, 28, 4, 4), **unit),
              LayerRecipe(conv=Convolution(6, 7, 7, 3, 2), **unit))
    recipe = Recipe("conv", task="mnist-frames", steps=2, gru=(294, 72), layers=layers, thresholds=(8, 8, 8), epochs=2,
                    anneal=0.0, batch=100, decision_frames=1, learning_rate=0.01)
    model = read_model(run(blobs, recipe, tmp_path / "m.tidegate", progress=False))
    assert model.card["validation"]["accuracy"] > 0.3 and Recipe.from_dict(model.card["recipe"]) == recipe
    assert model.tensors["unit.1.weight_ih"].shape == (8, 54) and model.network.shape.startswith("relu conv 4x4 294")
    with pytest.raises(DataError, match="no whole number of channels"):
        replace(recipe, gru=(295, 72))
    with pytest.raises(DataError, match="stride of 1, 2 or 4"):
        Convolution(1, 28, 28, 4, 3)


def test_the_recipe_of_the_page_is_trained(blobs, tmp_path):
    """The example of docs/training.md: a convolution, a junction of two, and a dense layer."""
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    block, = (block for block in findall("```json\n(.*?)```", page, DOTALL) if '"skip"' in block)
    file = tmp_path / "residual.json"
    file.write_text(block, encoding="utf-8")
    recipe = Recipe.read(file)
    model = read_model(run(blobs, replace(recipe, epochs=4), tmp_path / "m.tidegate", progress=False))
    assert [bool(layer.skip) for layer in model.network.layers] == [False, False, True, False]
    assert model.network.heard(2) == (1, 2) and model.card["validation"]["accuracy"] > 0.8
    file.write_text(block.replace('"gru": [294, ', '"gru": ['), encoding="utf-8")
    with pytest.raises(DataError, match=r"^'.*residual.json': 3 layers need 4 thresholds, not 5"):
        Recipe.read(file)


@pytest.mark.parametrize(("changes", "message"), [
    ({"rules": (SPIKE,)}, "1 layers need 2 rules"),
    ({"layers": (UNIT, UNIT)}, "1 layers need 1 descriptions in 'layers', not 2"),
    ({"dropout": (0.1,)}, "need 2 shares of dropout"),
    ({"gru": (24, 24)}, "2 layers need 3 thresholds, not 2 .*; 3 weight_fracs, not 2 .*; 2 descriptions .*; 3 rules, "),
    ({"layers": (replace(UNIT, consumes=False),)}, "what hears it must consume"),
    ({"layers": (replace(UNIT, activation="step"),)}, "activation of the cell unit"),
    ({"stop_margin": 2.0}, "do not decide early"),
    ({"learn_thresholds": True}, "are for the rule delta"),
    ({"memory": Memory(4, 10.0)}, "as many neurons as"),
    ({"memory": Memory(24, 10.0)}, "hears itself"),
    ({"gradient": "straight"}, "gradient"),
])
def test_recipes_that_contradict_themselves(changes, message):
    with pytest.raises(DataError, match=message):
        replace(LIF, **changes)


def test_a_rule_is_checked_and_pixels_have_two_lengths(blobs):
    with pytest.raises(DataError, match="power of two"):
        Rule(3)
    with pytest.raises(DataError, match="784 or 196 steps, not 100"):
        find_task("mnist-pixels").load(replace(LIF, task="mnist-pixels", steps=100), blobs)
    assert Recipe.from_dict(LIF.to_dict()) == LIF
