import json
from dataclasses import asdict

import pytest

from tidegate.spec.cells import CELLS
from tidegate.spec.design import ADDRESSERS, Design
from tidegate.spec.rules import RULES
from tidegate_hw.stages.convolver import Convolver
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize("lanes", [8, 16])
def test_convolver(lanes):
    design = Design(lanes=lanes, cell_rate=2, weight_words=8192, acc_words=512, features=512, cells=tuple(CELLS),
                    rules=RULES, addressers=ADDRESSERS)
    run_bench(Convolver(design), "tidegate_sim.benches.convolver", f"convolver_{lanes}",
              env={"BENCH": json.dumps(asdict(design))})
