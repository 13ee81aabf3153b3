"""Random models and frames, reproducible from the printed seed."""

import numpy as np
import pytest

from tidegate.spec.layer import Layer
from tidegate.spec.model import Model
from tidegate.spec.network import Network


def make_model(seed, features, sizes, classes, thresholds, fracs=None, weights="normal") -> Model:
    """``weights``: "normal" (saturating a few) or "extreme" (only -128, -127, 127)."""
    print(f"model seed {seed}")
    rng = np.random.default_rng(seed)
    fracs = fracs or [7] * (len(sizes) + 1)
    net = Network(features, tuple(map(Layer, sizes, fracs)), Layer(classes, fracs[-1]), tuple(thresholds))

    def weight(rows, columns):
        if weights == "extreme":
            return rng.choice(np.array([-128, -127, 127], np.int8), (rows, columns))
        return np.clip(np.rint(rng.normal(0, 1.5 * 2**7 / columns**0.5, (rows, columns))), -127, 127).astype(np.int8)

    tensors = {"frontend.mean": np.zeros(features, np.float32), "frontend.scale": np.ones(features, np.float32)}
    for l, layer in enumerate(net.layers):
        tensors[f"gru.{l}.weight_ih"] = weight(3 * layer.size, net.elements(l))
        tensors[f"gru.{l}.weight_hh"] = weight(3 * layer.size, layer.size)
        tensors[f"gru.{l}.bias"] = rng.integers(-30000, 30001, (4, layer.size), dtype=np.int32)
    tensors["classifier.weight"] = weight(classes, sizes[-1])
    tensors["classifier.bias"] = rng.integers(-30000, 30001, classes, dtype=np.int32)
    return Model(net, tensors, tuple(map(str, range(classes))))


def make_frames(seed, steps, batch, features) -> np.ndarray:
    """SIGNAL integers: slow random walks, constant stretches, full-scale jumps and both extremes."""
    print(f"frames seed {seed}")
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.integers(-12, 13, (steps, batch, features)), 0) + rng.integers(-300, 300, (batch, features))
    jumps = np.cumsum(rng.random((steps, batch, 1)) < 0.05, 0) % 2 * rng.integers(-2500, 2500, (batch, features))
    frames = np.clip(walk + jumps, -2047, 2047)
    frames[steps // 2 : steps // 2 + 3] = frames[steps // 2]
    frames[-2], frames[-1] = 2047, -2047
    return frames


@pytest.fixture
def model_factory():
    return make_model


@pytest.fixture
def frames_factory():
    return make_frames
