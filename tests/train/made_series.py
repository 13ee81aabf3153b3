"""Made series: a target that two noisy signals tell together, with memory; from a seed."""

from pathlib import Path

import numpy as np

from tidegate.train.data.series_options import SeriesOptions
from tidegate.train.recipe import Recipe

RECIPE = Recipe("wave", task="series", gru=(12,), thresholds=(16, 8), anneal=0.3, epochs=6, batch=16,
                learning_rate=0.02, series=SeriesOptions(window=64, stride=16, warm_up=16, gap=20))


def wave(frames: int = 1600, seed: int = 1, outputs: int = 1) -> dict[str, np.ndarray]:
    """``x`` (frames, 2) and ``y`` (frames, outputs), both float32: the first output is a slow mean of the difference of
    the features, in degrees about 20; the second is the sum of the features."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)
    slow = np.stack([np.sin(time / 23) + 0.5 * np.sin(time / 61), np.cos(time / 31)], 1)
    x = 3 * slow + rng.normal(0, 0.1, (frames, 2)) + [5, -2]
    mean, y = np.zeros(2), np.zeros((frames, 2))
    for t, (a, b) in enumerate(slow):
        mean = 0.8 * mean + 0.2 * np.array([a - b, a + b])
        y[t] = 20 + 4 * mean[0], mean[1]
    return {"x": x.astype(np.float32), "y": y[:, :outputs].astype(np.float32)}


def write_wave(path: Path, **options) -> Path:
    """The ``.npz`` that the task reads, with names, units and rate."""
    made = wave(**options)
    outputs = made["y"].shape[1]
    np.savez(path, **made, names=["angle", "sum"][:outputs], units=["deg", ""][:outputs], rate=100.0)
    return path
