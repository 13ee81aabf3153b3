"""Folders of recorded words → labelled clips, each in one part: ``train``, ``validation`` or ``test`` (or ``unseen``).

Four layouts are told apart by what is there:

    Speech Commands   word/clip, with ``validation_list.txt`` and perhaps ``testing_list.txt``: these decide
    word folders      word/clip without lists: ``split.py`` decides, by speaker where names tell speakers
                      (``SPEAKER_nohash_N``, ``WORD_SPEAKER_N``)
    speaker folders   word/speaker/clip, likewise
    FSDD              ``{word}_{speaker}_{take}.wav`` in one folder (or in ``recordings/``): takes 0-4 test (the
                      usual test set), 5-7 validation, the rest training

A word folder ``unknown`` or ``_unknown_`` holds other words; ``_background_noise_`` holds noise.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.clips import clips as bundled_clips
from tidegate.host.audio import FORMATS, SUFFIXES
from tidegate.spec.stop import SILENCE

from ..errors import DataError
from .split import MANY_SPEAKERS, PARTS, UNKNOWN, UNSEEN, Clip, by_lists, by_speakers, text_of, with_test_part

if TYPE_CHECKING:
    from ..recipe import Recipe

CLASSES = ("folder", "auto", "none")
NOISE_FOLDER, _UNKNOWN_FOLDER, _SILENCE_FOLDER = "_background_noise_", "_unknown_", "_silence_"
MIN_CLIPS, FEW_CLIPS = 5, 20        # of a word: refused, warned about
_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_NAMED = 12         # words in a message
_FSDD = re.compile(r"([^_]+)_([^_]+)_(\d+)\.wav")
_FSDD_TEST, _FSDD_VALIDATION = range(0, 5), range(5, 8)
_FOREIGN = (".m4a", ".aac", ".wma", ".caf", ".amr", ".3gp", ".webm", ".mp4")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class DataSet:
    """``labels``: one per class, ``unknown`` and ``silence`` last.  ``noise``: recordings to cut silence from.

    ``make``: classes of which clips are made in every part that has none (``made.py``).  ``skipped``: (path, reason)
    of files that are no clips.  ``warnings``: one line each.
    """

    root: Path
    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    noise: tuple[str, ...] = ()
    make: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


def scan(directory: str | Path, keywords: tuple[str, ...] = (), speaker: str = "", *, unknown: str = "folder",
         silence: str = "folder", training: bool = True) -> DataSet:
    """List a folder of words.

    With ``keywords`` these are the classes and all other words are ``unknown``; without, every word is a class.
    ``unknown`` and ``silence``, as in a recipe: "folder", the class exists if there are recordings for it (other
    words; ``_background_noise_``); "auto", it always exists, and is made where there are none; "none", it does not.
    With ``speaker`` (leave one out), the test part is exactly the clips of that speaker, and what would be test
    otherwise is for training.

    Without ``training`` a model is only judged, whose words are ``keywords``: not all of them need be there, any number
    of clips is enough, any part may be empty, and a folder ``silence`` or ``_silence_`` holds clips of that class.
    ``labels`` are still all ``keywords``.

    DataError if the folder is missing or has no recorded words, or lacks the speaker; to train, also if it has one word
    only or folders without recordings, or lacks a keyword, or clips of a word to train or to validate with; to judge,
    also if none of the keywords is there.
    """
    for name, choice in ((UNKNOWN, unknown), (SILENCE, silence)):
        if choice not in CLASSES:
            raise DataError(f"'{choice}' is no choice for the class '{name}'; choose {', '.join(CLASSES)}")
    root = Path(directory)
    if not root.is_dir():
        raise DataError(f"no folder '{root}'; give a folder of words, or fetch one with `tidegate data`")
    found = _scan_words(root, speaker, training) or _scan_fsdd(root, speaker)
    if not found:
        raise DataError(_why_nothing(root))
    clips = list(found.clips)
    if speaker and not any(clip.speaker == speaker for clip in clips):
        raise DataError(f"'{root}' has no clips of the speaker '{speaker}'")
    words = {clip.label for clip in clips}
    missing = [word for word in keywords if word not in words]
    if missing and training:
        raise DataError(f"'{root}' has no clips of the word{'s' * (len(missing) > 1)} {', '.join(missing)}; "
                        "add them or leave the words out of the recipe")
    classes = {UNKNOWN} if training else {UNKNOWN, SILENCE}
    labels = tuple(keywords) or tuple(sorted(words - classes))
    if training:
        _check_words(root, labels, words if unknown != "none" else words - {UNKNOWN}, found)
    else:
        _check_judged(root, labels, words - classes, unknown)
        found = replace(found, warnings=())         # they are about training
    noise = tuple(f"{NOISE_FOLDER}/{p.name}" for p in _sounds(root / NOISE_FOLDER))
    others = bool(words - set(labels) - (classes - {UNKNOWN}))
    clips = [c if c.label in labels or c.label in classes else replace(c, label=UNKNOWN) for c in clips]
    dropped = {name for name, choice in ((UNKNOWN, unknown), (SILENCE, silence)) if choice == "none"}
    if not training:
        lost = ((c.path, f"the model has no class '{c.label}'") for c in clips if c.label in dropped)
        found = replace(found, skipped=(*found.skipped, *lost))
    clips = [c for c in clips if c.label not in dropped]
    if unknown != "none" and (others or unknown == "auto"):
        labels += (UNKNOWN,)
    if unknown == "auto" and not others:
        clips += _other_words(words)
    if silence == "auto" or (silence == "folder" and (noise or any(c.label == SILENCE for c in clips))):
        labels += (SILENCE,)
    for part in PARTS[:2] if training else ():
        if not any(clip.part == part for clip in clips):
            raise DataError(f"'{root}' has no clips in its {part} part, which gets about one in ten; add clips, "
                            "a word needs 30 or more")
    make = tuple(name for name, choice in ((UNKNOWN, unknown), (SILENCE, silence)) if choice == "auto")
    return replace(found, labels=labels, clips=tuple(clips), noise=noise, make=make)


def scan_words(directory: str | Path, keywords: tuple[str, ...]) -> DataSet:
    """List a folder of words to judge a model with these keywords: nothing is trained, so no part has to have clips.

    All other words are ``unknown``; keywords may lack.  DataError if there is no recorded word or no keyword.
    """
    root = Path(directory)
    if not root.is_dir():
        raise DataError(f"no folder '{root}'; give a folder of words, or fetch one with `tidegate data`")
    found = _scan_words(root, "") or _scan_fsdd(root, "")
    if not found:
        raise DataError(_why_nothing(root))
    clips = tuple(c if c.label in keywords else replace(c, label=UNKNOWN) for c in found.clips)
    there = {clip.label for clip in clips}
    if not there & set(keywords):
        raise DataError(f"'{root}' has no clips of the model's words {', '.join(keywords)}; give a folder that has")
    noise = tuple(f"{NOISE_FOLDER}/{p.name}" for p in _sounds(root / NOISE_FOLDER))
    labels = tuple(word for word in keywords if word in there)
    return replace(found, labels=(*labels, UNKNOWN) if UNKNOWN in there else labels, clips=clips, noise=noise)


def default_recipe(directory: str | Path | None) -> str:
    """The shipped recipe for a folder of words when none is named: "digits" if it holds just these, else "words"."""
    if directory is None or not Path(directory).is_dir():
        return "digits"
    found = _scan_words(Path(directory), "", False) or _scan_fsdd(Path(directory), "")
    own = set() if found is None else {clip.label.lower() for clip in found.clips}
    return "digits" if own <= {*_DIGITS, *map(str, range(10))} else "words"


def scan_for(recipe: "Recipe", directory: str | Path, speaker: str = "") -> DataSet:
    """The data set as a recipe wants it: its classes, and its words to leave out in the part "unseen"."""
    data = scan(directory, recipe.keywords, speaker, unknown=recipe.unknown, silence=recipe.silence)
    return leave_out(replace(data, clips=tuple(with_test_part(list(data.clips), recipe.test_share))), recipe.leave_out)


def leave_out(data: DataSet, words: tuple[str, ...]) -> DataSet:
    """The data set with all clips of these unknown words in the part "unseen"; DataError for other words."""
    there = {clip.folder for clip in data.clips if clip.label == UNKNOWN}
    for word in words:
        if word not in there:
            raise DataError(f"'{data.root}' has no unknown word '{word}' to leave out; "
                            f"there are {', '.join(sorted(there)) or 'none'}")
    return replace(data, clips=tuple(replace(c, part=UNSEEN) if c.folder in words else c for c in data.clips))


def _check_words(root: Path, labels: tuple[str, ...], words: set[str], found: DataSet) -> None:
    if SILENCE in words:
        raise DataError(f"'{root}' has a word '{SILENCE}', which is the class for no word at all; rename its folder, "
                        f"or put recordings of the room, without words, into '{root / NOISE_FOLDER}'")
    if len(words) < 2:
        raise DataError(f"'{root}' has one word only, '{' '.join(words)}'; at least two are needed, one folder of "
                        f"recordings each (or recordings of other words in a folder '{UNKNOWN}')")
    if any((root / name).is_file() for name in _LISTS.values()):
        return
    counts = Counter(clip.label for clip in found.clips)
    few = [f"{word} ({counts[word]})" for word in labels if counts[word] < MIN_CLIPS]
    if few:
        raise DataError(f"'{root}' has too few clips of {', '.join(few)}; a word needs at least {MIN_CLIPS}, and 50 by "
                        "several people to be of use")


def _check_judged(root: Path, labels: tuple[str, ...], words: set[str], unknown: str) -> None:
    """Whether a model of these labels can be judged on these words."""
    others = sorted(words - set(labels))
    if others and len(others) == len(words):
        raise DataError(f"'{root}' has none of the model's words {_some(labels)}, but {_some(others)}; give a folder "
                        f"with recordings of its words (or put the others into a folder '{UNKNOWN}')")
    if others and unknown == "none":
        raise DataError(f"'{root}' has the words {_some(others)}, for which the model has no class; remove them")


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:_NAMED]) + (f" and {len(words) - _NAMED} more" if len(words) > _NAMED else "")


def _other_words(words: set[str]) -> list[Clip]:
    """The bundled clips of words that are none of these, to train with: their voices are synthetic."""
    own = {word.lower() for word in words} | {_DIGITS[int(word)] for word in words if re.fullmatch(r"\d", word)}
    return [Clip(str(clip.path), UNKNOWN, "train") for clip in bundled_clips()
            if clip.word not in own and clip.word != SILENCE]


def _sounds(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    return sorted(p for p in folder.glob("*")
                  if p.suffix.lower() in suffixes and p.is_file() and not p.name.startswith("."))


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(("_", ".")))


def _scan_fsdd(root: Path, speaker: str) -> DataSet | None:
    folder = root / "recordings" if (root / "recordings").is_dir() else root
    matches = [(p, _FSDD.fullmatch(p.name)) for p in _sounds(folder)]
    clips = [Clip(p.relative_to(root).as_posix(), text_of(m[1]), _fsdd_part(int(m[3])), text_of(m[2]))
             for p, m in matches if m]
    if speaker:
        clips = [replace(c, part="test" if c.speaker == speaker else "train" if c.part == "test" else c.part)
                 for c in clips]
    return DataSet(root, (), tuple(clips)) if clips else None


def _fsdd_part(take: int) -> str:
    return "test" if take in _FSDD_TEST else "validation" if take in _FSDD_VALIDATION else "train"


def _scan_words(root: Path, speaker: str, training: bool = True) -> DataSet | None:
    """The clips of the word folders; None if there are none, or only FSDD's ``recordings``."""
    special = {_UNKNOWN_FOLDER: UNKNOWN} | ({} if training else {_SILENCE_FOLDER: SILENCE})
    folders = [*_folders(root), *(root / name for name in special if (root / name).is_dir())]
    clips, skipped, empty = [], [], []
    for folder in folders:
        inside = [folder, *_folders(folder)]
        label = special.get(folder.name, text_of(folder.name))
        here = [Clip(p.relative_to(root).as_posix(), label, "", text_of(_speaker(p, folder)))
                for place in inside for p in _sounds(place)]
        foreign = [p for place in inside for p in _sounds(place, _FOREIGN)]
        skipped += [(p.relative_to(root).as_posix(), f"not {FORMATS}; convert it") for p in foreign]
        if not here:
            empty.append(folder.name + (f" ({len(foreign)} {foreign[0].suffix})" if foreign else ""))
        clips += here
    one = len({clip.label for clip in clips}) == 1 or (root / "recordings").is_dir()
    if not clips or (one and _scan_fsdd(root, "")):
        return None
    _check_folders(root, folders, clips, empty, training)
    listed = {}
    for part, name in _LISTS.items():
        if (root / name).is_file():
            lines = map(text_of, (root / name).read_bytes().splitlines())
            listed |= {Path(x).with_suffix("").as_posix(): part for line in lines if (x := line.strip())}
    if listed:
        return DataSet(root, (), tuple(by_lists(clips, listed, speaker)), skipped=tuple(skipped))
    # of many speakers, each stays in one part, and to read all files would take long
    many = len({clip.speaker for clip in clips}) > MANY_SPEAKERS
    clips, copies = (clips, []) if many else _without_copies(root, clips)
    clips, warnings = by_speakers(clips, speaker)
    counts = Counter(clip.label for clip in clips if clip.label != UNKNOWN)
    few = [f"{word} ({n})" for word, n in counts.items() if n < FEW_CLIPS]
    if few:
        warnings.append(f"few clips of {', '.join(few)}: the figures are rough; {FEW_CLIPS} is little, 50 are good")
    nobody = not any(clip.speaker for clip in clips)
    if training and nobody and (word := _word_beside(root, folders)):
        warnings.append(f"'{word}' beside it has the same folders; if {_some(sorted(counts))} are people and not "
                        f"words, give '{root.absolute().parent}'")
    if strays := _sounds(root):
        warnings.append(f"{len(strays)} recordings lie beside the word folders and are left out, as {strays[0].name}")
    return DataSet(root, (), tuple(clips), skipped=(*skipped, *copies), warnings=tuple(warnings))


