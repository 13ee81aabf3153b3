"""What streams for training are made of: recordings as mel energies, dry and as heard in rooms.

Rooms are put in before the energies are taken, by convolution with
measured impulse responses, because a room's echoes are not in the energies of the dry sound.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from rich.progress import track

from tidegate.host.audio import AudioError, read_audio
from tidegate.host.frontend import FrontEnd, FrontEndSettings
from tidegate.spec.cache import cache_folder

from ..errors import DataError
from .feature_bank import FeatureBank, Material, noise_bed
from .features import Features, read_cache, write_cache
from .folders import SILENCE, UNKNOWN, DataSet
from .sounds import sound_files

_VERSION = 1
_DIRECT_S = 0.0025          # around an impulse response's peak: the direct sound, whose energy a room keeps
_TAIL_S = 0.4               # of a room's echo that a recording keeps after its end
VALIDATION_SHARE = 10       # percent of the recordings of continuous speech and noise


@dataclass(frozen=True)
class SoundFolders:
    """Folders of sound beside the words, each searched with all folders below it.

    ``speech``: continuous speech, all of it to be rejected.  ``words``: recordings of other words.
    ``keywords``: more recordings of the keywords, in folders of their names.  ``noise``: any
    sound that is no speech.  ``rooms``: impulse responses of rooms.
    """

    speech: tuple[Path, ...] = ()
    words: tuple[Path, ...] = ()
    keywords: tuple[Path, ...] = ()
    noise: tuple[Path, ...] = ()
    rooms: tuple[Path, ...] = ()

    def to_dict(self) -> dict:
        """Names of the folders, for a model's card."""
        return {kind: ["/".join(Path(p).resolve().parts[-2:]) for p in getattr(self, kind)]
                for kind in ("speech", "words", "keywords", "noise", "rooms") if getattr(self, kind)}


NOTHING_ELSE = SoundFolders()


def sounds(folders: tuple[Path, ...]) -> list[Path]:
    """The ``sound_files`` of these folders; DataError for a folder that is missing or has none."""
    found = []
    for folder in map(Path, folders):
        here = sound_files(folder)
        if not here:
            raise DataError(f"no sound files in '{folder}' or below it; check the path" if folder.is_dir() else
                            f"no folder '{folder}'; check the path")
        found += here
    return found


def check_sources(sources: SoundFolders, keywords: tuple[str, ...]) -> None:
    """DataError for a folder that is missing or has no sound, and for recordings of ``sources.keywords`` in a folder
    that is named after none of the keywords (if there are any names to go by)."""
    for folders in (sources.speech, sources.words, sources.noise, sources.rooms):
        sounds(folders)
    for path in sounds(sources.keywords):
        if keywords:
            _keyword(path, sources.keywords, keywords)


def in_validation(path: Path) -> bool:
    """Whether a recording of continuous speech, noise or another word is kept for validation: by the hash of the
    speaker's folder and the file's name."""
    name = f"{path.parent.name}/{path.stem}".encode(errors="surrogateescape")      # it need not be UTF-8
    return int(sha256(name).hexdigest(), 16) % 100 < VALIDATION_SHARE


def energies_of(paths: list[Path], settings: FrontEndSettings, rooms: list[Path], cache: str | Path | None,
                progress: bool, what: str) -> tuple[list[np.ndarray], list[int], list[str]]:
    """Energies of files, kept in the cache folder: (pieces, number of the file of each, "path: reason" of the others).

    With ``rooms`` each recording is heard in one of them, chosen by its name.
    """
    store = Path(cache or cache_folder()).expanduser() / f"material-{_key(paths, settings, rooms)[:24]}.npz"
    found = read_cache(store)
    if found is None:
        responses = [_response(p, settings.sample_rate) for p in rooms]
        found = _decode(paths, settings, responses, progress, what)
        write_cache(store, *found)
    energies, lengths, reasons, _ = found
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    kept = [i for i in range(len(paths)) if lengths[i]]
    unread = [reason if str(path) in reason else f"'{path}': {reason}"
              for path, reason in zip(paths, map(str, reasons), strict=True) if reason]
    return [energies[offsets[i] : offsets[i + 1]] for i in kept], kept, unread


def _response(path: Path, rate: int) -> np.ndarray:
    """An impulse response, cut to begin with the direct sound, which has the energy 1."""
    response = read_audio(path, rate)
    peak, near = int(np.abs(response).argmax()), int(_DIRECT_S * rate)
    start = max(0, peak - near)
    direct = float(np.sqrt((response[start : peak + near].astype(np.float64) ** 2).sum()))
    return (response[start : start + 2 * rate] / max(direct, 1e-12)).astype(np.float32)


def heard_in(samples: np.ndarray, response: np.ndarray, tail: int) -> np.ndarray:
    """Samples (n,) as heard in a room, (n + tail,): the convolution with its impulse response, scaled to the loudness
    of the dry sound."""
    size = len(samples) + tail
    n = 1 << (len(samples) + len(response) - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, n) * np.fft.rfft(response, n), n)[:size]
    loud = np.sqrt((samples.astype(np.float64) ** 2).sum() / max((wet**2).sum(), 1e-20))
    return (wet * loud).astype(np.float32)


