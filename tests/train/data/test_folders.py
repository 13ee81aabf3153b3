from collections import Counter, defaultdict

import pytest

from tidegate.train.data.folders import default_recipe, scan
from tidegate.train.errors import DataError


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def parts(data):
    return {clip.path: clip.part for clip in data.clips}


def test_the_recipe_of_a_folder_when_none_is_named(tmp_path):
    assert default_recipe(None) == default_recipe(tmp_path / "nope") == default_recipe(tmp_path) == "digits"
    for name, words in (("numbers", ("zero", "7")), ("mine", ("one", "lights"))):
        for word in words:
            (tmp_path / name / word).mkdir(parents=True)
            for k in range(3):
                (tmp_path / name / word / f"ann_{k}.wav").write_bytes(word.encode() + bytes([k]))
    assert default_recipe(tmp_path / "numbers") == "digits" and default_recipe(tmp_path / "mine") == "words"


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


def speakers(data):
    found = defaultdict(set)
    for clip in data.clips:
        found[clip.speaker].add(clip.part)
    return found


@pytest.mark.parametrize("pattern", ["{w}/{s}/{k}.wav", "{w}/{s}_nohash_{k}.wav", "{w}/{w}_{s}_{k}.wav"])
@pytest.mark.parametrize("count", [3, 5, 9, 12])
def test_few_speakers_are_each_in_one_part_and_no_part_is_empty(tmp_path, pattern, count):
    touch(tmp_path, *(pattern.format(w=w, s=f"person{s}", k=k)
                      for w in ("turn_on", "off") for s in range(count) for k in range(10)))
    data = scan(tmp_path)
    found = speakers(data)
    assert len(found) == count and all(len(p) == 1 for p in found.values())
    assert Counter(p for (p,) in found.values()).keys() == {"train", "validation", "test"}
    assert data.warnings == () and parts(scan(tmp_path)) == parts(data)


def test_who_said_most_trains(tmp_path):
    touch(tmp_path, *(f"{w}/me/{k}.wav" for w in ("on", "off") for k in range(100)),
          *(f"{w}/{s}/{k}.wav" for w in ("on", "off") for s in ("ann", "bob") for k in range(10)))
    found = speakers(scan(tmp_path))
    assert found["me"] == {"train"} and found["ann"] | found["bob"] == {"validation", "test"}


def test_a_tiny_part_is_warned_about(tmp_path):
    touch(tmp_path, *(f"{w}/me/{k}.wav" for w in ("on", "off") for k in range(300)),
          *(f"{w}/{s}/{k}.wav" for w in ("on", "off") for s in ("ann", "bob") for k in range(10)))
    assert [w for w in scan(tmp_path).warnings if "rough" in w] == [
        f"the {part} part has 20 of 640 clips: its figures are rough; more speakers help"
        for part in ("validation", "test")]


def test_a_clip_of_nobody_trains_where_speakers_are_few(tmp_path):
    touch(tmp_path, *(f"{w}/{s}/{k}.wav" for w in ("on", "off") for s in ("ann", "bob", "eve") for k in range(10)),
          *(f"on/{k}.wav" for k in range(30)), *(f"unknown/{k}.wav" for k in range(30)))
    found = parts(scan(tmp_path))
    assert {found[f"on/{k}.wav"] for k in range(30)} == {"train"}
    assert {found[f"unknown/{k}.wav"] for k in range(30)} == {"train", "validation", "test"}


@pytest.mark.parametrize("names, warning", [
    ([""], "no names of speakers, so clips are split one by one"),
    (["ann/"], "one speaker only: the figures say nothing about other voices"),
    (["ann/", "bob/"], "two speakers only, both in all parts: the figures say nothing about other voices"),
])
def test_one_or_two_speakers_are_split_by_clip_with_a_warning(tmp_path, names, warning):
    touch(tmp_path, *(f"words/{w}/{s}{k}.wav" for w in ("on", "off") for s in names for k in range(20)))
    data = scan(tmp_path / "words")
    for word in ("on", "off"):
        size = len(names) * 3
        assert Counter(c.part for c in data.clips if c.label == word) == {
            "train": 20 * len(names) - 2 * size, "validation": size, "test": size}
    assert len(data.clips) == len(parts(data)) == 40 * len(names)
    assert len(data.warnings) == 1 and data.warnings[0].startswith(warning)


