"""Every clip of a data set as linear mel energies: decoded once, kept in a cache folder.

Energies and not features are kept because augmentation works on them (sounds add in energy) and because the
floor may then change without decoding again.  They are float32 as the front end gives them, so that an
evaluation sees exactly what live use would.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from rich.progress import track

from tidegate.host.audio import AudioError, read_audio
from tidegate.host.frontend import FrontEnd, FrontEndSettings, log_energies
from tidegate.spec.cache import cache_folder

from ..errors import DataError
from ..recipe import WORDS
from .folders import PARTS, SILENCE, UNKNOWN, DataSet
from .made import Words, silence_clips, unknown_clips
from .split import ALL_PARTS

MAX_SECONDS = 10.0                  # a longer clip is no word
SILENCE_SECONDS = 1.0
MADE_UNKNOWN = 2                    # times the clips of a word: there is more of what is no word
UNEVEN = 3.0                        # a class so many times another is warned about
_NAMED = 3                          # speakers in a message
_VERSION = 2


@dataclass(frozen=True)
class Features:
    """All clips, packed: clip i is ``energies[offsets[i] : offsets[i + 1]]``, (frames, bands) float32.

    ``targets`` (clips,) class numbers into ``labels``; ``parts`` (clips,) indices into ALL_PARTS.  Clips of
    ``silence`` are cut from the noise recordings.  ``noise``: (frames, bands), their training part, to mix in.
    ``skipped``: (path, reason) of the clips that could not be used.  ``made``: class → part → clips made of others
    (``made.py``); ``bundled`` clips of other words train ``unknown``.  ``warnings``: one line each.  They are the
    ``Examples`` of the ``task`` of this name.
    """

    settings: FrontEndSettings
    labels: tuple[str, ...]
    energies: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray
    parts: np.ndarray
    noise: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    made: dict[str, dict[str, int]] = field(default_factory=dict)
    bundled: int = 0
    warnings: tuple[str, ...] = ()
    task: str = WORDS

    def of(self, part: str) -> np.ndarray:
        """Numbers of the clips in a part."""
        return np.flatnonzero(self.parts == ALL_PARTS.index(part))

    def clip(self, i: int) -> np.ndarray:
        """Energies (frames, bands) of clip i."""
        return self.energies[self.offsets[i] : self.offsets[i + 1]]

    @property
    def width(self) -> int:
        """Values of a frame."""
        return self.settings.bands

    @property
    def content(self) -> np.ndarray:
        return self.energies

    def frames(self, i: int) -> np.ndarray:
        """Frames (frames, bands) of clip i as a model takes them."""
        return log_energies(self.clip(i), self.settings)

    def normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, scale) float32 (bands,) of the training clips' frames; scaled frames have variance 1."""
        frames = np.concatenate([self.frames(i) for i in self.of("train")])
        mean, deviation = frames.mean(0, dtype=np.float64), frames.std(0, dtype=np.float64)
        return mean.astype(np.float32), (1 / (deviation + 1e-3)).astype(np.float32)

    def counts(self, part: str) -> dict[str, int]:
        """Clips of a part per class."""
        numbers = np.bincount(self.targets[self.of(part)], minlength=len(self.labels))
        return dict(zip(self.labels, map(int, numbers), strict=True))


