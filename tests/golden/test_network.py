"""The trainable network: thresholds, scales, export and errors."""

import numpy as np
import pytest
import torch

from tidegate.golden import DeltaNetwork, Golden, network
from tidegate.golden.cells import gru
from tidegate.spec.errors import ModelError
from tidegate.spec.model import read_model, save_model
from tidegate.spec.stop import UNDECIDED, Stop, decisions


def export(net, **changes):
    arguments = dict(labels=[str(i) for i in range(net.classifier.out_features)], frontend={"kind": "none"},
                     mean=np.zeros(net.features), scale=np.ones(net.features), card={"seed": 1}) | changes
    return net.export(**arguments)


def test_export_gives_the_integers_of_the_forward_pass(tmp_path, frames_factory):
    torch.manual_seed(1)
    net = DeltaNetwork(6, [8, 5], 3, [2, 4, 8], [6, 7, 5])
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(4)
    frames = frames_factory(1, 40, 2, 6)
    out = net(torch.tensor(frames).float())
    save_model(export(net), tmp_path / "m.tidegate")
    model = read_model(tmp_path / "m.tidegate")
    assert model.network == net.network
    assert model.card == {"seed": 1} and model.frontend == {"kind": "none"}
    assert np.array_equal(out.logits.detach().numpy() * 2.0**13, Golden(model).run(frames).logits)
    again = DeltaNetwork.from_model(model)
    assert export(again).digest == model.digest
    assert torch.equal(again(torch.tensor(frames).float()).logits, out.logits)


def test_a_network_goes_on_where_it_stopped(frames_factory):
    torch.manual_seed(1)
    net, frames = DeltaNetwork(6, [8, 5], 3, [20, 8, 4]), torch.tensor(frames_factory(1, 40, 2, 6)).float()
    whole, state, pieces = net(frames), None, []
    for piece in frames.split(13):
        pieces.append(net(piece, start=state))
        state = pieces[-1].state
    assert torch.equal(torch.cat([p.logits for p in pieces]), whole.logits)
    for s in range(3):
        assert torch.equal(torch.cat([p.events[s] for p in pieces]), whole.events[s])
    assert all(torch.equal(a, b) for a, b in zip(state.states, whole.states, strict=True))
    assert not any(a.requires_grad for a in (*state.anchors, *state.states))


def test_parameters_are_named_as_in_torch():
    net = DeltaNetwork(6, [8, 5], 3)
    names = {f"gru.{l}.{kind}" for l in range(2) for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    assert set(dict(net.named_parameters())) == names | {"classifier.weight", "classifier.bias"}
    reference = torch.nn.GRU(8, 5).state_dict()
    assert all(net.state_dict()[f"gru.1.{n}"].shape == reference[f"{n}_l0"].shape for n in ("weight_ih", "bias_hh"))


def test_thresholds_may_change_between_batches(frames_factory):
    torch.manual_seed(2)
    net, frames = DeltaNetwork(6, [16], 3), torch.tensor(frames_factory(2, 40, 2, 6)).float()
    counts = []
    for theta in (0, 4, 30, 100):
        net.thresholds = [theta, theta]
        counts.append([int(e.sum()) for e in net(frames).events])
        assert export(net).network.thresholds == (theta, theta)
    for signal in zip(*counts, strict=True):
        assert list(signal) == sorted(signal, reverse=True) and signal[-1] < signal[0]
    dense = net(frames, dense=True)
    assert [int(e.sum()) for e in dense.events] == [40 * 2 * 6, 40 * 2 * 16]


def test_gradient_reaches_every_parameter_and_training_learns():
    torch.manual_seed(3)
    net = DeltaNetwork(4, [12, 10], 2, [10, 10, 10])
    frames = torch.randint(-600, 600, (12, 32, 4)).float()
    label = (frames[:, :, 0].sum(0) > 0).long()
    optimiser, losses = torch.optim.Adam(net.parameters(), 0.02), []
    for _ in range(30):
        out = net(frames)
        loss = torch.nn.functional.cross_entropy(out.logits[-1], label)
        loss = loss + 1e-6 * sum(a.diff(dim=0).abs().sum(-1).mean() for a in out.anchors[1:])
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in net.parameters())
        optimiser.step()
        net.clip_()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 < 0.55 < losses[0]


def test_clip():
    net = DeltaNetwork(3, [4], 2, weight_fracs=[7, 5])
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(-9)
    net.clip_()
    assert (net.layers[0].weight_ih == -127 / 128).all() and (net.layers[0].weight_hh == -127 / 128).all()
    assert (net.classifier.weight == -127 / 32).all()
    assert (export(net).tensors["gru.0.weight_hh"] == -127).all()


