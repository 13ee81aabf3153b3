"""DeltaGRU and DeltaLSTM as their twins of PyTorch: shapes, values, state dicts, copies, gradients, refusals."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from tidegate.golden import kernel
from tidegate.nn import DeltaGRU, DeltaLSTM, IntLinear, LayerError, SaturationWarning
from tidegate.spec.errors import TidegateError

PAIRS = [(nn.GRU, DeltaGRU), (nn.LSTM, DeltaLSTM)]
pairs = pytest.mark.parametrize(("plain", "delta"), PAIRS, ids=["gru", "lstm"])
deltas = pytest.mark.parametrize("delta", [DeltaGRU, DeltaLSTM])


def twins(plain, delta, *args, **options):
    torch.manual_seed(3)
    one = plain(*args, **options)
    torch.manual_seed(3)
    return one, delta(*args, **options)


def parts(last):
    return last if isinstance(last, tuple) else (last,)


def random_state(plain, layers, hidden, batch=()):
    """h_0, or (h_0, c_0), that need gradients."""
    tensors = [torch.rand(layers, *batch, hidden).mul(1.6).sub(0.8).requires_grad_()
               for _ in range(1 + (plain is nn.LSTM))]
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


@pairs
@pytest.mark.parametrize(("layers", "batch_first", "bias", "start"), [
    (1, False, True, False), (2, True, True, True), (4, False, False, False), (3, True, False, True)])
def test_without_a_threshold_it_is_the_twin_but_for_rounding(plain, delta, layers, batch_first, bias, start):
    one, two = twins(plain, delta, 6, 20, layers, bias=bias, batch_first=batch_first)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    x = torch.randn((5, 30, 6) if batch_first else (30, 5, 6)).mul(256).round().div(256)
    given = (random_state(plain, layers, 20, (5,)),) if start else ()
    (expected, last), (got, end) = one(x, *given), two(x, *given)
    assert got.shape == expected.shape and got.dtype == expected.dtype
    torch.testing.assert_close(got, expected, rtol=0, atol=0.02)
    for a, b in zip(parts(end), parts(last), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0.04)
    ends = got[:, -1] if batch_first else got[-1]
    assert torch.equal(parts(end)[0][-1], ends)


@pairs
def test_an_unbatched_sequence(plain, delta):
    one, two = twins(plain, delta, 6, 20, 2, batch_first=True)
    x, start = torch.randn(30, 6), random_state(plain, 2, 20)
    (expected, last), (got, end) = one(x, start), two(x, start)
    assert got.shape == expected.shape
    torch.testing.assert_close(got, expected, rtol=0, atol=0.02)
    assert [a.shape for a in parts(end)] == [b.shape for b in parts(last)]
    batched, _ = two(x[None], tuple(s[:, None] for s in start) if isinstance(start, tuple) else start[:, None])
    assert torch.equal(batched[0], got)


@pairs
@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize("start", [True, False])
def test_packed_sequences_are_each_as_if_alone(plain, delta, enforce_sorted, start):
    one, two = twins(plain, delta, 6, 20, 2, batch_first=True)
    two.theta = 0.1
    lengths = [30, 17, 17, 4, 1] if enforce_sorted else [4, 17, 1, 30, 17]
    x = torch.randn(5, 30, 6)
    given = (random_state(plain, 2, 20, (5,)),) if start else ()
    packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=enforce_sorted)
    output, last = two(packed, *given)
    expected, _ = one(packed, *given)
    assert isinstance(output, PackedSequence) and torch.equal(output.batch_sizes, expected.batch_sizes)
    padded, got_lengths = pad_packed_sequence(output, batch_first=True)
    assert got_lengths.tolist() == lengths and two.activity.frames == sum(lengths)
    state, events = two.state, [0] * 3
    for b, length in enumerate(lengths):
        two.reset_activity()
        begin = [tuple(s[:, b : b + 1] for s in parts(given[0]))] if start else []
        begin = [begin[0][0]] if start and plain is nn.GRU else begin
        alone, end = two(x[b : b + 1, :length], *begin)
        assert torch.equal(alone[0], padded[b, :length])
        assert all(torch.equal(a[:, 0], c[:, b]) for a, c in zip(parts(end), parts(last), strict=True))
        for mine, whole in zip((*two.state.anchors, *two.state.states), (*state.anchors, *state.states), strict=True):
            assert torch.equal(mine[0], whole[b])
        events = [n + m for n, m in zip(events, two.activity.events, strict=True)]
    two.reset_activity()
    two(packed, *given)
    assert two.activity.events == tuple(events)


@deltas
def test_sequences_go_on_exactly(delta):
    torch.manual_seed(0)
    layer, x = delta(6, 20, 2, theta=(0.3, 0.1, 0.05)), torch.randn(40, 3, 6)
    whole, last = layer(x)
    first, _ = layer(x[:25])
    events = layer.activity.events
    second, end = layer(x[25:], layer.state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert all(torch.equal(a, b) for a, b in zip(parts(end), parts(last), strict=True))
    assert tuple(2 * n for n in events) > layer.activity.events > events


@pairs
@pytest.mark.parametrize("options", [{}, {"theta": (0.5, 0.25, 0.125)}, {"learn_thresholds": True, "theta": 0.25},
                                     {"fetch_reduction": 4}], ids=["plain", "theta", "learned", "wish"])
def test_state_dicts_are_those_of_the_twin(plain, delta, options, tmp_path):
    one, two = plain(6, 20, 2), delta(6, 20, 2, **options)
    two(torch.randn(9, 2, 6))
    assert set(two.state_dict()) == set(one.state_dict())
    two.load_state_dict(one.state_dict())
    assert torch.equal(two.weight_hh_l1, one.weight_hh_l1)
    plain(6, 20, 2).load_state_dict(two.state_dict())
    torch.save(nn.ModuleDict({"rnn": two}).state_dict(), tmp_path / "s.pt")
    other = nn.ModuleDict({"rnn": delta(6, 20, 2, **options)})
    if options.get("learn_thresholds"):
        other["rnn"].log_theta.data.sub_(1)
    other.load_state_dict(torch.load(tmp_path / "s.pt", weights_only=True))
    assert other["rnn"].thresholds == two.thresholds and torch.equal(other["rnn"].bias_ih_l1, two.bias_ih_l1)
    if "fetch_reduction" in options:
        assert other["rnn"].control.state() == two.control.state() and two.control.passes == 1
    fixed = delta(6, 20, 2)                     # of a layer with a Θ that is neither learned nor follows a wish
    fixed.load_state_dict(two.state_dict())
    assert fixed.thresholds == two.thresholds


@deltas
@pytest.mark.parametrize("options", [{"theta": 0.1}, {"learn_thresholds": True}, {"fetch_reduction": 4}])
def test_copies_and_pickles(delta, options):
    layer, x = delta(6, 20, **options), torch.randn(9, 2, 6)
    layer(x)[0].sum().backward()
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    layer.eval()
    expected = layer(x)[0]
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(buffer, weights_only=False)):
        twin.eval()
        assert torch.equal(twin(x)[0], expected) and twin.thresholds == layer.thresholds
        assert isinstance(twin, nn.RNNBase) and str(twin) == str(layer)


@deltas
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types_of_numbers_give_the_same_integers(delta, dtype):
    torch.manual_seed(0)
    layer, x = delta(6, 20, 2, theta=0.1).to(torch.bfloat16).float(), torch.randn(9, 2, 6).to(torch.bfloat16)
    expected, _ = layer(x.float())
    got, _ = layer.to(dtype)(x.to(dtype))
    assert got.dtype == dtype and torch.equal(got.float(), expected)
    assert delta(6, 20, dtype=dtype).weight_ih_l0.dtype == dtype


@deltas
def test_autocast_changes_nothing(delta):
    layer, head, x = delta(6, 20, theta=0.1), IntLinear(20, 3), torch.randn(9, 2, 6)
    expected = head(layer(x)[0])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head(layer(x)[0]), expected)


@pairs
def test_gradients_are_near_those_of_the_twin(plain, delta):
    """Of weights, of h_0 and of the input; the twin's weights are rounded as the layer's."""
    torch.manual_seed(1)
    one, two = twins(plain, delta, 6, 20, 2)
    x, start = torch.randn(25, 8, 6, requires_grad=True), random_state(plain, 2, 20, (8,))
    cost, wanted = torch.randn(25, 8, 20), []
    for module in (one, two):
        output, last = module(x, start)
        loss = (output * cost).sum() + parts(last)[-1].sum()
        wanted.append(torch.autograd.grad(loss, (*module.parameters(), x, *parts(start))))
    for a, b in zip(*wanted, strict=True):
        assert torch.isfinite(b).all()
        assert torch.cosine_similarity(a.flatten(), b.flatten(), 0) > 0.995
        assert 0.95 < float(b.norm() / a.norm()) < 1.05


@deltas
@pytest.mark.parametrize("fast", [True, False], ids=["kernel", "torch"])
def test_gradients_with_thresholds_are_finite_and_reach_everything(delta, fast):
    torch.manual_seed(1)
    layer = delta(6, 20, 2, learn_thresholds=True, theta=0.2, dropout=0.3)
    x = torch.randn(25, 8, 6, requires_grad=True)
    if fast:
        loss = layer(x)[0].square().sum() + 50 * layer.activity_loss()
        loss.backward()
    else:
        with kernel.switched_off():
            loss = layer(x)[0].square().sum() + 50 * layer.activity_loss()
            loss.backward()
    for tensor in (*layer.parameters(), x):
        assert tensor.grad is not None and torch.isfinite(tensor.grad).all() and tensor.grad.abs().max() > 0


@deltas
def test_a_price_makes_learned_thresholds_grow(delta):
    torch.manual_seed(1)
    layer, x = delta(6, 20, learn_thresholds=True), torch.randn(25, 8, 6).cumsum(0) / 8
    optimiser = torch.optim.Adam(layer.parameters(), 0.05)
    layer(x)
    before, theta = layer.activity_loss().item(), layer.theta
    assert before == pytest.approx(1 / layer.activity.fetch_reduction)
    for _ in range(20):
        layer(x)
        optimiser.zero_grad()
        layer.activity_loss().backward()
        optimiser.step()
    layer(x)
    assert layer.activity_loss().item() < 0.8 * before and all(a > b for a, b in zip(layer.theta, theta, strict=True))


@deltas
def test_dropout_is_only_in_training_mode(delta):
    torch.manual_seed(0)
    layer, x = delta(6, 20, 3, dropout=0.5), torch.randn(9, 2, 6)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


@deltas
def test_functional_call_uses_the_given_weights(delta):
    layer, other, x = delta(6, 20), delta(6, 20), torch.randn(9, 2, 6)
    got, _ = torch.func.functional_call(layer, dict(other.named_parameters()), (x,))
    assert torch.equal(got, other(x)[0])


def test_scales_follow_the_weights_or_are_given():
    layer = DeltaGRU(6, 20, 2)
    with torch.no_grad():
        layer.weight_hh_l1[3, 3] = 1.5
    assert [x.weight_frac for x in layer.network.layers] == [9, 6]
    given = DeltaGRU(6, 20, 2, weight_frac=(7, 5))
    assert [x.weight_frac for x in given.network.layers] == [7, 5]
    assert DeltaGRU(6, 20, 2, weight_frac=6)._fracs == [6, 6]


def test_activity_is_of_a_mode():
    layer, x = DeltaGRU(6, 20, theta=0.1), torch.randn(9, 2, 6)
    layer(x)
    once = layer.activity
    assert once.frames == 18 and len(once.events) == 2 and once.dense_weights == 18 * 60 * 26
    layer(x)
    assert layer.activity.events == tuple(2 * n for n in once.events)
    layer.eval()
    assert layer.activity.frames == 0 and layer.activity.fetch_reduction is None
    nn.Sequential(layer).train()
    layer(x)
    layer.reset_activity()
    assert layer.activity.frames == 0


@pytest.mark.parametrize(("make", "says"), [
    (lambda: DeltaGRU(6, 20, bidirectional=True), "leave bidirectional out"),
    (lambda: DeltaLSTM(6, 20, proj_size=4), "leave proj_size out"),
    (lambda: DeltaGRU(6, 20, proj_size=4), "proj_size"),
    (lambda: DeltaGRU(6, 20, 33), "fewer num_layers"),
    (lambda: DeltaGRU(6, 20, theta=(0.1, 0.2, 0.3)), "2 numbers"),
    (lambda: DeltaGRU(6, 20, theta=-0.1), "theta is in 0..15.99"),
    (lambda: DeltaGRU(6, 20, theta="much"), "number"),
    (lambda: DeltaGRU(6, 20, fetch_reduction=0.5), "1 or more"),
    (lambda: DeltaGRU(6, 20, fetch_reduction=8, theta=0), "above 0"),
    (lambda: DeltaGRU(6, 20, fetch_reduction=8, anneal=-1), "anneal"),
    (lambda: DeltaGRU(6, 20, fetch_reduction=8, learn_thresholds=True), "not both"),
    (lambda: DeltaGRU(6, 20, weight_frac=12), "weight_frac is in 2..9"),
    (lambda: DeltaGRU(6, 20, weight_frac=(7, 7)), "1 numbers for this layer"),
    (lambda: DeltaGRU(6, 20)(torch.full((3, 1, 6), torch.nan)), "NaN"),
    (lambda: DeltaGRU(6, 20)(torch.zeros(0, 1, 6)), "no frame"),
    (lambda: DeltaGRU(6, 20)(torch.zeros(6)), "2 or 3 dimensions"),
    (lambda: DeltaLSTM(6, 20)(torch.zeros(3, 1, 6), torch.zeros(1, 1, 20)), "(h_0, c_0)"),
    (lambda: DeltaGRU(6, 20)(torch.zeros(3, 1, 6), torch.zeros(1, 20)), "h_0 has 3 dimensions"),
    (lambda: DeltaGRU(6, 20).state, "call the layer first"),
    (lambda: DeltaGRU(6, 20).activity_loss(), "call the layer first"),
])
def test_what_is_not_there_is_refused_in_one_line(make, says):
    with pytest.raises(ValueError) as caught:
        make()
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert issubclass(LayerError, TidegateError) and issubclass(LayerError, ValueError)


def test_a_weight_that_is_no_number_is_named():
    layer = DeltaGRU(6, 20)
    with torch.no_grad():
        layer.weight_hh_l0[0, 0] = torch.nan
    with pytest.raises(TidegateError, match="NaN"):
        layer(torch.zeros(3, 1, 6))


def test_sizes_that_do_not_fit_are_refused_as_by_the_twin():
    layer = DeltaGRU(6, 20)
    with pytest.raises(RuntimeError, match="input_size"):
        layer(torch.zeros(3, 1, 7))
    with pytest.raises(RuntimeError, match="h_0 of size"):
        layer(torch.zeros(3, 1, 6), torch.zeros(1, 2, 20))
    with pytest.raises(ValueError, match="dtype"):
        layer(torch.zeros(3, 1, 6, dtype=torch.float64))


@pytest.mark.parametrize("kind", [DeltaGRU, DeltaLSTM])
def test_input_that_saturates_is_told_once(kind):
    layer, frames = kind(6, 20), 20 + 5 * torch.randn(9, 3, 6)
    with pytest.warns(SaturationWarning, match=rf"of this {kind.__name__} lie beyond ±8.*deviation") as told:
        layer(frames)
        layer(frames)
    assert len(told) == 1 and told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(frames)
        kind(6, 20)((frames - 20) / 5)
        few = torch.zeros(100, 10, 6)
        few[0, 0, 0] = 99           # one of 6000 values
        kind(6, 20)(few)
