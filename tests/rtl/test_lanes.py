import json
from dataclasses import asdict

import pytest

from tidegate.spec.design import Design
from tidegate_hw.stages.lanes import Lanes
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize("lanes", [1, 8])
def test_lanes(lanes):
    design = Design(lanes=lanes, cell_rate=1, weight_words=64, acc_words=16)
    run_bench(Lanes(design), "tidegate_sim.benches.lanes", f"lanes_{lanes}",
              env={"BENCH": json.dumps(asdict(design))})
