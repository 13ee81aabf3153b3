"""What ``tidegate.nn`` exports has the same integers on the virtual board."""

import numpy as np
import pytest
import torch

from tidegate.nn import LIF, LMU, DeltaLSTM, IntLinear, export
from tidegate_sim.verify import verify

LAYERS = {
    "lif": lambda: LIF(6, 30, 2, theta=(0.75, 0.5), leak=0.125),
    "lif-chain": lambda: LIF(6, 20, 3, recurrent=False, reset="zero", theta=0.25, step=1, levels=3),
    "lmu": lambda: LMU(6, 20, 4, 12, 3, theta=(0.2, 0.05, 0.1)),
    "lmu-hybrid": lambda: LMU(6, 20, 5, 12, num_layers=2, step=(0.5, 0.125, 0.25), anneal=0),
    "lstm": lambda: DeltaLSTM(6, 20, theta=0.1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_no_mismatch_on_eight_lanes(name):
    torch.manual_seed(0)
    rnn, classifier = LAYERS[name](), IntLinear(20 if name != "lif" else 30, 4)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.mul_(1 if name.startswith("lmu") else 3)
    model = export(rnn, classifier)
    frames = np.random.default_rng(0).normal(0, 1, (4, 25, 6)).cumsum(1).clip(-5, 5)
    with torch.no_grad():
        rnn(torch.from_numpy(frames).float().transpose(0, 1))
    assert all(share > 0.02 for share in rnn.activity.occupancy)            # every signal says something
    report = verify(model, list(model.quantise(frames)), lanes=[8], thresholds=[model.network.thresholds])
    assert (report["frames"], report["mismatches"]) == (100, 0), report
