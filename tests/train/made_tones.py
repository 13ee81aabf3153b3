"""Made "words": tones and sweeps with a random level, pitch and length."""

import numpy as np

from tidegate.host.frontend import FrontEndSettings

RATE = 8000
TONES = {"low": (300.0, 300.0), "high": (2000.0, 2000.0), "rise": (400.0, 1800.0), "fall": (1800.0, 400.0)}
SETTINGS = FrontEndSettings(sample_rate=RATE, high_hz=3800.0, bands=12, hop_ms=32.0, window_ms=32.0)


def word(name, rng, seconds=0.4):
    """A tone or sweep with random level, pitch and length in a little noise, float32 (n,)."""
    n = int(RATE * seconds * rng.uniform(0.8, 1.2))
    start, end = (f * rng.uniform(0.95, 1.05) for f in TONES[name])
    phase = 2 * np.pi * np.cumsum(np.linspace(start, end, n)) / RATE
    return (rng.uniform(0.1, 0.5) * np.sin(phase) + rng.normal(0, 1e-3, n)).astype(np.float32)
