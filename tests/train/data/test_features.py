import time

import numpy as np
import pytest
import soundfile

from tidegate.host.audio import read_audio
from tidegate.host.frontend import FrontEnd
from tidegate.train.data.features import load_features
from tidegate.train.data.folders import PARTS, scan
from tidegate.train.errors import DataError


def test_clips_are_what_the_front_end_gives(write_words, recipe, tmp_path):
    root = write_words(clips=25)
    data = scan(root)
    features = load_features(data, recipe.frontend, tmp_path / "cache")
    assert len(features.targets) == 100 and features.skipped == ()
    for i, clip in enumerate(data.clips):
        live = FrontEnd(recipe.frontend).energies(read_audio(root / clip.path, recipe.frontend.sample_rate))
        assert np.array_equal(features.clip(i), live)
        assert data.labels[features.targets[i]] == clip.label and PARTS[features.parts[i]] == clip.part


def test_second_load_comes_from_the_cache(write_words, recipe, tmp_path, monkeypatch):
    data = scan(write_words(clips=25))
    first = load_features(data, recipe.frontend, tmp_path / "cache")
    monkeypatch.setattr("tidegate.train.data.features.read_audio", None)       # decoding again would fail
    second = load_features(data, recipe.frontend, tmp_path / "cache")
    assert np.array_equal(first.energies, second.energies) and np.array_equal(first.offsets, second.offsets)
    (store,) = (tmp_path / "cache").iterdir()
    store.write_bytes(store.read_bytes()[:1000])                          # cut short: decoded again
    monkeypatch.undo()
    third = load_features(data, recipe.frontend, tmp_path / "cache")
    assert np.array_equal(first.energies, third.energies)
    store.write_bytes(b"")
    assert np.array_equal(first.energies, load_features(data, recipe.frontend, tmp_path / "cache").energies)


def test_the_cache_is_where_the_environment_says(write_words, recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "elsewhere"))
    load_features(scan(write_words(clips=25)), recipe.frontend)
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_a_changed_clip_is_decoded_again(write_words, recipe, tmp_path):
    root = write_words(clips=25)
    first = load_features(scan(root), recipe.frontend, tmp_path / "cache")
    path = root / scan(root).clips[0].path
    soundfile.write(path, np.zeros(3000, np.float32), recipe.frontend.sample_rate)      # kept: no word of one's own
    second = load_features(scan(root), recipe.frontend, tmp_path / "cache")
    assert first.clip(0).max() > 0 and second.clip(0).max() == 0


def test_silence_is_cut_without_overlap_between_parts(write_words, recipe, tmp_path):
    data = scan(write_words(clips=25, noise=True))
    features = load_features(data, recipe.frontend, tmp_path / "cache")
    silence = np.flatnonzero(features.targets == data.labels.index("silence"))
    size = recipe.frontend.frames(recipe.frontend.sample_rate)
    assert all(len(features.clip(i)) == size for i in silence)
    by_part = {part: {row.tobytes() for i in silence for row in features.clip(i) if PARTS[features.parts[i]] == part}
               for part in PARTS}
    assert all(by_part[part] for part in PARTS)
    assert not by_part["train"] & by_part["validation"] and not by_part["validation"] & by_part["test"]
    mixed = {row.tobytes() for row in features.noise}
    assert by_part["train"] <= mixed and not mixed & (by_part["validation"] | by_part["test"])


def test_bad_clips_are_skipped_and_listed(write_words, recipe, tmp_path):
    root = write_words(clips=25)
    (root / "low" / "0000_nohash_0.wav").write_text("no sound")
    soundfile.write(root / "low" / "0001_nohash_0.wav", np.zeros(50, np.float32), 8000)
    soundfile.write(root / "low" / "0002_nohash_0.wav", np.zeros(8000 * 11, np.float32), 8000)
    features = load_features(scan(root), recipe.frontend, tmp_path / "cache")
    reasons = dict(features.skipped)
    assert len(features.targets) == 97
    assert "cannot be read" in reasons["low/0000_nohash_0.wav"]
    assert reasons["low/0001_nohash_0.wav"] == "shorter than one window"
    assert reasons["low/0002_nohash_0.wav"] == "longer than 10 s"


