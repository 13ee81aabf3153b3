"""What the tests of streams share: a random model of a small front end, and short words and detections."""

from dataclasses import replace

import numpy as np

from tidegate.host.detector import Detection
from tidegate.host.frontend import FrontEndSettings
from tidegate.spec.layer import Layer
from tidegate.spec.model import Model, expected_tensors
from tidegate.spec.network import Network
from tidegate.train.data.soundscape import Scene, SpokenWord

RATE = 8000                         # of the clips that the fixture writes
SETTINGS = FrontEndSettings(sample_rate=RATE, high_hz=3800.0, bands=12, hop_ms=32.0, window_ms=32.0)
LABELS = ("yes", "no", "unknown", "silence")
BUSY = Scene(pause_s=(0.6, 1.2))
HOURS = 16 * 6 / 3600


def random_model(labels=LABELS, gru=(10, 8), seed=1):
    rng = np.random.default_rng(seed)
    network = Network(SETTINGS.bands, tuple(Layer(h) for h in gru), Layer(len(labels), 6), (64, 32, 32))
    tensors = {}
    for name, (dtype, shape) in expected_tensors(network).items():
        if name.startswith("frontend"):
            tensors[name] = rng.uniform(0.3, 0.6, shape).astype(np.float32)
        else:
            tensors[name] = rng.integers(-40, 41, shape).astype(dtype)
    return Model(network, tensors, labels, SETTINGS.to_dict())


def said(label, start, end):
    return SpokenWord(label, start, end, "")


def heard(label, time):
    return Detection(0, time, label, 0.9)


def always(label, labels=LABELS):
    """A model whose largest logit is always this label's, by a lot."""
    model = random_model(labels)
    bias = np.array([100_000 if name == label else 0 for name in labels], np.int32)
    weights = model.tensors["classifier.weight"] * 0
    return replace(model, tensors=dict(model.tensors) | {"classifier.bias": bias, "classifier.weight": weights})
