"""The hand-written layer against a straightforward one: same integers, and plain autograd's gradient."""

import pytest
import torch

from tidegate.golden import kernel
from tidegate.golden.cells.gru import layer
from tidegate.golden.encoder import DeltaEncoder, priced_events


class Round(torch.autograd.Function):
    """Round half up and clip, straight through."""

    @staticmethod
    def forward(ctx, x, low, high):
        return torch.floor(x + 0.5).clamp(low, high)

    @staticmethod
    def backward(ctx, g):
        return g, None, None


class Squash(torch.autograd.Function):
    """σ or tanh on the grid of 2**-8; the slope is that of the rounded output: y(1 - y) or 1 - y²."""

    @staticmethod
    def forward(ctx, x, function, low):
        y = torch.floor(function(x) * 256 + 0.5).clamp(low, 255) / 256
        ctx.save_for_backward(y * (1 - y) if function is torch.sigmoid else 1 - y * y)
        return y

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0], None, None


class Fire(torch.autograd.Function):
    """1 where an element fires; the slope over Θ is that of a triangle around it, Θ/2 or at least 2 to each side."""

    @staticmethod
    def forward(ctx, change, threshold):
        ctx.save_for_backward(change, threshold)
        return ((change.abs() >= threshold) & (change != 0)).to(change.dtype)

    @staticmethod
    def backward(ctx, g):
        change, threshold = ctx.saved_tensors
        width = torch.clamp(threshold / 2, min=2)
        slope = torch.clamp(1 - (change.abs() - threshold).abs() / width, min=0) / width
        return None, -(g * slope).sum()


class Lag(torch.autograd.Function):
    """The anchor as a frame uses it, which lags behind v in proportion to Θ."""

    @staticmethod
    def forward(ctx, anchor, v, threshold):
        ctx.save_for_backward(v - anchor, threshold)
        return anchor.clone()

    @staticmethod
    def backward(ctx, g):
        lag, threshold = ctx.saved_tensors
        return g, None, -(g * lag).sum() / torch.clamp(threshold, min=1)


def delta_gru(*args):
    return layer(*args)[0]


def sent(v, anchor, threshold):
    """The new anchor, and the anchor as the next frame uses it."""
    fired = ((v - anchor).abs() >= threshold) & (v != anchor) | (threshold <= 1)
    anchor = torch.where(fired, v, anchor)
    return anchor, Lag.apply(anchor, v, threshold)


def plain_layer(x, w_ih, w_hh, bias, weight_frac, threshold, noise=None, start=None):
    """Same arguments and anchors as ``layer``, one torch operation after another."""
    threshold = Round.apply(torch.as_tensor(threshold, dtype=x.dtype), 0, 4094)
    a = 8 + weight_frac
    b_nx, b_r, b_z, b_nh = bias
    ir, iz, i_n = w_ih.chunk(3)
    hr, hz, hn = w_hh.chunk(3)
    h = anchor = used = torch.zeros(x.shape[1], w_hh.shape[1], dtype=x.dtype)
    if start is not None:
        (anchor, h), used = start, start[0]
    anchors = []
    for t, frame in enumerate(x):
        m_r = frame @ ir.T + used @ hr.T + b_r
        m_z = frame @ iz.T + used @ hz.T + b_z
        r, z = (Squash.apply(Round.apply(m * 2.0 ** (6 - a), -511, 511) / 64, torch.sigmoid, 1) for m in (m_r, m_z))
        nx = Round.apply((frame @ i_n.T + b_nx) * 2.0 ** (10 - a), -32767, 32767)
        nh = Round.apply((used @ hn.T + b_nh) * 2.0 ** (10 - a), -32767, 32767)
        n = Squash.apply(Round.apply((nx + r * nh) / 4, -1023, 1023) / 256, torch.tanh, -255)
        n15 = n * 32768
        h = n15 + Round.apply(z * (h - n15), -(2**20), 2**20)
        v = Round.apply(h / 128, -255, 255) + (0 if noise is None else noise[t])
        anchor, used = sent(v, anchor, threshold)
        anchors.append(used)
    return torch.stack(anchors)


