"""Recorded and live sound as mono float32 samples in ±1 at the sample rate that a front end wants."""

import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import ArrayLike

from tidegate.spec.errors import TidegateError, TidegateWarning

MAX_CHANNELS = 2
MAX_PEAK = 8.0      # of float samples: some overshoot ±1, but integers that were only converted reach thousands
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3", ".aif", ".aiff")
FORMATS = "WAV, FLAC, Ogg, MP3 or AIFF"
_BLOCK = 1 << 16            # samples that are read at a time
CUT = 0.99                  # a file with less than this share of its samples is cut short
_ENDLESS = 0x7FFF0000       # sizes from here on stand in a header whose writer did not know the length (a pipe)
# what libsndfile logs of the chunk with the samples: in WAV, in AIFF
_SIZES = re.compile(r"^\s*(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)


_FULL_SCALE = {"i2": (0, 1 << 15), "i4": (0, 1 << 31), "u1": (128, 1 << 7)}    # kind and bytes → zero, full scale


class AudioError(TidegateError):
    """Sound that is missing, damaged or of a kind that cannot be used."""


class AudioWarning(TidegateWarning):
    """Sound that is used although something is wrong with it; the text is one line."""


class Sequential(soundfile.SoundFile):
    """A sound file that is read from its beginning to its end.

    After each block soundfile seeks to where it is, if it can.  In a FLAC file of unknown length that fails at the end.
    """

    def seekable(self) -> bool:
        return False

    def share(self, samples: int) -> float:
        """Which share of the stated length so many samples are, when no more come; 1.0: all, or it is not known."""
        share = samples / self.frames if 0 < self.frames < 1 << 48 else 1.0
        sizes = [(int(size), int(there)) for size, there in _SIZES.findall(self.extra_info)]
        return min([share, *(there / size for size, there in sizes if 0 < size < _ENDLESS)])


def one_line(error: Exception) -> str:
    """What a decoder says, without the name of the file that libsndfile puts before it."""
    text = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return re.sub(r"^Error opening .*?['>]: ", "", text)


def no_file(path: Path) -> AudioError:
    """Why there is no sound file at a path."""
    return AudioError(f"'{path}' is a folder; give a sound file" if path.is_dir() else
                      f"no sound file '{path}'; check the path")


def read_audio(path: str | Path, sample_rate: int, warn: Callable[[str], None] | None = None) -> np.ndarray:
    """A sound file (WAV, FLAC, Ogg Opus or Vorbis, MP3, AIFF) → float32 samples (n,) in ±1 at ``sample_rate`` Hz.

    Mono is taken as it is, stereo is averaged; more channels are refused, because a mean over an array
    of microphones is rarely what is meant.  A file that ends before the length that it states is used as far as it
    goes: ``warn`` is called with one line; without ``warn`` it is an AudioWarning.
    AudioError if the file is missing, damaged, empty, has too many channels, or contains NaN or floats beyond ±8.
    """
    path = Path(path)
    if not path.is_file():
        raise no_file(path)
    try:
        samples, rate, share = _read(path)
    except Exception as error:      # whatever a decoder makes of a damaged file
        raise AudioError(f"'{path}' cannot be read as sound ({one_line(error)}); use {FORMATS}") from None
    if len(samples) == 0:
        raise AudioError(f"'{path}' contains no samples; record it again")
    if share < CUT:
        text = f"'{path}' is cut short, {share:.0%} of it is there; copy it again"
        warn(text) if warn else warnings.warn(AudioWarning(text), stacklevel=2)
    try:
        return resample(mono(samples), rate, sample_rate)
    except AudioError as error:
        raise AudioError(f"'{path}': {error}") from None


def _read(path: Path) -> tuple[np.ndarray, int, float]:
    """Samples float32 (n, channels), their rate, and which share of the stated length they are (1.0: all, or unknown).

    In blocks: a FLAC file that was written into a pipe does not state its length.
    """
    name: Any = os.fsencode(path)       # bytes: a name need not be UTF-8
    with Sequential(name) as file:
        blocks = [file.read(_BLOCK, dtype="float32", always_2d=True)]
        while len(blocks[-1]) == _BLOCK:
            blocks.append(file.read(_BLOCK, dtype="float32", always_2d=True))
        samples = np.concatenate(blocks)
        return samples, file.samplerate, file.share(len(samples))


def mono(samples: ArrayLike) -> np.ndarray:
    """Samples (n,) or (n, channels) of a file or a sound card → float32 (n,) in ±1.

    Floats are taken as they are.  Integers are divided by the full scale of their type, as WAV files mean them:
    int16 by 2**15, int32 by 2**31, and uint8 by 2**7 after 128 is subtracted.
    AudioError for other types, more than two channels, NaN or infinity, and floats beyond ±8.
    """
    scaled = _scaled(samples)
    if scaled.ndim == 2:
        if not 1 <= scaled.shape[1] <= MAX_CHANNELS:
            raise AudioError(f"{scaled.shape[1]} channels are not 1 to {MAX_CHANNELS}; mix them to mono")
        scaled = scaled.mean(1, dtype=np.float32)
    if scaled.ndim != 1:
        raise AudioError(f"samples must be (n,) or (n, channels), not {scaled.shape}")
    return scaled


def _scaled(samples: ArrayLike) -> np.ndarray:
    """Samples of any shape as float32 in ±1."""
    try:
        given = np.asarray(samples)
    except (ValueError, TypeError, RuntimeError) as error:
        raise AudioError(f"these samples make no array ({' '.join(str(error).split())})") from None
    kind = given.dtype.kind + str(given.dtype.itemsize)
    if kind in _FULL_SCALE:
        zero, full = _FULL_SCALE[kind]
        return (given.astype(np.float32) - np.float32(zero)) / np.float32(full)
    if given.dtype.kind != "f":
        raise AudioError(f"samples of type {given.dtype} have no known scale; "
                         "give floats in ±1, int16, int32 or uint8")
    if not np.isfinite(given).all():
        raise AudioError("the sound contains NaN or infinite samples; repair or record it again")
    peak = float(np.abs(given).max(initial=0))
    if peak > MAX_PEAK:
        raise AudioError(f"float samples lie in ±1, but these reach {peak:g}; if they are 16-bit values, "
                         "divide them by 32768 or store them as int16")
    return given.astype(np.float32, copy=False)


def resample(samples: np.ndarray, rate: float, sample_rate: int) -> np.ndarray:
    """Float32 samples (n,) at ``rate`` Hz → (about n·sample_rate/rate,) at ``sample_rate`` Hz (soxr, HQ)."""
    return samples if rate == sample_rate else soxr.resample(samples, rate, sample_rate)


class Resampler:
    """The same conversion for sound that arrives in pieces; the pieces together equal one whole conversion.

    soxr's filter delays its output: a piece may give fewer samples than it brought, ``last=True`` flushes.
    """

    def __init__(self, rate: float, sample_rate: int):
        if rate <= 0 or sample_rate <= 0:
            raise AudioError(f"sample rates must be positive, not {rate} and {sample_rate}")
        self.rate, self.sample_rate = rate, sample_rate
        self.reset()

    def reset(self) -> None:
        """Forget what was heard; the next piece begins a new recording."""
        same = self.rate == self.sample_rate
        self._stream = None if same else soxr.ResampleStream(self.rate, self.sample_rate, 1, dtype="float32")

    def accept(self, samples: ArrayLike, last: bool = False) -> np.ndarray:
        """A piece, (n,) or (n, channels) as ``mono`` takes it, at ``rate`` → float32 (m,): what is ready at
        ``sample_rate``.  AudioError leaves the stream as it was."""
        samples = mono(samples)
        return samples if self._stream is None else self._stream.resample_chunk(samples, last=last)
