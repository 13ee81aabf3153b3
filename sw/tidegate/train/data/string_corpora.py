"""Where strings of tokens come from: corpora of recorded words, whose speakers are kept apart, and recorded strings."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tidegate.clips import DIGITS
from tidegate.host.audio import SUFFIXES

from ..errors import DataError
from .folders import DataSet, scan
from .split import by_speakers, with_test_part
from .string_options import StringOptions

_LISTS = ("validation_list.txt", "testing_list.txt")


@dataclass(frozen=True)
class Corpus:
    """Recorded words of one data set: ``data`` with tokens for labels.  ``name``: of its folder."""

    name: str
    data: DataSet


def token_numbers(tokens: Iterable[str]) -> dict[str, int]:
    """Spoken or written word → number of its token: "zero" and "0" are one."""
    numbers = {token: number for number, token in enumerate(tokens)}
    for digit, word in enumerate(DIGITS):
        for other, token in ((word, str(digit)), (str(digit), word)):
            if token in numbers:
                numbers.setdefault(other, numbers[token])
    return numbers


def find_corpora(directory: str | Path, tokens: tuple[str, ...], options: StringOptions, test_share: float = 0.0,
                 speaker: str = "") -> list[Corpus]:
    """The corpora in a folder of words (``folders.scan``), or in a folder of such folders; other words are left out.

    Speakers are kept apart: where a data set has no lists of its own, ``split.by_speakers`` says who is in which part.
    ``test_share``: as in a recipe.  ``speaker``: is the test part.  DataError if there is no folder or no token in it.
    """
    root, numbers = Path(directory), token_numbers(tokens)
    if not root.is_dir():
        raise DataError(f"no folder '{root}'; give a folder of words, or of such folders")
    inner = [p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(("_", "."))]
    own = any(p.name in numbers or p.name == "recordings" for p in inner) or not inner
    corpora = [_corpus(folder, tokens, numbers, options, test_share) for folder in ([root] if own else inner)]
    clips = [clip for corpus in corpora for clip in corpus.data.clips]
    if not clips:
        raise DataError(f"'{root}' has no recordings of {', '.join(tokens)}; give a folder that has")
    if speaker:
        if not any(clip.speaker == speaker for clip in clips):
            raise DataError(f"'{root}' has no clips of the speaker '{speaker}'")
        corpora = [replace(c, data=replace(c.data, clips=tuple(
            replace(clip, part="test" if clip.speaker == speaker else "train" if clip.part == "test" else clip.part)
            for clip in c.data.clips))) for c in corpora]
    return corpora


def _corpus(folder: Path, tokens: tuple[str, ...], numbers: dict[str, int], options: StringOptions,
            test_share: float) -> Corpus:
    data, warnings = scan(folder, silence="none", training=False), []
    clips = [replace(clip, label=tokens[numbers[clip.label]]) for clip in data.clips if clip.label in numbers]
    if folder.name in options.train_only:
        clips = [replace(clip, part="train") for clip in clips]
    elif any((folder / name).is_file() for name in _LISTS):
        clips = with_test_part(clips, test_share)
    else:
        clips, warnings = by_speakers([replace(clip, part="") for clip in clips])
    return Corpus(folder.name, replace(data, labels=tokens, clips=tuple(clips), warnings=tuple(
        f"{folder.name}: {line}" for line in warnings)))


@dataclass(frozen=True)
class RecordedString:
    """A recording of a string: ``tokens`` are their numbers."""

    path: Path
    tokens: tuple[int, ...]


def read_transcripts(path: str | Path, tokens: tuple[str, ...]) -> tuple[list[RecordedString], list[tuple[str, str]]]:
    """The recordings that a CSV tells the strings of, and (name, reason) of those that cannot be used.

    Its columns are a recording and what is said: words with spaces between them, or, where each token is one
    character, these together.  A recording lies beside the CSV or in a folder of the CSV's name, and its suffix may be
    left out.  DataError if the file cannot be read, or no line of it can be used.
    """
    path, numbers = Path(path), token_numbers(tokens)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if line]
    except FileNotFoundError:
        raise DataError(f"no file '{path}'; give a CSV of recordings and what is said in them") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"'{path}' cannot be read ({error}); give a CSV of recordings and what is said in "
                        "them") from None
    found, skipped = [], []
    for name, *said in lines[1:]:
        text = said[0].strip() if said else ""
        words = text.split() if " " in text or text in numbers else list(text)
        foreign = [word for word in words if word not in numbers]
        recording = _recording(path, name)
        if foreign or not words:
            skipped.append((name, f"'{foreign[0]}' is none of the tokens" if foreign else "it says nothing"))
        elif recording is None:
            skipped.append((name, "there is no such recording"))
        else:
            found.append(RecordedString(recording, tuple(numbers[word] for word in words)))
    if not found:
        why = f": {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise DataError(f"'{path}' tells the string of no recording{why}; its columns are a recording and what is said")
    return found, skipped


def _recording(table: Path, name: str) -> Path | None:
    for folder in (table.parent, table.with_suffix("")):
        for suffix in ("", *SUFFIXES):
            if (path := folder / f"{name}{suffix}").is_file():
                return path
    return None
