"""The float twin: PyTorch's own module of each cell at Θ = 0, the encoder's promises at other Θ."""

import pytest
import torch

from tidegate.golden import FloatDelta
from tidegate.golden.cells import golden_of
from tidegate.spec.cells import CELLS


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("layers", [1, 2])
def test_theta_zero_is_torchs_own_module_over_1000_steps(layers, cell):
    torch.manual_seed(layers)
    rnn, linear = golden_of(cell).Module(10, 24, layers), torch.nn.Linear(24, 6)
    x = torch.randn(1000, 2, 10)
    with torch.no_grad():
        logits, anchors = FloatDelta(rnn, linear)(x)
        expected = rnn(x)[0]
        assert (anchors[-1] - expected).abs().max() <= 1e-5
        assert (logits - linear(expected)).abs().max() <= 1e-5


def test_without_bias():
    torch.manual_seed(3)
    gru, x = torch.nn.GRU(5, 7, bias=False), torch.randn(50, 3, 5)
    with torch.no_grad():
        assert (FloatDelta(gru)(x)[0] - gru(x)[0]).abs().max() <= 1e-5


def test_anchors_stay_within_theta_and_move_by_at_least_theta():
    torch.manual_seed(4)
    gru, x = torch.nn.GRU(5, 7), torch.randn(200, 3, 5).mul(0.2).cumsum(0)
    with torch.no_grad():
        _, (features, hidden) = FloatDelta(gru, thresholds=[0.5, 0.1])(x)
    assert (x - features).abs().max() < 0.5
    for anchors, theta in ((features, 0.5), (hidden, 0.1)):
        steps = anchors.diff(dim=0).abs()
        assert steps[steps > 0].min() >= theta * 0.999
        assert 0 < (steps > 0).float().mean() < 0.6
