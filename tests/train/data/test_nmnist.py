"""N-MNIST's files: written by hand as they are published."""

import numpy as np
import pytest

from tidegate.train.data.nmnist import load_nmnist, packed, read_events, unpacked
from tidegate.train.errors import DataError
from tidegate.train.recipe import Recipe
from tidegate.train.tasks.registry import find_task


def published(events) -> bytes:
    """(column, row, polarity, time) as five bytes each."""
    return b"".join(bytes([c, r, p << 7 | t >> 16 & 127, t >> 8 & 255, t & 255]) for c, r, p, t in events)


def test_events_are_read_as_published(tmp_path):
    events = [(3, 33, 1, 5), (0, 240, 0, 8191), (33, 0, 0, 70_000), (7, 9, 1, 299_000 - (1 << 13))]
    (tmp_path / "a.bin").write_bytes(published(events))
    read = read_events(tmp_path / "a.bin")
    assert read.tolist() == [[3, 33, 1, 5], [33, 0, 0, 70_000 + (1 << 13)], [7, 9, 1, 299_000]]     # one overflow
    frames = unpacked(packed(read, 10)[None])[0].reshape(10, 2, 34, 34)
    assert [tuple(map(int, at)) for at in np.argwhere(frames)] == [(0, 0, 33, 3), (2, 1, 0, 33), (9, 0, 9, 7)]


def test_a_folder_becomes_sequences(tmp_path):
    rng = np.random.default_rng(2)
    for folder, count in (("Train", 12), ("Test", 2)):
        for digit in range(10):
            (tmp_path / folder / str(digit)).mkdir(parents=True)
            for k in range(count):
                events = np.stack([rng.integers(34, size=50), rng.integers(34, size=50), rng.integers(2, size=50),
                                   np.sort(rng.integers(300_000, size=50))], 1)
                (tmp_path / folder / str(digit) / f"{k:05}.bin").write_bytes(published(events.tolist()))
    recipe = Recipe("events", task="n-mnist", steps=6)
    loaded = find_task("n-mnist").load(recipe, tmp_path)
    assert [len(loaded.of(part)) for part in ("train", "validation", "test")] == [110, 10, 20]
    assert loaded.frames(0).shape == (6, 2 * 34 * 34) and loaded.frames(0).sum() > 40
    assert load_nmnist(tmp_path).steps == 30


def test_what_is_no_recording_is_refused(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"1234567")
    with pytest.raises(DataError, match="5 bytes"):
        read_events(tmp_path / "a.bin")
    with pytest.raises(DataError, match="Train and Test"):
        load_nmnist(tmp_path)
    with pytest.raises(DataError, match="needs its data"):
        load_nmnist(None)
