"""Faults put into models: each is found where it is and called what it is; sound models are within all bounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tidegate import compare_float
from tidegate.golden.chain import FloatChain, FloatLayer
from tidegate.golden.convert import convert
from tidegate.golden.departure import first_departure
from tidegate.golden.state_dict import chain_of
from tidegate.golden.stepwise import SENT, Site
from tidegate.spec.cells import UNIT
from tidegate.spec.errors import ModelError, TidegateError


def data(seed=0, sequences=20, frames=60, features=12):
    """Features that hold for some frames, with noise."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.normal(0, 1, (sequences, frames // 5, features)), 5, 1) + rng.normal(
        0, 0.1, (sequences, frames, features))


def network(kind="GRU", seed=1, hidden=24, layers=2, gain=1.5):
    torch.manual_seed(seed)
    rnn, fc = getattr(torch.nn, kind)(12, hidden, layers), torch.nn.Linear(hidden, 5)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.mul_(gain)
    return torch.nn.ModuleList([rnn, fc])


def model_of(net, x=None, **options):
    return convert(net, calibration=data() if x is None else x, warn=False, **options).model


def edited(model, name, place, value):
    """The model with numbers of a tensor changed: ``value`` of what they were."""
    tensor = model.tensors[name].copy()
    tensor[place] = value(tensor[place].astype(np.int64) if tensor.dtype.kind == "i" else tensor[place])
    return replace(model, tensors=model.tensors | {name: tensor})


def rescaled(model, layer, by=-1):
    """The model with another weight_frac at the same integers."""
    net = model.network
    if layer == len(net.layers):
        return replace(model, network=replace(net, classifier=replace(
            net.classifier, weight_frac=net.classifier.weight_frac + by)))
    layers = list(net.layers)
    layers[layer] = replace(layers[layer], weight_frac=layers[layer].weight_frac + by)
    return replace(model, network=replace(net, layers=tuple(layers)))


def found(model, net, x=None, **options):
    """(departure, its first cause), which must leave an error within the bound."""
    compared = compare_float(model, net, data() if x is None else x, **options)
    assert compared.first is not None and not compared.within
    at, causes = compared.first.at, compared.first.causes
    assert at.error > at.bound and causes[-1].remaining <= at.bound
    return at, causes[0]


@pytest.mark.parametrize("seed", range(12))
def test_sound_models_are_within_their_bounds(seed):
    net = network(("GRU", "LSTM")[seed % 2], seed, 8 + 6 * seed, 1 + seed % 3, (0.5, 1, 2)[seed % 3])
    x = data(seed)
    compared = compare_float(model_of(net, x), net, x)
    assert compared.within and compared.first_without_theta is None
    assert "every value is within its bound" in compared.text()
    assert max(v.worst_error / v.bound for v in compared.values) < 0.75
    assert all(v.snr_db is None or v.snr_db > 20 for v in compared.values)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("of", ["weight_ih", "weight_hh"])
def test_a_saturated_weight(kind, layer, of):
    net = network(kind)
    model = model_of(net)
    own = torch.nn.Module.get_parameter(net[0], f"{of}_l{layer}")
    with torch.no_grad():
        own[5, 3] = 8.0                     # a clip would hold less
    model = edited(model, f"{kind.lower()}.{layer}.{of}", (5, 3), lambda w: 127)
    at, cause = found(model, net)
    assert (cause.kind, cause.layer) == ("weight saturated", layer) and at.site.layer == layer and at.element == 5
    gate = "r" if kind == "GRU" else "i"
    source = "input 3" if of == "weight_ih" else "neuron 3"
    assert f"gate {gate} of neuron 5 from {source} is 8" in cause.why
    assert at.site.name == gate


def test_a_saturated_weight_of_the_classifier():
    net = network()
    model = edited(model_of(net), "classifier.weight", (2, 7), lambda w: -127)
    with torch.no_grad():
        net[1].weight[2, 7] = -9.0
    at, cause = found(model, net)
    assert at.site == Site(2, "logits") and (cause.kind, cause.layer) == ("weight saturated", 2)
    assert "class 2 from neuron 7" in cause.why


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize(("layer", "by"), [(0, -1), (1, -1), (1, 1), (2, -1)])
def test_a_wrong_scale(kind, layer, by):
    net = network(kind, gain=3.0)
    at, cause = found(rescaled(model_of(net), layer, by), net)
    assert (cause.kind, cause.layer) == ("scale", layer) and at.site.layer == layer
    assert f"all weights are {2.0**-by:g} times" in cause.why


@pytest.mark.parametrize(("place", "text"), [(slice(None), "from its input are 2 times"), (4, "feature 4 is wrong")])
def test_a_wrong_scale_of_the_front_end(place, text):
    net = network()
    _, cause = found(edited(model_of(net), "frontend.scale", place, lambda s: 2 * s), net)
    assert (cause.kind, cause.layer) == ("scale", 0) and text in cause.why and "front end" in cause.cure


