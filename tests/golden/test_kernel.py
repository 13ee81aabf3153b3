"""The kernel in C against the same in torch: equal integers, the same gradients up to the order of sums."""

import os
import shutil
from contextlib import ExitStack

import pytest
import torch

from tidegate.golden import DeltaNetwork, kernel
from tidegate.golden.cells import lstm
from tidegate.golden.cells.gru import advance, layer, sequence
from tidegate.golden.encoder import encode, priced_events

# not by kernel.usable: a kernel that does not compile is to fail
pytestmark = pytest.mark.skipif(shutil.which(os.environ.get("CC", "cc")) is None, reason="no C compiler here")


@pytest.fixture
def torch_only():
    """Call it to do without the kernel from then on."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(kernel.switched_off())


def test_it_is_compiled_and_used():
    assert kernel.usable(torch.zeros(1)) and not kernel.usable(torch.zeros(1, dtype=torch.float64))


def test_one_that_was_cut_short_is_compiled_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path))
    kernel._found.cache_clear()
    try:
        assert kernel._found() is not None
        (library,) = tmp_path.rglob("*.so")
        whole = library.read_bytes()
        library.unlink()                    # the one that is loaded stays as it is
        library.write_bytes(whole[: len(whole) // 2])
        kernel._found.cache_clear()
        assert kernel._found() is not None and library.stat().st_size >= len(whole) // 2 + 1
    finally:
        kernel._found.cache_clear()


def network(hidden, thresholds, seed):
    """One whose gates saturate now and then."""
    torch.manual_seed(seed)
    made = DeltaNetwork(11, hidden, 5, thresholds)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(4)
    return made


def walk(*shape):
    return torch.randint(-700, 701, shape).float().cumsum(0).clamp(-2047, 2047)


@pytest.mark.parametrize("thresholds", [(112, 56), (0, 0), (1, 2), (2000, 4)])
@pytest.mark.parametrize("hidden", [1, 63, 130])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_layer(torch_only, thresholds, hidden, noise):
    made, frames = network([hidden, 7], [*thresholds, 9], hidden), walk(37, 3, 11)
    runs = []
    for _ in range(2):
        made.zero_grad()
        first = made(frames[:20], noise=noise, generator=torch.Generator().manual_seed(1))
        second = made(frames[20:], start=first.state)
        (first.logits.logsumexp(-1).mean() + second.logits.square().mean() + second.events[1].mean()).backward()
        runs.append(([*first.anchors, *second.anchors, *second.states, second.logits],
                     [p.grad.clone() for p in made.parameters()]))
        torch_only()
    assert all(torch.equal(a, b) for a, b in zip(runs[0][0], runs[1][0], strict=True))
    for a, b in zip(runs[0][1], runs[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6 * float(b.abs().max()))


def test_a_gradient_whose_axes_are_permuted(torch_only):
    torch.manual_seed(6)
    weights = [torch.randint(-127, 128, (3 * 30, n)).float().requires_grad_() for n in (11, 30)]
    bias, x = torch.zeros(4, 30), walk(9, 5, 11)
    pull, runs = torch.randn(5, 9, 30), []
    for _ in range(2):
        anchors, _ = layer(x, *weights, bias, 7, 40, None, None)
        runs.append(torch.autograd.grad((anchors.transpose(0, 1) * pull).sum(), weights))
        torch_only()
    for a, b in zip(*runs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6 * float(b.abs().max()))


def test_not_a_number_crashes_nothing():
    made = network([40], (10, 10), 1)
    with torch.no_grad():
        made.layers[0].weight_ih[3] = torch.nan
        made.layers[0].bias_hh[5] = torch.inf
    made(walk(12, 2, 11)).logits.sum().backward()


def test_gradients_of_inputs_and_of_a_learned_threshold(torch_only):
    torch.manual_seed(2)
    weights = [torch.randint(-127, 128, (3 * 70, n)).float() for n in (11, 70)]
    bias, x = torch.randint(-9000, 9000, (4, 70)).float(), walk(19, 4, 11).requires_grad_()
    theta, pull, runs = torch.tensor(40.0, requires_grad=True), torch.randn(19, 4, 70), []
    for _ in range(2):
        anchors, _ = layer(x, *weights, bias, 7, theta, None, None)
        runs.append(torch.autograd.grad((anchors * pull).sum(), (x, theta)))
        torch_only()
    for a, b in zip(*runs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6 * float(b.abs().max()))


def test_no_gradient_and_no_frames(torch_only):
    torch.manual_seed(3)
    weights = [torch.randint(-127, 128, (3 * 65, n)).float() for n in (11, 65)]
    bias = torch.randint(-9000, 9000, (4, 65)).float()
    for frames in (walk(23, 2, 11), walk(0, 2, 11)):
        run = sequence(frames, *weights, bias, 7, 30)
        anchors, last = advance(frames, *weights, bias, 7, 30)
        assert torch.equal(anchors, run.anchors[1:]) and torch.equal(last, run.states[-1])


@pytest.mark.parametrize("begun", [False, True])
def test_priced_events(torch_only, begun):
    torch.manual_seed(5)
    anchors = torch.randint(-3, 4, (9, 3, 21)).float().mul(30).requires_grad_()
    start = torch.randint(-3, 4, (3, 21)).float().mul(30) if begun else None
    theta, runs = torch.tensor(31.0, requires_grad=True), []
    for _ in range(2):
        counts = priced_events(anchors, theta, start)
        runs.append((counts, *torch.autograd.grad((counts * torch.arange(27).view(9, 3)).sum(), (anchors, theta))))
        torch_only()
    assert torch.equal(runs[0][0], runs[1][0])
    for a, b in zip(*runs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("threshold", [0, 1, 90, 4094])
def test_encoder(torch_only, threshold):
    """Changes beyond what a Δ holds, too."""
    torch.manual_seed(4)
    signal, start = torch.randint(-2047, 2048, (50, 3, 7)).float(), torch.randint(-2047, 2048, (3, 7)).float()
    fast = [encode(signal, threshold, s) for s in (None, start)]
    torch_only()
    assert all(torch.equal(a, encode(signal, threshold, s)) for a, s in zip(fast, (None, start), strict=True))


def test_kernel_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("TIDEGATE_KERNEL", "0")
    kernel._found.cache_clear()
    try:
        assert not kernel.usable(torch.zeros(1))
    finally:
        kernel._found.cache_clear()


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_that_works(monkeypatch, tmp_path, compiler):
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", compiler)
    kernel._found.cache_clear()
    try:
        assert not kernel.usable(torch.zeros(1))
    finally:
        kernel._found.cache_clear()


@pytest.mark.parametrize("threshold", [0, 1.0, 30, 41.7])
@pytest.mark.parametrize("hidden", [1, 63, 130])
@pytest.mark.parametrize("more", [False, True], ids=["plain", "noise, start and ends"])
def test_lstm_layer(threshold, hidden, more, torch_only):
    torch.manual_seed(hidden)
    weights = [torch.randint(-100, 101, (4 * hidden, n)).float() for n in (11, hidden)]
    args = [walk(21, 3, 11), *weights, torch.randint(-30000, 30000, (4, hidden)).float()]
    theta = torch.tensor(threshold, requires_grad=True) if isinstance(threshold, float) else threshold
    noise = torch.randint(-5, 6, (21, 3, hidden)).float() if more else None
    start = [torch.randint(-most, most + 1, (3, hidden)).float().requires_grad_() for most in (255, 32767)]
    ends = torch.tensor([20, 0, 7]) if more else None
    cost, of_state = torch.randn(21, 3, hidden), torch.randn(3, hidden) / 100
    results = []
    for _ in range(2):
        inputs = [a.clone().requires_grad_() for a in args] + [theta] * isinstance(threshold, float) + start * more
        anchors, states = lstm.layer(*inputs[:4], 7, theta, noise, tuple(start) if more else None, ends)
        with torch.no_grad():
            again, _ = lstm.advance(*inputs[:4], 7, round(float(threshold)), tuple(start) if more else None)
        assert noise is not None or torch.equal(again, anchors)
        loss = (anchors * cost).sum() + (states * of_state).sum()
        results.append((anchors, states, torch.autograd.grad(loss, inputs)))
        torch_only()
    (anchors, states, got), (expected, wanted_states, wanted) = results
    assert torch.equal(anchors, expected) and torch.equal(states, wanted_states)
    for g, w in zip(got, wanted, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-3, atol=2e-4 * float(w.abs().max()) + 1e-9)