def test_copies_are_left_out(tmp_path):
    for word in ("on", "off"):
        (tmp_path / word).mkdir()
        for k in range(25):
            (tmp_path / word / f"{k:02}.wav").write_bytes(f"{word}{k:02}".encode().ljust(9))
    (tmp_path / "on" / "again.wav").write_bytes(b"on07".ljust(9))
    (tmp_path / "off" / "wrong.wav").write_bytes(b"on03".ljust(9))
    data = scan(tmp_path)
    assert len(data.clips) == 50 and len({c.path for c in data.clips}) == 50
    assert sorted(reason for _, reason in data.skipped) == ["a copy of off/wrong.wav", "a copy of on/07.wav"]


def test_few_clips_and_strays_are_warned_about(tmp_path):
    touch(tmp_path, "x.wav", *(f"{w}/{s}/{k}.wav" for w in ("on", "off") for s in "abc" for k in range(5)))
    few, stray = scan(tmp_path).warnings
    assert few.startswith("few clips of off (15), on (15)") and stray.startswith("1 recordings lie beside")


@pytest.mark.parametrize("files, where, message", [
    (["yes/1.wav"], "yes", "recordings directly inside; give the folder above it"),
    ([f"mine/{w}/{k}.wav" for w in ("yes", "no") for k in range(9)], "", r"only the folder 'mine'.*give '.*mine'"),
    (["a/b/yes/ann/1.wav"], "", "lie too deep, as 'a/b/yes/ann/1.wav'; give the folder that has one folder per word$"),
    (["a/b/yes/ann/1.wav", "a/b/no/ann/1.wav"], "", "one folder per word, as '.*a/b'$"),
    ([f"{w}/{k}.wav" for w in ("sc/on", "sc/off", "sc/_background_noise_", "more/up") for k in range(9)], "",
     "is no folder of words, but '.*/sc' inside it is"),
    (["yes/1.m4a", "no/2.caf"], "", "no WAV, FLAC, Ogg, MP3 or AIFF file, but 2 as"),
    ([*(f"{w}/{k}.wav" for w in ("yes", "no") for k in range(9)), "left/a.txt", "up/1.m4a"], "",
     r"folders without recordings: left, up \(1 .m4a\)"),
    ([f"yes/{k}.wav" for k in range(9)], "", "one word only, 'yes'; at least two are needed"),
    ([f"{w}/{k}.wav" for w in ("silence", "no") for k in range(9)], "", "a word 'silence'.*rename its folder"),
    ([*(f"yes/{k}.wav" for k in range(9)), "no/1.wav"], "", r"too few clips of no \(1\); a word needs at least 5"),
])
def test_a_folder_that_will_not_do(tmp_path, files, where, message):
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=message) as error:
        scan(tmp_path / where, unknown="auto", silence="auto")
    assert "\n" not in str(error.value)


def test_the_folder_above_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "yes/1.wav")
    monkeypatch.chdir(tmp_path / "yes")
    with pytest.raises(DataError, match=f"give the folder above it, '{tmp_path}'"):
        scan(".")


@pytest.mark.parametrize("root, files", [
    ("open", "open_{}_{}"), ("open", "{}_nohash_{}"), ("people", "stop_{}_{}")])
def test_speakers_are_no_words(tmp_path, root, files):
    """One level too low: the folders of one word's speakers, as the names of the files tell."""
    touch(tmp_path, *(f"{root}/{who}/{files.format(who, k)}.wav" for who in ("ann", "bob", "cy") for k in range(12)))
    with pytest.raises(DataError, match=r"called as the speakers of their files are, ann, bob, cy; give .* per word"):
        scan(tmp_path / root)
    touch(tmp_path, "words/ann/ann_bob_1.wav", "words/bob/1.wav", *(f"words/{w}/{k}.wav" for w in ("ann", "bob")
                                                                    for k in range(2, 30)))
    assert scan(tmp_path / "words").labels == ("ann", "bob")


def test_the_same_folders_beside_it_are_told(tmp_path):
    touch(tmp_path, *(f"{word}/{who}/{k}.wav" for word in ("open", "close") for who in ("ann", "bob")
                      for k in range(30)))
    (told,) = [text for text in scan(tmp_path / "open").warnings if "beside it" in text]
    assert told == (f"'{tmp_path}/close' beside it has the same folders; if ann, bob are people and not words, "
                    f"give '{tmp_path}'")
    assert not any("beside it" in text for text in scan(tmp_path).warnings)


def test_a_wake_word_and_other_words_are_enough(tmp_path):
    touch(tmp_path, *(f"{w}/{k}.wav" for w in ("tide", "unknown") for k in range(30)))
    assert scan(tmp_path, unknown="auto", silence="auto").labels == ("tide", "unknown", "silence")
    with pytest.raises(DataError, match="one word only"):
        scan(tmp_path, unknown="none")
