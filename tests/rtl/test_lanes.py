import json
from dataclasses import asdict

import pytest

from tidegate.spec.design import Design
from tidegate.spec.rules import RULES
from tidegate_hw.stages.lanes import Lanes
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize(("lanes", "rules"), [(1, ("delta",)), (8, RULES)], ids=str)
def test_lanes(lanes, rules):
    design = Design(lanes=lanes, cell_rate=1, weight_words=64, acc_words=16, rules=rules)
    run_bench(Lanes(design), "tidegate_sim.benches.lanes", f"lanes_{lanes}",
              env={"BENCH": json.dumps(asdict(design))})
