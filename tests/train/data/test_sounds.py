import numpy as np
import pytest
import soundfile

from tidegate.host.audio import AudioError
from tidegate.train.data.sounds import (
    Recording,
    Segment,
    find_recordings,
    in_room,
    loudness,
    passages,
    read_piece,
    room,
    sound_seconds,
    why_not,
)
from tidegate.train.errors import DataError

RATE = 8000


def ramp(seconds, rate=RATE):
    """A sound that tells where in it one is."""
    return np.linspace(-0.5, 0.5, int(seconds * rate), dtype=np.float32)


def endless(path, sound, rate=RATE):
    """A FLAC file whose header does not state the number of samples, as a pipe writes it."""
    soundfile.write(path, sound, rate, format="FLAC")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0                # STREAMINFO: 36 bits of total samples begin in the middle of this byte
    data[22:26] = bytes(4)
    path.write_bytes(data)


def test_recordings_of_a_tree(tmp_path):
    for name in ("top.wav", "a/x.wav", "a/deep/y.flac", "b/z.wav", "b/.hidden.wav", "_other_/w.wav", "b/.folder/v.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, ramp(0.5), RATE)
    (tmp_path / "a/broken.wav").write_text("no sound")
    soundfile.write(tmp_path / "b/short.wav", ramp(0.05), RATE)
    (tmp_path / "b/read.me").write_text("not a sound")
    found, skipped = find_recordings(tmp_path)
    assert {(r.path.relative_to(tmp_path).as_posix(), r.source) for r in found} == {
        ("top.wav", tmp_path.name), ("a/x.wav", "a"), ("a/deep/y.flac", "a"), ("b/z.wav", "b")}
    assert all(r.seconds == 0.5 for r in found)
    assert [path.rpartition("/")[2] for path, _ in skipped] == ["broken.wav", "short.wav"]
    kept, _ = find_recordings(tmp_path, lambda path: path.suffix == ".flac")
    assert [r.path.name for r in kept] == ["y.flac"]
    with pytest.raises(DataError, match="no folder"):
        find_recordings(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no sound file"):
        find_recordings(tmp_path / "empty")


def test_links_to_folders_are_followed_once(tmp_path):
    (tmp_path / "real/talk").mkdir(parents=True)
    soundfile.write(tmp_path / "real/talk/a.wav", ramp(0.5), RATE)
    (tmp_path / "given").mkdir()
    (tmp_path / "given/linked").symlink_to(tmp_path / "real")
    (tmp_path / "real/back").symlink_to(tmp_path / "given")         # a circle
    assert [r.source for r in find_recordings(tmp_path / "given")[0]] == ["linked"]


@pytest.mark.parametrize("suffix", ["wav", "flac", "endless.flac"])
def test_a_piece_of_a_file(tmp_path, suffix):
    path, sound = tmp_path / f"a.{suffix}", ramp(30)
    (endless if "endless" in suffix else lambda p, s: soundfile.write(p, s, RATE))(path, sound)
    assert sound_seconds(path) == 30.0
    for start, seconds in ((0.0, 1.0), (12.5, 2.0), (29.0, 1.0), (29.0, 5.0)):
        begin = int(start * RATE)
        there = sound[begin : begin + int(seconds * RATE)]
        assert read_piece(Segment(path, start, seconds), RATE) == pytest.approx(there, abs=1e-4)
    twice = read_piece(Segment(path, 10.0, 1.0), 2 * RATE)
    assert len(twice) == 2 * RATE and abs(twice[RATE] - sound[int(10.5 * RATE)]) < 1e-3


def test_why_a_piece_cannot_be_heard(tmp_path):
    soundfile.write(tmp_path / "a.wav", ramp(1), RATE)
    assert why_not(Segment(tmp_path / "a.wav", 0.0, 1.0), RATE) == ""
    assert why_not(Segment(tmp_path / "a.wav", 2.0, 1.0), RATE)
    (tmp_path / "b.wav").write_text("no sound")
    assert "cannot be read as sound" in why_not(Segment(tmp_path / "b.wav", 0.0, 1.0), RATE)
    with pytest.raises(AudioError):
        sound_seconds(tmp_path / "b.wav")


def test_passages_play_everything_once(tmp_path):
    recordings = [Recording(tmp_path / f"{k}", "short", 3.0 + k / 10) for k in range(20)]
    recordings += [Recording(tmp_path / "long", "long", 100.0)]
    found = passages(recordings, 10.0, np.random.default_rng(1))
    pieces = [piece for passage in found for piece in passage.pieces]
    for r in recordings:
        own = sorted((p for p in pieces if p.path == r.path), key=lambda p: p.start_s)
        assert sum(p.seconds for p in own) == pytest.approx(r.seconds)
        assert [p.start_s for p in own] == pytest.approx(np.cumsum([0, *(p.seconds for p in own[:-1])]).tolist())
    assert all(passage.seconds <= 15 for passage in found)
    assert sum(passage.seconds >= 9 for passage in found) >= len(found) - 1
    other = passages(recordings, 10.0, np.random.default_rng(2))
    assert found == passages(recordings, 10.0, np.random.default_rng(1)) != other


def test_loudness_leaves_pauses_out():
    tone = np.sin(np.arange(RATE) * 0.7)
    assert loudness(tone, RATE) == pytest.approx(0.5**0.5, rel=0.01)
    assert loudness(np.concatenate([np.zeros(5 * RATE), tone, np.zeros(5 * RATE)]), RATE) == pytest.approx(
        0.5**0.5, rel=0.01)
    assert loudness(np.zeros(RATE), RATE) == 0 == loudness(np.zeros(3), RATE)


def test_a_room(tmp_path):
    """An echo after 50 ms: the response begins at its direct path, and a room keeps the energy of a sound."""
    response = np.zeros(RATE, np.float32)
    response[100], response[500] = 0.8, 0.4
    soundfile.write(tmp_path / "room.wav", response, RATE, subtype="FLOAT")
    found = room(tmp_path / "room.wav", RATE)
    assert found[0] == pytest.approx(0.8) and found[400] == pytest.approx(0.4) and len(found) <= RATE
    click = np.zeros(1000, np.float32)
    click[10] = 1.0
    wet = in_room(click, found)
    assert len(wet) == 1000 + len(found) - 1 and np.square(wet).sum() == pytest.approx(1.0, rel=1e-5)
    assert wet[410] / wet[10] == pytest.approx(0.5, rel=1e-4)
    rest = np.delete(wet, [10, 410])
    assert np.abs(rest).max() < 1e-5
    noise = np.random.default_rng(1).normal(0, 0.1, 700).astype(np.float32)
    slow = np.convolve(noise, found)
    same = np.sqrt(np.square(noise).sum() / np.square(slow).sum())
    assert in_room(noise, found) == pytest.approx(slow * same, abs=1e-5)
