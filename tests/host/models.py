"""Random models for tests of the driver."""

import numpy as np

from tidegate.spec.layer import Layer
from tidegate.spec.model import Model, expected_tensors
from tidegate.spec.network import Network


def random_model(seed: int = 1, features: int = 10, gru=(20, 12), classes: int = 4, thetas=(16, 8, 8)) -> Model:
    """Weights ±20, or less for many features, so that no accumulator can wrap; labels "a", "b", ..."""
    rng = np.random.default_rng(seed)
    network = Network(features, tuple(Layer(h, 7) for h in gru), Layer(classes, 6), tuple(thetas))
    tensors = {}
    for name, (dtype, shape) in expected_tensors(network).items():
        if name.startswith("frontend"):
            tensors[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            limit = min(20, 5000 // features) if np.dtype(dtype) == np.int8 else 5000
            tensors[name] = rng.integers(-limit, limit + 1, shape).astype(dtype)
    return Model(network, tensors, tuple("abcdefghijklmnopqrstuvwxyz"[:classes]))


def random_frames(seed: int, frames: int, features: int = 10) -> np.ndarray:
    """Integer frames (frames, features) that wander slowly, as features do."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(-60, 61, (frames, features)) * (rng.random((frames, features)) < 0.4)
    return np.clip(np.cumsum(steps, 0), -2047, 2047).astype(np.int16)
