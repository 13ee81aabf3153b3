import json
from dataclasses import asdict

import pytest

from tidegate.spec.design import Design
from tidegate_hw.cells.gru import SerialGRUCell
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize("lanes", [1, 8])
def test_serial_cell(lanes):
    design = Design(lanes=lanes, cell_rate=1, neurons=20, layers=2, snapshot=False)
    run_bench(SerialGRUCell(design), "tidegate_sim.benches.cells.gru_serial", f"serial_cell_{lanes}",
              env={"BENCH": json.dumps(asdict(design))})
