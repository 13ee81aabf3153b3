import itertools
import math

import numpy as np
import pytest

from tidegate.host.audio import AudioError
from tidegate.host.frontend import FrontEnd, FrontEndSettings, LogScale, log_energies
from tidegate.spec.errors import TidegateError

SETTINGS = [
    FrontEndSettings(),
    FrontEndSettings(sample_rate=8000, high_hz=3800.0, bands=20, floor=1e-3),
    FrontEndSettings(window_ms=25.0, hop_ms=10.0, bands=16, preemphasis=0.0),
    FrontEndSettings(bands=24, rise_db=6.0),
]


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s.sample_rate}Hz-{s.bands}")
@pytest.mark.parametrize("seed", range(4))
def test_streaming_equals_batch(settings, seed):
    rng, samples = np.random.default_rng(seed), noise(12345, seed)
    whole = FrontEnd(settings).accept(samples)
    assert whole.shape == (settings.frames(len(samples)), settings.bands) and whole.dtype == np.float32
    frontend, pieces, at = FrontEnd(settings), [], 0
    while at < len(samples):
        size = int(rng.choice([0, 1, 7, settings.hop, settings.hop + 1, 2000]))
        pieces.append(frontend.accept(samples[at : at + size]))
        at += size
    assert np.array_equal(np.concatenate(pieces), whole)


def test_reset_begins_a_new_recording():
    frontend, samples = FrontEnd(), noise(5000)
    first = frontend.accept(samples)
    continued = frontend.accept(samples)
    frontend.reset()
    assert np.array_equal(frontend.accept(samples), first)
    assert len(continued) > len(first)          # the rest of the first piece counted


def test_the_noise_floor_is_tracked_as_the_equation_says():
    settings = FrontEndSettings(bands=3, rise_db=6.0, fall_ms=50.0, headroom=2.0, floor=0.01)
    energies = np.random.default_rng(1).gamma(0.3, 2.0, (200, 3)).astype(np.float32)
    rise, fall = 10 ** (6 * 0.016 / 10), 1 - math.exp(-0.016 / 0.05)
    for band in range(3):
        floor, expected = None, []
        for value in energies[:, band].tolist():
            e = value + 0.01
            floor = e if floor is None else floor
            floor = floor + fall * (e - floor) if e < floor else min(floor * rise, e)
            expected.append(math.log(e / floor + 2.0))
        assert np.allclose(log_energies(energies, settings)[:, band], expected, rtol=1e-6)
    scale, cut = LogScale(settings), [0, 1, 7, 100, 200]
    pieces = [scale.accept(energies[a:b]) for a, b in itertools.pairwise(cut)]
    assert np.array_equal(np.concatenate(pieces), log_energies(energies, settings))
    both = log_energies(np.stack([energies, 2 * energies], 1), settings)       # recordings side by side
    assert np.array_equal(both[:, 0], log_energies(energies, settings))
    scale.reset()
    assert np.array_equal(scale.accept(energies), log_energies(energies, settings))


def test_with_a_tracked_noise_floor_the_level_of_steady_noise_is_no_feature():
    plain, tracked = FrontEndSettings(), FrontEndSettings(rise_db=6.0)
    sound = noise(32000)
    for settings, least, most in ((plain, 2.0, 9.0), (tracked, 0.0, 0.1)):
        loud, quiet = (FrontEnd(settings).accept(level * sound)[20:] for level in (1.0, 0.2))
        assert least <= np.abs(loud - quiet).mean() <= most
        if settings is tracked:
            assert loud.std() < 0.4 < FrontEnd(plain).accept(sound)[20:].std()


def test_settings_without_a_noise_floor_are_written_as_ever():
    old = FrontEndSettings().to_dict()
    assert set(old) == {"sample_rate", "window_ms", "hop_ms", "bands", "low_hz", "high_hz", "preemphasis", "floor"}
    new = FrontEndSettings(rise_db=3.0)
    assert FrontEndSettings.from_dict(new.to_dict()) == new and FrontEndSettings.from_dict(old) == FrontEndSettings()
    assert new.of_energies() == FrontEndSettings(floor=1.0).of_energies()
    for wrong in ({"rise_db": -1.0}, {"rise_db": float("nan")}, {"rise_db": 1.0, "fall_ms": 0.0}, {"headroom": -1}):
        with pytest.raises(TidegateError):
            FrontEndSettings(**wrong)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s.sample_rate}Hz-{s.bands}")
