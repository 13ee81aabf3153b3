"""A chain in any arithmetic: with all of it golden's integers, with none of it PyTorch's numbers."""

import numpy as np
import pytest
import torch

from tidegate.golden import Golden
from tidegate.golden.arithmetic import INTEGER, REAL
from tidegate.golden.chain import FloatChain, FloatLayer
from tidegate.golden.rounding import rounded_model
from tidegate.golden.state_dict import chain_of
from tidegate.golden.stepwise import SENT, Site, Switches, chain_of_model, stepwise
from tidegate.spec.cells import UNIT


def chain(kind, layers=2, gain=3.0):
    torch.manual_seed(layers)
    rnn, fc = getattr(torch.nn, kind)(6, 10, layers), torch.nn.Linear(10, 4)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.mul_(gain)        # saturates some of all formats
    return chain_of(rnn, fc)


def with_unit(kind, activation):
    """The chain with a dense layer behind it."""
    made = chain(kind, 1)
    dense = FloatLayer(UNIT, 3 * torch.randn(10, 10).double(), None, torch.randn(1, 10).double(), activation)
    return FloatChain((*made.layers, dense), made.weight, made.bias)


CHAINS = {"GRU": lambda: chain("GRU"), "LSTM": lambda: chain("LSTM"),
          "LSTM and relu": lambda: with_unit("LSTM", "relu"), "GRU and tanh": lambda: with_unit("GRU", "tanh"),
          "GRU and sigmoid": lambda: with_unit("GRU", "sigmoid"),
          "GRU and identity": lambda: with_unit("GRU", "identity")}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("thresholds", [(0, 0, 0), (60, 20, 10), (4000, 1, 300)])
def test_integer_arithmetic_gives_goldens_integers(name, thresholds):
    x = np.random.default_rng(0).normal(0, 4, (50, 3, 6))
    model, _ = rounded_model(CHAINS[name](), thresholds, None, None, None, None, None, False)
    golden = Golden(model)
    trace = golden.run(model.quantise(x), keep_anchors=True, keep_layers=True)
    assert trace.anchors is not None and trace.layers is not None
    held = chain_of_model(model)
    seen = stepwise(held, torch.from_numpy(x), Switches.all(held, INTEGER, thresholds))
    for s, anchors in enumerate(trace.anchors):
        assert np.array_equal(seen[Site(s - 1, SENT)].numpy() * 256, anchors)
    assert np.array_equal(seen[Site(2, "logits")].numpy() * 2.0**golden.logit_frac, trace.logits)
    for l, stages in enumerate(trace.layers):
        for what, frac in (("h", 15), ("nx", 10), ("nh", 10), ("c", 12), ("v", 8)):
            if hasattr(stages, what):
                assert np.array_equal(seen[Site(l, what)].numpy() * 2.0**frac, getattr(stages, what)), (l, what)


@pytest.mark.parametrize("name", CHAINS)
def test_real_arithmetic_gives_pytorchs_numbers(name):
    made, x = CHAINS[name](), np.random.default_rng(1).normal(0, 4, (50, 3, 6))
    seen = stepwise(made, torch.from_numpy(x), Switches.all(made, REAL))
    signals, logits = made.run(x)
    assert (seen[Site(2, "logits")] - logits).abs().max() < 1e-9
    for l, signal in enumerate(signals):
        assert (seen[Site(l, SENT)] - signal).abs().max() < 1e-12


def test_a_layer_hears_what_is_given_in_place_of_the_layer_before():
    made, x = chain("GRU"), torch.randn(20, 2, 6).double()
    free = stepwise(made, x, Switches.all(made, REAL))
    forced = Switches((0, 0, 0), INTEGER, (INTEGER, REAL), {1: free[Site(0, SENT)]})
    seen = stepwise(made, x, forced)
    assert torch.equal(seen[Site(2, "logits")], free[Site(2, "logits")])
    assert not torch.equal(seen[Site(0, SENT)], free[Site(0, SENT)])
