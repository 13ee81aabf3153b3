import json
from dataclasses import asdict

import pytest

from tidegate.spec.design import Design
from tidegate_hw.snapshot import Snapshot
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize("cell_rate", [1, 4, 8])
def test_snapshot(cell_rate):
    design = Design(lanes=8, cell_rate=cell_rate, acc_words=16)
    run_bench(Snapshot(design), "tidegate_sim.benches.snapshot", f"snapshot_{cell_rate}",
              env={"BENCH": json.dumps(asdict(design))})
