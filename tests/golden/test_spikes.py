"""Spiking networks event by event in C against the forward pass in torch, and both ways of a convolution."""

import os
import shutil

import numpy as np
import pytest
import torch

from tidegate.golden import Golden, general
from tidegate.golden.general import convolution
from tidegate.golden.kernel import switched_off
from tidegate.golden.spikes import runs_events
from tidegate.spec.cells import UNIT
from tidegate.spec.conv import Conv2d
from tidegate.spec.errors import ModelError
from tidegate.spec.layer import Layer
from tidegate.spec.model import Model, expected_tensors
from tidegate.spec.network import Network
from tidegate.spec.rules import Diffuse

# not by kernel.found: a kernel that does not compile is to fail
compiled = pytest.mark.skipif(shutil.which(os.environ.get("CC", "cc")) is None, reason="no C compiler here")


def random_conv(rng, channels, height, width, depthwise=False):
    """Any convolution of an image of that shape."""
    while True:
        kernel, stride = int(rng.integers(1, 6)), int(rng.choice([1, 2, 4]))
        try:
            return Conv2d(channels, height, width, kernel, stride, int(rng.integers(kernel)), depthwise)
        except ModelError:
            continue


def random_spiking(rng):
    """Features that are an image, a convolution, a depthwise one, a junction of both, a dense layer."""
    spikes = {"cell": UNIT, "activation": "identity", "recurrent": False, "consumes": True, "bias_columns": 3}
    image, channels = tuple(map(int, rng.integers(1, (5, 12, 12)))), int(rng.integers(1, 20))
    first = random_conv(rng, *image)
    heard = channels, first.out_height, first.out_width
    second = Conv2d(*heard, 1, depthwise=True) if rng.integers(2) else Conv2d(*heard, 3, 1, 1, True)
    third = Conv2d(*heard, 3, 1, 1)
    size = channels * first.positions
    layers = (Layer(size, conv=first, weight_frac=5, **spikes), Layer(size, conv=second, weight_frac=6, **spikes),
              Layer(size, conv=third, skip=Conv2d(*heard, 1, depthwise=True), hears=(1, 2), weight_frac=7, **spikes),
              Layer(int(rng.integers(1, 30)), **spikes))
    rules = tuple(Diffuse(int(2 ** rng.integers(6, 9))) for _ in range(5))
    thresholds = tuple(int(rule.step * rng.choice([0.5, 1])) for rule in rules)
    network = Network(int(np.prod(image)), layers, Layer(3, consumes=True, bias_columns=3), thresholds, rules)
    tensors = {}
    for name, (dtype, shape) in expected_tensors(network).items():
        wide = 400 if name.endswith("bias") else 8 if name.startswith("unit.3") else 90
        tensors[name] = rng.integers(-wide // 2, wide, shape).astype(dtype) if "frontend" not in name else (
            np.ones(shape, dtype) if name.endswith("scale") else np.zeros(shape, dtype))
    return Model(network, tensors, ("a", "b", "c"))


@compiled
@pytest.mark.parametrize("seed", range(25))
def test_integers_are_those_of_the_forward_pass(seed):
    rng = np.random.default_rng(seed)
    model = random_spiking(rng)
    assert runs_events(model.network)
    golden, frames = Golden(model), rng.integers(-200, 400, (9, 3, model.network.features))
    fast = golden.run(frames)
    with switched_off():
        assert not runs_events(model.network)
        slow = golden.run(frames)
    for name in ("logits", "events", "weights"):
        assert np.array_equal(getattr(fast, name), getattr(slow, name)), name
        assert getattr(fast, name).dtype == getattr(slow, name).dtype
    state = golden.initial_state(3)
    for t in range(2):
        frame, state = golden.step(frames[t], state)
        assert np.array_equal(frame.logits, fast.logits[t]) and np.array_equal(frame.weights, fast.weights[t])
    assert fast.events[:, :, 1:].sum() > 0


@compiled
def test_networks_that_are_not_run_event_by_event():
    model = random_spiking(np.random.default_rng(0))
    network = model.network
    for rule in (Diffuse(256, leak=1), Diffuse(256, -1), Diffuse(256, zero=True), None):
        other = Network(network.features, network.layers, network.classifier, network.thresholds,
                        (rule, *network.rules[1:]))
        assert not runs_events(other)


@pytest.mark.parametrize("seed", range(40))
def test_both_ways_of_a_convolution_are_exact(seed, monkeypatch):
    """Sums of integers near 2**24, with and without a bias, depthwise or not."""
    rng = np.random.default_rng(seed)
    depthwise = bool(rng.integers(2))
    conv = random_conv(rng, int(rng.integers(1, 40)), *map(int, rng.integers(1, 14, 2)), depthwise)
    outputs = conv.channels if depthwise else int(rng.integers(1, 40))
    weight = rng.integers(-127, 128, (outputs, conv.columns))
    most = min(2047, ((1 << 24) - 5000) // max(1, int(np.abs(weight).sum(1).max())))
    x = rng.integers(-most, most + 1, (int(rng.integers(1, 4)), int(rng.integers(1, 3)), conv.inputs))
    bias = rng.integers(-5000, 5000, outputs) if rng.integers(2) else None
    given = [None if a is None else torch.from_numpy(a) for a in (weight, bias, x)]
    wanted = convolution(conv, *(None if a is None else a.double() for a in given))
    for direct in (True, False):
        monkeypatch.setattr(general, "_DIRECT", direct)
        made = convolution(conv, *(None if a is None else a.float() for a in given))
        assert torch.equal(made.double(), wanted)