def layer_arguments(seed, features, hidden, weight_frac, blocks=3):
    """(x, w_ih, w_hh, bias), random integers in float64 that need gradients, and the generator."""
    generator = torch.Generator().manual_seed(seed)

    def integers(scale, *shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).mul(scale).round().requires_grad_()

    scale = 0.5 * 2**weight_frac
    return (integers(200, 25, 4, features), integers(scale, blocks * hidden, features),
            integers(scale, blocks * hidden, hidden), integers(scale * 256, 4, hidden)), generator


def same_gradients(got, expected, rtol=1e-10):
    for g, e in zip(got, expected, strict=True):
        assert e.abs().max() > 0
        torch.testing.assert_close(g.double(), e, rtol=rtol, atol=rtol * float(e.abs().max()))


@pytest.mark.parametrize("threshold", [0, 1, 5, 40])
@pytest.mark.parametrize(("features", "hidden", "weight_frac"), [(7, 13, 7), (3, 5, 2), (9, 8, 9)])
def test_forward_and_gradient(threshold, features, hidden, weight_frac):
    args, generator = layer_arguments(threshold, features, hidden, weight_frac)
    cost = torch.randn(25, 4, hidden, generator=generator, dtype=torch.float64)
    expected, got = (layer(*args, weight_frac, threshold) for layer in (plain_layer, delta_gru))
    assert torch.equal(got, expected)
    assert 0.02 < (got[1:] != got[:-1]).double().mean() <= 1
    gradient = torch.autograd.grad((got * cost).sum(), args)
    same_gradients(gradient, torch.autograd.grad((expected * cost).sum(), args))
    single = [a.detach().float().requires_grad_() for a in args]
    got32 = delta_gru(*single, weight_frac, threshold)
    assert torch.equal(got32.double(), got)
    for g, e in zip(torch.autograd.grad((got32 * cost).sum(), single), gradient, strict=True):
        torch.testing.assert_close(g.double(), e, rtol=1e-3, atol=1e-4 * float(e.abs().max()))


@pytest.mark.parametrize("threshold", [0, 40])
def test_a_sequence_that_goes_on(threshold):
    args, generator = layer_arguments(5, 7, 13, 7)
    x, *weights = args
    cost = torch.randn(15, 4, 13, generator=generator, dtype=torch.float64)
    whole, last = layer(*args, 7, threshold)
    first, state = layer(x[:10], *weights, 7, threshold)
    start = (first[-1].detach(), state)
    got, end = layer(x[10:], *weights, 7, threshold, None, start)
    assert torch.equal(torch.cat([first, got]), whole) and torch.equal(end, last) and not state.requires_grad
    expected = plain_layer(x[10:], *weights, 7, threshold, None, start)
    assert torch.equal(got, expected)
    same_gradients(*(torch.autograd.grad((y * cost).sum(), args) for y in (got, expected)))


