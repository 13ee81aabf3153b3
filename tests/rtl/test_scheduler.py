import json
from dataclasses import asdict

import pytest

from tidegate.spec.cells import CELLS
from tidegate.spec.design import Design
from tidegate.spec.rules import RULES
from tidegate_hw.stages.scheduler import Scheduler
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize("snapshot", [True, False])
@pytest.mark.parametrize(("cells", "rules"), [(("gru",), ("delta",)), (("lstm",), ("delta",)), (tuple(CELLS), RULES)],
                         ids=str)
def test_scheduler(snapshot, cells, rules):
    design = Design(lanes=8, cell_rate=1, weight_words=4096, snapshot=snapshot, cells=cells, rules=rules)
    run_bench(Scheduler(design), "tidegate_sim.benches.scheduler", f"scheduler_{snapshot}",
              env={"BENCH": json.dumps(asdict(design))})
