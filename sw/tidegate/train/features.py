"""Every clip of a data set as linear mel energies: decoded once, kept in a cache folder.

Energies and not features are kept because augmentation works on them (sounds add in energy) and because the
floor may then change without decoding again.  They are float32 as the front end gives them, so that an
evaluation sees exactly what live use would.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from rich.progress import track

from tidegate.host.audio import AudioError, read_audio
from tidegate.host.frontend import FrontEnd, FrontEndSettings

from .data import PARTS, SILENCE, DataError, DataSet

MAX_SECONDS = 10.0                  # a longer clip is no word
SILENCE_SECONDS = 1.0
_VERSION = 1


@dataclass(frozen=True)
class Features:
    """All clips, packed: clip i is ``energies[offsets[i] : offsets[i + 1]]``, (frames, bands) float32.

    ``targets`` (clips,) class numbers into ``labels``; ``parts`` (clips,) indices into PARTS.  Clips of
    ``silence`` are cut from the noise recordings.  ``noise``: (frames, bands), their training part, to mix in.
    ``skipped``: (path, reason) of the clips that could not be used.
    """

    settings: FrontEndSettings
    labels: tuple[str, ...]
    energies: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray
    parts: np.ndarray
    noise: np.ndarray
    skipped: tuple[tuple[str, str], ...]

    def of(self, part: str) -> np.ndarray:
        """Numbers of the clips in a part."""
        return np.flatnonzero(self.parts == PARTS.index(part))

    def clip(self, i: int) -> np.ndarray:
        """Energies (frames, bands) of clip i."""
        return self.energies[self.offsets[i] : self.offsets[i + 1]]


def load_features(data: DataSet, settings: FrontEndSettings, cache: str | Path | None = None,
                  progress: bool = False) -> Features:
    """Decode a data set, or take it from the cache folder (default ``$TIDEGATE_CACHE``, else ``~/.cache/tidegate``).

    DataError if a class has no usable clip to train with.
    """
    paths = [clip.path for clip in data.clips] + list(data.noise)
    cache = cache or os.environ.get("TIDEGATE_CACHE") or "~/.cache/tidegate"
    store = Path(cache).expanduser() / f"energies-{_key(data.root, paths, settings)[:24]}.npz"
    found = _read_cache(store)
    if found is None:
        found = _decode(data.root, paths, settings, progress, limit=len(data.clips))
        _write_cache(store, *found)
    energies, lengths, reasons = found
    skipped = tuple((path, reason) for path, reason in zip(paths, reasons, strict=True) if reason)
    offsets = np.concatenate([[0], np.cumsum(lengths)])

    kept = [i for i in range(len(data.clips)) if not reasons[i]]
    spans = [(offsets[i], offsets[i + 1]) for i in kept]
    targets = [data.labels.index(data.clips[i].label) for i in kept]
    parts = [PARTS.index(data.clips[i].part) for i in kept]
    noise = []
    has_test = PARTS.index("test") in parts
    for i in range(len(data.clips), len(paths)):
        noise.append(energies[offsets[i] : offsets[i] + int(0.8 * lengths[i])])
        for part, start, end in _silence_spans(lengths[i], settings, has_test):
            spans.append((offsets[i] + start, offsets[i] + end))
            targets.append(data.labels.index(SILENCE))
            parts.append(PARTS.index(part))
    features = Features(
        settings, data.labels, np.concatenate([energies[a:b] for a, b in spans] or [energies[:0]]),
        np.concatenate([[0], np.cumsum([b - a for a, b in spans], dtype=np.int64)]),
        np.array(targets, np.int64), np.array(parts, np.int64),
        np.concatenate(noise) if noise else energies[:0], skipped)
    _check_classes(features, data.root)
    return features


def _check_classes(features: Features, root: Path) -> None:
    counts = np.bincount(features.targets[features.of("train")], minlength=len(features.labels))
    for label, count in zip(features.labels, counts, strict=True):
        if count == 0:
            raise DataError(f"'{root}' has no usable clip of '{label}' to train with "
                            f"({len(features.skipped)} clips were unreadable); add clips or drop the word")


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
    """(energies, frames per path, reason per path or "") of all paths; the first ``limit`` are clips."""
    def decode(item):
        number, path = item
        try:
            samples = read_audio(root / path, settings.sample_rate)
            if number < limit and len(samples) > MAX_SECONDS * settings.sample_rate:
                return None, f"longer than {MAX_SECONDS:g} s"
            energies = FrontEnd(settings).energies(samples)
        except AudioError as error:
            return None, str(error)
        return (energies, "") if len(energies) else (None, "shorter than one window")

    with ThreadPoolExecutor(2) as pool:
        results = pool.map(decode, enumerate(paths))
        results = list(track(results, "decoding", total=len(paths), disable=not progress))
    empty = np.empty((0, settings.bands), np.float32)
    pieces = [empty if e is None else e for e, _ in results]
    return np.concatenate([empty, *pieces]), np.array([len(p) for p in pieces], np.int64), [r for _, r in results]


def _key(root: Path, paths: list[str], settings: FrontEndSettings) -> str:
    wanted = {k: v for k, v in settings.to_dict().items() if k != "floor"}
    files = []
    for path in paths:
        stat = (root / path).stat()
        files.append([path, stat.st_size, stat.st_mtime_ns])
    return sha256(json.dumps([_VERSION, wanted, str(root.resolve()), files]).encode()).hexdigest()


def _read_cache(store: Path):
    try:
        with np.load(store) as f:
            return f["energies"], f["lengths"], json.loads(str(f["reasons"]))
    except (OSError, KeyError, ValueError, EOFError, BadZipFile):
        return None                                 # missing or cut short: decode again


def _write_cache(store: Path, energies: np.ndarray, lengths: np.ndarray, reasons: list[str]) -> None:
    """Beside its name first: a run that is stopped here leaves no half-written cache."""
    part = store.with_name(f"{store.stem}.{os.getpid()}.npz")
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        np.savez(part, energies=energies, lengths=lengths, reasons=json.dumps(reasons))
        part.replace(store)
    except OSError as error:
        raise DataError(f"the cache '{store.parent}' cannot be written ({error.strerror}); "
                        "set TIDEGATE_CACHE to another folder") from None