def test_a_wrong_mean_of_the_front_end_and_a_wrong_bias():
    net = network()
    _, cause = found(edited(model_of(net), "frontend.mean", 4, lambda m: m + 1), net)
    assert (cause.kind, cause.layer) == ("bias", 0) and "mean of the model's front end" in cause.cure
    at, cause = found(edited(model_of(net), "gru.1.bias", (2, 3), lambda b: b + 20_000), net)
    assert (cause.kind, cause.layer, at.element) == ("bias", 1, 3) and "gate z of neuron 3" in cause.why


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("signal", [0, 1, 2])
def test_a_large_theta(kind, signal):
    net = network(kind)
    thetas = [100 if s == signal else 0 for s in range(3)]
    model = model_of(net).with_thresholds(*thetas)
    compared = compare_float(model, net, data())
    at, (cause,) = compared.first.at, compared.first.causes
    assert at.site == Site(signal - 1, SENT) and (cause.kind, cause.layer) == ("Θ", signal - 1)
    assert "100/256" in cause.why and compared.first_without_theta is None
    assert "at Θ = 0 every value is within its bound" in compared.text()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_faults_of_random_networks(seed):
    """A saturated weight, a wrong scale and a large Θ at random places of random networks; without them nothing."""
    rng = np.random.default_rng(seed)
    kind, hidden, layers = ("GRU", "LSTM")[seed % 2], int(rng.integers(10, 80)), int(rng.integers(1, 4))
    net, x = network(kind, seed, hidden, layers, float(rng.choice([0.7, 1, 1.5, 2]))), data(seed, 12, 50)
    model = model_of(net, x)
    assert compare_float(model, net, x).within
    layer, of = int(rng.integers(0, layers)), str(rng.choice(["weight_ih", "weight_hh"]))
    weight = net[0].get_parameter(f"{of}_l{layer}").detach()
    row, column = int(rng.integers(0, weight.shape[0])), int(rng.integers(0, weight.shape[1]))
    was = weight[row, column].clone()
    weight[row, column] = 6.0
    _, cause = found(edited(model, f"{kind.lower()}.{layer}.{of}", (row, column), lambda w: 127), net, x)
    assert (cause.kind, cause.layer) == ("weight saturated", layer)
    weight[row, column] = was
    layer = int(rng.integers(0, layers + 1))
    _, cause = found(rescaled(model, layer), net, x)
    assert (cause.kind, cause.layer) == ("scale", layer)
    signal = int(rng.integers(0, layers + 1))
    _, cause = found(model.with_thresholds(*(100 * (s == signal) for s in range(layers + 1))), net, x)
    assert (cause.kind, cause.layer) == ("Θ", signal - 1)


def test_a_fault_behind_theta_is_still_told():
    net = network()
    compared = compare_float(rescaled(model_of(net), 1).with_thresholds(80, 0, 0), net, data())
    assert compared.first.causes[0].kind == "Θ" and compared.first_without_theta.causes[0].kind == "scale"
    assert "at Θ = 0 first beyond its bound: layer 1" in compared.text() and "scale of layer 1" in compared.text()


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_coarse_weights(kind):
    net = network(kind)
    with torch.no_grad():
        net[0].weight_ih_l0[7, 3] = 20.0        # 2 fraction bits for all
    at, cause = found(model_of(net), net)
    assert (cause.kind, cause.layer, at.site.layer) == ("coarse weights", 0, 0)
    assert "they have 2 fraction bits, nearly all would fit in 8" in cause.why and "--clip" in cause.cure


def test_another_network():
    net = network()
    _, cause = found(model_of(net), network(seed=2))
    assert (cause.kind, cause.layer) == ("weights differ", 0)
    at, cause = found(edited(model_of(net), "gru.1.weight_ih", (4, 3), lambda w: w - 100 if w > 0 else w + 100), net)
    assert (cause.kind, cause.layer, at.element) == ("weights differ", 1, 4) and "from input 3" in cause.why


def test_input_that_saturates():
    net, x = network(), data()
    model = model_of(net, x)
    x[3, 20:30, 4] = 30
    at, cause = found(model, net, x)
    assert (at.sequence, at.frame, at.element, at.site) == (3, 20, 4, Site(-1, "value"))
    assert cause.kind == "input saturated" and "feature 4" in cause.why


def test_a_state_that_saturates():
    """f = 1 and i·g = 1: c grows by nearly 1 in every frame."""
    net = network("LSTM", layers=1, gain=0.1)
    with torch.no_grad():
        net[0].bias_ih_l0[:72] = 3.0
    at, cause = found(model_of(net), net)
    assert (cause.kind, cause.layer, at.site) == ("saturated", 0, Site(0, "c")) and "the state c saturates" in cause.why


def test_a_layer_that_saturates():
    made = chain_of(*network(layers=1))
    dense = FloatLayer(UNIT, 3 * torch.randn(16, 24).double(), None, torch.zeros(1, 16).double(), "relu")
    chain = FloatChain((*made.layers, dense), made.weight[:, :16], made.bias)
    at, cause = found(model_of(chain), chain)
    assert (cause.kind, cause.layer, at.site) == ("saturated", 1, Site(1, "v")) and "±7.996" in cause.why


