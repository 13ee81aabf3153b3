from collections import Counter

import pytest

from tidegate.train.data import DataError, scan


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def parts(data):
    return {clip.path: clip.part for clip in data.clips}


def test_fsdd_takes_decide(tmp_path):
    touch(tmp_path, *(f"recordings/{d}_{who}_{take}.wav" for d in "37" for who in ("ann", "bob") for take in range(10)))
    data = scan(tmp_path)
    assert data.labels == ("3", "7") and len(data.clips) == 40
    assert parts(data)["recordings/3_ann_4.wav"] == "test"
    assert Counter(parts(data).values()) == {"test": 20, "validation": 12, "train": 8}
    assert Counter(c.label for c in scan(tmp_path / "recordings").clips) == {"3": 20, "7": 20}


def test_lists_decide_whatever_the_suffix(tmp_path):
    touch(tmp_path, "yes/a_nohash_0.ogg", "yes/b_nohash_0.wav", "no/c_nohash_1.flac", "no/d_nohash_0.wav")
    (tmp_path / "validation_list.txt").write_text("yes/a_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text("no/c_nohash_1.wav\n")
    assert parts(scan(tmp_path)) == {"yes/a_nohash_0.ogg": "validation", "yes/b_nohash_0.wav": "train",
                                     "no/c_nohash_1.flac": "test", "no/d_nohash_0.wav": "train"}


def test_words_of_two_words_are_listed_too(tmp_path):
    touch(tmp_path, "turn on/a.wav", "turn on/b.wav", "off/a.wav")
    (tmp_path / "validation_list.txt").write_text("turn on/a.wav\n\n")
    assert parts(scan(tmp_path)) == {"turn on/a.wav": "validation", "turn on/b.wav": "train", "off/a.wav": "train"}


def test_without_lists_a_speaker_stays_in_one_part(tmp_path):
    touch(tmp_path, *(f"{word}/{s:08x}_nohash_{k}.wav" for s in range(300) for word in ("yes", "no") for k in (0, 1)))
    data = scan(tmp_path)
    by_speaker = {}
    for path, part in parts(data).items():
        by_speaker.setdefault(path.split("/")[1][:8], set()).add(part)
    assert all(len(found) == 1 for found in by_speaker.values())
    share = Counter(parts(data).values())
    assert 0.7 < share["train"] / 1200 < 0.9 and min(share.values()) > 50
    assert parts(scan(tmp_path)) == parts(data)


def test_keywords_unknown_and_silence(tmp_path):
    touch(tmp_path, *(f"{word}/{s:04x}_nohash_0.wav" for word in ("up", "down", "cat", "dog") for s in range(40)))
    touch(tmp_path, "_background_noise_/tap.flac", "_background_noise_/README.md")
    data = scan(tmp_path, ("up", "down"))
    assert data.labels == ("up", "down", "unknown", "silence")
    assert data.noise == ("_background_noise_/tap.flac",)
    assert Counter(c.label for c in data.clips) == {"up": 40, "down": 40, "unknown": 80}
    assert scan(tmp_path).labels == ("cat", "dog", "down", "up", "silence")


def test_one_speaker_left_out(tmp_path):
    touch(tmp_path, *(f"{d}_{who}_{take}.wav" for d in "37" for who in ("ann", "bob") for take in range(10)))
    data = scan(tmp_path, speaker="ann")
    assert {c.path for c in data.clips if c.part == "test"} == {c.path for c in data.clips if "_ann_" in c.path}
    assert Counter(parts(data).values()) == {"test": 20, "validation": 6, "train": 14}
    with pytest.raises(DataError, match="no clips of the speaker 'eve'"):
        scan(tmp_path, speaker="eve")


@pytest.mark.parametrize("files, keywords, message", [
    ((), (), "no recorded words"),
    (("yes/notes.txt",), (), "no recorded words"),
    (("yes/a.wav",), ("yes", "no", "maybe"), "no clips of the words no, maybe"),
    (("yes/a.wav", "no/a.wav"), (), r"too few clips of no \(1\), yes \(1\)"),
])
def test_errors_say_what_to_do(tmp_path, files, keywords, message):
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=message) as error:
        scan(tmp_path, keywords)
    assert "\n" not in str(error.value)


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match="no folder"):
        scan(tmp_path / "none")


def test_other_files_are_not_clips(tmp_path):
    touch(tmp_path, *(f"{word}/{s:04x}_nohash_0.wav" for s in range(60) for word in ("yes", "no")),
          "yes/readme.txt", "yes/._a.wav", ".git/x.wav", "LICENSE")
    assert len(scan(tmp_path).clips) == 120
