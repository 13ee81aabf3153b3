"""Near words: words and short phrases that sound almost like a keyword."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random

from tidegate.spec.errors import TidegateError

from .lexicon import Lexicon
from .phones import ORAL_STOPS, VOWELS, Phones, distance, plain

MAX_DISTANCE = 1.6          # above it, nobody would take one for the other
PHRASE_WORDS, PHRASE_PHONES = 160, 3    # phrases are pairs of so many most frequent words of at most so many phones
OTHER_RANKS, OTHER_PHONES = 4000, range(3, 10)
RESERVED = frozenset(("unknown", "silence", "recordings"))      # folders that mean something else in a folder of words
_RARE = 0.15                # what ten times less frequent costs, in units of distance
_ENDINGS = ("s", "es", "d", "ed", "'s", "'d", "'ll", "ing")

Candidate = tuple[str, tuple[Phones, ...], int]     # text, its pronunciations, its rank by frequency


@dataclass(frozen=True)
class Near:
    """Something to be spoken: ``text``, or the ``phones`` where it is no word.

    ``kind``: "word", "phrase" (two words), "part" (the beginning or the end of a keyword) or "other" (a common word or
    phrase, near to none).  ``keyword`` that it is near to, "" for "other", and the ``distance`` to it.
    """

    text: str
    kind: str
    keyword: str = ""
    distance: float = 0.0
    phones: Phones = ()

    @property
    def folder(self) -> str:
        """The name of its folder: the words, joined by underscores."""
        return self.text.lower().replace("'", "").replace(" ", "_")


def find(keywords: Sequence[str], lexicon: Lexicon, *, near: int = 30, other: int | None = None,
         seed: int = 0) -> list[Near]:
    """About ``near`` words, phrases and parts near to each keyword, and ``other`` common ones (as many, if None).

    Nothing that sounds like a keyword itself is among them (no homophone of any keyword, in any of its pronunciations),
    no plural or other inflection of a keyword, and nothing twice.  A keyword's list has its parts first, a quarter at
    most, then phrases, a fifth at most, then the nearest words; a word that is ten times less frequent counts as 0.15
    farther away.  TidegateError for no keyword or one without a pronunciation.
    """
    if not keywords:
        raise TidegateError("no keywords; give at least one, as in --keywords left,right")
    spoken = {word: lexicon.pronounce(word) for word in keywords}
    barred = {plain(p) for ways in spoken.values() for p in ways}
    words = [(word, lexicon.ways[word], rank) for rank, word in enumerate(lexicon.by_frequency)
             if not any(plain(p) in barred for p in lexicon.ways[word])]
    phrases = list(_phrases(words, barred))
    chosen: dict[str, Near] = {}
    for word, ways in spoken.items():
        found = _parts(word, ways, barred)[: near // 4]
        found += _nearest(word, ways, phrases, "phrase", chosen, near // 5)
        found += _nearest(word, ways, words, "word", chosen, near - len(found))
        chosen |= {n.folder: n for n in found if n.folder not in chosen}
    count = len(chosen) if other is None else other
    others = _others(words, spoken, lexicon, chosen, count, Random(seed))
    return [n for n in (*chosen.values(), *others) if n.folder not in RESERVED]


def _nearest(keyword: str, ways: tuple[Phones, ...], words: Iterable[Candidate], kind: str,
             taken: dict[str, Near], count: int) -> list[Near]:
    scored = []
    for text, theirs, rank in words:
        d = min(distance(a, b, MAX_DISTANCE) for a in ways for b in theirs)
        if d <= MAX_DISTANCE and text.replace(" ", "_") not in taken and not _inflected(text, keyword):
            scored.append((d + _RARE * math.log10(1 + rank), text, d, theirs[0]))
    found: dict[object, Near] = {}
    for _, text, d, phones in sorted(scored):
        if len(found) == count:
            break
        # one of several words that sound alike, one order of two words
        key = frozenset(text.split()) if kind == "phrase" else plain(phones)
        found.setdefault(key, Near(text, kind, keyword, round(d, 2)))
    return list(found.values())


def _inflected(text: str, keyword: str) -> bool:
    """Whether one is the other with an ending: who says "zeros" has nearly said "zero"."""
    return any(text == keyword + ending or keyword == text + ending for ending in _ENDINGS)


def _phrases(words: list[Candidate], barred: set[Phones]) -> Iterable[Candidate]:
    """Pairs of frequent short words, of which none sounds like a keyword, nor both together."""
    short = [w for w in words if all(len(p) <= PHRASE_PHONES for p in w[1]) and "'" not in w[0]]
    short = list({plain(w[1][0]): w for w in reversed(short[:PHRASE_WORDS])}.values())[::-1]
    for (a, first, i), (b, second, j) in product(short, short):
        if a != b and plain(first[0] + second[0]) not in barred:
            yield f"{a} {b}", (first[0] + second[0],), i + j


def _parts(keyword: str, ways: tuple[Phones, ...], barred: set[Phones]) -> list[Near]:
    """Beginnings and ends of a keyword, with a vowel and two phones at least.

    A beginning that lacks only a last stop is none: many people do not release it.
    """
    found: dict[str, Near] = {}
    for phones in ways:
        n = len(phones)
        cuts = [phones[:k] for k in range(n - 1, 1, -1) if k < n - 1 or phones[-1] not in ORAL_STOPS]
        cuts += [phones[k:] for k in range(1, n - 1)]
        for cut in sorted(cuts, key=len, reverse=True):
            if 2 * len(cut) >= n and any(p in VOWELS for p in cut) and plain(cut) not in barred:
                text = f"{keyword}-part-{'-'.join(cut).lower()}"
                found.setdefault(text, Near(text, "part", keyword, round(distance(phones, cut), 2), cut))
    return list(found.values())


def _others(words: list[Candidate], spoken: dict[str, tuple[Phones, ...]], lexicon: Lexicon,
            taken: dict[str, Near], count: int, random: Random) -> list[Near]:
    far = [text for text, ways, rank in words if rank < OTHER_RANKS and "'" not in text and text not in taken
           and all(len(p) in OTHER_PHONES for p in ways)
           and all(distance(a, b, MAX_DISTANCE) > MAX_DISTANCE for p in spoken.values() for a in p for b in ways)]
    safe = [text for text in lexicon.without(lexicon.phrases, spoken) if Near(text, "other").folder not in taken]
    phrases = random.sample(safe, min(len(safe), count // 3))
    return [Near(text, "other") for text in phrases + random.sample(far, min(len(far), count - len(phrases)))]
