"""What is exported computes, in the golden model, exactly what the layer and its classifier compute."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from tidegate import save_model
from tidegate.golden import Golden
from tidegate.golden.judge import State
from tidegate.nn import DeltaGRU, DeltaLSTM, IntLinear, LayerError, export
from tidegate.spec.errors import ModelError
from tidegate.spec.model import read_model


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("make", [DeltaGRU, DeltaLSTM])
def test_golden_gives_the_same_integers(make, seed, tmp_path):
    rng, _ = np.random.default_rng(seed), torch.manual_seed(seed)
    features, hidden, classes, layers = (int(rng.integers(1, n)) for n in (20, 50, 9, 5))
    thetas = [float(t) for t in rng.choice([0, 0.004, 0.05, 0.3], layers + 1)]
    layer = make(features, hidden, layers, bias=bool(seed % 2), batch_first=True, theta=thetas)
    head = IntLinear(hidden, classes, bias=bool(seed % 3))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(float(rng.choice([0.5, 1, 4])))
    clips = [torch.randn(int(n), features).mul(2) for n in rng.integers(1, 40, 4)]
    net = nn.ModuleDict({"rnn": layer, "fc": head}).eval()
    output, _ = net["rnn"](pack_sequence(clips, enforce_sorted=False))
    padded, lengths = pad_packed_sequence(output, batch_first=True)
    logits = net["fc"](padded)
    model = export(net, labels=[f"word{k}" for k in range(classes)])
    save_model(model, tmp_path / "m.tidegate")
    golden = Golden(read_model(tmp_path / "m.tidegate"))
    events = np.zeros(layers + 1, int)
    for b, clip in enumerate(clips):
        trace = golden.run(model.quantise(clip)[:, None])
        assert np.array_equal(trace.logits[:, 0], (logits[b, : lengths[b]] * 2.0**golden.logit_frac).detach().numpy())
        events += trace.events[:, 0].sum(0)
    assert layer.activity.events == tuple(events)
    assert model.network.thresholds == tuple(round(256 * t) for t in thetas)


@pytest.mark.parametrize("make", [DeltaGRU, DeltaLSTM])
def test_the_core_goes_on_from_a_given_state(make):
    """h_0 is a state of the core: v̂ rounded to 1/256, and what the cell keeps in its own format."""
    torch.manual_seed(0)
    layer, head, x = make(5, 12, 2, theta=0.1), IntLinear(12, 3), torch.randn(20, 4, 5)
    start = [torch.rand(2, 4, 12).mul(2).sub(1) for _ in range(1 + (make is DeltaLSTM))]
    logits = head(layer(x, start[0] if make is DeltaGRU else tuple(start))[0])
    model = export(layer, head)
    golden, frames = Golden(model), model.quantise(x)
    begin = layer._start(start[0] if make is DeltaGRU else tuple(start), x, True, None)
    anchors = [a.numpy().astype(np.int64) for a in begin.anchors]
    assert np.abs(anchors[1] - 256 * start[0][0].numpy()).max() <= 0.5 + 1    # within ±255
    sums = golden.initial_state(4).accumulators
    for s in range(1, 3):                       # M = b + W·v̂
        for target, rows, weights in golden._columns[s]:
            for i, column in enumerate(weights):
                sums[target][:, rows] += anchors[s][:, i].reshape(-1, *[1] * column.ndim) * column
    state = State(anchors, [h.numpy().astype(np.int64) for h in begin.states], sums)
    for t in range(20):
        frame, state = golden.step(frames[t], state)
        assert np.array_equal(frame.logits, (logits[t] * 2.0**golden.logit_frac).detach().numpy())
    assert all(np.array_equal(a.numpy(), b) for a, b in zip(layer.state.states, state.states, strict=True))


def test_what_a_script_does_to_the_features_is_part_of_the_model():
    torch.manual_seed(0)
    mean, scale = np.float32([3, -2, 100]), np.float32([0.5, 2, 0.01])
    layer, head = DeltaGRU(3, 8), IntLinear(8, 2)
    features = torch.randn(10, 1, 3).div(torch.from_numpy(scale)).add(torch.from_numpy(mean))
    logits = head(layer((features - torch.from_numpy(mean)) * torch.from_numpy(scale))[0])
    model = export(layer, head, mean=mean, scale=scale, card={"by": "me"})
    golden = Golden(model)
    assert np.array_equal(golden.run(model.quantise(features)).logits, (logits * 2.0**golden.logit_frac).detach())
    assert model.card == {"by": "me"} and model.labels == ("0", "1")


def test_a_float_classifier_is_rounded_as_the_other_one():
    torch.manual_seed(0)
    layer, head, whole = DeltaGRU(3, 8, theta=0.1), nn.Linear(8, 4), IntLinear(8, 4)
    whole.load_state_dict(head.state_dict())
    assert export(layer, head).digest == export(layer, whole).digest
    x = torch.randn(10, 1, 8).mul(256).round().div(256).clamp(-1, 1)
    torch.testing.assert_close(whole(x), head(x), rtol=0, atol=0.02)
    loss = whole(x).square().sum()
    got, expected = (torch.autograd.grad(value, (module.weight, module.bias))
                     for value, module in ((loss, whole), (head(x).square().sum(), head)))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.2)


def test_what_cannot_be_exported_is_named():
    layer = DeltaGRU(3, 8)
    with pytest.raises(LayerError, match="from_torch"):
        export(nn.GRU(3, 8), nn.Linear(8, 2))
    with pytest.raises(LayerError, match=r"torch.nn.Linear\(8, classes\)"):
        export(layer, nn.Linear(9, 2))
    with pytest.raises(ModelError, match="no core computes"):
        export(nn.ModuleDict({"conv": nn.Conv1d(3, 3, 1), "rnn": layer, "fc": nn.Linear(8, 2)}))
    with pytest.raises(ModelError, match="holds 1 recurrent and 0 linear"):
        export(nn.ModuleDict({"rnn": layer}))
