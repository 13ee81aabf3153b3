"""The hand-written layer against a straightforward one: same integers, and plain autograd's gradient."""

import pytest
import torch

from tidegate.golden import DeltaGRU
from tidegate.golden.encoder import DeltaEncoder


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
    """1 where an element fires; its slope is a triangle around Θ, Θ/2 or at least 2 to each side."""

    @staticmethod
    def forward(ctx, change, threshold):
        ctx.save_for_backward(change, threshold)
        return ((change.abs() >= threshold) & (change != 0)).to(change.dtype)

    @staticmethod
    def backward(ctx, g):
        change, threshold = ctx.saved_tensors
        width = torch.clamp(threshold / 2, min=2)
        slope = torch.clamp(1 - (change.abs() - threshold).abs() / width, min=0) / width
        return g * slope * change.sign(), -(g * slope).sum()


def plain_layer(x, w_ih, w_hh, bias, weight_frac, threshold, noise=None):
    """Same arguments and result as DeltaGRU, one torch operation after another."""
    threshold = Round.apply(torch.as_tensor(threshold, dtype=x.dtype), 0, 4094)
    a = 8 + weight_frac
    b_nx, b_r, b_z, b_nh = bias
    ir, iz, i_n = w_ih.chunk(3)
    hr, hz, hn = w_hh.chunk(3)
    h = anchor = torch.zeros(x.shape[1], w_hh.shape[1], dtype=x.dtype)
    anchors, events = [], []
    for t, frame in enumerate(x):
        m_r = frame @ ir.T + anchor @ hr.T + b_r
        m_z = frame @ iz.T + anchor @ hz.T + b_z
        r, z = (Squash.apply(Round.apply(m * 2.0 ** (6 - a), -511, 511) / 64, torch.sigmoid, 1) for m in (m_r, m_z))
        nx = Round.apply((frame @ i_n.T + b_nx) * 2.0 ** (10 - a), -32767, 32767)
        nh = Round.apply((anchor @ hn.T + b_nh) * 2.0 ** (10 - a), -32767, 32767)
        n = Squash.apply(Round.apply((nx + r * nh) / 4, -1023, 1023) / 256, torch.tanh, -255)
        n15 = n * 32768
        h = n15 + Round.apply(z * (h - n15), -(2**20), 2**20)
        v = Round.apply(h / 128, -255, 255) + (0 if noise is None else noise[t])
        change = v - anchor
        events.append(Fire.apply(v - anchor.detach(), threshold).sum(-1))
        gate = Fire.apply(change.detach(), threshold)
        kept = torch.where((gate > 0) | (threshold <= 1), v, anchor)
        anchor = kept + (gate - gate.detach()) * change.detach()
        anchors.append(anchor)
    return torch.stack(anchors), torch.stack(events)


def layer_arguments(seed, features, hidden, weight_frac):
    """(x, w_ih, w_hh, bias), random integers in float64 that need gradients, and the generator."""
    generator = torch.Generator().manual_seed(seed)

    def integers(scale, *shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).mul(scale).round().requires_grad_()

    scale = 0.5 * 2**weight_frac
    return (integers(200, 25, 4, features), integers(scale, 3 * hidden, features),
            integers(scale, 3 * hidden, hidden), integers(scale * 256, 4, hidden)), generator


def same_gradients(got, expected, rtol=1e-10):
    for g, e in zip(got, expected, strict=True):
        assert e.abs().max() > 0
        torch.testing.assert_close(g.double(), e, rtol=rtol, atol=rtol * float(e.abs().max()))


