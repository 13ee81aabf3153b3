"""The LSTM: its step against rational arithmetic, and the sequence against a straightforward one and the step."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from tidegate.golden import FloatDelta, Golden, from_torch
from tidegate.golden.cells.lstm import advance, layer, sequence, step
from tidegate.spec.activation import sigmoid, tanh
from tidegate.spec.layer import Layer

from .test_gru import Round, Squash, layer_arguments, same_gradients, sent
from .test_gru_step import random_accumulators, to_grid


def rational_cell(o, i, f, g, c, weight_frac):
    """Real-valued equations, each intermediate rounded to its grid."""
    one = Fraction(1)
    o, i, f, g = (one * x / 2 ** (8 + weight_frac) for x in (o, i, f, g))
    args = [to_grid(x, 6, 511) for x in (o, i, f)] + [to_grid(g, 8, 1023)]
    o, i, f = (one * int(sigmoid(x)) / 256 for x in args[:3])
    g = one * int(tanh(args[3])) / 256
    c = to_grid(f * c / 2**12 + i * g, 12, 32767)
    squashed = one * int(tanh(to_grid(one * c / 2**12, 8, 1023))) / 256
    return *args, c, to_grid(o * squashed, 8, 2047)


@pytest.mark.parametrize("weight_frac", range(2, 10))
def test_cell_equals_rational_arithmetic(weight_frac):
    rng = np.random.default_rng(weight_frac)
    m = random_accumulators(rng)
    c = rng.integers(-32767, 32768, 400)
    c[:32] = np.tile([-32767, 32767], 16)
    stages, state, v = step(m[None], c[None], Layer(1, weight_frac))
    assert np.array_equal(state, stages.c) and np.array_equal(v, stages.v)
    expected = [rational_cell(*map(int, m[:, k]), int(c[k]), weight_frac) for k in range(400)]
    assert np.array_equal(np.stack(stages, -1)[0], expected)
    assert np.abs(state).max() <= 32767 and np.abs(v).max() <= 255


def plain_layer(x, w_ih, w_hh, bias, weight_frac, threshold, noise=None, start=None):
    """Same arguments as ``layer``, one torch operation after another: anchors and states after every frame."""
    threshold = Round.apply(torch.as_tensor(threshold, dtype=x.dtype), 0, 4094)
    shift = 8 + weight_frac
    c = anchor = used = torch.zeros(x.shape[1], w_hh.shape[1], dtype=x.dtype)
    if start is not None:
        (anchor, c), used = start, start[0]
    anchors, states = [], []
    for t, frame in enumerate(x):
        sums = [frame @ a.T + used @ b.T for a, b in zip(w_ih.chunk(4), w_hh.chunk(4), strict=True)]
        m_i, m_f, m_g, m_o = (m + b for m, b in zip(sums, (bias[1], bias[2], bias[3], bias[0]), strict=True))
        i, f, o = (Squash.apply(Round.apply(m * 2.0 ** (6 - shift), -511, 511) / 64, torch.sigmoid, 1)
                   for m in (m_i, m_f, m_o))
        g = Squash.apply(Round.apply(m_g * 2.0 ** (8 - shift), -1023, 1023) / 256, torch.tanh, -255)
        c = Round.apply(f * c + i * g * 4096, -32767, 32767)
        squashed = Squash.apply(Round.apply(c / 16, -1023, 1023) / 256, torch.tanh, -255)
        v = Round.apply(o * squashed * 256, -255, 255) + (0 if noise is None else noise[t])
        anchor, used = sent(v, anchor, threshold)
        anchors.append(used)
        states.append(c)
    return torch.stack(anchors), torch.stack(states)


@pytest.mark.parametrize("threshold", [0, 1, 5, 40])
@pytest.mark.parametrize(("features", "hidden", "weight_frac"), [(7, 13, 7), (3, 5, 2), (9, 8, 9)])
def test_forward_and_gradient(threshold, features, hidden, weight_frac):
    args, generator = layer_arguments(threshold, features, hidden, weight_frac, 4)
    cost = torch.randn(25, 4, hidden, generator=generator, dtype=torch.float64)
    noise = torch.randn(25, 4, hidden, generator=generator, dtype=torch.float64).round()
    for more in ((), (noise,)):
        results = []
        for function in (layer, plain_layer):
            theta = torch.tensor(float(threshold), dtype=torch.float64, requires_grad=True)
            anchors, _ = function(*args, weight_frac, theta, *more)
            results.append((anchors, torch.autograd.grad((anchors * cost).sum(), [*args, theta])))
        (anchors, gradients), (expected, wanted) = results
        assert torch.equal(anchors, expected)
        same_gradients(gradients[:4], wanted[:4])
        if threshold > 1:
            same_gradients(gradients[4:], wanted[4:])


@pytest.mark.parametrize("threshold", [0, 40])
@pytest.mark.parametrize("ends", [None, [24, 3, 0, 11]])
def test_start_and_last_states_get_a_gradient(threshold, ends):
    args, generator = layer_arguments(6, 7, 13, 7, 4)
    start = [torch.randint(-most, most, (4, 13), generator=generator).double().requires_grad_()
             for most in (200, 30000)]
    cost, of_state = (torch.randn(25, 4, 13, generator=generator, dtype=torch.float64) for _ in range(2))
    ends = None if ends is None else torch.tensor(ends)
    results = []
    for function in (lambda *a: layer(*a, ends), plain_layer):
        anchors, states = function(*args, 7, threshold, None, tuple(start))
        last = states if states.ndim == 2 else states[24 if ends is None else ends, range(4)]
        results.append((last, *torch.autograd.grad((anchors * cost).sum() + (last * of_state[0]).sum(),
                                                   (*start, *args), retain_graph=True),
                        *torch.autograd.grad((last * of_state[0]).sum(), (start[1], *args))))
    assert torch.equal(results[0][0], results[1][0])
    same_gradients(results[0][1:], results[1][1:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_sequence_is_the_step_again_and_again(dtype):
    """From reset, and in two parts; weights are small enough for float32 to be exact."""
    (x, w_ih, w_hh, bias), _ = layer_arguments(5, 7, 13, 7, 4)
    x, w_ih, w_hh, bias = (t.detach().to(dtype) for t in (x, w_ih, w_hh, bias))
    run = sequence(x, w_ih, w_hh, bias, 7, 30)
    order = [w.roll(13, 0).numpy().astype(np.int64) for w in (w_ih, w_hh)]
    anchors, c = np.zeros((4, 13), np.int64), np.zeros((4, 13), np.int64)
    for t in range(len(x)):
        heard = x[t].numpy().astype(np.int64) @ order[0].T + anchors @ order[1].T
        sums = heard.reshape(4, 4, 13) + bias.numpy().astype(np.int64)
        _, c, v = step(sums, c, Layer(1))
        anchors = np.where((abs(v - anchors) >= 30), v, anchors)
        assert np.array_equal(run.states[t + 1].numpy(), c) and np.array_equal(run.anchors[t + 1].numpy(), anchors)
    first, state = advance(x[:10], w_ih, w_hh, bias, 7, 30)
    second, _ = advance(x[10:], w_ih, w_hh, bias, 7, 30, (first[-1], state))
    assert torch.equal(torch.cat([first, second]), run.anchors[1:])


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_a_converted_lstm_follows_the_float_lstm(layers):
    torch.manual_seed(layers)
    lstm, linear = torch.nn.LSTM(10, 24, layers, batch_first=True), torch.nn.Linear(24, 6)
    x = torch.randn(100, 4, 10).mul(256).round().clamp(-2047, 2047)
    model = from_torch(lstm.state_dict(), linear.state_dict())
    assert model.network.shape.startswith("LSTM 24")
    golden = Golden(model)
    with torch.no_grad():
        expected, _ = FloatDelta(lstm, linear)(x / 256)
    logits = torch.tensor(golden.run(x).logits) * 2.0**-golden.logit_frac
    assert (logits - expected).abs().max() < 0.01    # logits up to 0.6; an LSB of h is 0.004
