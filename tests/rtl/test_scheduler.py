import json
from dataclasses import asdict

import pytest

from tidegate.spec.design import Design
from tidegate_hw.stages.scheduler import Scheduler
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize("snapshot", [True, False])
def test_scheduler(snapshot):
    design = Design(lanes=8, cell_rate=1, weight_words=4096, snapshot=snapshot)
    run_bench(Scheduler(design), "tidegate_sim.benches.scheduler", f"scheduler_{snapshot}",
              env={"BENCH": json.dumps(asdict(design))})
