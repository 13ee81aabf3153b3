"""Which part a recorded word belongs to: ``train``, ``validation`` or ``test``.

    lists               what a data set's own lists say
    10 speakers or more the hash of the speaker: 80 : 10 : 10, and a speaker never changes the part
    3 to 9 speakers     some for validation, some for test, the rest to train (likewise if the hash leaves a part empty)
    fewer, or unknown   clip by clip: the hash of word and name, or its rank where a word has fewer than 100 clips
"""

import os
from collections import Counter
from dataclasses import dataclass, replace
from hashlib import sha1
from pathlib import Path

PARTS = ("train", "validation", "test")
JUDGED = PARTS[1:]      # in the order of all tables
UNSEEN = "unseen"       # a part of words that are left out of the others, to see how they are rejected
ALL_PARTS = (*PARTS, UNSEEN)
ALL = "all"             # of the parts, together
UNKNOWN = "unknown"     # the class of other words: who says them does not decide how speakers are split
MANY_SPEAKERS, MANY_CLIPS = 10, 100
_SHARE = 0.15           # of a small set, for validation and for test
_LITTLE = 0.05          # of a set: less is too little to choose by


@dataclass(frozen=True)
class Clip:
    """A recorded word: ``path`` below the data set's root, ``label`` its class, ``part`` one of ALL_PARTS.

    ``speaker``: who says it, "" where no name tells.
    """

    path: str
    label: str
    part: str
    speaker: str = ""

    @property
    def folder(self) -> str:
        """The data set's folder that it is in: of a word folder, the word itself."""
        return text_of(Path(self.path).parts[0])


def text_of(name: str | bytes) -> str:
    """A file name as text.  It is bytes, and these are UTF-8 whatever the locale is, or else Latin-1.

    A label that is stored must be neither garbled by the locale nor of bytes that are no text.
    """
    raw = os.fsencode(name)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def by_lists(clips: list[Clip], listed: dict[str, str], speaker: str = "") -> list[Clip]:
    """Parts from ``listed``, name without suffix → part: the lists name .wav files, ours may be compressed."""
    parts = [listed.get(_name(c), "train") for c in clips]
    return [_held_out(replace(c, part=part), speaker) for c, part in zip(clips, parts, strict=True)]


def with_test_part(clips: list[Clip], share: float) -> list[Clip]:
    """The clips with a test part, where they have none: this share of the validation part's speakers, by hash."""
    if not share or any(c.part == "test" for c in clips):
        return clips
    kept_apart = {c.speaker for c in clips if c.speaker and _hash(c.speaker) // 100 % 100 < 100 * share}
    return [replace(c, part="test") if c.part == "validation" and c.speaker in kept_apart else c for c in clips]


def by_speakers(clips: list[Clip], speaker: str = "") -> tuple[list[Clip], list[str]]:
    """The clips with their parts, and warnings.  With ``speaker``, test is exactly the clips of that speaker."""
    others = [c for c in clips if not speaker or c.speaker != speaker]
    counts = Counter(c.speaker for c in others if c.speaker and c.label != UNKNOWN)
    parts = {name: _hashed(name) for name in counts}
    if len(counts) < MANY_SPEAKERS or set(parts.values()) != set(PARTS):
        parts = _ranked_speakers(counts) if len(counts) > 2 else {}
    alone = _ranked_clips([c for c in others if c.label == UNKNOWN or not parts])
    if len(parts) >= MANY_SPEAKERS:
        alone = {c.path: _hashed(_name(c)) for c in others}
    # of few speakers, any might have said a clip that names none: it trains
    done = [_held_out(replace(c, part=parts.get(c.speaker) or alone.get(c.path, "train")), speaker) for c in clips]
    return done, [] if speaker else _warnings(done, counts, bool(parts))


def _held_out(clip: Clip, speaker: str) -> Clip:
    if speaker and clip.speaker == speaker:
        return replace(clip, part="test")
    return replace(clip, part="train") if speaker and clip.part == "test" else clip


def _name(clip: Clip) -> str:
    """Word and name: a name alone says nothing across words (every word may have its 1.wav)."""
    return text_of(Path(clip.path).with_suffix("").as_posix())


def _hash(key: str) -> int:
    return int(sha1(key.encode()).hexdigest(), 16)


def _hashed(key: str) -> str:
    """The rule of Speech Commands' ``which_set``: a percentage from the SHA-1 of the speaker."""
    percent = _hash(key) % 100
    return "validation" if percent < 10 else "test" if percent < 20 else "train"


def _ranked_speakers(counts: Counter) -> dict[str, str]:
    """Test and validation get the speakers whose clips come closest to their share; whoever has most of them trains."""
    left = sorted(counts, key=_hash)
    goal, parts = _SHARE * counts.total(), {}
    for part, leave in (("test", 2), ("validation", 1)):
        have = 0
        while not have or (have < 0.75 * goal and len(left) > leave):
            name = min(left, key=lambda s: abs(goal - have - counts[s]))
            if have and have + counts[name] > 2 * goal:
                break
            left.remove(name)
            parts[name] = part
            have += counts[name]
    return parts | dict.fromkeys(left, "train")


def _ranked_clips(clips: list[Clip]) -> dict[str, str]:
    """Part per path, word by word."""
    words: dict[str, list[Clip]] = {}
    for c in clips:
        words.setdefault(c.label, []).append(c)
    parts = {}
    for some in words.values():
        if len(some) >= MANY_CLIPS:
            parts |= {c.path: _hashed(_name(c)) for c in some}
            continue
        size = max(1, round(_SHARE * len(some)))
        order = [c.path for c in sorted(some, key=lambda c: _hash(_name(c)))]
        parts |= dict.fromkeys(order, "train") | dict.fromkeys(order[:size], "validation")
        parts |= dict.fromkeys(order[size : 2 * size], "test")
    return parts


def _warnings(clips: list[Clip], counts: Counter, by_speaker: bool) -> list[str]:
    nothing = "the figures say nothing about other voices"
    if not counts:
        return [f"no names of speakers, so clips are split one by one: {nothing}; put each person's recordings "
                "into a folder of their own, word/person/clip.wav"]
    if len(counts) < 3:
        return [f"one speaker only: {nothing}" if len(counts) == 1 else
                f"two speakers only, both in all parts: {nothing}; with a third the split is by speaker"]
    lines = []
    for part in PARTS[1:]:
        size = sum(c.part == part for c in clips)
        if by_speaker and size < _LITTLE * len(clips):
            lines.append(f"the {part} part has {size} of {len(clips)} clips: its figures are rough; more speakers help")
        lacking = sorted({c.label for c in clips} - {c.label for c in clips if c.part == part} - {UNKNOWN})
        if by_speaker and lacking:
            lines.append(f"no clips of {', '.join(lacking)} in the {part} part: its speakers did not say them")
    return lines
