"""The study of deep networks on images that are made here: networks, training, tables and the drawing."""

import json
import struct
import sys

import numpy as np
import pytest
import torch

from tidegate.golden.module_graph import module_layers
from tidegate.spec.model import read_model
from tidegate.train.data.image_sets import load_image_set
from tidegate.train.publish import deep_plot
from tidegate.train.study import deep
from tidegate.train.study.deep_networks import NETWORKS, Training, accuracy, resnet, train, vgg


def idx(array):
    """A file in MNIST's format."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Spots for clothes: the class is where the bright one is."""
    folder, rng = tmp_path_factory.mktemp("images") / "mnist", np.random.default_rng(3)
    folder.mkdir()
    for prefix, count in (("train", 480), ("t10k", 40)):
        labels = rng.integers(10, size=count).astype(np.uint8)
        images = rng.integers(30, size=(count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = 5 + 10 * (label // 5), 3 + 5 * (label % 5)
            image[row : row + 5, column : column + 4] = 220
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


def test_networks_are_those_of_the_page():
    """Weight layers and products per image, of 28 x 28 pixels and of 32 x 32 of three colours."""
    for image in ((1, 28, 28), (3, 32, 32)):
        plain, residual = (module_layers(NETWORKS[name](image, 10), image) for name in ("vgg", "resnet"))
        pooling = [layer.name.startswith("pooling") for layer in plain]
        assert len(plain) - sum(pooling) == 7 and sum(pooling) == 2
        assert len(residual) == 8 and sum(len(layer.feeds) == 2 for layer in residual) == 3
    assert sum(layer.weight.numel() for layer in plain) > 100_000


def test_training_learns(folder):
    torch.manual_seed(0)
    image_set = load_image_set("mnist", folder)
    network = vgg(image_set.image, 10, widths=(8, 8), each=(1, 1))
    told = []
    train(network, image_set, Training(8, batch=20, learning_rate=0.1, shift=0, flip=False), 0,
          lambda *now: told.append(now))
    assert len(told) == 8 and told[-1][1] < told[0][1]
    assert accuracy(network, image_set, image_set.of("test")) > 0.8


def test_the_command(folder, tmp_path, monkeypatch, capsys):
    for name, value in (("STEPS", (4, 8)), ("_CALIBRATION", 8), ("_FRAMES", 4), ("_CHOICE", 8), ("_CHOICE_FRAMES", 4),
                        ("PERCENTILES", (100.0, 99.0))):
        monkeypatch.setattr(deep, name, value)
    small = {"resnet": lambda image, classes: resnet(image, classes, widths=(8, 8))}
    monkeypatch.setattr(deep, "NETWORKS", small)
    arguments = ["deep", str(folder), "--network", "resnet", "--seeds", "0", "1", "--epochs", "1", "--out",
                 str(tmp_path / "out"), "--images", "20"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--paper"])
    assert deep.main() == 0
    monkeypatch.setattr(sys, "argv", arguments)
    assert deep.main() == 0                 # the networks are there
    told = capsys.readouterr().out
    assert told.count("epoch 1 of 1") == 2 and "T = 8" in told and "spikes per neuron and frame" in told
    rows = json.loads((tmp_path / "out" / "resnet.json").read_text())
    assert [(row["seed"], row["balance"]) for row in rows] == [
        (seed, balance) for seed in (0, 1) for balance in ("spikes", "activations")]
    assert len(json.loads((tmp_path / "out" / "resnet-paper.json").read_text())) == 16
    network = read_model(tmp_path / "out" / "resnet-0-spikes.tidegate").network
    assert any(layer.skip for layer in network.layers) and rows[0]["dense"] == network.dense_weights
    (tmp_path / "out" / "resnet-0.pt").write_bytes(b"no network")
    assert deep.main() == 1 and "is not a network 'resnet'" in capsys.readouterr().err
    drawn = tmp_path / "deep.svg"
    monkeypatch.setattr(sys, "argv", ["deep_plot", str(tmp_path / "out" / "resnet.json"), "--plot", str(drawn)])
    assert deep_plot.main() == 0 and "<svg" in drawn.read_text()[:600]
    monkeypatch.setattr(sys, "argv", ["deep_plot", str(drawn), "--plot", str(drawn)])
    assert deep_plot.main() == 1 and capsys.readouterr().err.startswith("error: ")


def written(folder, train, test):
    """A set of random images in MNIST's files."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for prefix, count in (("train", train), ("t10k", test)):
        images = rng.integers(256, size=(count, 28, 28)).astype(np.uint8)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx((np.arange(count) % 10).astype(np.uint8)))
    return folder


def test_a_small_set_will_do(tmp_path, monkeypatch, capsys):
    """Fewer images than a batch, than calibrate, and than choose a percentile."""
    for name, value in (("STEPS", (4,)), ("_FRAMES", 4), ("_CHOICE_FRAMES", 4), ("PERCENTILES", (99.0,))):
        monkeypatch.setattr(deep, name, value)
    monkeypatch.setattr(deep, "NETWORKS", {"vgg": lambda image, classes: vgg(image, classes, (8, 8), (1, 1))})
    arguments = ["--seeds", "0", "--epochs", "1", "--out", str(tmp_path / "out")]
    (tmp_path / "few").mkdir()
    monkeypatch.setattr(sys, "argv", ["deep", str(written(tmp_path / "mnist", 30, 3)), *arguments])
    assert deep.main() == 0, capsys.readouterr().err
    assert "of 5 validation images" in capsys.readouterr().out
    for k, (train_images, test_images, part) in enumerate(((5, 3, "validation"), (30, 0, "test"))):
        (tmp_path / str(k)).mkdir()
        folder = written(tmp_path / str(k) / "mnist", train_images, test_images)
        monkeypatch.setattr(sys, "argv", ["deep", str(folder), *arguments])
        assert deep.main() == 1 and f"has no image in the part {part}" in capsys.readouterr().err


@pytest.mark.parametrize("option, value", [("--epochs", "0"), ("--seeds", "-1"), ("--images", "0"), ("--seeds", "1.5"),
                                           ("--seeds", "99999999999999999999")])
def test_numbers_that_are_none(option, value, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["deep", str(tmp_path), f"{option}={value}"])
    with pytest.raises(SystemExit):
        deep.main()
    assert f"argument {option}: '{value}' is not a whole number" in capsys.readouterr().err


def test_a_folder_that_says_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["deep", str(tmp_path), "--out", str(tmp_path / "out")])
    assert deep.main() == 1
    assert "does not say which images" in capsys.readouterr().err


def test_images_of_three_colours(tmp_path, monkeypatch, capsys):
    """CIFAR-10's files, made here."""
    folder, rng = tmp_path / "cifar-10", np.random.default_rng(0)
    folder.mkdir()
    for name in [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(256, size=(32, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        records.tofile(folder / name)
    for name, value in (("STEPS", (4, 8)), ("_CALIBRATION", 8), ("_FRAMES", 4), ("_CHOICE", 8),
                        ("PERCENTILES", (99.0,))):
        monkeypatch.setattr(deep, name, value)
    small = {"vgg": lambda image, classes: vgg(image, classes, widths=(8, 8), each=(1, 1))}
    monkeypatch.setattr(deep, "NETWORKS", small)
    monkeypatch.setattr(sys, "argv", ["deep", str(folder), "--seeds", "0", "--epochs", "1", "--out",
                                      str(tmp_path / "out")])
    assert deep.main() == 0, capsys.readouterr().err
    assert "vgg on cifar-10, seeds 0, 32 test images" in capsys.readouterr().out
    model = read_model(tmp_path / "out" / "vgg-0-activations.tidegate")
    assert model.network.features == 3 * 32 * 32 and model.labels[0] == "airplane"