def test_rounding_that_adds_up():
    """A float GRU whose z is nearer to 1 than 255/256 keeps its state, the engine's forgets."""
    net = network("GRU", layers=1, gain=3.0)
    with torch.no_grad():
        net[0].bias_ih_l0[24:48] = 6.0
        net[0].bias_ih_l0[48:] = 2.0
    x = data(frames=200)
    assert compare_float(model_of(net, x), net, x).within          # it is rounding's own error
    at, cause = found(model_of(net, x), net, x, bound=0.1)
    assert cause.kind == "rounding" and "255/256" in cause.why and at.frame > 5


def test_an_error_of_the_layer_before():
    """Layer 0 is coarse, but within the bound; layer 1 makes more of it."""
    net = network(gain=0.7)
    with torch.no_grad():
        net[0].weight_ih_l0[7, 3] = 2.5
        net[0].weight_ih_l1.mul_(6.0)
    at, cause = found(model_of(net), net, bound=0.15)
    assert at.site.layer == 1 and (cause.kind, cause.layer) == ("coarse weights", 0)
    assert cause.why.startswith("inherited from layer 0: the weights of layer 0 are coarse")


def test_biases_that_make_weights_coarse():
    net = network(layers=1, gain=0.3)
    with torch.no_grad():
        net[0].bias_ih_l0[24:48] = 9.0
    _, cause = found(model_of(net), net)
    assert cause.kind == "coarse weights" and "the biases reach 9" in cause.why


def test_a_bound_in_units_of_the_values():
    net = network()
    model = model_of(net, thresholds=(60, 10, 10))
    assert not compare_float(model, net, data()).within
    wide = compare_float(model, net, data(), bound=5.0)
    assert wide.within and all(v.bound == 5 for v in wide.values)
    assert max(v.worst_error for v in wide.values) > 0.2
    with pytest.raises(TidegateError, match="above 0"):
        compare_float(model, net, data(), bound=0.0)


def test_answers_and_plain_data():
    net, x = network(), data()
    with torch.no_grad():
        y = net[1](net[0](torch.from_numpy(x).float().transpose(0, 1))[0][-1]).argmax(1).numpy()
    compared = compare_float(model_of(net, thresholds=(60, 10, 10)), net, x, targets=y)
    assert (compared.answers, compared.readout, compared.float_accuracy) == (20, "last", 1.0)
    assert compared.agreement == compared.accuracy < 1.01
    d = compared.to_dict()
    assert d["first"]["causes"][0]["kind"] == "Θ" and d["first"]["layer"] == -1 and d["within"] is False
    assert len(d["values"]) == 2 + 2 * 7 + 1
    ragged = compare_float(model_of(net), net, [x[0], x[1, :30], x[2, :7]])
    assert ragged.within and ragged.frames == 97 and ragged.agreement is not None


def test_features_that_the_front_end_has_normalised():
    net, x = network(), data()
    mean, scale = x.mean((0, 1)) + 0.5, 2 / x.std((0, 1))
    model = convert(net, mean=mean, scale=scale, calibration=(x / scale + mean)[:3], warn=False).model
    assert compare_float(model, net, x / scale + mean, normalised=True).within
    _, cause = found(model, net, x / scale + mean)
    assert cause.layer == 0 and "--normalised" in cause.cure


def test_what_cannot_be_compared_is_one_line():
    net = network()
    model = model_of(net)
    for other, text in ((network("LSTM"), "LSTM 24"), (network(layers=1), "GRU 24, 5 classes")):
        with pytest.raises(ModelError, match=text):
            compare_float(model, other, data())
    with pytest.raises(ModelError, match="module of PyTorch, a file"):
        compare_float(model, {"a": 1}, data())      # pyright: ignore
    with pytest.raises(ModelError, match="finite features"):
        compare_float(model, net, data(features=11))


def test_the_first_place_is_the_earliest_frame_then_the_first_value():
    wanted = {Site(-1, SENT): torch.zeros(4, 2, 3), Site(0, "logits"): torch.zeros(4, 2, 2)}
    got = {site: value.clone() for site, value in wanted.items()}
    got[Site(0, "logits")][1, 0, 1] = 0.5
    got[Site(-1, SENT)][2, 1, 2] = 9
    valid = torch.ones(4, 2, dtype=torch.bool)
    bounds = dict.fromkeys(wanted, 0.1)
    at = first_departure(got, wanted, valid, bounds)
    assert (at.frame, at.sequence, at.site, at.element, at.others) == (1, 0, Site(0, "logits"), 1, 0)
    got[Site(-1, SENT)][1, 1, 0], got[Site(-1, SENT)][1, 0, 2] = 1, -2
    at = first_departure(got, wanted, valid, bounds)
    assert (at.frame, at.sequence, at.site, at.element, at.others) == (1, 0, Site(-1, SENT), 2, 1)
    valid[1] = False
    assert first_departure(got, wanted, valid, bounds).frame == 2
    assert first_departure(wanted, wanted, valid, bounds) is None
