"""Frames from files of arrays and random walks: what is taken, and that what cannot be is refused in one line."""

import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from models import random_frames, random_model

from tidegate.host.arrays import (
    array_files,
    features_of_integers,
    frame_sequences,
    holds_arrays,
    limited,
    random_walks,
    read_array,
)
from tidegate.spec.errors import TidegateError
from tidegate.spec.formats import SIGNAL


def test_what_a_file_may_hold(tmp_path):
    model, frames = random_model(), random_frames(1, 30)
    np.save(tmp_path / "one.npy", frames)
    np.save(tmp_path / "floats.npy", frames / 256)
    np.save(tmp_path / "many.npy", frames.reshape(3, 10, 10).astype(np.int64))
    np.savez(tmp_path / "x.npz", x=frames, y=np.zeros(3))
    np.savez_compressed(tmp_path / "only.npz", anything=frames)

    def read(name):
        return frame_sequences(model, [tmp_path / name])

    for name in ("one.npy", "x.npz", "only.npz"):
        sequence, = read(name)
        assert sequence.source == str(tmp_path / name) and sequence.frames.dtype == np.int16
        assert np.array_equal(sequence.frames, frames)
    assert np.array_equal(read("floats.npy")[0].frames, model.quantise(frames / 256))
    many = read("many.npy")
    assert [each.source[-3:] for each in many] == ["[0]", "[1]", "[2]"]
    assert np.array_equal(np.concatenate([each.frames for each in many]), frames)
    assert len(array_files(tmp_path)) == 5 and holds_arrays(tmp_path) and not holds_arrays(tmp_path / "a.wav")
    (tmp_path / "labels.txt").write_text("")
    assert not holds_arrays(tmp_path)


BAD = {
    "wide": (np.zeros((5, 9)), r"needs numbers \(T, 10\) or \(N, T, 10\)"),
    "flat": (np.zeros(10), "holds float64"),
    "deep": (np.zeros((1, 2, 3, 10)), "this model needs numbers"),
    "words": (np.array([["a"] * 10]), "holds <U1"),
    "complex": (np.zeros((5, 10), complex), "holds complex128"),
    "bool": (np.zeros((5, 10), bool), "holds bool"),
    "empty": (np.zeros((0, 10)), "holds no frame"),
    "none": (np.zeros((0, 4, 10)), "holds no frame"),
    "large": (np.full((5, 10), 5000), "beyond ±2047"),
    "nan": (np.full((5, 10), np.nan), r"holds NaN or infinity, first at \(0, 0\)"),
    "infinite": (np.full((5, 10), np.inf), "NaN or infinity"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arrays_are_one_line(name, tmp_path):
    values, text = BAD[name]
    np.save(tmp_path / "bad.npy", values)
    np.savez(tmp_path / "bad.npz", x=values)
    for file in ("bad.npy", "bad.npz"):
        with pytest.raises(TidegateError) as error:
            frame_sequences(random_model(), [tmp_path / file])
        assert "\n" not in str(error.value) and text.replace("\\", "") in str(error.value)


def test_bad_files_are_one_line(tmp_path):
    whole = tmp_path / "whole.npz"
    np.savez(whole, x=random_frames(1, 200))
    cut = whole.read_bytes()
    files = {"text.npy": b"nothing", "text.npz": b"nothing", "nothing.npy": b"", "nothing.npz": b"",
             "cut.npz": cut[: len(cut) // 2], "broken.npz": cut[:300] + bytes(50) + cut[350:],
             "head.npy": b"\x93NUMPY\x01\x00\x10\x00{'descr': ((((   "}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    np.save(tmp_path / "object.npy", np.array([[None] * 10]), allow_pickle=True)
    np.savez(tmp_path / "object.npz", x=np.array([[None] * 10]))
    np.savez(tmp_path / "two.npz", a=np.zeros((5, 10)), b=np.zeros((5, 10)))
    for name in (*files, "object.npy", "object.npz", "two.npz", "missing.npy"):
        with pytest.raises(TidegateError) as error:
            read_array(tmp_path / name)
        assert "\n" not in str(error.value) and name in str(error.value), error.value


OTHERS = {
    "text": (b"1,2\n3,4\n", "text, which begins with '1,2 3,4'"),
    "nothing": (b"", "nothing (0 bytes)"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "an HDF5 file"),
    "pickle": (pickle.dumps([1, 2]), "a pickle of Python"),
    "safetensors": (b"\x10" + bytes(7) + b'{"a":{"dtype":', "a safetensors file"),
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_files_of_another_kind_are_named(what, suffix, tmp_path):
    data, text = OTHERS[what]
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    with pytest.raises(TidegateError) as error:
        read_array(path)
    assert f"'{path}' is no .npy or .npz file, but holds {text}; save arrays" in str(error.value)


def test_archives_of_other_things_and_folders(tmp_path):
    def said(name):
        with pytest.raises(TidegateError) as error:
            read_array(tmp_path / name)
        assert "\n" not in str(error.value) and "pickle" not in str(error.value)
        return str(error.value)

    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("a.txt", "x")
    assert "but holds a zip archive (a.txt)" in said("zip.npz")
    with zipfile.ZipFile(tmp_path / "bytes.npz", "w") as archive:
        archive.writestr("a.npy", "x")
    assert "cannot read" in said("bytes.npz") or "is no array" in said("bytes.npz")
    (tmp_path / "folder.npz").mkdir()
    assert "is a folder" in said("folder.npz")
    (tmp_path / "unknown.npy").write_bytes(bytes(range(99)))
    assert "cannot read" in said("unknown.npy")


def test_features_of_integers_become_these_integers_again():
    model, rng = random_model(), np.random.default_rng(0)
    tensors = model.tensors | {"frontend.mean": rng.normal(9, 3, 10).astype(np.float32),
                               "frontend.scale": rng.uniform(0.01, 20, 10).astype(np.float32)}
    model, frames = replace(model, tensors=tensors), random_frames(1, 90)
    assert np.array_equal(model.quantise(features_of_integers(model, frames, "a.npy")), frames)
    floats = rng.normal(0, 1, (5, 10))
    assert features_of_integers(model, floats, "a.npy") is floats
    with pytest.raises(TidegateError, match="beyond ±2047"):
        features_of_integers(model, frames.astype(int) + 5000, "a.npy")


def test_limited():
    sequences = [random_frames(k, 10) for k in range(3)]
    assert [len(frames) for frames in limited(sequences, 25)] == [10, 10, 5]
    assert [len(frames) for frames in limited(sequences, 20)] == [10, 10]


def test_random_walks():
    model = random_model()
    walks = random_walks(model, 450, 3)
    assert [walk.shape for walk in walks] == [(200, 10), (200, 10), (50, 10)]
    assert all(np.array_equal(a, b) for a, b in zip(walks, random_walks(model, 450, 3), strict=True))
    assert not np.array_equal(walks[0], random_walks(model, 450, 4)[0])
    together = np.concatenate(walks)
    assert together.dtype == np.int16 and np.abs(together).max() <= SIGNAL.max
    moves = np.abs(np.diff(walks[0].astype(int), axis=0)) >= model.network.thresholds[0]
    assert 0.02 < moves.mean() < 0.9