def test_energies_are_those_of_the_equation(settings):
    """Against numpy in double precision: window, FFT and the kaldi mel triangles written out."""
    samples = noise(settings.window + 3 * settings.hop, 5)
    size = 1 << (settings.window - 1).bit_length()
    ramp = np.arange(settings.window) / (settings.window - 1)
    povey = (0.5 - 0.5 * np.cos(2 * np.pi * ramp)) ** 0.85

    def mel(hertz):
        return 1127 * np.log(1 + np.asarray(hertz) / 700)

    edges = np.linspace(mel(settings.low_hz), mel(settings.high_hz), settings.bands + 2)
    bins = mel(np.arange(size // 2) * settings.sample_rate / size)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = np.maximum(0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    expected = []
    for t in range(4):
        x = samples[t * settings.hop :][: settings.window].astype(float)
        x -= x.mean()
        x = (x - settings.preemphasis * np.concatenate([x[:1], x[:-1]])) * povey
        expected.append(weights @ (np.abs(np.fft.rfft(x, size)[: size // 2]) ** 2))
    np.testing.assert_allclose(FrontEnd(settings).energies(samples), expected, rtol=2e-3)


def test_silence_is_constant_and_quiet_noise_nearly():
    settings = FrontEndSettings()
    silent = FrontEnd(settings).accept(np.zeros(16000, np.float32))
    assert np.array_equal(silent, np.full_like(silent, np.log(settings.floor)))
    hiss = FrontEnd(settings).accept(noise(16000) * 3e-4)       # -90 dB
    assert np.abs(hiss - silent).max() < 0.05


def test_stereo_is_averaged():
    left, right = noise(4000, 1), noise(4000, 2)
    assert np.array_equal(FrontEnd().accept(np.stack([left, right], 1)),
                          FrontEnd().accept((left + right) / 2))


def test_nan_is_refused_and_not_taken_in():
    frontend, samples = FrontEnd(), noise(4000)
    whole = FrontEnd().accept(samples)
    first = frontend.accept(samples[:1500])
    with pytest.raises(AudioError, match="NaN"):
        frontend.accept(np.array([0.1, np.nan], np.float32))
    assert np.array_equal(np.concatenate([first, frontend.accept(samples[1500:])]), whole)


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_a_sound_cards_integers_give_the_features_of_the_same_floats(dtype):
    full = -float(np.iinfo(dtype).min)
    integers = np.round(noise(9000) * full).astype(dtype)
    floats = (integers / full).astype(np.float32)
    assert np.array_equal(FrontEnd().accept(integers), FrontEnd().accept(floats))
    frontend = FrontEnd()
    pieces = [frontend.accept(integers[at : at + 700]) for at in range(0, 9000, 700)]
    assert np.array_equal(np.concatenate(pieces), FrontEnd().accept(floats))


@pytest.mark.parametrize("piece", [np.zeros(500, np.int64), np.full(500, 9.0), np.zeros(500, complex)], ids=str)
def test_what_has_no_scale_is_refused_and_not_taken_in(piece):
    frontend, samples = FrontEnd(), noise(4000)
    first = frontend.accept(samples[:1500])
    with pytest.raises(AudioError, match="samples"):
        frontend.accept(piece)
    assert np.array_equal(np.concatenate([first, frontend.accept(samples[1500:])]), FrontEnd().accept(samples))


def test_settings_round_trip_and_errors():
    for settings in SETTINGS:
        assert FrontEndSettings.from_dict(settings.to_dict()) == settings
    with pytest.raises(AudioError, match="front-end settings"):
        FrontEndSettings.from_dict({"no_such": 1})
    for bad in ({"bands": 0}, {"hop_ms": 0.0}, {"floor": 0.0}, {"high_hz": 9000.0}, {"floor": float("nan")},
                {"bands": 20.0}, {"low_hz": 7600.0}, {"sample_rate": True}):
        with pytest.raises(AudioError):
            FrontEndSettings(**bad)
    with pytest.raises(AudioError, match="fewer bands") as error:
        FrontEnd(FrontEndSettings(bands=1000))
    assert "\n" not in str(error.value)
