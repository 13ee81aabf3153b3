"""Any network over whole sequences: the integers of ``Golden.step``, and gradients."""

import numpy as np
import pytest
import torch

from tidegate.golden import DeltaNetwork, Golden, general
from tidegate.golden.continued import Continued
from tidegate.golden.general import groups
from tidegate.golden.signals import SLOPES, Slope, diffuse_of
from tidegate.spec.cells import GRU, LSTM, UNIT
from tidegate.spec.errors import ModelError
from tidegate.spec.layer import Layer
from tidegate.spec.model import Model, expected_tensors
from tidegate.spec.network import Network
from tidegate.spec.rules import Diffuse


def make_rule(rng) -> Diffuse | None:
    if rng.random() < 0.6:
        return None
    lowest, highest = [(0, 1), (-1, 1), (-3, 3), (0, 4), (-7, 5)][rng.integers(5)]
    return Diffuse(int(2 ** rng.integers(3, 8)), lowest, highest, int(rng.integers(0, 5)), bool(rng.random() < 0.3))


def make_network(rng) -> Network:
    """A random network that a core can compute: any cells, rules, layers that hold or consume, and hear each other."""
    while True:
        count = int(rng.integers(1, 5))
        rules = [make_rule(rng) for _ in range(count + 1)]
        layers = []
        for l in range(count):
            cell = [GRU, LSTM, UNIT, UNIT][rng.integers(4)]
            hears = sorted({l, *rng.integers(0, count + 1, 2)} - {l + 1}) if rng.random() < 0.4 else []
            recurrent = bool(rng.random() < 0.5) or not cell.own_optional
            heard = [*(hears or [l]), *([l + 1] if recurrent else [])]
            consumes = any(rules[s] for s in heard) or bool(rng.random() < 0.3)
            layers.append(Layer(
                int(rng.integers(1, 14)), int(rng.integers(5, 9)), cell=cell, recurrent=recurrent, consumes=consumes,
                activation=rng.choice(cell.activations) if cell.activations else "", hears=tuple(map(int, hears)),
                bias_columns=int(rng.integers(0, 4)) if consumes else 0))
        consumes = rules[-1] is not None or bool(rng.random() < 0.3)
        classifier = Layer(int(rng.integers(1, 5)), consumes=consumes,
                           bias_columns=int(rng.integers(0, 4)) if consumes else 0)
        thresholds = [int(rng.integers(0, 60)) if rule is None else int(rule.step * rng.choice([0.5, 1, 2]))
                      for rule in rules]
        try:
            return Network(int(rng.integers(1, 9)), tuple(layers), classifier, tuple(thresholds), tuple(rules))
        except ModelError:
            continue


