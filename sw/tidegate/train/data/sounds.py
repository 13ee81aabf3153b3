"""Recordings of any length, in any folder tree: what a stream plays beside words.

    Recording    a file, the name of its source, its length
    Passage      some seconds of one source: a piece of a long recording, or short ones one after another
    room         the impulse response of a room: how it sounds at a distance

Nothing is read whole: a piece of a file is read when it is heard.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from tidegate.host.audio import SUFFIXES, AudioError, mono, one_line, read_audio, resample

from ..errors import DataError

ROOM_SECONDS = 1.0                  # of an impulse response, from its loudest sample on
_BLOCK = 1 << 16                    # samples
_ENDLESS = 1 << 48                  # frames that a FLAC file of unknown length claims to have, or more
_SHORTEST_S = 0.1
_LOUD = 0.1                         # of the loudest 10 ms, in amplitude: what counts as loud


class _Forward(soundfile.SoundFile):
    """A file that is read from its beginning to its end: after a block, soundfile seeks in those that allow it, which
    fails at the end of a FLAC file of unknown length."""

    def seekable(self) -> bool:
        return False


@dataclass(frozen=True)
class Recording:
    """``source``: what it is counted under, the folder that it was found in."""

    path: Path
    source: str
    seconds: float


@dataclass(frozen=True)
class Segment:
    """``seconds`` of a file from ``start_s`` on."""

    path: Path
    start_s: float
    seconds: float


@dataclass(frozen=True)
class Passage:
    source: str
    pieces: tuple[Segment, ...]

    @property
    def seconds(self) -> float:
        return sum(piece.seconds for piece in self.pieces)


def sound_files(root: Path) -> list[Path]:
    """The sound files of a folder tree, in order of their paths; links to folders are followed.

    Hidden ones are left out, and so are inner folders whose name begins with _: they hold something else, such as the
    sentences of ``near-words``.
    """
    found: list[Path] = []
    seen = {root.resolve()}
    for folder, inner, names in os.walk(root, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith((".", "_"))
                    and (there := Path(folder, name).resolve()) not in seen and not seen.add(there)]
        found += [path for name in names if not name.startswith(".") and (path := Path(folder, name)).is_file()
                  and path.suffix.lower() in SUFFIXES]
    return sorted(found)


def find_recordings(folder: str | Path,
                    keep: Callable[[Path], bool] | None = None) -> tuple[list[Recording], list[tuple[str, str]]]:
    """The sound files of a folder tree, in order of their paths, and (path, reason) of those that cannot be used.

    ``keep``: which files are taken (None: all).

    The source of a file is the sub-folder of ``folder`` that it is in, or ``folder`` itself.  DataError if there is no
    such folder or no sound in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"no folder '{root}'; give a folder of recordings")
    found, skipped = [], []
    for path in sound_files(root):
        inside = path.relative_to(root).parts
        if keep is not None and not keep(path):
            continue
        try:
            seconds = sound_seconds(path)
        except AudioError as error:
            skipped.append((str(path), str(error)))
            continue
        if seconds < _SHORTEST_S:
            skipped.append((str(path), f"shorter than {_SHORTEST_S:g} s"))
        else:
            found.append(Recording(path, inside[0] if len(inside) > 1 else root.resolve().name, seconds))
    if not found:
        why = f" that can be used ({skipped[0][1]})" if skipped else f" ({', '.join(SUFFIXES)})"
        raise DataError(f"'{root}' has no sound file{why}; give a folder of recordings")
    return found, skipped


def sound_seconds(path: Path) -> float:
    """The length of a sound file, in seconds; AudioError if it cannot be read.

    A file that does not state its length, as a FLAC file that was written into a pipe, is read to its end.
    """
    try:
        info = soundfile.info(path)
        if 0 < info.frames < _ENDLESS:
            return info.frames / info.samplerate
        with _Forward(path) as file:
            count = 0
            while n := len(file.read(_BLOCK, dtype="float32", always_2d=True)):
                count += n
            return count / file.samplerate
    except (soundfile.SoundFileError, OSError, ValueError, RuntimeError) as error:
        raise AudioError(f"'{path}' cannot be read as sound ({one_line(error)})") from None


