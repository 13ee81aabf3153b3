import json
from dataclasses import asdict

import pytest

from tidegate.spec.cells import CELLS
from tidegate.spec.design import Design
from tidegate_hw.cells import pipelined, serial
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("cell_rate", [1, 4])
def test_a_cell_that_works_from_a_snapshot(name, cell_rate):
    design = Design(lanes=8, cell_rate=cell_rate, neurons=32, cells=(name,))
    run_bench(pipelined(design)[0](design), "tidegate_sim.benches.cells.pipelined", f"{name}_{cell_rate}",
              env={"BENCH": json.dumps(asdict(design))})


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("lanes", [1, 8])
def test_a_cell_that_takes_one_gate_a_cycle(name, lanes):
    design = Design(lanes=lanes, cell_rate=1, neurons=20, layers=2, snapshot=False, cells=(name,))
    run_bench(serial(design)[0](design), "tidegate_sim.benches.cells.serial", f"serial_{name}_{lanes}",
              env={"BENCH": json.dumps(asdict(design))})