def make_model(rng, network: Network) -> Model:
    tensors = {}
    layers = {f"{layer.cell.name}.{l}": layer for l, layer in enumerate(network.layers)}
    layers["classifier"] = network.classifier
    for name, (dtype, shape) in expected_tensors(network).items():
        if name.startswith("frontend"):
            tensors[name] = np.full(shape, name.endswith("scale"), dtype)
        elif name.endswith("bias"):
            layer, most = layers[name.removesuffix(".bias")], 30000
            grid = layer.bias_grid
            tensors[name] = (rng.integers(-most, most, shape) // grid * grid if grid else np.zeros(shape)).astype(dtype)
        else:
            tensors[name] = np.clip(np.rint(rng.normal(0, 60, shape)), -127, 127).astype(dtype)
    return Model(network, tensors, tuple(map(str, range(network.classes))))


def made(seed):
    print(f"network seed {seed}")
    rng = np.random.default_rng(seed)
    while True:
        try:
            return make_model(rng, make_network(rng))
        except ModelError:          # an accumulator could wrap
            continue


@pytest.mark.parametrize("dense", [False, True])
def test_run_equals_step(dense, frames_factory):
    seen = set()
    for seed in range(80):
        model = made(seed)
        net, golden = model.network, Golden(model)
        frames = frames_factory(seed, 12, 2, net.features)
        trace = golden.run(frames, dense=dense, keep_layers=True, keep_anchors=True)
        assert trace.layers is not None and trace.anchors is not None
        state = golden.initial_state(2)
        for t, frame in enumerate(frames):
            step, state = golden.step(frame, state, dense)
            assert np.array_equal(step.logits, trace.logits[t]), (seed, t)
            assert np.array_equal(step.events, trace.events[t]), (seed, t)
            assert np.array_equal(step.weights, trace.weights[t]), (seed, t)
            for s, memory in enumerate(state.anchors):
                assert np.array_equal(memory, trace.anchors[s][t]), (seed, t, s)
            for l, stages in enumerate(step.layers):
                for a, b in zip(stages, trace.layers[l], strict=True):
                    assert np.array_equal(a, b[t]), (seed, t, l)
        seen |= {(layer.cell.name, layer.consumes, net.rule(l + 1) is None) for l, layer in enumerate(net.layers)}
    assert len(seen) == 10      # every cell with every rule, holding and consuming; but own spikes are consumed


def test_a_sequence_may_be_cut_into_blocks(frames_factory):
    for seed in range(100, 115):
        model = made(seed)
        frames = frames_factory(seed, 14, 3, model.network.features)
        whole, pieces = Golden(model).run(frames), Continued(model)
        logits, events = (np.concatenate(part) for part in zip(
            *(pieces.accept(block) for block in np.split(frames, [1, 1, 6, 13])), strict=True))
        assert np.array_equal(logits, whole.logits) and np.array_equal(events, whole.events), seed


def test_layers_that_feed_each_other_are_computed_together():
    unit = dict(cell=UNIT, activation="tanh", recurrent=False)

    def layers(*hears):
        return tuple(Layer(2, hears=h, **unit) for h in hears)

    def of(*hears):
        return [list(g) for g in groups(Network(2, layers(*hears), Layer(2), (0,) * (len(hears) + 1)))]

    assert of((), (), ()) == [[0], [1], [2]]
    assert of((0, 2), (0, 1), (1,)) == [[0, 1], [2]]
    assert of((), (1, 3), (1,), (2,)) == [[0], [1, 2], [3]]


def test_training_forward_is_the_judge(frames_factory):
    for seed in range(200, 220):
        model = made(seed)
        net = DeltaNetwork.from_model(model)
        assert net.network == model.network
        frames = frames_factory(seed, 12, 3, model.network.features)
        trace, out = Golden(model).run(frames, keep_anchors=True), net(torch.tensor(frames).float())
        golden = Golden(model)
        if golden.dtype == torch.float32:
            assert np.array_equal(out.logits.detach().numpy() * 2.0**golden.logit_frac, trace.logits), seed
            assert np.array_equal(torch.stack(out.events, -1).detach().numpy(), trace.events)
            assert trace.anchors is not None
            assert all(np.array_equal(a.detach().numpy(), b) for a, b in zip(out.anchors, trace.anchors, strict=True))
        labels, zeros = model.labels, np.zeros(model.network.features)
        assert net.export(labels, {}, zeros, zeros + 1).digest == model.digest


@pytest.mark.parametrize("slope", SLOPES)
def test_every_network_trains(slope, frames_factory):
    for seed in range(300, 312):
        model = made(seed)
        net, frames = DeltaNetwork.from_model(model), frames_factory(seed, 10, 4, model.network.features)
        net.slope = slope
        out = net(torch.tensor(frames).float(), dropout=[0.1] * model.network.signals)
        (out.logits.square().mean() + sum(out.movements) + sum(e.mean() for e in out.events)).backward()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), (seed, name)
        optimiser = torch.optim.SGD(net.parameters(), 10.0)
        optimiser.step()
        net.clip_()
        zeros = np.zeros(model.network.features)
        trained = net.export(model.labels, {}, zeros, zeros + 1)        # no accumulator can wrap
        assert trained.network == model.network


@pytest.mark.parametrize("cell", [GRU, LSTM])
def test_gradients_frame_by_frame_are_those_of_the_cells_own_function(cell, frames_factory, monkeypatch):
    network = Network(5, (Layer(7, cell=cell), Layer(6, 6, cell=cell)), Layer(3), (4, 9, 12))
    model = make_model(np.random.default_rng(5), network)
    frames = torch.tensor(frames_factory(3, 15, 4, 5)).double()
    gradients = []
    for own in (True, False):
        net = DeltaNetwork.from_model(model).double()
        net.plain = False
        monkeypatch.setattr(general._Pass, "_has_own_function", lambda self, l, own=own: own)
        net(frames).logits.square().mean().backward()
        gradients.append([p.grad for p in net.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def spiking(slope: str, theta: int = 256, leak: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(v, s) of one integrate-and-fire neuron over 64 frames, s with the gradient of this name."""
    v = torch.full((64, 1, 1), 100.0, requires_grad=True)
    s, _ = diffuse_of(v, torch.zeros(1, 1), Diffuse(256, 0, 1, leak), theta, Slope(slope))
    return v, s


def test_the_gradients_of_spikes():
    v, s = spiking("hybrid")
    assert s.sum() == 25 * 256                      # 64 · 100 of current, 256 a spike
    s.sum().backward()
    assert (v.grad == 1).all()                      # so many spikes more as the current is more
    v, s = spiking("membrane", 512)
    s.sum().backward()
    assert (v.grad == 0.5).all()
    v, s = spiking("surrogate", leak=1)
    s[:2].sum().backward()          # u is 100, then 150
    slopes = [100 / 256, 150 / 256]
    torch.testing.assert_close(v.grad[:3, 0, 0], torch.tensor([slopes[0] + slopes[1] / 2, slopes[1], 0]))