def load_features(data: DataSet, settings: FrontEndSettings, cache: str | Path | None = None,
                  progress: bool = False, training: bool = True) -> Features:
    """Decode a data set, or take it from the cache folder (default ``spec.cache``).

    DataError if a class has no usable clip to train with, or none can be used in the validation part.  Without
    ``training`` a model is only judged: no class and no part need have clips.
    """
    paths = [clip.path for clip in data.clips] + list(data.noise)
    cache = cache or cache_folder()
    store = Path(cache).expanduser() / f"energies-{_key(data.root, paths, settings)[:24]}.npz"
    found = read_cache(store)
    if found is None:
        found = _decode(data.root, paths, settings, progress, limit=len(data.clips))
        write_cache(store, *found)
    energies, lengths, reasons, notes = found
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    reasons = [reason or _too_quiet(energies[offsets[i] : offsets[i + 1]], data, settings)
               for i, reason in enumerate(reasons[: len(data.clips)])] + reasons[len(data.clips) :]
    skipped = (*data.skipped, *((path, reason) for path, reason in zip(paths, reasons, strict=True) if reason))

    kept = [i for i in range(len(data.clips)) if not reasons[i]]
    pieces = [energies[offsets[i] : offsets[i + 1]] for i in kept]
    targets = [data.labels.index(data.clips[i].label) for i in kept]
    parts = [ALL_PARTS.index(data.clips[i].part) for i in kept]
    bundled = np.array([Path(data.clips[i].path).is_absolute() for i in kept], bool)
    noise = []
    has_test = PARTS.index("test") in parts
    for i in range(len(data.clips), len(paths)):
        noise.append(energies[offsets[i] : offsets[i] + int(0.8 * lengths[i])])
        for part, start, end in _silence_spans(lengths[i], settings, has_test) if SILENCE in data.labels else ():
            pieces.append(energies[offsets[i] + start : offsets[i] + end])
            targets.append(data.labels.index(SILENCE))
            parts.append(PARTS.index(part))
    made = _make(data, settings, pieces, targets, parts, bundled) if data.make else {}
    features = Features(
        settings, data.labels, np.concatenate(pieces or [energies[:0]]),
        np.concatenate([[0], np.cumsum([len(p) for p in pieces], dtype=np.int64)]),
        np.array(targets, np.int64), np.array(parts, np.int64),
        np.concatenate(noise) if noise else energies[:0], skipped, made, int(bundled.sum()))
    doubtful = [f"{len(notes)} recordings are used as they are, as {notes[0]}"] if notes else []
    if not training:
        return replace(features, warnings=(*data.warnings, *doubtful))
    _check_classes(features, data)
    no_test = [_empty("test", data, dict(skipped))] if any(clip.part == "test" for clip in data.clips) else []
    return replace(features, warnings=(*data.warnings, *doubtful, *filter(None, no_test), *_uneven(features)))


def _too_quiet(energies: np.ndarray, data: DataSet, settings: FrontEndSettings) -> str:
    """Why a clip of a user's own is no word, or "": the network hears nothing of what stays below the floor."""
    return "silence only" if data.make and len(energies) and energies.max() < settings.floor else ""


def _make(data: DataSet, settings: FrontEndSettings, pieces: list, targets: list, parts: list,
          bundled: np.ndarray) -> dict[str, dict[str, int]]:
    """Append the clips of the classes to make to each part that has none, as many as a word has in the mean."""
    own = ~np.concatenate([bundled, np.zeros(len(pieces) - len(bundled), bool)])
    of, where = np.array(targets, np.int64), np.array(parts, np.int64)
    special = [data.labels.index(label) for label in (UNKNOWN, SILENCE) if label in data.labels]
    spoken = np.flatnonzero(own & ~np.isin(of, special))
    made: dict[str, dict[str, int]] = {}
    heard = [i for i in spoken if where[i] == 0]        # only what trains may say what trains
    if not heard:                                       # a test set: it is judged as it is
        return made
    known = Words([pieces[i] for i in heard], of[heard].tolist())
    for part, name in enumerate(PARTS):
        source = [i for i in spoken if where[i] == part]
        count = -(-len(source) // (len(data.labels) - len(special)))
        for label in data.make if source else ():
            target = data.labels.index(label)
            if (own & (of == target) & (where == part)).any():
                continue
            # one seed a part and class: they share no chance, and evaluation makes the same again
            rng = np.random.default_rng([part, (UNKNOWN, SILENCE).index(label)])
            clips = [pieces[i] for i in source]
            if label == UNKNOWN:
                fresh = unknown_clips(clips, of[source].tolist(), known, MADE_UNKNOWN * count, rng)
            else:
                fresh = silence_clips(clips, count, settings.frames(int(SILENCE_SECONDS * settings.sample_rate)), rng)
            pieces += fresh
            targets += [target] * len(fresh)
            parts += [part] * len(fresh)
            made.setdefault(label, {})[name] = len(fresh)
    return made


def _check_classes(features: Features, data: DataSet) -> None:
    reasons = dict(features.skipped)
    for label, count in features.counts("train").items():
        if count == 0:
            why = next((reasons[c.path] for c in data.clips if c.label == label and c.path in reasons), "")
            raise DataError(f"'{data.root}' has no usable clip of '{label}' to train with ({len(reasons)} clips were "
                            f"unreadable{', as: ' + why if why else ''}); add clips or drop the word")
    if why := _empty("validation", data, reasons):
        raise DataError(why)


def _empty(part: str, data: DataSet, reasons: dict[str, str]) -> str:
    """Why no recording of a part can be used (they are split before they are read), or "": some can."""
    lost = [clip for clip in data.clips if clip.part == part]
    if any(clip.path not in reasons for clip in lost):
        return ""
    start = f"'{data.root}' has no usable clip in its {part} part"
    if not lost:
        return f"{start}; add clips"
    who = sorted({clip.speaker for clip in lost if clip.speaker})
    said = f" (all by {', '.join(who[:_NAMED])}{' and others' * (len(who) > _NAMED)})" if who else ""
    return (f"{start}: {len(lost)} were put there{said}, and none can be used, as '{lost[0].path}': "
            f"{reasons[lost[0].path]}; repair or remove them")


def _uneven(features: Features) -> list[str]:
    counts = {k: n for k, n in features.counts("train").items() if k not in (UNKNOWN, SILENCE)}
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] <= UNEVEN * counts[least]:
        return []
    return [f"'{most}' has {counts[most]} clips to train and '{least}' only {counts[least]}: add clips of '{least}', "
            "or it will be missed more often"]


