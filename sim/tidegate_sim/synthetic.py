"""Random networks and feature streams at a wanted occupancy, to measure a core with; they mean nothing."""

import numpy as np

from tidegate.spec.formats import SIGNAL
from tidegate.spec.layer import Layer
from tidegate.spec.model import Model, expected_tensors
from tidegate.spec.network import Network

FEATURES = 40
THETA_X = 64                # LSBs: 1/4
_REACH = 1024               # features stay within ±4
_CALIBRATION = (200, 8)     # frames, streams


def random_network(hidden: int, seed: int = 0) -> Model:
    """A GRU of random int8 weights, without classifier; seeded.

    The weights have a normal distribution, so wide that features of about ±1 fill the gates' range and that the
    recurrence keeps h moving.
    """
    rng = np.random.default_rng([seed, hidden])
    network = Network(FEATURES, (Layer(hidden),), Layer(0), (THETA_X, 0))
    wide = {"weight_ih": 0.06, "weight_hh": 1 / hidden**0.5}
    tensors = {}
    for name, (dtype, shape) in expected_tensors(network).items():
        scale = wide.get(name.rpartition(".")[2], 0) * 128
        tensors[name] = np.clip(np.round(rng.normal(0, 1, shape) * scale), -127, 127).astype(dtype)
    tensors["frontend.scale"] = np.ones_like(tensors["frontend.scale"])
    return Model(network, tensors, ())


def random_stream(frames: int, occupancy: float, seed: int, features: int = FEATURES) -> np.ndarray:
    """Frames (frames, features) of SIGNAL integers: in each frame each element changes with the probability
    ``occupancy``, on its own, by more than THETA_X (up to four times that, either way); else it stands still."""
    rng = np.random.default_rng([seed, 1])
    changes = rng.random((frames, features)) < occupancy
    steps = rng.integers(THETA_X + 1, 4 * THETA_X + 1, (frames, features)) * rng.choice([-1, 1], (frames, features))
    stream, v = np.zeros((frames, features), np.int64), np.zeros(features, np.int64)
    for t in range(frames):
        step = np.where(np.abs(v + steps[t]) > _REACH, -steps[t], steps[t])
        v = v + step * changes[t]
        stream[t] = v
    assert np.abs(stream).max(initial=0) <= SIGNAL.max
    return stream


def at_occupancy(model: Model, occupancy: float) -> Model:
    """The network with the Θ that brings its hidden occupancy closest to the wanted one, found by bisection with
    golden on streams of that occupancy; Θ = 0 everywhere for an occupancy of 1.

    What is reached is limited: Θ is an integer, and a neuron that stands still cannot be made to fire.
    """
    from tidegate.golden import Golden

    if occupancy >= 1:
        return model.with_thresholds(0, 0)
    steps, streams = _CALIBRATION
    frames = np.stack([random_stream(steps, occupancy, seed) for seed in range(1000, 1000 + streams)], 1)

    def off(theta: int) -> float:
        events = Golden(model.with_thresholds(THETA_X, theta)).run(frames).events
        return float(events[:, :, 1].mean()) / model.network.layers[0].size - occupancy

    low, high = 0, 512          # more than the wanted occupancy at low, less at high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if off(middle) > 0 else (low, middle)
    return model.with_thresholds(THETA_X, min((low, high), key=lambda theta: abs(off(theta))))
