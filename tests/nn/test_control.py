"""A layer that is asked for a fetch reduction has it after some training, in a script that does not know of it."""

import math

import pytest
import torch
from torch import nn

from tidegate.nn import DeltaGRU, DeltaLSTM
from tidegate.nn.control import ThetaControl


def slow_signals(batch, generator):
    """Frames (T, B, 4) that drift, and whether they rose: (B,)."""
    frames = torch.randn(40, batch, 4, generator=generator).cumsum(0) / 6
    return frames, (frames[-1].sum(-1) > 0).long()


@pytest.mark.parametrize(("make", "goal", "options"), [
    (DeltaGRU, 6, {}), (DeltaLSTM, 6, {}), (DeltaGRU, 3, {"theta": (2, 1, 1), "num_layers": 2})])
def test_a_plain_script_reaches_what_was_asked_for(make, goal, options):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    layer = make(4, 24, fetch_reduction=goal, anneal=120, **options)
    net = nn.ModuleDict({"rnn": layer, "fc": nn.Linear(24, 2)})
    optimiser = torch.optim.Adam(net.parameters(), 4e-3)
    assert layer.thresholds == [0] * (layer.num_layers + 1) or options
    early = None
    for step in range(240):
        frames, target = slow_signals(32, generator)
        output, _ = net["rnn"](frames)
        loss = nn.functional.cross_entropy(net["fc"](output[-1]), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step == 20:
            early = layer.activity.fetch_reduction
        if step == 180:
            layer.reset_activity()
    reached = layer.activity.fetch_reduction
    assert 0.9 * goal < reached < 1.1 * goal and early is not None and early < 0.6 * goal
    if "theta" in options:
        assert layer.theta[0] == pytest.approx(2 * layer.theta[1])
    net.eval()
    before = layer.thresholds
    frames, target = slow_signals(400, generator)
    output, _ = net["rnn"](frames)
    assert (net["fc"](output[-1]).argmax(-1) == target).float().mean() > 0.85
    assert layer.thresholds == before and layer.activity.fetch_reduction == pytest.approx(goal, rel=0.15)
    net.train()
    with torch.no_grad():
        net["rnn"](frames)
    assert layer.thresholds == before           # a pass without gradients trains nothing
    layer.theta = 0.25
    net["rnn"](frames)
    assert layer.thresholds == [64] * (layer.num_layers + 1) and layer.control is None


def test_the_wish_grows_and_the_scale_stays_in_range():
    control = ThetaControl(2, 16, 4, None)
    assert control.theta == [0, 0]
    for _ in range(2):
        control.seen(4, (1.0, 0.5))
    assert control.theta == pytest.approx([1 / 256, 1 / 512])       # 4 is what is wanted after half of the passes
    for _ in range(200):
        control.seen(1, (1.0, 0.5))
    assert control.theta[0] == pytest.approx(4094 / 256)
    for _ in range(500):
        control.seen(math.inf, (1.0, 0.5))
    assert control.theta[0] == pytest.approx(1 / 256)
    twin = ThetaControl(2, 16, 4, None)
    twin.restore(control.state())
    assert twin.theta == control.theta and twin.passes == 702
    control.seen(1, (0.0, 0.0))                                     # silent signals keep a scale
    assert all(t > 0 for t in control.theta)