def _silence_spans(frames: int, settings: FrontEndSettings, has_test: bool):
    """(part, start, end) of the one-second cuts of a noise recording: its first 80 % train, the rest does not."""
    size = settings.frames(int(SILENCE_SECONDS * settings.sample_rate))
    borders = {"train": (0.0, 0.8), "validation": (0.8, 0.9 if has_test else 1.0)}
    if has_test:
        borders["test"] = (0.9, 1.0)
    for part, (begin, end) in borders.items():
        step = size // 2 if part == "train" else size
        for start in range(int(begin * frames), int(end * frames) - size + 1, max(1, step)):
            yield part, start, start + size


def _decode(root: Path, paths: list[str], settings: FrontEndSettings, progress: bool, limit: int):
    """(energies, frames per path, reason per path or "", all warnings) of all paths; the first ``limit`` are clips."""
    notes: dict[str, str] = {}

    def decode(item):
        number, path = item
        try:
            samples = read_audio(root / path, settings.sample_rate, lambda text: notes.update({path: text}))
            if number < limit and len(samples) > MAX_SECONDS * settings.sample_rate:
                return None, f"longer than {MAX_SECONDS:g} s"
            energies = FrontEnd(settings).energies(samples)
        except AudioError as error:
            return None, str(error)
        return (energies, "") if len(energies) else (None, "shorter than one window")

    with ThreadPoolExecutor(2) as pool:
        results = pool.map(decode, enumerate(paths))
        try:
            results = list(track(results, "decoding", total=len(paths), disable=not progress))
        except BaseException:                       # Ctrl-C above all: do not decode the rest first
            pool.shutdown(cancel_futures=True)
            raise
    empty = np.empty((0, settings.bands), np.float32)
    pieces = [empty if e is None else e for e, _ in results]
    reasons = [reason for _, reason in results]
    used = [notes[path] for path, reason in zip(paths, reasons, strict=True) if path in notes and not reason]
    return np.concatenate([empty, *pieces]), np.array([len(p) for p in pieces], np.int64), reasons, used


def _key(root: Path, paths: list[str], settings: FrontEndSettings) -> str:
    wanted = settings.of_energies()
    files = []
    for path in paths:
        stat = (root / path).stat()
        files.append([path, stat.st_size, stat.st_mtime_ns])
    return sha256(json.dumps([_VERSION, wanted, str(root.resolve()), files]).encode()).hexdigest()


def read_cache(store: Path):
    try:
        with np.load(store) as f:
            return f["energies"], f["lengths"], json.loads(str(f["reasons"])), \
                json.loads(str(f["notes"])) if "notes" in f else []
    except (OSError, KeyError, ValueError, EOFError, BadZipFile):
        return None                                 # missing or cut short: decode again


def write_cache(store: Path, energies: np.ndarray, lengths: np.ndarray, reasons: list, notes: list) -> None:
    """``reasons`` and ``notes`` become JSON.  Beside its name first: a run that is stopped here leaves no half-written
    cache."""
    part = store.with_name(f"{store.stem}.{os.getpid()}.npz")
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        np.savez(part, energies=energies, lengths=lengths, reasons=json.dumps(reasons), notes=json.dumps(notes))
        part.replace(store)
    except OSError as error:
        raise DataError(f"the cache '{store.parent}' cannot be written ({error.strerror}); "
                        "set TIDEGATE_CACHE to another folder") from None