def _decode(paths: list[Path], settings: FrontEndSettings, responses: list[np.ndarray], progress: bool, what: str):
    def decode(path: Path):
        try:
            samples = read_audio(path, settings.sample_rate)
            if responses:
                which = int(sha256(path.name.encode()).hexdigest(), 16) % len(responses)
                samples = heard_in(samples, responses[which], int(_TAIL_S * settings.sample_rate))
            energies = FrontEnd(settings).energies(samples)
        except AudioError as error:
            return None, str(error)
        return (energies, "") if len(energies) else (None, "shorter than one window")

    with ThreadPoolExecutor(2) as pool:
        try:
            results = list(track(pool.map(decode, paths), f"decoding {what}", total=len(paths), disable=not progress))
        finally:
            pool.shutdown(cancel_futures=True)      # Ctrl-C does not wait for all of them
    empty = np.empty((0, settings.bands), np.float32)
    pieces = [empty if e is None else e for e, _ in results]
    return np.concatenate([empty, *pieces]), np.array([len(p) for p in pieces], np.int64), [r for _, r in results], []


def _key(paths: list[Path], settings: FrontEndSettings, rooms: list[Path]) -> str:
    wanted = settings.of_energies()
    files = [[str(p.resolve()), (s := p.stat()).st_size, s.st_mtime_ns] for p in (*paths, *rooms)]
    return sha256(json.dumps([_VERSION, wanted, files, len(rooms)]).encode()).hexdigest()


def _keyword(path: Path, folders: tuple[Path, ...], labels: tuple[str, ...]) -> str:
    """Which keyword a recording holds: the name of its folder in the one of ``folders`` that it is in."""
    folder = next(f for f in folders if path.is_relative_to(f))
    name = path.relative_to(folder).parts[0]
    if name not in labels or name in (UNKNOWN, SILENCE):
        raise DataError(f"'{path}' is in no folder with the name of a keyword; '{folder}' is to hold a folder for each")
    return name


def load_material(data: DataSet, features: Features, sources: SoundFolders, part: str, cache: str | Path | None = None,
                  progress: bool = False) -> Material:
    """What the streams of a part ("train" or "validation") are made of.

    Words are the part's clips as ``features`` holds them, and as heard in ``sources.rooms``.  Of the other folders
    nine recordings in ten are for training, and of the background recordings the first 80 %.
    """
    settings, labels = features.settings, features.labels
    skipped = {path for path, _ in features.skipped}
    paths = [data.root / clip.path for clip in data.clips if clip.path not in skipped]
    silence = labels.index(SILENCE) if SILENCE in labels else -1
    mine = [int(i) for i in features.of(part) if features.targets[i] != silence]
    pieces, targets = [features.clip(i) for i in mine], [int(features.targets[i]) for i in mine]
    rooms = sounds(sources.rooms)
    wet = list(pieces)
    if rooms:
        there = [k for k, i in enumerate(mine) if i < len(paths)]
        heard, kept, _ = energies_of([paths[mine[k]] for k in there], settings, rooms, cache, progress,
                                     "words in rooms")
        for piece, k in zip(heard, kept, strict=True):
            wet[there[k]] = piece

    unreadable: list[str] = []

    def more(folders: tuple[Path, ...], what: str) -> tuple[list[np.ndarray], list[np.ndarray], list[Path]]:
        dry, echoing, read, reasons = [], [], [], []
        for folder in folders:          # each has its own cache: another folder does not decode all of them again
            files = [p for p in sounds((folder,)) if in_validation(p) == (part == "validation")]
            found, kept, unread = energies_of(files, settings, [], cache, progress, what)
            reasons += unread
            heard = list(found)
            if rooms and what != "noise":
                wet, there, _ = energies_of([files[k] for k in kept], settings, rooms, cache, progress,
                                            f"{what} in rooms")
                for piece, k in zip(wet, there, strict=True):
                    heard[k] = piece
            dry, echoing, read = dry + found, echoing + heard, read + [files[k] for k in kept]
        if reasons and not read and part == "train":
            raise DataError(f"no recording of {what} can be read; the first is {reasons[0]}")
        unreadable.extend(reasons)
        return dry, echoing, read

    if sources.words and UNKNOWN in labels:
        dry, echoing, _ = more(sources.words, "other words")
        pieces, wet = pieces + dry, wet + echoing
        targets += [labels.index(UNKNOWN)] * len(dry)
    if sources.keywords:
        dry, echoing, files = more(sources.keywords, "keywords")
        pieces, wet = pieces + dry, wet + echoing
        targets += [labels.index(_keyword(path, sources.keywords, labels)) for path in files]
    speech, speech_wet, _ = more(sources.speech, "speech")
    noises, _, _ = more(sources.noise, "noise")
    bed, _, _ = energies_of([data.root / p for p in data.noise], settings, [], cache, progress, "background")
    cut = [p[: int(0.8 * len(p))] if part == "train" else p[int(0.8 * len(p)) :] for p in bed]
    words = FeatureBank.of(pieces, np.array(targets), words=True)
    wet_words = replace(words, energies=(w := FeatureBank.of(wet)).energies, offsets=w.offsets) if rooms else None
    levels = [float(words.clip(i)[words.first[i] : words.end[i]].mean()) for i in range(len(words))]
    bands = settings.bands
    return Material(labels, words, wet_words, FeatureBank.of(speech),
                    FeatureBank.of(speech_wet) if rooms and speech else None, FeatureBank.of([*noises, *cut]),
                    noise_bed([*noises, *cut], bands, np.random.default_rng(part == "train")),
                    float(np.median(levels)), tuple(unreadable))
