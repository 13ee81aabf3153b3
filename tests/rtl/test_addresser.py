import json
from dataclasses import asdict

import pytest

from tidegate.spec.cells import CELLS
from tidegate.spec.design import Design
from tidegate.spec.rules import RULES
from tidegate_hw.stages.addresser import Addresser
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize(("rates", "cells", "rules"), [
    ((8, 8, True), ("gru",), ("delta",)), ((2, 1, False), ("gru",), ("delta",)), ((8, 8, True), tuple(CELLS), RULES),
    ((2, 1, False), tuple(CELLS), RULES), ((4, 1, False), ("unit",), RULES), ((8, 1, False), ("gru",), RULES)], ids=str)
def test_column(rates, cells, rules):
    lanes, cell_rate, snapshot = rates
    design = Design(lanes=lanes, cell_rate=cell_rate, weight_words=4096, snapshot=snapshot, cells=cells, rules=rules)
    run_bench(Addresser(design), "tidegate_sim.benches.addresser", f"column_{lanes}_{cell_rate}",
              env={"BENCH": json.dumps(asdict(design))})