def test_a_class_without_usable_clips_is_an_error(write_words, recipe, tmp_path):
    root = write_words(clips=25)
    for path in (root / "rise").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no usable clip of 'rise'.*25 clips were unreadable"):
        load_features(scan(root), recipe.frontend, tmp_path / "cache")


def test_a_part_whose_clips_are_all_unreadable_is_named(write_words, recipe, tmp_path):
    """Three speakers, so each is a part; the silence cut from noise does not stand for the speech that is missing."""
    source, root = write_words(clips=24, noise=True), tmp_path / "words"
    for k, path in enumerate(sorted(source.glob("*/*_nohash_*"))):
        place = root / path.parent.name / ("ann", "bob", "eve")[k % 3]
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / path.name)
    (source / "_background_noise_").rename(root / "_background_noise_")
    who = {clip.part: clip.speaker for clip in scan(root).clips}
    for path in root.glob(f"*/{who['test']}/*"):
        path.write_text(f"no sound {path}")     # unlike the others: copies are left out
    features = load_features(scan(root), recipe.frontend, tmp_path / "cache")
    warning, = (w for w in features.warnings if "test part" in w)
    assert f"32 were put there (all by {who['test']}), and none can be used, as 'fall/{who['test']}/" in warning
    for path in root.glob(f"*/{who['validation']}/*"):
        path.write_text(f"no sound {path}")     # unlike the others: copies are left out
    with pytest.raises(DataError, match=rf"validation part: 32 .*all by {who['validation']}.*cannot be read") as error:
        load_features(scan(root), recipe.frontend, tmp_path / "cache")
    assert "\n" not in str(error.value)


def test_an_interrupt_does_not_wait_for_the_rest(write_words, recipe, tmp_path, monkeypatch):
    calls = []

    def interrupted(path, rate, warn):
        calls.append(path)
        time.sleep(0.02 if len(calls) > 1 else 0)
        raise KeyboardInterrupt

    monkeypatch.setattr("tidegate.train.data.features.read_audio", interrupted)
    data = scan(write_words(clips=25))
    with pytest.raises(KeyboardInterrupt):
        load_features(data, recipe.frontend, tmp_path / "cache")
    assert len(calls) < len(data.clips) and not (tmp_path / "cache").exists()


def test_cache_that_cannot_be_written(write_words, recipe, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cache"):
        load_features(scan(write_words(clips=25)), recipe.frontend, tmp_path / "file")


def test_cut_clips_are_used_and_told_also_from_the_cache(write_words, recipe, tmp_path):
    root = write_words(clips=25)
    first, second = sorted((root / "low").iterdir())[:2]
    for path in (first, second):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    for _ in range(2):
        features = load_features(scan(root), recipe.frontend, tmp_path / "cache")
        assert features.skipped == () and len(features.targets) == 100
        line, = (w for w in features.warnings if "cut short" in w)
        assert line.startswith("2 recordings are used as they are") and first.name in line


def test_a_flac_of_unknown_length_is_a_clip(write_words, recipe, tmp_path):
    root = write_words(clips=25)
    path = sorted((root / "low").iterdir())[0]
    samples, rate = soundfile.read(path, dtype="int16")
    soundfile.write(path.with_suffix(".flac"), samples, rate)
    path.unlink()
    known = load_features(scan(root), recipe.frontend, tmp_path / "cache")
    flac = bytearray(path.with_suffix(".flac").read_bytes())
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    path.with_suffix(".flac").write_bytes(flac)
    again = load_features(scan(root), recipe.frontend, tmp_path / "cache")
    assert again.skipped == () and np.array_equal(again.energies, known.energies)
    path.with_suffix(".flac").write_bytes(flac[: len(flac) // 2])
    broken = load_features(scan(root), recipe.frontend, tmp_path / "cache")
    assert [name for name, _ in broken.skipped] == [f"low/{path.stem}.flac"] and len(broken.targets) == 99


def test_mp3_clips_are_clips(write_words, recipe, tmp_path):
    root = write_words(clips=25)
    for path in sorted((root / "low").iterdir())[:3]:
        samples, rate = soundfile.read(path, dtype="float32")
        soundfile.write(path.with_suffix(".mp3"), samples, rate)
        path.unlink()
    data = scan(root)
    features = load_features(data, recipe.frontend, tmp_path / "cache")
    assert sum(clip.path.endswith(".mp3") for clip in data.clips) == 3
    assert features.skipped == () and len(features.targets) == 100
