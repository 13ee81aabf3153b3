"""Log-mel features, the one copy: training, evaluation, live use and the virtual board all run this class.

    frame t:   samples t·hop .. t·hop + window → minus their mean → pre-emphasis → Povey window → |FFT|²
    energy:    E[t, k] = Σ_f mel_k(f)·|X_t(f)|²          (kaldi-native-fbank, no dither: the same every time)
    feature:   log(E[t, k] + floor)

The floor is *added*.  Room noise far below it moves the feature by next to nothing, so that silence is
nearly constant, and a delta network that listens to silence sends (almost) no events.

With ``rise_db`` the feature is relative to the noise floor N of its band, which is tracked:

    e = E[t, k] + floor
    N ← N + fall · (e − N)      where e < N       (fall: by 63 % in ``fall_ms``)
    N ← min(rise · N, e)        elsewhere         (rise: by ``rise_db`` in a second); N = e in the first frame
    feature:   log(e / N + headroom)

Steady noise of any level is then nearly constant, too: its fluctuations are small beside ``headroom``, so it costs few
events, and a word sounds alike at any gain.  The minimum of a spectrum as its noise: Martin 2001 (IEEE Trans. Speech
Audio Process. 9:504); energies normalised per channel: Wang et al. 2017 (arXiv:1607.05666).
"""

import math
from dataclasses import asdict, dataclass

import kaldi_native_fbank as knf
import numpy as np
from numpy.typing import ArrayLike

from ..spec.errors import ModelError
from ..spec.frontend import check_frontend
from .audio import AudioError, mono

_TRACKING = ("rise_db", "fall_ms", "headroom")


@dataclass(frozen=True)
class FrontEndSettings:
    """What a feature is; a model file carries these.

    ``window_ms`` and ``hop_ms`` in milliseconds, ``bands`` mel bands between ``low_hz`` and ``high_hz``;
    ``floor`` in units of the energies of samples in ±1.  ``rise_db``: dB per second by which the tracked noise floor of
    a band may rise, 0: none is tracked; ``fall_ms``: time in which it falls; ``headroom``: times the noise floor.
    """

    sample_rate: int = 16000
    window_ms: float = 32.0
    hop_ms: float = 16.0
    bands: int = 40
    low_hz: float = 60.0
    high_hz: float = 7600.0
    preemphasis: float = 0.97
    floor: float = 1e-3
    rise_db: float = 0.0
    fall_ms: float = 80.0
    headroom: float = 4.0

    def __post_init__(self):
        try:
            check_frontend(asdict(self))
        except ModelError as error:
            raise AudioError(str(error)) from None

    @property
    def window(self) -> int:
        """Samples in a window."""
        return int(self.sample_rate * self.window_ms / 1000)

    @property
    def hop(self) -> int:
        """Samples between frames."""
        return int(self.sample_rate * self.hop_ms / 1000)

    def frames(self, samples: int) -> int:
        """Frames that so many samples give; only whole windows count."""
        return max(0, 1 + (samples - self.window) // self.hop)

    def heard(self, frames: int) -> float:
        """Seconds of sound up to the last sample of so many frames, at least one."""
        return ((frames - 1) * self.hop + self.window) / self.sample_rate

    def to_dict(self) -> dict:
        """As JSON; what concerns the noise floor is left out where none is tracked."""
        return {k: v for k, v in asdict(self).items() if self.rise_db or k not in _TRACKING}

    def of_energies(self) -> dict:
        """What the mel energies depend on: all but the floor and the noise floor."""
        return {k: v for k, v in asdict(self).items() if k not in ("floor", *_TRACKING)}

    @staticmethod
    def from_dict(d: dict) -> "FrontEndSettings":
        """The inverse of ``to_dict``; AudioError if ``d`` (a model's ``frontend``) is not one."""
        try:
            return FrontEndSettings(**d)
        except TypeError:
            raise AudioError("these front-end settings are of another version; train it again") from None


class FrontEnd:
    """Samples in pieces of any size → feature frames; the frames do not depend on how the sound was cut."""

    def __init__(self, settings: FrontEndSettings = FrontEndSettings()):
        """AudioError if there is a band that no frequency of the window falls into."""
        self.settings = settings
        options = knf.FbankOptions()
        frame, mel = options.frame_opts, options.mel_opts
        frame.samp_freq = settings.sample_rate
        frame.frame_length_ms, frame.frame_shift_ms = settings.window_ms, settings.hop_ms
        frame.dither, frame.snip_edges, frame.preemph_coeff = 0.0, True, settings.preemphasis
        mel.num_bins, mel.low_freq, mel.high_freq = settings.bands, settings.low_hz, settings.high_hz
        options.use_log_fbank, options.use_power, options.use_energy = False, True, False
        self._options = options
        try:
            self.reset()
        except (ValueError, TypeError) as error:    # what only the filter bank itself can tell
            raise AudioError(f"front-end settings: {' '.join(str(error).split())} Give fewer bands, a longer window "
                             "or a wider range of frequencies") from None

    def reset(self) -> None:
        """Forget what was heard; the next samples begin a new recording."""
        self._fbank, self._given = knf.OnlineFbank(self._options), 0
        self._scale = LogScale(self.settings)

    def energies(self, samples: ArrayLike) -> np.ndarray:
        """More samples, (n,) or (n, channels) → mel energies float32 (new frames, bands).

        Floats are in ±1; int16, int32 and uint8 are divided by their full scale (``audio.mono``).
        AudioError on other types, NaN and floats beyond ±8; nothing of such a piece is taken in.
        """
        self._fbank.accept_waveform(self.settings.sample_rate, mono(samples))  # pyright: ignore[reportArgumentType]
        ready = self._fbank.num_frames_ready
        frames = np.empty((ready - self._given, self.settings.bands), np.float32)
        for row, t in zip(frames, range(self._given, ready), strict=True):
            row[:] = self._fbank.get_frame(t)
        self._fbank.pop(ready - self._given)    # or a day of listening would fill the memory
        self._given = ready
        return frames

    def accept(self, samples: ArrayLike) -> np.ndarray:
        """More samples, as ``energies`` takes them → features float32 (new frames, bands)."""
        return self._scale.accept(self.energies(samples))


class LogScale:
    """Mel energies of one recording, or of several side by side, in pieces of any size → features.

    By way of double precision: float32 logarithms differ between processors in the last place, and a place is
    an event more or less.
    """

    def __init__(self, settings: FrontEndSettings):
        self.settings = settings
        frame_s = settings.hop / settings.sample_rate
        self._rise = 10 ** (settings.rise_db * frame_s / 10)
        self._fall = 1 - math.exp(-1000 * frame_s / settings.fall_ms)
        self.reset()

    def reset(self) -> None:
        """The next frame is the first of each recording."""
        self.noise: np.ndarray | None = None

    def accept(self, energies: np.ndarray) -> np.ndarray:
        """Energies (frames, ..., bands) of the next frames → features float32 of the same shape."""
        e = energies.astype(np.float64) + self.settings.floor
        if self.settings.rise_db:
            noise = self.noise
            for t, now in enumerate(e):
                if noise is None:
                    noise = now.copy()
                noise = np.where(now < noise, noise + self._fall * (now - noise), np.minimum(noise * self._rise, now))
                e[t] = now / noise + self.settings.headroom
            self.noise = noise
        return np.log(e).astype(np.float32)


def log_energies(energies: np.ndarray, settings: FrontEndSettings) -> np.ndarray:
    """Mel energies (frames, ..., bands) of whole recordings → features float32."""
    return LogScale(settings).accept(energies)
