"""Sets of images, read from files that are made here in the published formats, and how training varies them."""

import gzip
import struct

import numpy as np
import pytest
import torch

from tidegate.train.data.image_sets import load_image_set, name_of, varied
from tidegate.train.errors import DataError


def idx(array):
    """A file in MNIST's format."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist(tmp_path, suffix):
    rng, made = np.random.default_rng(0), {}
    for prefix, count in (("train", 12), ("t10k", 4)):
        images, labels = rng.integers(256, size=(count, 28, 28), dtype=np.uint8), np.arange(count, dtype=np.uint8) % 10
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            data = idx(array)
            (tmp_path / f"{prefix}-{kind}-ubyte{suffix}").write_bytes(gzip.compress(data) if suffix else data)
        made[prefix] = images, labels
    image_set = load_image_set("fashion-mnist", tmp_path)
    assert image_set.image == (1, 28, 28) and image_set.labels[9] == "ankle boot"
    assert [len(image_set.of(part)) for part in ("train", "validation", "test")] == [10, 2, 4]
    for clips, (images, labels) in ((range(12), made["train"]), (range(12, 16), made["t10k"])):
        assert np.array_equal(image_set.values[clips, :, :, 0], images)
        assert np.array_equal(image_set.targets[clips], labels)
    file = tmp_path / f"train-images-idx3-ubyte{suffix}"
    whole = file.read_bytes()
    damaged = {b"short": True, whole[:40] + bytes(200) + whole[240:]: bool(suffix), whole[: len(whole) // 2]: True}
    for data in (data for data, told in damaged.items() if told):
        file.write_bytes(data)
        with pytest.raises(DataError, match=r"damaged .*tidegate data fashion-mnist"):
            load_image_set("fashion-mnist", tmp_path)


def test_cifar_10(tmp_path):
    """Five files of training images and one of the test: a label, then red, green and blue, row by row."""
    rng, made = np.random.default_rng(1), []
    for name in [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(256, size=(4, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        records.tofile(tmp_path / name)
        made.append(records)
    image_set, records = load_image_set("cifar-10", tmp_path), np.concatenate(made)
    assert image_set.image == (3, 32, 32) and image_set.labels[0] == "airplane"
    assert [len(image_set.of(part)) for part in ("train", "validation", "test")] == [17, 3, 4]
    assert np.array_equal(image_set.targets, records[:, 0])
    assert image_set.values[5, 7, 9].tolist() == [records[5, 1 + 1024 * c + 32 * 7 + 9] for c in range(3)]
    (tmp_path / "data_batch_3.bin").write_bytes(bytes(100))
    with pytest.raises(DataError, match="an image has 3073 bytes"):
        load_image_set("cifar-10", tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"no file .*data_batch_3\.bin'; run `tidegate data cifar-10`"):
        load_image_set("cifar-10", tmp_path)


def test_names(tmp_path):
    assert name_of(tmp_path / "cifar-10") == "cifar-10"
    with pytest.raises(DataError, match="does not say which images"):
        name_of(tmp_path)
    with pytest.raises(DataError, match="no set of images 'letters'"):
        load_image_set("letters", tmp_path)


def test_images_are_moved_and_mirrored():
    images = torch.zeros(64, 2, 9, 9, dtype=torch.uint8)
    images[:, 0, 4, 4], images[:, 1, 4, 5] = 1, 2
    moved = varied(images, torch.Generator().manual_seed(0), 2, True)
    assert moved.shape == images.shape and (moved.sum((1, 2, 3)) == 3).all()
    at, right = ((moved[:, k].flatten(1).argmax(1)) for k in (0, 1))
    assert set((right - at).tolist()) == {-1, 1}
    assert set((at // 9).tolist()) == set(range(2, 7)) and set((at % 9).tolist()) == set(range(2, 7))
    still = varied(images, torch.Generator().manual_seed(0), 0, False)
    assert torch.equal(still, images)
