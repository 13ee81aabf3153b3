"""Near words: words and short phrases that sound almost like a keyword.

A pronunciation is a tuple of phones in the notation of the CMU pronouncing dictionary, without its stress marks: "four"
is ``("F", "AO", "R")``.  The distance of two pronunciations is the cost of the cheapest way to turn one into the other
by changing, dropping and adding phones.  A change costs 0.2 to 1 by how far apart the two phones are spoken, 1.5 between
a vowel and a consonant; a drop or an addition costs 0.6 to 1.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from random import Random

from tidegate.spec.errors import TidegateError

from .lexicon import Lexicon, Phones

MAX_DISTANCE = 1.6          # above it, nobody would take one for the other
PHRASE_WORDS, PHRASE_PHONES = 160, 3    # phrases are pairs of this many most frequent words, with at most so many phones
OTHER_RANKS, OTHER_PHONES = 4000, range(3, 10)
KINDS = ("word", "phrase", "part", "other")
_RARE = 0.15                # what ten times less frequent costs, in units of distance

# height 0 close .. 3 open, place 0 front .. 2 back, rounded, glides to another vowel
_VOWELS = {
    "IY": (0, 0, 0, 0), "IH": (0.7, 0.3, 0, 0), "EY": (1.2, 0, 0, 1), "EH": (2, 0.2, 0, 0), "AE": (2.7, 0.2, 0, 0),
    "AA": (3, 1.8, 0, 0), "AH": (2, 1, 0, 0), "AO": (2.3, 2, 1, 0), "OW": (1.3, 2, 1, 0.5), "UH": (0.7, 1.7, 1, 0),
    "UW": (0, 2, 1, 0), "ER": (1.6, 1, 0.5, 0), "AY": (2.2, 0.8, 0, 1), "AW": (2.6, 1.2, 0.5, 1), "OY": (1.8, 1.6, 1, 1),
}
# place 0 lips .. 3 throat, manner, voiced
_STOP, _AFFRICATE, _FRICATIVE, _NASAL, _GLIDE = range(5)
_CONSONANTS = {
    "P": (0, _STOP, 0), "B": (0, _STOP, 1), "T": (1, _STOP, 0), "D": (1, _STOP, 1), "K": (2.5, _STOP, 0),
    "G": (2.5, _STOP, 1), "CH": (1.6, _AFFRICATE, 0), "JH": (1.6, _AFFRICATE, 1), "F": (0.3, _FRICATIVE, 0),
    "V": (0.3, _FRICATIVE, 1), "TH": (0.7, _FRICATIVE, 0), "DH": (0.7, _FRICATIVE, 1), "S": (1, _FRICATIVE, 0),
    "Z": (1, _FRICATIVE, 1), "SH": (1.6, _FRICATIVE, 0), "ZH": (1.6, _FRICATIVE, 1), "HH": (3, _FRICATIVE, 0),
    "M": (0, _NASAL, 1), "N": (1, _NASAL, 1), "NG": (2.5, _NASAL, 1), "L": (1, _GLIDE, 1), "R": (1.4, _GLIDE, 1),
    "W": (0.3, _GLIDE, 1), "Y": (2, _GLIDE, 1),
}
_RELATED = {frozenset(pair) for pair in ((_STOP, _AFFRICATE), (_AFFRICATE, _FRICATIVE), (_NASAL, _GLIDE))}
_WEAK = frozenset("HH R L W Y T D AH".split())      # phones that are easily lost, or easily heard where there are none
_ORAL_STOPS = frozenset("P B T D K G".split())


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


@lru_cache(maxsize=None)
def change(a: str, b: str) -> float:
    """What it costs to speak phone ``b`` for phone ``a``: 0 for the same, up to 1.5."""
    if a == b:
        return 0.0
    if (a in _VOWELS) != (b in _VOWELS):
        return 1.5
    if a in _VOWELS:
        (h, p, r, g), (h2, p2, r2, g2) = _VOWELS[a], _VOWELS[b]
        return min(1.0, 0.15 + 0.27 * abs(h - h2) + 0.3 * abs(p - p2) + 0.2 * abs(r - r2) + 0.2 * abs(g - g2))
    (p, m, v), (p2, m2, v2) = _CONSONANTS[a], _CONSONANTS[b]
    manner = 0.0 if m == m2 else 0.25 if frozenset((m, m2)) in _RELATED else 0.5
    return min(1.0, 0.15 + 0.25 * min(abs(p - p2), 2) + manner + 0.2 * abs(v - v2))


def drop(phone: str) -> float:
    """What it costs to drop or to add a phone."""
    return 0.6 if phone in _WEAK else 1.0 if phone in _VOWELS else 0.8


def distance(a: Phones, b: Phones, most: float = math.inf) -> float:
    """The cost of the cheapest way from one pronunciation to the other; ``inf`` as soon as it is known to exceed ``most``."""
    if 0.6 * abs(len(a) - len(b)) > most:
        return math.inf
    row = [0.0]
    for y in b:
        row.append(row[-1] + drop(y))
    for x in a:
        lost, before, row = drop(x), row, [row[0] + drop(x)]
        for j, y in enumerate(b):
            row.append(min(before[j] + change(x, y), before[j + 1] + lost, row[j] + drop(y)))
        if min(row) > most:
            return math.inf
    return row[-1] if row[-1] <= most else math.inf


def same_sound(a: Phones, b: Phones) -> bool:
    """Whether some accent speaks both alike: without the R that is not before a vowel, and with one vowel for AA and AO."""
    return plain(a) == plain(b)


@lru_cache(maxsize=None)
def plain(phones: Phones) -> Phones:
    """The pronunciation less what accents leave out or merge: equal for what sounds the same to some."""
    heard = [p for p, after in zip(phones, (*phones[1:], ""), strict=True) if p != "R" or after in _VOWELS]
    return tuple("AO" if p == "AA" else p for p in heard)


def find(keywords: Sequence[str], lexicon: Lexicon, *, near: int = 30, other: int | None = None,
         seed: int = 0) -> list[Near]:
    """About ``near`` words, phrases and parts near to each keyword, and ``other`` common ones (as many, if None).

    Nothing that sounds like a keyword itself is among them (no homophone of any keyword, in any of its pronunciations),
    and nothing twice.  A keyword's list has its parts first, then a fifth of phrases, then the nearest words; a word that is ten
    times less frequent counts as 0.15 farther away.  TidegateError for no keyword or one without a pronunciation.
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
    return [*chosen.values(), *_others(words, spoken, lexicon, chosen, count, Random(seed))]