def read_piece(piece: Segment, rate: int) -> np.ndarray:
    """Float32 samples (about seconds·rate,) in ±1; AudioError if the file cannot be read."""
    try:
        frames = soundfile.info(piece.path).frames
        kind = soundfile.SoundFile if 0 < frames < _ENDLESS else _Forward
        with kind(piece.path) as file:
            begin, count = round(piece.start_s * file.samplerate), round(piece.seconds * file.samplerate)
            if kind is _Forward:
                while begin > 0 and (n := len(file.read(min(begin, _BLOCK), dtype="float32"))):
                    begin -= n
            elif begin:
                file.seek(begin)
            return resample(mono(file.read(count, dtype="float32", always_2d=True)), file.samplerate, rate)
    except (soundfile.SoundFileError, OSError, ValueError, RuntimeError) as error:
        raise AudioError(f"'{piece.path}' cannot be read as sound ({one_line(error)})") from None


@lru_cache(maxsize=1 << 16)
def why_not(piece: Segment, rate: int) -> str:
    """Why a piece cannot be heard, or "": a file that states its length may still be damaged inside."""
    try:
        return "" if len(read_piece(piece, rate)) else "no samples there"
    except AudioError as error:
        return str(error)


def passages(recordings: Sequence[Recording], seconds: float, rng: np.random.Generator) -> list[Passage]:
    """All recordings, cut into passages of about ``seconds`` of one source, in random order.

    A long recording gives pieces of ``seconds``; short ones of a source follow one another in random order.
    """
    by_source: dict[str, list[Recording]] = {}
    for recording in recordings:
        by_source.setdefault(recording.source, []).append(recording)
    found = []
    for source, some in by_source.items():
        pieces: list[Segment] = []
        for i in rng.permutation(len(some)):
            for piece in _cut(some[i], seconds):
                if pieces and sum(p.seconds for p in pieces) + piece.seconds > 1.5 * seconds:
                    found.append(Passage(source, tuple(pieces)))
                    pieces = []
                pieces.append(piece)
                if sum(p.seconds for p in pieces) >= seconds:
                    found.append(Passage(source, tuple(pieces)))
                    pieces = []
        if pieces:
            found.append(Passage(source, tuple(pieces)))
    return [found[i] for i in rng.permutation(len(found))]


def _cut(recording: Recording, seconds: float) -> list[Segment]:
    """Equal pieces of at most ``seconds``, in order."""
    count = max(1, int(np.ceil(recording.seconds / seconds)))
    each = recording.seconds / count
    return [Segment(recording.path, i * each, each) for i in range(count)]


def loudness(sound: np.ndarray, rate: int) -> float:
    """RMS of the 10 ms blocks that are at most 20 dB below the loudest: pauses do not count."""
    size = max(1, rate // 100)
    blocks = np.square(sound[: len(sound) // size * size], dtype=np.float64).reshape(-1, size).mean(1)
    loud = blocks[blocks >= _LOUD**2 * blocks.max(initial=0)]
    return float(np.sqrt(loud.mean())) if len(loud) else 0.0


@lru_cache(maxsize=64)
def room(path: Path, rate: int) -> np.ndarray:
    """A room's impulse response, float32: from its loudest sample on, ROOM_SECONDS at most, faded out."""
    response = read_audio(path, rate)
    first = int(np.abs(response).argmax())
    response = response[first : first + int(ROOM_SECONDS * rate)].copy()
    fade = len(response) // 4
    if fade:
        response[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return response


def in_room(sound: np.ndarray, response: np.ndarray) -> np.ndarray:
    """A sound (n,) as the room returns it, (n + len(response) - 1,), with the energy of the sound itself."""
    n = len(sound) + len(response) - 1
    size = 1 << (n - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[:n]
    energy = float(np.square(wet).sum())
    before = float(np.square(sound, dtype=np.float64).sum())
    return (wet * np.sqrt(before / energy)).astype(np.float32) if energy else wet.astype(np.float32)
