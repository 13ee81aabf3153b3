"""A Legendre Memory Unit as two layers that feed each other, against one written from the paper's equations."""

import numpy as np
import pytest
import torch

from tidegate.golden import DeltaNetwork
from tidegate.spec.cells import UNIT
from tidegate.spec.layer import Layer
from tidegate.spec.lmu import discrete
from tidegate.spec.network import Network
from tidegate.spec.rules import Diffuse

INPUTS, ORDER, THETA, HIDDEN = 3, 6, 12.0, 10


def floating(x, a, b, e_x, e_h, w_x, w_h, w_m):
    """m ← Ā·m + B̄·(e_x·x + e_h·h), h ← tanh(W_x·x + W_h·h + W_m·m) of frames (T, inputs) → h (T, hidden)."""
    m, h, states = np.zeros(len(b)), np.zeros(len(w_h)), []
    for frame in x:
        m = a @ m + b * (e_x @ frame + e_h @ h)
        h = np.tanh(w_x @ frame + w_h @ h + w_m @ m)
        states.append(h)
    return np.array(states)


@pytest.mark.parametrize(("order", "theta", "real", "rounded"), [
    (8, 40, 0.89, 0.91), (64, 196, 0.943, 0.995), (128, 784, 0.981, 1.004)])
def test_rounding_brings_a_memory_nearer_to_instability(order, theta, real, rounded):
    a, _ = discrete(order, theta)
    for matrix, radius in ((a, real), (np.round(a * 128).clip(-127, 127) / 128, rounded)):
        assert np.abs(np.linalg.eigvals(matrix)).max() == pytest.approx(radius, abs=0.003)


@pytest.mark.parametrize("rule", [None, Diffuse(2, -900, 900)], ids=["delta", "hybrid"])
def test_parity_with_the_equations(rule):
    rng = np.random.default_rng(4)
    a, b = discrete(ORDER, THETA)
    e_x, e_h = rng.normal(0, 0.5, INPUTS), rng.normal(0, 0.1, HIDDEN)
    w_x, w_h, w_m = (rng.normal(0, 0.5 / n**0.5, (HIDDEN, n)) for n in (INPUTS, HIDDEN, ORDER))
    unit, frac = dict(cell=UNIT, consumes=rule is not None), 9 if rule is None else 7
    layers = (Layer(ORDER, 7, activation="identity", hears=(0, 2), **unit),
              Layer(HIDDEN, 7, activation="tanh", hears=(0, 1), **unit))
    thetas = (0, 0, 0) if rule is None else (1, 1, 1)
    net = DeltaNetwork.of(Network(INPUTS, layers, Layer(2, frac, consumes=rule is not None), thetas, (rule,) * 3))
    memory, hidden = net.layers
    x = np.cumsum(rng.normal(0, 0.2, (80, INPUTS)), 0).clip(-2, 2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        assert memory.weight_hh is not None and hidden.weight_hh is not None
        for parameter, values in ((memory.weight_ih, b[:, None] * np.concatenate([e_x, e_h])), (memory.weight_hh, a),
                                  (hidden.weight_ih, np.concatenate([w_x, w_m], 1)), (hidden.weight_hh, w_h)):
            parameter.copy_(torch.from_numpy(values))
        out = net(torch.from_numpy(np.round(x * 256)).float()[:, None])
        rounded = [w.double().numpy() / 128 for layer in net.layers for w in layer.integers()[:2]]
    # the float unit with the rounded weights: B̄ is folded into the encoders, so each row has its own
    in_m, a_m, in_h, w_h = rounded
    m, h, wanted = np.zeros(ORDER), np.zeros(HIDDEN), []
    for frame in np.round(x * 256) / 256:
        m = a_m @ m + in_m @ np.concatenate([frame, h])
        h = np.tanh(in_h @ np.concatenate([frame, m]) + w_h @ h)
        wanted.append(h)
    sent = out.signals[2].heard(rule is not None)[:, 0].numpy() / 256
    assert np.abs(sent - wanted).max() < 0.06           # rounding of m to 1/256, 80 times
    exact = floating(x, a, b, e_x, e_h, w_x, rounded[3], w_m)
    assert np.abs(sent - exact).mean() < 0.05           # and of the weights to 7 fraction bits
