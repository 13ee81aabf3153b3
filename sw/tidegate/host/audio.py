"""Recorded and live sound as mono float32 samples in ±1 at the sample rate that a front end wants."""

from pathlib import Path

import numpy as np
import soundfile
import soxr

from tidegate.spec.errors import TidegateError

MAX_CHANNELS = 2
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".oga")


class AudioError(TidegateError):
    """Sound that is missing, damaged or of a kind that cannot be used."""


def read_audio(path: str | Path, sample_rate: int) -> np.ndarray:
    """A sound file (WAV, FLAC, Ogg Opus or Vorbis) → float32 samples (n,) in ±1 at ``sample_rate`` Hz.

    Mono is taken as it is, stereo is averaged; more channels are refused, because a mean over an array
    of microphones is rarely what is meant.  AudioError if the file is missing, damaged, empty, has too many
    channels or contains NaN.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"no sound file '{path}'; check the path")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise AudioError(f"'{path}' cannot be read as sound ({reason}); use WAV, FLAC or Ogg") from None
    if len(samples) == 0:
        raise AudioError(f"'{path}' contains no samples; record it again")
    try:
        return resample(mono(samples), rate, sample_rate)
    except AudioError as error:
        raise AudioError(f"'{path}': {error}") from None


def mono(samples: np.ndarray) -> np.ndarray:
    """Samples (n,) or (n, channels) of a file or a sound card → float32 (n,).

    AudioError for more than two channels, NaN or infinity.
    """
    samples = np.asarray(samples, np.float32)
    if samples.ndim == 2:
        if samples.shape[1] > MAX_CHANNELS:
            raise AudioError(f"{samples.shape[1]} channels are more than {MAX_CHANNELS}; mix them to mono")
        samples = samples.mean(1, dtype=np.float32)
    if samples.ndim != 1:
        raise AudioError(f"samples must be (n,) or (n, channels), not {samples.shape}")
    if not np.isfinite(samples).all():
        raise AudioError("the sound contains NaN or infinite samples; repair or record it again")
    return samples


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

    def accept(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """A piece, (n,) or (n, channels), at ``rate`` → float32 (m,): what is ready at ``sample_rate``."""
        samples = mono(samples)
        return samples if self._stream is None else self._stream.resample_chunk(samples, last=last)
