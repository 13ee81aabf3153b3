import json
from dataclasses import asdict

import pytest

from tidegate.spec.design import Design
from tidegate_hw.stages.stop import StopUnit
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize("classes", [2, 15, 16, *(pytest.param(n, marks=pytest.mark.slow) for n in (12, 35))])
def test_stop(classes):
    design = Design(lanes=8, cell_rate=2, classes=classes)
    run_bench(StopUnit(design), "tidegate_sim.benches.stop", f"stop_{classes}",
              env={"BENCH": json.dumps(asdict(design))})
