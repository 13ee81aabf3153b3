import json
from dataclasses import asdict

import pytest

from tidegate.spec.design import Design
from tidegate_hw.cells.gru import GRUCell
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize("cell_rate", [1, 4])
def test_cell(cell_rate):
    design = Design(lanes=8, cell_rate=cell_rate, neurons=32)
    run_bench(GRUCell(design), "tidegate_sim.benches.cells.gru", f"cell_{cell_rate}",
              env={"BENCH": json.dumps(asdict(design))})
