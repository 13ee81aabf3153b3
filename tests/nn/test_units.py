"""LIF and LMU: what is exported computes the same integers, and they are used as the modules of PyTorch are."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from tidegate import save_model
from tidegate.golden import Golden
from tidegate.nn import LIF, LMU, IntLinear, LayerError, export
from tidegate.spec.model import read_model

KINDS = {
    "lif": lambda n, h, **more: LIF(n, h, **more),
    "lif-chain": lambda n, h, **more: LIF(n, h, 3, recurrent=False, leak=0, gradient="membrane", **more),
    "lif-zero": lambda n, h, **more: LIF(n, h, 2, reset="zero", leak=1 / 128, gradient="surrogate", theta=(0.5, 2),
                                         step=1, levels=1, bias=False, **more),
    "lmu": lambda n, h, **more: LMU(n, h, 4, 12, 2, theta=(0.1, 0.02, 0), **more),
    "lmu-two": lambda n, h, **more: LMU(n, h, 3, 9.5, num_layers=2, bias=False, gain=3, **more),
    "lmu-hybrid": lambda n, h, **more: LMU(n, h, 4, 12, 2, step=0.5, anneal=0, **more),
    "lmu-hybrid-two": lambda n, h, **more: LMU(n, h, 6, 12, num_layers=2, step=(0.25, 1 / 128, 0.125),
                                               levels=(8, 500, 7), **more),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def made(kind, n=5, h=12, **more):
    return KINDS[kind](n, h, **more)


@kinds
@pytest.mark.parametrize("seed", range(3))
def test_golden_gives_the_same_integers(kind, seed, tmp_path):
    """In packed sequences, in whole runs and frame by frame."""
    rng, _ = np.random.default_rng(seed), torch.manual_seed(seed)
    features, hidden, classes = (int(rng.integers(1, n)) for n in (12, 30, 9))
    layer, head = made(kind, features, hidden, batch_first=True), IntLinear(hidden, classes, bias=bool(seed % 2))
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "weight_mm" not in name:
                parameter.mul_(float(rng.choice([1, 2, 4])))
    clips = [torch.randn(int(n), features).mul(2) for n in rng.integers(1, 40, 4)]
    net = nn.ModuleDict({"rnn": layer, "fc": head}).eval()
    output, _ = net["rnn"](pack_sequence(clips, enforce_sorted=False))
    padded, lengths = pad_packed_sequence(output, batch_first=True)
    logits = net["fc"](padded)
    model = export(net, labels=[f"word{k}" for k in range(classes)])
    save_model(model, tmp_path / "m.tidegate")
    golden = Golden(read_model(tmp_path / "m.tidegate"))
    events = np.zeros(model.network.signals, int)
    for b, clip in enumerate(clips):
        wanted = (logits[b, : lengths[b]] * 2.0**golden.logit_frac).detach().numpy()
        frames = model.quantise(clip)[:, None]
        trace = golden.run(frames)
        assert np.array_equal(trace.logits[:, 0], wanted)
        events += trace.events[:, 0].sum(0)
        state = golden.initial_state()
        for frame, expected in zip(frames, wanted, strict=True):
            step, state = golden.step(frame, state)
            assert np.array_equal(step.logits[0], expected)
    assert layer.activity.events == tuple(events) and events[1:].any()
    assert model.network.rules == layer.rules and list(model.network.thresholds) == layer.thresholds


@kinds
def test_shapes_and_states(kind):
    """As torch.nn.LSTM's: batches first or second, single sequences, and sequences that go on."""
    torch.manual_seed(0)
    layer, x = made(kind), torch.randn(30, 3, 5)
    whole, last = layer(x)
    assert whole.shape == (30, 3, 12) and isinstance(last, tuple)
    sizes = (12, layer.memory_size) if isinstance(layer, LMU) else (12, 12)
    assert [part.shape for part in last] == [(layer.num_layers, 3, size) for size in sizes]
    assert torch.equal(last[0][-1], whole[-1])
    first, _ = layer(x[:13])
    second, end = layer(x[13:], layer.state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert all(torch.equal(a, b) for a, b in zip(end, last, strict=True))
    other = made(kind, batch_first=True)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x.transpose(0, 1))[0].transpose(0, 1), whole)
    single, parts = other(x[:, 1])
    assert torch.equal(single, whole[:, 1]) and all(torch.equal(a, b[:, 1]) for a, b in zip(parts, last, strict=True))
    begun, _ = layer(x[13:], tuple(part.detach() for part in layer(x[:13])[1]))
    assert begun.shape == (17, 3, 12)
    if "lmu" in kind and "hybrid" not in kind and not any(layer.thresholds[1:]):
        assert torch.equal(begun, second)           # without Θ and errors, h_n and m_n are all of the state