def _nearest(keyword: str, ways: tuple[Phones, ...], words: Iterable[tuple[str, tuple[Phones, ...], int]], kind: str,
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
    """Whether it is the keyword itself with an ending: who says "zeros" has nearly said "zero"."""
    return text in {keyword + ending for ending in ("s", "es", "d", "ed", "'s", "'d", "'ll", "ing")}


def _phrases(words: list[tuple[str, tuple[Phones, ...], int]],
             barred: set[Phones]) -> Iterable[tuple[str, tuple[Phones, ...], int]]:
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
        cuts = [phones[:k] for k in range(n - 1, 1, -1) if k < n - 1 or phones[-1] not in _ORAL_STOPS]
        cuts += [phones[k:] for k in range(1, n - 1)]
        for cut in sorted(cuts, key=len, reverse=True):
            if 2 * len(cut) >= n and any(p in _VOWELS for p in cut) and plain(cut) not in barred:
                text = f"{keyword}-part-{'-'.join(cut).lower()}"
                found.setdefault(text, Near(text, "part", keyword, round(distance(phones, cut), 2), cut))
    return list(found.values())


def _others(words: list[tuple[str, tuple[Phones, ...], int]], spoken: dict[str, tuple[Phones, ...]], lexicon: Lexicon,
            taken: dict[str, Near], count: int, random: Random) -> list[Near]:
    far = [text for text, ways, rank in words if rank < OTHER_RANKS and "'" not in text and text not in taken
           and all(len(p) in OTHER_PHONES for p in ways)
           and all(distance(a, b, MAX_DISTANCE) > MAX_DISTANCE for p in spoken.values() for a in p for b in ways)]
    safe = lexicon.without(lexicon.phrases, spoken, plain)
    phrases = random.sample(safe, min(len(safe), count // 3))
    return [Near(text, "other") for text in phrases + random.sample(far, min(len(far), count - len(phrases)))]
