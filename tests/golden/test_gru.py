"""The hand-written layer against a straightforward one: same integers, and plain autograd's gradient."""

import pytest
import torch

from tidegate.golden import DeltaGRU


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


def plain_layer(x, w_ih, w_hh, bias, weight_frac, threshold):
    """Same arguments and result as DeltaGRU, one torch operation after another."""
    a = 8 + weight_frac
    b_nx, b_r, b_z, b_nh = bias
    ir, iz, i_n = w_ih.chunk(3)
    hr, hz, hn = w_hh.chunk(3)
    h = anchor = torch.zeros(x.shape[1], w_hh.shape[1], dtype=x.dtype)
    anchors = []
    for frame in x:
        m_r = frame @ ir.T + anchor @ hr.T + b_r
        m_z = frame @ iz.T + anchor @ hz.T + b_z
        r, z = (Squash.apply(Round.apply(m * 2.0 ** (6 - a), -511, 511) / 64, torch.sigmoid, 1) for m in (m_r, m_z))
        nx = Round.apply((frame @ i_n.T + b_nx) * 2.0 ** (10 - a), -32767, 32767)
        nh = Round.apply((anchor @ hn.T + b_nh) * 2.0 ** (10 - a), -32767, 32767)
        n = Squash.apply(Round.apply((nx + r * nh) / 4, -1023, 1023) / 256, torch.tanh, -255)
        n15 = n * 32768
        h = n15 + Round.apply(z * (h - n15), -(2**20), 2**20)
        v = Round.apply(h / 128, -255, 255)
        fired = ((v - anchor).abs() >= threshold) & (v != anchor) | (threshold <= 1)
        anchor = torch.where(fired, v, anchor)
        anchors.append(anchor)
    return torch.stack(anchors)


@pytest.mark.parametrize("threshold", [0, 1, 5, 40])
@pytest.mark.parametrize(("features", "hidden", "weight_frac"), [(7, 13, 7), (3, 5, 2), (9, 8, 9)])
def test_forward_and_gradient(threshold, features, hidden, weight_frac):
    generator = torch.Generator().manual_seed(threshold)

    def integers(scale, *shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).mul(scale).round().requires_grad_()

    scale = 0.5 * 2**weight_frac
    args = (integers(200, 25, 4, features), integers(scale, 3 * hidden, features),
            integers(scale, 3 * hidden, hidden), integers(scale * 256, 4, hidden))
    cost = torch.randn(25, 4, hidden, generator=generator, dtype=torch.float64)
    expected = plain_layer(*args, weight_frac, threshold)
    got = DeltaGRU.apply(*args, weight_frac, threshold)
    assert torch.equal(got, expected)
    assert 0.02 < (got[1:] != got[:-1]).double().mean() <= 1
    gradient = torch.autograd.grad((got * cost).sum(), args)
    for g, e in zip(gradient, torch.autograd.grad((expected * cost).sum(), args), strict=True):
        torch.testing.assert_close(g, e, rtol=1e-10, atol=1e-10 * float(e.abs().max()))
    single = [a.detach().float().requires_grad_() for a in args]
    got32 = DeltaGRU.apply(*single, weight_frac, threshold)
    assert torch.equal(got32.double(), got)
    for g, e in zip(torch.autograd.grad((got32 * cost).sum(), single), gradient, strict=True):
        torch.testing.assert_close(g.double(), e, rtol=1e-3, atol=1e-4 * float(e.abs().max()))


def test_non_contiguous_gradient_and_input():
    torch.manual_seed(0)
    x = torch.randn(4, 9, 6).mul(100).round().transpose(0, 1)
    w_ih, w_hh = (torch.randint(-60, 60, (15, n)).float().requires_grad_() for n in (6, 5))
    bias = torch.zeros(4, 5, requires_grad=True)
    weights = (w_ih, w_hh, bias)
    expanded = DeltaGRU.apply(x, *weights, 7, 3).sum()      # its gradient has stride 0
    plain = DeltaGRU.apply(x.contiguous(), *weights, 7, 3).mul(1.0).sum()
    first, second = torch.autograd.grad(expanded, weights), torch.autograd.grad(plain, weights)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_second_backward_is_refused_not_wrong():
    weights = torch.ones(6, 3), torch.ones(6, 2, requires_grad=True), torch.zeros(4, 2)
    out = DeltaGRU.apply(torch.ones(4, 1, 3), *weights, 7, 0).sum()
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError):
        out.backward()