def test_spikes_and_potentials_are_those_of_the_equations():
    layer = LIF(1, 1, recurrent=False, bias=False, leak=0.5, step=1 / 256, levels=2047)
    with torch.no_grad():
        layer.weight_ih_l0.fill_(0.5)
    x = torch.tensor([0.75, 0.5, 1.5, 1.25, 0, 3, 3, 0, 0, 0]).view(-1, 1, 1)
    u, spikes = 0.0, []
    for value in x.flatten().tolist():
        u = u - np.floor(u * 256 / 2) / 256 + 0.5 * value
        spikes.append(float(u >= 1))
        u -= spikes[-1]
    output, (_, potential) = layer(x)
    assert output.flatten().tolist() == spikes and 0 < sum(spikes) < 10
    assert potential.item() == pytest.approx(u, abs=0.01)


@kinds
def test_gradients_reach_everything(kind):
    torch.manual_seed(1)
    layer, x = made(kind), torch.randn(25, 8, 5, requires_grad=True)
    if isinstance(layer, LMU):
        with torch.no_grad():
            for l in range(layer.num_layers):
                getattr(layer, f"weight_hm_l{l}").normal_(0, 0.1)
    (layer(x)[0].square().sum() + layer.activity_loss()).backward()
    for name, tensor in (*layer.named_parameters(), ("x", x)):
        if name != "x" or "lif" not in kind:        # the input's quantiser passes the gradient where it is in range
            assert tensor.grad is not None and torch.isfinite(tensor.grad).all() and tensor.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", KINDS)
def test_state_dicts_copies_pickles_and_types(kind):
    torch.manual_seed(0)
    layer, x = made(kind).to(torch.bfloat16).float(), torch.randn(9, 2, 5).to(torch.bfloat16)
    layer.train()
    layer(x.float())[0].sum().backward()
    layer.eval()
    expected = layer(x.float())[0]
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x.float())[0], expected) and str(twin) == str(layer)
    other = made(kind)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x.float())[0], expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x.float())[0], expected)
    for dtype in (torch.float64, torch.bfloat16):
        got, _ = copy.deepcopy(layer).to(dtype)(x.to(dtype))
        assert got.dtype == dtype and torch.equal(got.float(), expected)


