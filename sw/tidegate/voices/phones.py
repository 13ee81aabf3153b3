"""Phones, and how far apart two pronunciations are.

A pronunciation is a tuple of phones in the notation of the CMU pronouncing dictionary, without its stress marks: "four"
is ``("F", "AO", "R")``.  The distance of two pronunciations is the cost of the cheapest way to turn one into the other
by changing, dropping and adding phones.  A change costs 0.15 to 1 by how far apart the two phones are spoken, 1.5
between a vowel and a consonant; a drop or an addition costs 0.6 to 1.
"""

import math
from functools import cache

Phones = tuple[str, ...]

# height 0 close .. 3 open, place 0 front .. 2 back, rounded, glides to another vowel
VOWELS = {
    "IY": (0, 0, 0, 0), "IH": (0.7, 0.3, 0, 0), "EY": (1.2, 0, 0, 1), "EH": (2, 0.2, 0, 0), "AE": (2.7, 0.2, 0, 0),
    "AA": (3, 1.8, 0, 0), "AH": (2, 1, 0, 0), "AO": (2.3, 2, 1, 0), "OW": (1.3, 2, 1, 0.5), "UH": (0.7, 1.7, 1, 0),
    "UW": (0, 2, 1, 0), "ER": (1.6, 1, 0.5, 0), "AY": (2.2, 0.8, 0, 1), "AW": (2.6, 1.2, 0.5, 1),
    "OY": (1.8, 1.6, 1, 1),
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
ORAL_STOPS = frozenset("P B T D K G".split())


@cache
def change(a: str, b: str) -> float:
    """What it costs to speak phone ``b`` for phone ``a``: 0 for the same, up to 1.5."""
    if a == b:
        return 0.0
    if (a in VOWELS) != (b in VOWELS):
        return 1.5
    if a in VOWELS:
        (h, p, r, g), (h2, p2, r2, g2) = VOWELS[a], VOWELS[b]
        return min(1.0, 0.15 + 0.27 * abs(h - h2) + 0.3 * abs(p - p2) + 0.2 * abs(r - r2) + 0.2 * abs(g - g2))
    (p, m, v), (p2, m2, v2) = _CONSONANTS[a], _CONSONANTS[b]
    manner = 0.0 if m == m2 else 0.25 if frozenset((m, m2)) in _RELATED else 0.5
    return min(1.0, 0.15 + 0.25 * min(abs(p - p2), 2) + manner + 0.2 * abs(v - v2))


def drop(phone: str) -> float:
    """What it costs to drop or to add a phone."""
    return 0.6 if phone in _WEAK else 1.0 if phone in VOWELS else 0.8


def distance(a: Phones, b: Phones, most: float = math.inf) -> float:
    """The cost of the cheapest way from one pronunciation to the other; ``inf`` if it exceeds ``most``."""
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


@cache
def plain(phones: Phones) -> Phones:
    """The pronunciation without what some accents leave out or merge: equal if some people speak both alike.

    An R that is not before a vowel is left out, and AA and AO are one vowel.
    """
    heard = [p for p, after in zip(phones, (*phones[1:], ""), strict=True) if p != "R" or after in VOWELS]
    return tuple("AO" if p == "AA" else p for p in heard)
