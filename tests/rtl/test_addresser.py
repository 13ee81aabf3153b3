import json
from dataclasses import asdict

import pytest

from tidegate.spec.design import Design
from tidegate_hw.stages.addresser import Addresser
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize("rates", [(8, 8, True), (2, 1, False), (8, 1, False)])
def test_column(rates):
    lanes, cell_rate, snapshot = rates
    design = Design(lanes=lanes, cell_rate=cell_rate, weight_words=4096, snapshot=snapshot)
    run_bench(Addresser(design), "tidegate_sim.benches.addresser", f"column_{lanes}_{cell_rate}",
              env={"BENCH": json.dumps(asdict(design))})
