"""What is heard under everything: loops of noise from recordings, or made up, and stretches of them."""

from collections.abc import Iterator

import numpy as np

from tidegate.host.audio import AudioError, read_audio
from tidegate.host.frontend import FrontEndSettings

from .folders import DataSet
from .sounds import Segment, read_piece
from .soundscape import CROSSFADE_S, EVERY, Scene, Sources, Stretch, rise, rms

_SYNTHETIC_S, _SYNTHETIC_LOOPS = 16.0, 6
_LOOPS = 12                         # of recordings of noise that are no part of the data set


def background_loops(data: DataSet, part: str, settings: FrontEndSettings, sources: Sources, seed: int,
           rng: np.random.Generator) -> tuple[list[np.ndarray], bool]:
    """What background is made of, and whether it is made up."""
    loops = recorded_loops(data, part, settings)
    choice = np.random.default_rng([seed, 4])
    for i in choice.permutation(len(sources.noise))[:_LOOPS]:
        recording = sources.noise[i]
        seconds = min(recording.seconds, _SYNTHETIC_S)
        try:
            sound = read_piece(Segment(recording.path, 0.0, seconds), settings.sample_rate)
        except AudioError:
            continue
        if (loop := _loop(sound, settings)) is not None:
            loops.append(loop)
    if loops:
        return loops, False
    return [synthetic_loop(settings, rng) for _ in range(_SYNTHETIC_LOOPS)], True


def recorded_loops(data: DataSet, part: str, settings: FrontEndSettings) -> list[np.ndarray]:
    """A part's share of each noise recording, RMS 1, with its end faded into its beginning; silent ones left out."""
    has_test = any(clip.part == "test" for clip in data.clips)
    low, high = {"test": (0.9, 1.0), EVERY: (0.0, 1.0)}.get(part, (0.8, 0.9 if has_test else 1.0))
    loops = []
    for path in data.noise:
        try:
            sound = read_audio(data.root / path, settings.sample_rate)
        except AudioError:
            continue                # as in training, which lists it
        # A training frame that begins just below 80 % may reach a window beyond.
        sound = sound[int(low * len(sound)) + settings.window : int(high * len(sound))]
        if (loop := _loop(sound, settings)) is not None:
            loops.append(loop)
    return loops


def _loop(sound: np.ndarray, settings: FrontEndSettings) -> np.ndarray | None:
    """A recording with its end faded into its beginning, RMS 1; None of silence."""
    fade = min(int(CROSSFADE_S * settings.sample_rate), len(sound) // 4)
    if not fade or rms(sound) <= 0:
        return None
    up = rise((np.arange(fade) + 0.5) / fade)
    loop = sound[:-fade].copy()
    loop[:fade] = loop[:fade] * up + sound[-fade:] * up[::-1]
    return loop / np.float32(rms(loop))


def synthetic_loop(settings: FrontEndSettings, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise, RMS 1, whose power falls by 0 to 6 dB an octave above 20 Hz; its end meets its beginning."""
    n = int(_SYNTHETIC_S * settings.sample_rate)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    f = np.fft.rfftfreq(n, 1 / settings.sample_rate)
    spectrum *= np.where(f > 20, np.maximum(f, 20) ** -rng.uniform(0, 1), 0)
    loop = np.fft.irfft(spectrum, n)
    return (loop / rms(loop)).astype(np.float32)


def stretches(loops: list[np.ndarray], typical: float, samples: int, settings: FrontEndSettings, scene: Scene,
              rng: np.random.Generator) -> Iterator[Stretch]:
    """One after the other, each with a loop and an SNR drawn from the scene's; ``typical``: loudness of a word."""
    begin = 0
    while begin < samples and scene.snr_db is not None:
        end = begin + int(rng.uniform(*scene.stretch_s) * settings.sample_rate)
        loop, level = loops[rng.integers(len(loops))], typical * 10 ** (-rng.uniform(*scene.snr_db) / 20)
        yield Stretch(loop, int(rng.integers(len(loop))), level, begin, end)
        begin = end
