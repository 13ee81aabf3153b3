"""A file that is written again is the old one until it is the new one."""

import pytest

from tidegate.train.files import replacing


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
