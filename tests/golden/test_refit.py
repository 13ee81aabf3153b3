"""The classifier that is fitted to what Θ leaves of the hidden state."""

import numpy as np
import torch

from tidegate.golden import Golden
from tidegate.golden.convert import convert
from tidegate.golden.refit import fitted


def made(answers=400, hidden=12, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.5, (answers, hidden)), rng.normal(0, 1, (classes, hidden)), rng.normal(0, 1, classes), rng


def test_what_is_right_stays_and_what_is_linear_is_found():
    heard, weight, bias, rng = made()
    wanted = heard @ weight.T + bias
    same, offset = fitted(heard, wanted, weight, bias)
    assert np.allclose(same, weight) and np.allclose(offset, bias)
    lagging = 0.8 * heard + 0.1 + rng.normal(0, 0.01, heard.shape)
    found, offset = fitted(lagging, wanted, weight, bias)
    assert np.abs(lagging @ found.T + offset - wanted).max() < 0.15 < np.abs(lagging @ weight.T + bias - wanted).max()


def test_few_answers_change_little():
    """As many as neurons: what is left out in turn is no better explained, so the classifier hardly moves."""
    heard, weight, bias, rng = made(answers=12)
    found, _ = fitted(heard, heard @ weight.T + bias + rng.normal(0, 0.3, (12, 3)), weight, bias)
    assert np.linalg.norm(found - weight) < 0.3 * np.linalg.norm(weight)


def test_a_conversion_at_a_large_threshold_answers_more_like_the_float_network():
    torch.manual_seed(0)
    rnn, linear, rng = torch.nn.GRU(6, 24), torch.nn.Linear(24, 4), np.random.default_rng(0)
    with torch.no_grad():
        linear.weight.mul_(4)
    x = rng.normal(0, 1, (500, 25, 6)).cumsum(1) / 3
    half, rest = x[:300], x[300:]
    first, second = (convert(rnn, linear, calibration=half, fetch_reduction=8, readout="last", refit=refit, warn=False)
                     for refit in (False, True))
    assert first.report.point.thresholds == second.report.point.thresholds
    assert first.report.point.fetch_reduction == second.report.point.fetch_reduction
    assert "classifier fitted" in second.report.text() and "fitted" not in first.report.text()
    assert first.report.signals[-1].rounding_db == second.report.signals[-1].rounding_db
    same = [name for name, tensor in first.model.tensors.items() if np.array_equal(tensor, second.model.tensors[name])]
    assert sorted(set(first.model.tensors) - set(same)) == ["classifier.bias", "classifier.weight"]
    with torch.no_grad():
        wanted = linear(rnn(torch.from_numpy(rest).float().transpose(0, 1))[0][-1]).numpy()
    missed = []
    for made in (first, second):
        golden = Golden(made.model)
        logits = golden.run(made.model.quantise(rest).transpose(1, 0, 2)).logits[-1] * 2.0**-golden.logit_frac
        missed.append(((logits - wanted) ** 2).mean())
    assert missed[1] < 0.8 * missed[0]