def _speaker(path: Path, folder: Path) -> str:
    """From ``word/speaker/clip``, ``SPEAKER_nohash_N`` or ``WORD_SPEAKER_N``; "" where nothing tells."""
    if path.parent != folder:
        return path.parent.name
    name, mark, _ = path.stem.partition("_nohash_")
    if mark:
        return name
    match = re.fullmatch(re.escape(folder.name) + r"_([^_]+)_\d+", path.stem)
    return match[1] if match else ""


def _check_folders(root: Path, folders: list[Path], clips: list[Clip], empty: list[str], training: bool) -> None:
    for folder in folders:
        if any((folder / name).exists() for name in (*_LISTS.values(), NOISE_FOLDER, _UNKNOWN_FOLDER)):
            raise DataError(f"'{root}' is no folder of words, but '{folder}' inside it is; give that one")
    if not training:
        return
    if empty:
        raise DataError(f"'{root}' has folders without recordings: {', '.join(empty)}; put {FORMATS} files into "
                        "them, or remove them")
    named = [folder.name for folder in folders if folder.name != _UNKNOWN_FOLDER]
    files = {name: [clip.path for clip in clips if clip.path.startswith(f"{name}/")] for name in named}
    if named and all(_is_speaker(name, paths) for name, paths in files.items()):
        raise DataError(f"the folders of '{root}' are called as the speakers of their files are, {_some(named)}; give "
                        "a folder that has one folder per word (if it is one word's, the folder above it)")
    if len(folders) == 1 and all(clip.path.count("/") == 2 for clip in clips):
        raise DataError(f"'{root}' has only the folder '{folders[0].name}'; if the words are inside it, give "
                        f"'{folders[0]}'")