def test_a_state_dict_holds_thresholds_and_formats(frames_factory):
    made, other = (DeltaNetwork(4, [5, 3], 2, *more) for more in (((3, 5, 7), (6, 7, 8), (4, 8, 8)), ()))
    state = made.state_dict()
    other.load_state_dict(state)
    assert export(other).digest == export(made).digest
    other = DeltaNetwork(4, [5, 3], 2, (1, 2, 3))
    other.load_state_dict(dict(made.named_parameters()))        # of a former version: these stay
    assert other.network.thresholds == (1, 2, 3)
    with pytest.raises(ModelError, match=r"a threshold is a whole number, not 1\.5"):
        DeltaNetwork(4, [4], 3, [1.5, 9])


def test_errors_say_what_is_wrong(model_factory):
    with pytest.raises(ModelError, match="1 to 32"):
        DeltaNetwork(3, [2] * 33, 2)
    with pytest.raises(ModelError, match="weight_fracs"):
        DeltaNetwork(3, [2], 2, weight_fracs=[7])
    with pytest.raises(ModelError, match="2 signals need 2 thresholds"):
        DeltaNetwork(3, [2], 2, thresholds=[7])
    with pytest.raises(ModelError, match="-128"):
        DeltaNetwork.from_model(model_factory(1, 3, [4], 2, [0, 0], weights="extreme"))
    wide = DeltaNetwork(40, [128], 2)
    with torch.no_grad():
        wide.gru[0].weight_ih[129].fill_(1)
        wide.gru[0].weight_hh[129].fill_(1)
        wide.gru[0].bias_ih.zero_()
    with pytest.raises(ModelError, match=r"gru\.0\.z row 1"):
        export(wide)


@pytest.mark.parametrize(("sizes", "thetas", "stop"), [
    ([8, 5], [2, 4, 8], Stop(20)), ([12], [40, 20], Stop(60, hold=3)), ([6], [0, 0], Stop(5, classes=2))], ids=str)
def test_decide_is_the_first_decision_of_the_golden_model(frames_factory, sizes, thetas, stop):
    """Chunk by chunk, and of a second word behind the first one as well."""
    torch.manual_seed(5)
    net, batch, steps = DeltaNetwork(6, sizes, 4, thetas), 7, 45
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(4)
    frames = frames_factory(3, steps, batch, 6)
    logits = Golden(export(net)).run(frames).logits
    middle, last = torch.randint(3, 20, (batch,)), torch.randint(25, steps, (batch,))
    first, second = net.decide(torch.tensor(frames).float(), [(torch.zeros_like(middle), middle), (middle + 1, last)],
                               stop)
    found = [[], []]
    for b in range(batch):
        for k, (start, end) in enumerate(((0, int(middle[b])), (int(middle[b]) + 1, int(last[b])))):
            here = decisions(logits[start : end + 1, b : b + 1], stop)[:, 0]
            found[k].append(start + int(np.flatnonzero(here != UNDECIDED)[0]) if (here != UNDECIDED).any() else end)
    assert (first.tolist(), second.tolist()) == (found[0], found[1])
    assert first.tolist() != middle.tolist(), "some should have decided early"


@pytest.mark.parametrize("features, hidden", [(90, [40, 30]), (8, [300])])
def test_clipped_weights_cannot_make_an_accumulator_wrap(features, hidden):
    """Rows of the largest weights that there are; one of small ones stays as it is."""
    torch.manual_seed(2)
    net = DeltaNetwork(features, hidden, 3)
    with torch.no_grad():
        for layer in net.layers:
            layer.weight_ih.copy_(torch.randn_like(layer.weight_ih).sign())
            layer.weight_hh.copy_(torch.randn_like(layer.weight_hh).sign())
            layer.weight_ih[5], layer.weight_hh[5] = 0.01, 0.02
    net.clip_()
    first = net.layers[0]
    assert (first.weight_ih[5] == 0.01).all() and (first.weight_hh[5] == 0.02).all()
    assert features < 90 or first.weight_ih[0].abs().max() < 0.99
    export(net)         # proves the bounds


def test_a_batch_is_computed_until_it_has_decided(frames_factory, monkeypatch):
    torch.manual_seed(5)
    net, computed = DeltaNetwork(6, [8], 3), []
    run = gru.advance
    monkeypatch.setattr(gru, "advance", lambda x, *a, **k: computed.append(len(x)) or run(x, *a, **k))
    frames, last = torch.tensor(frames_factory(3, 80, 4, 6)).float(), torch.full((4,), 79)
    assert net.decide(frames, [(torch.zeros_like(last), last)], Stop(65535))[0].tolist() == [79] * 4
    assert sum(computed) == 80
    computed.clear()
    assert (net.decide(frames, [(torch.zeros_like(last), last)], Stop(0))[0] < 79).all()
    assert sum(computed) < 80 and set(computed) == {network.DECIDE_CHUNK}