def learns(layer, steps=150):
    """Whether it learns to tell if signals rose: accuracy of the mean logits, and the layer's activity."""
    generator = torch.Generator().manual_seed(0)
    net = nn.ModuleDict({"rnn": layer, "fc": IntLinear(layer.hidden_size, 2)})
    optimiser = torch.optim.Adam(net.parameters(), 4e-3)

    def batch(count):
        frames = torch.randn(30, count, 4, generator=generator).cumsum(0) / 5
        return frames, (frames[-1].sum(-1) > 0).long()

    for _ in range(steps):
        frames, target = batch(32)
        loss = nn.functional.cross_entropy(net["fc"](net["rnn"](frames)[0])[-10:].mean(0), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.eval()
    frames, target = batch(400)
    with torch.no_grad():
        right = (net["fc"](net["rnn"](frames)[0])[-10:].mean(0).argmax(-1) == target).float().mean()
    return float(right), layer.activity


@pytest.mark.parametrize("make", [
    lambda: LIF(4, 32), lambda: LIF(4, 32, gradient="surrogate", leak=0.5), lambda: LMU(4, 24, 6, 20, theta=0.05),
    lambda: LMU(4, 24, 6, 20, step=0.25, anneal=60)], ids=["lif", "surrogate", "delta", "hybrid"])
def test_they_learn(make):
    torch.manual_seed(0)
    right, activity = learns(make())
    assert right > 0.85 and activity.fetch_reduction > 1


@pytest.mark.parametrize("make", [lambda wish: LIF(4, 32, leak=0.5, fetch_reduction=wish, anneal=40),
                                  lambda wish: LMU(4, 24, 6, 20, fetch_reduction=wish, anneal=40)], ids=["lif", "lmu"])
def test_a_wish_is_reached(make):
    torch.manual_seed(0)
    layer = make(4)
    _, activity = learns(layer, 200)
    assert 3 < activity.fetch_reduction < (6 if isinstance(layer, LIF) else 4.8)


@pytest.mark.parametrize("make", [lambda: LIF(4, 32, gradient="surrogate", learn_thresholds=True),
                                  lambda: LIF(4, 32, gradient="membrane", learn_thresholds=True),
                                  lambda: LMU(4, 24, 6, 20, learn_thresholds=True)],
                         ids=["surrogate", "membrane", "lmu"])
def test_a_price_moves_learned_thresholds(make):
    torch.manual_seed(0)
    layer, x = make(), torch.randn(30, 32, 4).cumsum(0) / 5
    optimiser, before, costs = torch.optim.Adam(layer.parameters(), 0.02), layer.theta, []
    for _ in range(30):
        layer(x)
        loss = layer.activity_loss()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        costs.append(loss.item())
    assert all(a > b for a, b in zip(layer.theta, before, strict=True)) and costs[-1] < 0.85 * costs[0]


def test_steps_grow_while_a_hybrid_unit_trains():
    layer, x = LMU(4, 8, 4, 10, step=0.5, anneal=14), torch.randn(5, 2, 4)
    steps = []
    for _ in range(15):
        steps.append(layer.rules[0].step)
        layer(x)
    assert steps[0] == 1 and steps[-1] == 128 and steps == sorted(steps)
    with torch.no_grad():
        layer(x)
    assert layer.passes == 15 and layer.thresholds == [64, 64, 64]
    other = LMU(4, 8, 4, 10, step=0.5, anneal=14)
    other.load_state_dict(layer.state_dict())
    assert other.rules == layer.rules


def test_the_memory_begins_as_a_delay_line():
    """The decoded memory of a unit at rest is what it heard some frames ago."""
    layer = LMU(1, 4, 6, 20, gain=1, bias=False)
    with torch.no_grad():
        layer.weight_im_l0.div_(layer.weight_im_l0.abs().max()).mul_(0.2)
    t = torch.arange(120) / 30
    x = torch.sin(2 * torch.pi * t)[:, None, None]
    memories = []
    for frame in x:
        _, (_, m) = layer(frame[None], layer.state if memories else None)
        memories.append(m[0, 0])
    kept = torch.stack(memories)[40:]
    delayed = x[20:100, 0, 0]
    weights = torch.linalg.lstsq(kept, delayed[:, None]).solution
    assert (kept @ weights - delayed[:, None]).abs().max() < 0.1


@pytest.mark.parametrize(("make", "says"), [
    (lambda: LIF(0, 8), "input_size is a whole number, 1 or more, not 0"),
    (lambda: LIF(4, 8, 33), "num_layers is a whole number, 1 to 32, not 33"),
    (lambda: LIF(4, 8, dropout=1), "dropout"),
    (lambda: LIF(4, 8, leak=0.3), "leak is 0 or a share 1/2, 1/4 ... 1/128, not 0.3"),
    (lambda: LIF(4, 8, reset="half"), "'subtract' or 'zero'"),
    (lambda: LIF(4, 8, gradient="real"), "'hybrid' or 'membrane' or 'surrogate'"),
    (lambda: LIF(4, 8, learn_thresholds=True), "gradient='surrogate'"),
    (lambda: LIF(4, 8, leak=0, fetch_reduction=8), "give a leak or reset='zero'"),
    (lambda: LIF(4, 8, step=0.3), "power of two"),
    (lambda: LIF(4, 8, step=1, levels=9), "levels is a whole number, 1 to 7, not 9"),
    (lambda: LIF(4, 8, theta=(1, 2)), "1 numbers for this layer"),
    (lambda: LMU(4, 8, 4, 10, num_layers=17), "num_layers is a whole number, 1 to 16, not 17"),
    (lambda: LMU(4, 8, 0, 10), "order"),
    (lambda: LMU(4, 8, 4, 0), "window"),
    (lambda: LMU(4, 8, 4, 10, gain=0), "gain"),
    (lambda: LMU(4, 8, 4, 10, levels=3), "give its step"),
    (lambda: LMU(4, 8, 4, 10, step=0.5, theta=1), "leave theta"),
    (lambda: LMU(4, 8, 4, 10, step=(0.5, 0.5)), "3 numbers"),
    (lambda: LMU(4, 8, 4, 10, step=0.5, levels=(1, 2)), "3 for input, memory and hidden state"),
    (lambda: LMU(4, 8, 4, 10, theta=(1, 2)), "3 numbers for this layer"),
    (lambda: LMU(4, 8, 4, 10, weight_frac=1), "weight_frac is in 2..9"),
    (lambda: LMU(4, 8, 4, 10)(torch.zeros(3, 1, 4), torch.zeros(1, 1, 8)), "(h_0, m_0)"),
    (lambda: LIF(4, 8)(torch.full((3, 1, 4), torch.nan)), "NaN"),
    (lambda: LIF(4, 8)(torch.zeros(0, 1, 4)), "no frame"),
    (lambda: export(LIF(4, 8), nn.Linear(9, 2)), "torch.nn.Linear(8, classes)"),
])
def test_what_is_not_there_is_refused_in_one_line(make, says):
    with pytest.raises(LayerError) as caught:
        make()
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(RuntimeError, match="input_size, 4, not 5"):
        LIF(4, 8)(torch.zeros(3, 1, 5))
    with pytest.raises(RuntimeError, match="m_0 of size"):
        LMU(4, 8, 3, 10)(torch.zeros(3, 1, 4), (torch.zeros(1, 1, 8), torch.zeros(1, 1, 8)))