@pytest.mark.parametrize("threshold", [0, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_start_gets_a_gradient_and_states_are_taken_at_the_ends(threshold, dtype):
    args, generator = layer_arguments(6, 7, 13, 7)
    start = [torch.randint(-most, most, (4, 13), generator=generator).double().requires_grad_()
             for most in (200, 30000)]
    cost = torch.randn(25, 4, 13, generator=generator, dtype=torch.float64)
    wanted = torch.autograd.grad((plain_layer(*args, 7, threshold, None, start) * cost).sum(), (*start, *args))
    single = [a.detach().to(dtype).requires_grad_() for a in (*start, *args)]
    ends = torch.tensor([24, 3, 0, 11])
    anchors, states = layer(*single[2:], 7, threshold, None, tuple(single[:2]), ends)
    got = torch.autograd.grad((anchors * cost).sum(), single)
    same_gradients(got, wanted, 1e-10 if dtype == torch.float64 else 1e-3)
    for b, end in enumerate(ends.tolist()):
        _, last = layer(single[2][: end + 1], *single[3:], 7, threshold, None, tuple(single[:2]))
        assert torch.equal(states[b], last[b])


@pytest.mark.parametrize("threshold", [3.0, 17.7, 40.0])
@pytest.mark.parametrize("noisy", [False, True], ids=["quiet", "noisy"])
def test_learned_threshold(threshold, noisy):
    args, generator = layer_arguments(3, 7, 13, 7)
    noise = torch.randn(25, 4, 13, generator=generator, dtype=torch.float64).mul(4).round() if noisy else None
    theta = torch.tensor(threshold, dtype=torch.float64, requires_grad=True)
    cost = torch.randn(25, 4, 13, generator=generator, dtype=torch.float64)
    same_gradients(*(torch.autograd.grad((layer(*args, 7, theta, noise) * cost).sum(), (*args, theta))
                     for layer in (delta_gru, plain_layer)))


@pytest.mark.parametrize("threshold", [30.0, 130.6])
def test_features_learn_their_threshold(threshold):
    generator = torch.Generator().manual_seed(4)
    signal = torch.randn(30, 3, 5, generator=generator, dtype=torch.float64).mul(60).round().cumsum(0)
    cost = torch.randn(30, 3, 5, generator=generator, dtype=torch.float64)
    theta = torch.tensor(threshold, dtype=torch.float64, requires_grad=True)
    rounded, anchor, anchors = Round.apply(theta, 0, 4094), torch.zeros_like(signal[0]), []
    for v in signal:
        gate = Fire.apply((v - anchor).detach(), rounded)
        anchor = torch.where(gate > 0, v, anchor) + (gate - gate.detach()) * (v - anchor).detach()
        anchors.append(anchor)
    expected, got = torch.stack(anchors), DeltaEncoder.apply(signal, theta)
    assert torch.equal(got, expected)
    same_gradients(*(torch.autograd.grad((x * cost).sum(), (theta,)) for x in (got, expected)))


@pytest.mark.parametrize("threshold", [0, 1, 90])
def test_a_signal_that_is_trained_gets_a_gradient(threshold):
    generator = torch.Generator().manual_seed(4)
    signal = torch.randn(30, 3, 5, generator=generator, dtype=torch.float64).mul(60).round().cumsum(0).requires_grad_()
    cost = torch.randn(30, 3, 5, generator=generator, dtype=torch.float64)
    anchor, anchors = torch.zeros_like(signal[0]), []
    for v in signal:
        anchor, used = sent(v, anchor, torch.tensor(threshold))
        anchors.append(used)
    expected, got = torch.stack(anchors), DeltaEncoder.apply(signal, threshold)
    assert torch.equal(got, expected)
    same_gradients(*(torch.autograd.grad((x * cost).sum(), (signal,)) for x in (got, expected)))


def test_priced_events_count_and_cost_their_way():
    theta = torch.tensor(9.6, requires_grad=True)
    anchors = torch.tensor([[[0.0, 12.0]], [[-20.0, 12.0]], [[-20.0, 2.0]]], requires_grad=True)
    events = priced_events(anchors, theta)
    assert events.flatten().tolist() == [1, 1, 1]
    g_anchors, g_theta = torch.autograd.grad(events.sum(), (anchors, theta))
    assert g_theta.item() == pytest.approx(-3 / 9.6)            # a count in proportion to 1/Θ
    # |0| + |12| + |-20 - 0| + |2 - 12| over 10: each change with the sign of its way, ends and turns count
    torch.testing.assert_close(g_anchors, torch.tensor([[[1.0, 1.0]], [[-1.0, 1.0]], [[0.0, -1.0]]]) / 10)
    assert priced_events(anchors.detach(), 10).tolist() == events.tolist()


def test_non_contiguous_gradient_and_input():
    torch.manual_seed(0)
    x = torch.randn(4, 9, 6).mul(100).round().transpose(0, 1)
    w_ih, w_hh = (torch.randint(-60, 60, (15, n)).float().requires_grad_() for n in (6, 5))
    bias = torch.zeros(4, 5, requires_grad=True)
    weights = (w_ih, w_hh, bias)
    expanded = delta_gru(x, *weights, 7, 3).sum()       # its gradient has stride 0
    plain = delta_gru(x.contiguous(), *weights, 7, 3).mul(1.0).sum()
    first, second = torch.autograd.grad(expanded, weights), torch.autograd.grad(plain, weights)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_second_backward_is_refused_not_wrong():
    """In torch; the kernel overwrites nothing."""
    weights = torch.ones(6, 3), torch.ones(6, 2, requires_grad=True), torch.zeros(4, 2)
    with kernel.switched_off():
        out = delta_gru(torch.ones(4, 1, 3), *weights, 7, 0).sum()
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError):
        out.backward()
