"""Spoken words that come with the package: synthetic voices, mono FLAC at 16 kHz, one second each.

They are what ``tidegate demo`` streams and what ``verify`` and ``bench`` use when no data is given.  They are
no test set: ``make_clips.py`` makes them with espeak-ng, and no accuracy is claimed on them.
"""

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
MANIFEST = FOLDER / "clips.json"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class BundledClip:
    """``path`` of the sound, the spoken ``word`` ("silence" for none) and the synthetic ``voice``."""

    path: Path
    word: str
    voice: str


def clips() -> list[BundledClip]:
    """All bundled clips in the manifest's order."""
    entries = json.loads(MANIFEST.read_text(encoding="utf-8"))["clips"]
    return [BundledClip(FOLDER / e["file"], e["word"], e["voice"]) for e in entries]


def expected_label(word: str, labels: tuple[str, ...]) -> str | None:
    """What a model should say to a spoken word: the word, its digit, else "unknown"; None if it has no such label."""
    digit = str(DIGITS.index(word)) if word in DIGITS else word
    return next((label for label in (word, digit, "unknown") if label in labels), None)
