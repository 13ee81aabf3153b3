"""Convolutions: whole sequences against event by event, against torch.nn.functional.conv2d, and as they are trained."""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

from tidegate.golden import DeltaNetwork, Golden
from tidegate.golden.general import convolution
from tidegate.spec.cells import UNIT
from tidegate.spec.conv import Conv2d
from tidegate.spec.errors import ModelError
from tidegate.spec.layer import Layer
from tidegate.spec.model import accumulator_bounds, read_model, save_model
from tidegate.spec.network import Network
from tidegate.spec.rules import RULES
from tidegate_sim.random_networks import filled, random_images


def frames_for(network, rng, steps=6, batch=2):
    still = rng.random((steps, batch, network.features)) < 0.6
    frames = rng.integers(-700, 700, still.shape)
    for t in range(1, steps):
        frames[t] = np.where(still[t], frames[t - 1], frames[t])
    return frames


def model_of(seed, rules=RULES):
    rng = np.random.default_rng(seed)
    model = filled(random_images(rng, (1, 2, 3, 5, 8), rules), rng)
    rules = [model.network.rule(s) for s in range(model.network.signals)]
    thetas = [int(rng.integers(0, 90)) if rule is None else max(1, rule.step // 2) for rule in rules]
    return model.with_thresholds(*thetas), rng


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("dense", [False, True])
def test_sequences_equal_event_by_event(seed, dense):
    model, rng = model_of(seed)
    frames, golden = frames_for(model.network, rng), Golden(model)
    run = golden.run(frames, dense, keep_layers=True, keep_sent=True)
    assert run.layers is not None
    state = golden.initial_state(frames.shape[1])
    for t, frame in enumerate(frames):
        one, state = golden.step(frame, state, dense)
        assert np.array_equal(run.logits[t], one.logits)
        assert np.array_equal(run.events[t], one.events)
        assert np.array_equal(run.weights[t], one.weights)
        for l, stages in enumerate(one.layers):
            for name in stages._fields:
                assert np.array_equal(getattr(run.layers[l], name)[t], getattr(stages, name)), (t, l, name)


@pytest.mark.parametrize("conv", [
    Conv2d(3, 7, 5, 3), Conv2d(3, 7, 5, 3, 1, 1), Conv2d(2, 8, 8, 4, 2, 1), Conv2d(1, 9, 9, 5, 4, 2),
    Conv2d(4, 6, 6, 2, 2, 0, True), Conv2d(4, 6, 6, 3, 1, 1, True), Conv2d(3, 5, 4, 1)], ids=str)
def test_it_is_pytorchs(conv):
    rng = np.random.default_rng(1)
    channels = conv.channels if conv.depthwise else 6
    weight = torch.from_numpy(rng.normal(size=(channels, conv.columns)))
    bias, x = torch.from_numpy(rng.normal(size=channels)), torch.from_numpy(rng.normal(size=(4, 2, conv.inputs)))
    images = x.reshape(8, conv.height, conv.width, conv.channels).permute(0, 3, 1, 2)
    kernels = weight.reshape(channels, -1, conv.kernel, conv.kernel)
    wanted = conv2d(images, kernels, bias, conv.stride, conv.padding, groups=conv.channels if conv.depthwise else 1)
    got = convolution(conv, weight, bias, x)
    assert wanted.shape[2:] == (conv.out_height, conv.out_width)
    assert torch.allclose(got.reshape(8, conv.out_height, conv.out_width, -1).permute(0, 3, 1, 2), wanted)
    assert conv.taps().sum() == sum(len(conv.reached(y, conv.out_height)) for y in range(conv.height)) * sum(
        len(conv.reached(x, conv.out_width)) for x in range(conv.width))


@pytest.mark.parametrize("kernel, stride, slots", [(3, 1, (2, 1, 0)), (3, 2, (1, 2, 0)), (5, 2, (2, 4, 1, 3, 0)),
                                                   (4, 4, (0, 1, 2, 3)), (1, 1, (0,))])
def test_weights_lie_in_the_order_of_the_positions(kernel, stride, slots):
    conv = Conv2d(1, 16, 16, kernel, stride, kernel - 1)
    assert conv.slots == slots
    for x in range(conv.width):
        taps = [conv.slots[x + conv.padding - column * stride] for column in conv.reached(x, conv.out_width)]
        assert taps == list(range(taps[0], taps[0] + len(taps)))


@pytest.mark.parametrize("seed", range(6))
def test_training_computes_goldens_integers(seed, tmp_path):
    model, rng = model_of(seed)
    network = DeltaNetwork.from_model(model)
    frames = frames_for(model.network, rng)
    out = network(torch.from_numpy(frames).float())
    trace = Golden(model).run(frames)
    assert np.array_equal((out.logits * 2.0 ** (8 + network.classifier_frac)).detach().numpy(), trace.logits)
    network.clip_()
    again = network.export(model.labels, {}, model.tensors["frontend.mean"], model.tensors["frontend.scale"])
    save_model(again, tmp_path / "m.tidegate")
    assert read_model(tmp_path / "m.tidegate").digest == again.digest
    assert again.network.to_dict() == model.network.to_dict()


def test_a_gradient_reaches_every_kernel():
    conv, pool = Conv2d(2, 6, 6, 3, 1, 1), Conv2d(4, 6, 6, 2, 2, 0, True)
    unit = {"cell": UNIT, "activation": "relu", "recurrent": False}
    torch.manual_seed(0)
    network = DeltaNetwork.of(Network(72, (Layer(144, conv=conv, **unit), Layer(36, conv=pool, **unit)), Layer(3),
                                      (8, 8, 8)))
    out = network(torch.randint(-300, 300, (5, 4, 72)).float())
    torch.nn.functional.cross_entropy(out.logits[-1], torch.tensor([0, 1, 2, 0])).backward()
    for layer in network.layers:
        gradient, shape = layer.weight_ih.grad, layer.shape.conv
        assert gradient is not None and shape is not None and gradient.shape == (4, shape.columns)
        assert (gradient != 0).float().mean() > 0.5


def test_bounds_are_of_the_receptive_field():
    conv = Conv2d(2, 6, 6, 3, 1, 1)
    network = Network(72, (Layer(36 * 4, cell=UNIT, activation="relu", recurrent=False, conv=conv),), Layer(3), (0, 0))
    model = filled(network, np.random.default_rng(0))
    weights = model.tensors["unit.0.weight_ih"].astype(int)
    bound = next(value for name, value in accumulator_bounds(model).items() if name.startswith("unit.0"))
    assert np.array_equal(bound, np.abs(model.tensors["unit.0.bias"][0]) + np.abs(weights).sum(1) * 2047)


@pytest.mark.parametrize("given, text", [
    ((0, 4, 4, 3), "1 channel or more"), ((1, 4, 300, 3), "not 1 x 4 x 300"), ((1, 4, 4, 9), "kernel of 1 to 8"),
    ((1, 4, 4, 3, 3), "stride of 1, 2 or 4"), ((1, 4, 4, 3, 1, 3), "less padding than kernel"),
    ((1, 4, 4, 1, 2), "heard by no output"), ((1, 2, 4, 3), "does not fit the height 2"),
    ((1, 6, 5, 2, 2), "last 1 of the image's width 5"), ((1, 4, 4, 2.5), "whole number"), ((1, 4, 4, True), "whole"),
    ((1, 4, 4, 3, 1, 0, 1), "true or false")])
def test_convolutions_that_there_are_not(given, text):
    with pytest.raises(ModelError, match=text) as error:
        Conv2d(*given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size, options, features, text", [
    (15, {}, 16, "no whole number of channels"), (16, {"recurrent": True}, 16, "not recurrent"),
    (16, {}, 17, "hears 1 x 4 x 4 elements, signal 0 has 17"), (16, {"hears": (0, 2)}, 16, "hears one signal"),
    (32, {"conv": Conv2d(1, 4, 4, 1, depthwise=True)}, 16, "has as many, not 2")])
def test_layers_that_there_are_not(size, options, features, text):
    with pytest.raises(ModelError, match=text):
        layer = Layer(size, cell=UNIT, activation="relu",
                      **{"recurrent": False, "conv": Conv2d(1, 4, 4, 1), **options})
        Network(features, (layer, Layer(3, cell=UNIT, activation="relu")), Layer(2), (0, 0, 0))


@pytest.mark.parametrize("d", [{"channels": 1}, {"channels": 1, "height": 2, "width": 2, "kernel": 1, "odd": 1}, 3,
                               {"channels": 1, "height": 2, "width": 2, "kernel": "1"}])
def test_descriptions_that_are_none(d):
    with pytest.raises(ModelError, match="convolution"):
        Conv2d.from_dict(d)
