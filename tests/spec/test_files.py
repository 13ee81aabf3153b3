"""A file that is written again is the old one until it is the new one."""

import errno
from pathlib import Path

import pytest

from tidegate.spec import model as model_file
from tidegate.spec.files import replacing
from tidegate.spec.model import read_model, save_model
from tidegate.zoo import load


def test_the_new_file_comes_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with open(path) as reader:
        with replacing(path) as part:
            part.write_text("new")
            assert path.read_text() == "old"
        assert path.read_text() == "new" and reader.read() == "old"     # renamed, not written over
    with pytest.raises(KeyboardInterrupt), replacing(path) as part:
        part.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "none" / "a") as part:
        part.write_text("x")
    (tmp_path / "b").mkdir()
    with pytest.raises(OSError), replacing(tmp_path / "b") as part:
        part.write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_link_and_a_device_stay_what_they_are(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with replacing(tmp_path / "link") as part:
        part.write_text("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "a").read_text() == "new"
    with replacing("/dev/null") as part:
        part.write_text("x")
    assert Path("/dev/null").is_char_device()


def test_a_model_survives_a_full_disk(tmp_path, monkeypatch):
    model, path = load("digits"), tmp_path / "m.tidegate"
    save_model(model, path)

    def full(part, data):
        with open(part, "wb") as file:
            file.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device", str(part))
    monkeypatch.setattr(model_file.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save_model(model.turned(2), path)
    monkeypatch.undo()
    assert read_model(path).digest == model.digest and list(tmp_path.iterdir()) == [path]
