"""Spoken words that come with the package: synthetic voices, mono FLAC at 16 kHz, one second each.

They are what ``tidegate demo`` streams and what ``verify`` and ``bench`` use when no data is given.  They are
no test set: ``make_clips.py`` makes them with espeak-ng, and no accuracy is claimed on them.
"""

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
MANIFEST = FOLDER / "clips.json"
SILENCE = "silence"


@dataclass(frozen=True)
class Clip:
    """``path`` of the sound, the spoken ``word`` ("silence" for none) and the synthetic ``voice``."""

    path: Path
    word: str
    voice: str


def clips() -> list[Clip]:
    """All bundled clips in the manifest's order."""
    entries = json.loads(MANIFEST.read_text(encoding="utf-8"))["clips"]
    return [Clip(FOLDER / e["file"], e["word"], e["voice"]) for e in entries]