def _is_speaker(folder: str, files: list[str]) -> bool:
    """Whether all files say that their folder is a speaker's: ``SPEAKER_nohash_N`` or ``WORD_SPEAKER_N``."""
    name = re.escape(folder)
    return all(re.fullmatch(rf"{name}_nohash_.*|.+_{name}_\d+", Path(file).stem) for file in files)


def _word_beside(root: Path, folders: list[Path]) -> Path | None:
    """A folder beside this one with recordings in folders of the same names, as another word of the same people has."""
    names = {folder.name for folder in folders}
    beside = (other for other in _folders(root.absolute().parent) if other.name != root.absolute().name)
    return next((other for other in beside if sum(bool(_sounds(inside)) for inside in _folders(other)
                                                  if inside.name in names) > len(names) / 2), None)


def _without_copies(root: Path, clips: list[Clip]) -> tuple[list[Clip], list[tuple[str, str]]]:
    """A copy of a recording could train in one part and be tested in another: only the first is kept."""
    sizes = Counter(size for clip in clips if (size := (root / clip.path).stat().st_size))
    seen: dict[bytes, str] = {}
    kept, copies = [], []
    for clip in clips:
        path = root / clip.path
        first = clip.path
        if sizes[path.stat().st_size] > 1:
            first = seen.setdefault(sha1(path.read_bytes()).digest(), clip.path)
        if first == clip.path:
            kept.append(clip)
        else:
            copies.append((clip.path, f"a copy of {first}"))
    return kept, copies


def _why_nothing(root: Path) -> str:
    if _sounds(root):
        return (f"'{root}' has recordings directly inside; give the folder above it, '{root.resolve().parent}', "
                "or sort them into one folder per word")
    deep = next((p for depth in ("*/*/*/*", "*/*/*/*/*") for p in root.glob(depth) if p.suffix.lower() in SUFFIXES),
                None)
    if deep:
        below = root
        while len(inside := _folders(below)) == 1:
            below = inside[0]
        return (f"the recordings in '{root}' lie too deep, as '{deep.relative_to(root)}'; give the folder that has one "
                "folder per word" + (f", as '{below}'" if inside and below != root else ""))
    foreign = [p for depth in ("*", "*/*", "*/*/*") for p in root.glob(depth) if p.suffix.lower() in _FOREIGN]
    if foreign:
        return f"'{root}' has no {FORMATS} file, but {len(foreign)} as {foreign[0].name}; convert them"
    return f"'{root}' contains no recorded words; it needs one folder of sound files per word"
