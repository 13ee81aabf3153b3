"""Folders of recorded words → labelled clips, each in one part: ``train``, ``validation`` or ``test`` (or ``unseen``).

Three layouts are told apart by what is there:

    Speech Commands   word/clip, with ``validation_list.txt`` and perhaps ``testing_list.txt``: these decide
    any word folders  word/clip without lists: 80 : 10 : 10 by a hash of the speaker (the name up to
                      ``_nohash_``), or else of word and file name, so that a clip never changes its part
    FSDD              ``{word}_{speaker}_{take}.wav`` in one folder (or in ``recordings/``): takes 0-4 test (the
                      usual test set), 5-7 validation, the rest training
"""

import re
from dataclasses import dataclass, replace
from hashlib import sha1
from pathlib import Path

from tidegate.host.audio import SUFFIXES
from tidegate.spec.errors import TidegateError

UNSEEN = "unseen"
PARTS = ("train", "validation", "test", UNSEEN)
UNKNOWN, SILENCE = "unknown", "silence"
NOISE_FOLDER = "_background_noise_"
_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_FSDD = re.compile(r"([^_]+)_([^_]+)_(\d+)\.wav")
_FSDD_TEST, _FSDD_VALIDATION = range(0, 5), range(5, 8)


class DataError(TidegateError):
    """A data set that is missing, incomplete or of a shape that cannot be used."""


@dataclass(frozen=True)
class Clip:
    """A recorded word: ``path`` below the data set's root, ``label`` its class, ``part`` one of PARTS."""

    path: str
    label: str
    part: str

    @property
    def word(self) -> str:
        """Of a clip in a folder of its word."""
        return Path(self.path).parent.name


@dataclass(frozen=True)
class DataSet:
    """``labels``: one per class, ``unknown`` and ``silence`` last.  ``noise``: recordings to cut silence from."""

    root: Path
    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    noise: tuple[str, ...] = ()


def scan(directory: str | Path, keywords: tuple[str, ...] = (), speaker: str = "") -> DataSet:
    """List a folder of words.

    With ``keywords`` these are the classes and all other words are ``unknown``; without, every word is a class.
    A folder ``_background_noise_`` adds the class ``silence``.  With ``speaker`` (leave one out), the test part is
    exactly the clips of that speaker, and what would be test otherwise is for training.  DataError if the folder
    is missing, has no recorded words, or lacks the speaker, a keyword or clips to train or to validate with.
    """
    root = Path(directory)
    if not root.is_dir():
        raise DataError(f"no folder '{root}'; give a folder of words, or fetch one with `tidegate data`")
    clips = _scan_fsdd(root) or _scan_words(root)
    if not clips:
        raise DataError(f"'{root}' contains no recorded words; it needs one folder of sound files per word")
    if speaker:
        clips = [_held_out(clip, speaker) for clip in clips]
        if not any(clip.part == "test" for clip in clips):
            raise DataError(f"'{root}' has no clips of the speaker '{speaker}'")
    words = {clip.label for clip in clips}
    missing = [word for word in keywords if word not in words]
    if missing:
        raise DataError(f"'{root}' has no clips of the word{'s' * (len(missing) > 1)} {', '.join(missing)}; "
                        "add them or leave the words out of the recipe")
    noise = tuple(f"{NOISE_FOLDER}/{p.name}" for p in _sounds(root / NOISE_FOLDER))
    labels = tuple(keywords) or tuple(sorted(words))
    if words - set(labels):
        labels += (UNKNOWN,)
        clips = [c if c.label in keywords else Clip(c.path, UNKNOWN, c.part) for c in clips]
    if noise and SILENCE not in labels:
        labels += (SILENCE,)
    for part in PARTS[:2]:
        if not any(clip.part == part for clip in clips):
            raise DataError(f"'{root}' has no clips in its {part} part, which gets about one in ten; add clips, "
                            "a word needs 30 or more")
    return DataSet(root, labels, tuple(clips), noise)


def leave_out(data: DataSet, words: tuple[str, ...]) -> DataSet:
    """The data set with all clips of these unknown words in the part "unseen"; DataError for other words."""
    there = {clip.word for clip in data.clips if clip.label == UNKNOWN}
    for word in words:
        if word not in there:
            raise DataError(f"'{data.root}' has no unknown word '{word}' to leave out; "
                            f"there are {', '.join(sorted(there)) or 'none'}")
    return replace(data, clips=tuple(replace(c, part=UNSEEN) if c.word in words else c for c in data.clips))


def _sounds(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def _scan_fsdd(root: Path) -> list[Clip]:
    folder = root / "recordings" if (root / "recordings").is_dir() else root
    matches = [(p, _FSDD.fullmatch(p.name)) for p in _sounds(folder)]
    return [Clip(p.relative_to(root).as_posix(), m[1], _fsdd_part(int(m[3]))) for p, m in matches if m]


def _fsdd_part(take: int) -> str:
    return "test" if take in _FSDD_TEST else "validation" if take in _FSDD_VALIDATION else "train"


def _scan_words(root: Path) -> list[Clip]:
    listed = {}
    for part, name in _LISTS.items():
        if (root / name).is_file():
            lines = (root / name).read_text(encoding="utf-8", errors="replace").splitlines()
            listed |= {Path(x).with_suffix("").as_posix(): part for line in lines if (x := line.strip())}
    clips = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(("_", "."))):
        for path in _sounds(folder):
            name = f"{folder.name}/{path.stem}"      # the lists name .wav files; ours may be compressed
            part = listed.get(name, "train") if listed else _hashed_part(path)
            clips.append(Clip(f"{folder.name}/{path.name}", folder.name, part))
    return clips


def _speaker(path: Path) -> str:
    name, mark, _ = path.stem.partition("_nohash_")
    match = _FSDD.fullmatch(path.name)
    return match[2] if match and not mark else name


def _held_out(clip: Clip, speaker: str) -> Clip:
    if _speaker(Path(clip.path)) == speaker:
        return replace(clip, part="test")
    return replace(clip, part="train") if clip.part == "test" else clip


def _hashed_part(path: Path) -> str:
    """The rule of Speech Commands' ``which_set``: a percentage from the SHA-1 of the speaker.

    A name without a speaker says nothing across words (every word may have its 1.wav): then it is word and name.
    """
    key = _speaker(path) if "_nohash_" in path.stem else f"{path.parent.name}/{path.stem}"
    percent = int(sha1(key.encode()).hexdigest(), 16) % 100
    return "validation" if percent < 10 else "test" if percent < 20 else "train"