@pytest.mark.parametrize("threshold", [0, 1, 5, 40])
@pytest.mark.parametrize(("features", "hidden", "weight_frac"), [(7, 13, 7), (3, 5, 2), (9, 8, 9)])
def test_forward_and_gradient(threshold, features, hidden, weight_frac):
    args, generator = layer_arguments(threshold, features, hidden, weight_frac)
    cost = torch.randn(25, 4, hidden, generator=generator, dtype=torch.float64)
    (expected, expected_events), (got, events) = (
        layer(*args, weight_frac, threshold) for layer in (plain_layer, DeltaGRU.apply))
    assert torch.equal(got, expected) and torch.equal(events, expected_events)
    assert 0.02 < (got[1:] != got[:-1]).double().mean() <= 1
    gradient = torch.autograd.grad((got * cost).sum(), args)
    same_gradients(gradient, torch.autograd.grad((expected * cost).sum(), args))
    single = [a.detach().float().requires_grad_() for a in args]
    got32, _ = DeltaGRU.apply(*single, weight_frac, threshold)
    assert torch.equal(got32.double(), got)
    for g, e in zip(torch.autograd.grad((got32 * cost).sum(), single), gradient, strict=True):
        torch.testing.assert_close(g.double(), e, rtol=1e-3, atol=1e-4 * float(e.abs().max()))


@pytest.mark.parametrize("threshold", [0.4, 3.0, 17.7, 40.0])
@pytest.mark.parametrize("noisy", [False, True], ids=["quiet", "noisy"])
def test_learned_threshold_and_price_on_events(threshold, noisy):
    args, generator = layer_arguments(3, 7, 13, 7)
    noise = torch.randn(25, 4, 13, generator=generator, dtype=torch.float64).mul(4).round() if noisy else None
    theta = torch.tensor(threshold, dtype=torch.float64, requires_grad=True)
    cost = torch.randn(25, 4, 13, generator=generator, dtype=torch.float64)
    price = torch.rand(25, 4, generator=generator, dtype=torch.float64) * 50
    gradients = []
    for layer in (plain_layer, DeltaGRU.apply):
        anchors, events = layer(*args, 7, theta, noise)
        gradients.append(torch.autograd.grad((anchors * cost).sum() + (events * price).sum(), (*args, theta)))
    same_gradients(*gradients)


@pytest.mark.parametrize("threshold", [0.4, 30.0, 130.6])
def test_features_learn_their_threshold(threshold):
    generator = torch.Generator().manual_seed(4)
    signal = torch.randn(30, 3, 5, generator=generator, dtype=torch.float64).mul(60).round().cumsum(0)
    cost, price = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((30, 3, 5), (30, 3)))
    results = []
    for plain in (True, False):
        theta = torch.tensor(threshold, dtype=torch.float64, requires_grad=True)
        if plain:
            rounded, anchor, anchors, events = Round.apply(theta, 0, 4094), torch.zeros_like(signal[0]), [], []
            for v in signal:
                change = v - anchor
                gate = Fire.apply(change.detach(), rounded)
                events.append(gate.sum(-1))
                anchor = torch.where(gate > 0, v, anchor) + (gate - gate.detach()) * change.detach()
                anchors.append(anchor)
            anchors, events = torch.stack(anchors), torch.stack(events)
        else:
            anchors, events = DeltaEncoder.apply(signal, theta)
        loss = (anchors * cost).sum() + (events * price).sum()
        results.append((anchors, events, *torch.autograd.grad(loss, theta)))
    for plain, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=0)


def test_non_contiguous_gradient_and_input():
    torch.manual_seed(0)
    x = torch.randn(4, 9, 6).mul(100).round().transpose(0, 1)
    w_ih, w_hh = (torch.randint(-60, 60, (15, n)).float().requires_grad_() for n in (6, 5))
    bias = torch.zeros(4, 5, requires_grad=True)
    weights = (w_ih, w_hh, bias)
    expanded = DeltaGRU.apply(x, *weights, 7, 3)[0].sum()       # its gradient has stride 0
    plain = DeltaGRU.apply(x.contiguous(), *weights, 7, 3)[0].mul(1.0).sum()
    first, second = torch.autograd.grad(expanded, weights), torch.autograd.grad(plain, weights)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_second_backward_is_refused_not_wrong():
    weights = torch.ones(6, 3), torch.ones(6, 2, requires_grad=True), torch.zeros(4, 2)
    out = DeltaGRU.apply(torch.ones(4, 1, 3), *weights, 7, 0)[0].sum()
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError):
        out.backward()
