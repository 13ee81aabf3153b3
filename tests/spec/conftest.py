"""Random models, reproducible from the printed seed."""

import numpy as np
import pytest

from tidegate.spec.layer import Layer
from tidegate.spec.model import Model
from tidegate.spec.network import Network


@pytest.fixture
def model_factory():
    def make(seed, features, sizes, classes, low=-128):
        print(f"model seed {seed}")
        rng = np.random.default_rng(seed)
        net = Network(features, tuple(map(Layer, sizes)), Layer(classes), (0,) * (len(sizes) + 1))

        def weight(rows, columns):
            return rng.integers(low, 128, (rows, columns), dtype=np.int8)

        def bias(*shape):
            return rng.integers(-127 * 1024, 127 * 1024 + 1, shape, dtype=np.int32)

        tensors = {f"frontend.{name}": rng.random(features, np.float32) for name in ("mean", "scale")}
        for l, layer in enumerate(net.layers):
            tensors[f"gru.{l}.weight_ih"] = weight(3 * layer.size, net.elements(l))
            tensors[f"gru.{l}.weight_hh"] = weight(3 * layer.size, layer.size)
            tensors[f"gru.{l}.bias"] = bias(4, layer.size)
        tensors |= {"classifier.weight": weight(classes, sizes[-1]), "classifier.bias": bias(classes)}
        return Model(net, tensors, tuple(f"label {i}" for i in range(classes)), {"hop": 10}, {"note": "é"})

    return make
