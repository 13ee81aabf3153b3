"""Strings of made tones: who is in which part, how words are placed, what a batch holds, recorded strings."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from made_tones import RATE, SETTINGS, word

from tidegate.train.data.split import PARTS
from tidegate.train.data.string_corpora import find_corpora, read_transcripts, token_numbers
from tidegate.train.data.string_options import StringOptions
from tidegate.train.data.string_words import LOUDNESS, loudness_of, place, spoken_frames
from tidegate.train.data.strings import load_recorded, load_strings
from tidegate.train.errors import DataError
from tidegate.train.recipe import Augmentation

TOKENS = ("low", "high", "rise")
OPTIONS = StringOptions(count=24, judged=10, tokens=(1, 4))
PLAIN = Augmentation(mask_bands=0, mask_frames=0, jitter=0.0, warp=0.0, stretch=0.0, noise_share=0.0)


@pytest.fixture(scope="module")
def strings(write_words, tmp_path_factory):
    return load_strings(write_words(clips=40), TOKENS, OPTIONS, SETTINGS, PLAIN, cache=tmp_path_factory.mktemp("cache"))


def test_digits_have_two_names():
    assert token_numbers(("0", "1", "oh")) == {"0": 0, "zero": 0, "1": 1, "one": 1, "oh": 2}
    assert token_numbers(("seven",)) == {"seven": 0, "7": 0}


def test_speakers_are_kept_apart_in_every_corpus(tmp_path):
    rng, root = np.random.default_rng(1), tmp_path / "corpora"
    for speaker in ("ann", "bob", "cid", "dot"):
        for take in range(6):               # the layout of FSDD, which is split by take for single words
            for digit in "01":
                path = root / "fsdd" / f"{digit}_{speaker}_{take}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, word("low", rng), RATE)
    for name in ("zero", "one", "bird"):
        for k in range(12):
            path = root / "made" / name / f"{k:04x}_nohash_0.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, word("rise", rng), RATE)
    fsdd, made = find_corpora(root, ("0", "1"), replace(OPTIONS, train_only=("made",)))
    parts = {part: {c.speaker for c in fsdd.data.clips if c.part == part} for part in PARTS}
    assert sorted(map(len, parts.values())) == [1, 1, 2] and len(set.union(*parts.values())) == 4
    assert Counter(c.label for c in made.data.clips) == {"0": 12, "1": 12}      # a bird is no token
    assert {c.part for c in made.data.clips} == {"train"}
    held_out, _ = find_corpora(root, ("0", "1"), OPTIONS, speaker="bob")
    assert {c.speaker for c in held_out.data.clips if c.part == "test"} == {"bob"}
    alone, = find_corpora(root / "fsdd", ("0", "1"), OPTIONS)
    assert alone.data.clips == fsdd.data.clips
    for folder, tokens, text in ((root / "none", ("0",), "no folder"), (root, ("two",), "no recordings of two")):
        with pytest.raises(DataError, match=text):
            find_corpora(folder, tokens, OPTIONS)
    with pytest.raises(DataError, match="no clips of the speaker 'eve'"):
        find_corpora(root, ("0", "1"), OPTIONS, speaker="eve")


def test_words_are_placed_with_overlaps_gaps_and_pauses():
    options = StringOptions(gap_s=(0.1, 0.2), overlap=0.3, overlap_s=0.05, pause=0.2, pause_s=(0.5, 0.6),
                            edge_s=(0.2, 0.3))
    rng, gaps = np.random.default_rng(1), []
    for _ in range(200):
        lengths = rng.integers(30, 60, 5).tolist()
        starts, total = place(lengths, options, 100, rng)
        assert 20 <= starts[0] <= 30 and 20 <= total - starts[-1] - lengths[-1] <= 30
        gaps += [b - a - n for a, b, n in zip(starts, starts[1:], lengths, strict=False)]
    kinds = Counter("overlap" if gap <= 0 else "gap" if 10 <= gap <= 20 else "pause" if 50 <= gap <= 60 else "odd"
                    for gap in gaps)
    assert kinds["odd"] == 0 and min(gaps) >= -5
    assert 0.25 < kinds["overlap"] / len(gaps) < 0.35 and 0.15 < kinds["pause"] / len(gaps) < 0.25


def test_examples_and_their_parts(strings):
    assert strings.labels == (*TOKENS, "blank") and strings.width == 12
    assert [len(strings.of(part)) for part in PARTS] == [24, 10, 10]
    assert strings.counts == (1, 2, 3, 4) * 6
    for i in range(44):
        assert len(strings.frames(i)) == np.diff(strings.offsets)[i] == strings.sizes[i]
        said = strings.targets[i]
        assert 1 <= (said >= 0).sum() <= 4 and (np.sort(said >= 0)[::-1] == (said >= 0)).all()
    words = strings.words.features
    assert all(abs(loudness_of(words.clip(i)) / LOUDNESS - 1) < 1e-3 for i in range(len(words.targets)))


def test_the_judged_strings_do_not_depend_on_training(strings, write_words, tmp_path):
    root = write_words(clips=40)
    judged = load_strings(root, TOKENS, OPTIONS, SETTINGS)
    again = load_strings(root, TOKENS, replace(OPTIONS, one_voice=1.0), SETTINGS, Augmentation(), cache=tmp_path)
    assert np.array_equal(judged.energies, strings.energies) and np.array_equal(again.energies, strings.energies)
    assert np.array_equal(judged.targets, strings.targets[24:])
    with pytest.raises(DataError, match="to be judged, not to train"):
        judged.normalisation()


def test_a_batch_holds_the_words_that_its_tokens_name(strings):
    mean, scale = strings.normalisation()
    maker = strings.maker(mean, scale)
    energies, lengths, tokens, marks = maker.strings([1, 4, 2], torch.Generator().manual_seed(3))
    assert energies.shape[1:] == (3, 12) and len(energies) == lengths.max() and tokens.shape == (3, 4)
    assert (tokens >= 0).sum(1).tolist() == [1, 4, 2]
    for k in range(3):
        runs = [int(m) for m, before in zip(marks[:, k], [-1, *marks[:-1, k]], strict=True)
                if m != before and m not in (-1, 3)]
        assert runs == tokens[k][tokens[k] >= 0].tolist()           # each token is marked once, in order
        assert (marks[lengths[k] :, k] == -1).all()
        quiet = energies[: lengths[k], k].mean(1)[marks[: lengths[k], k] == 3]
        assert (quiet[:2] == 0).all()                               # without noise there is silence before the first
        loud = energies[: lengths[k], k].mean(1)[marks[: lengths[k], k] >= 0]
        assert (loud[marks[: lengths[k], k][marks[: lengths[k], k] >= 0] < 3] > 1e-3).all()
    once, again = (strings.batcher(mean, scale)(torch.arange(4), torch.Generator().manual_seed(9)) for _ in range(2))
    assert torch.equal(once.frames, again.frames) and torch.equal(once.marks, again.marks)
    (last, target), = once.decisions
    assert (target >= 0).sum(1).tolist() == [1, 2, 3, 4] and len(once.frames) == int(last.max()) + 1


def test_each_token_is_drawn_as_often_and_one_voice_says_what_it_can(strings):
    words, rng = strings.words, np.random.default_rng(1)
    drawn = [words.features.targets[clip] for clip in words.draw(3000, 0.0, rng)]
    assert all(abs(n - 1000) < 120 for n in Counter(drawn).values()) and len(set(drawn)) == 3
    clips = words.draw(20, 1.0, rng)
    assert len({words.voices[clip] for clip in clips}) == 1


def test_what_is_spoken_is_cut_out():
    quiet = np.full((30, 4), 1e-6, np.float32)
    quiet[10:18] = 1.0
    assert spoken_frames(quiet, replace(OPTIONS, margin_s=0.064), SETTINGS) == (8, 20)
    assert spoken_frames(np.ones((5, 4), np.float32), OPTIONS, SETTINGS) == (0, 5)


def test_recorded_strings(tmp_path):
    rng = np.random.default_rng(1)
    (tmp_path / "calls").mkdir()
    for name in ("calls/a.wav", "b.flac"):
        sound = np.concatenate([word(token, rng) for token in ("low", "rise")])
        soundfile.write(tmp_path / name, sound, RATE)
    (tmp_path / "calls" / "broken.wav").write_bytes(b"nothing")
    soundfile.write(tmp_path / "short.wav", np.zeros(10), RATE)
    table = tmp_path / "calls.csv"
    table.write_text("clip,said\na,low rise\nb.flac,rise\nbroken,low\nshort,low\ngone,low\na,low bird\na,\n\n")
    found = load_recorded(table, TOKENS, OPTIONS, SETTINGS)
    assert found.targets.tolist() == [[0, 2], [2, -1]] and len(found.of("test")) == 2
    assert len(found.frames(0)) == found.sizes[0]
    reasons = dict((name.split("/")[-1], reason) for name, reason in found.skipped)
    assert reasons["gone"] == "there is no such recording" and reasons["short.wav"] == "shorter than one window"
    assert "cannot be read" in reasons["broken.wav"] and reasons["a"] in ("'bird' is none of the tokens",
                                                                         "it says nothing")
    digits = tmp_path / "digits.csv"
    digits.write_text("clip,digits\ncalls/a,201\nb,seven\n")
    said, _ = read_transcripts(digits, tuple("0127"))
    assert [each.tokens for each in said] == [(2, 0, 1), (3,)]


@pytest.mark.parametrize("text, wanted", [
    (None, "no file"), (b"", "tells the string of no recording"), (b"clip,said\ngone,low\n", "there is no such"),
    (b"clip,said\n\xff\xfe,low\n", "cannot be read"), (b"clip,said\na,bird\n", "is none of the tokens"),
])
def test_bad_tables_are_one_line(text, wanted, tmp_path):
    table = tmp_path / "t.csv"
    if text is not None:
        table.write_bytes(text)
    with pytest.raises(DataError, match=wanted) as error:
        load_recorded(table, TOKENS, OPTIONS, SETTINGS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong, text", [
    ({"tokens": (4, 1)}, "the lowest and the highest"), ({"overlap": 0.7, "pause": 0.5}, "together 1 at most"),
    ({"count": 0}, "count must"), ({"beam": 0}, "beam must"), ({"gap_s": (-1.0, 0.0)}, "gap_s must"),
])
def test_wrong_options_are_one_line(wrong, text):
    with pytest.raises(DataError, match=text) as error:
        StringOptions(**wrong)
    assert "\n" not in str(error.value) and str(error.value).startswith("a recipe's strings.")
