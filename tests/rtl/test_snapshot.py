import json
from dataclasses import asdict

import pytest

from tidegate.spec.design import Design
from tidegate_hw.handover.copy import Snapshot
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize(("lanes", "cell_rate"), [(8, 1), (8, 4), (8, 8), (128, 4)])
def test_snapshot(lanes, cell_rate):
    design = Design(lanes=lanes, cell_rate=cell_rate, acc_words=16)
    run_bench(Snapshot(design), "tidegate_sim.benches.snapshot", f"snapshot_{lanes}_{cell_rate}",
              env={"BENCH": json.dumps(asdict(design))})
