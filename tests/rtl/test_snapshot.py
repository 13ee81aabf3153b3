import json
from dataclasses import asdict

import pytest

from tidegate.spec.cells import CELLS
from tidegate.spec.design import Design
from tidegate_hw.handover.copy import Snapshot
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize(("lanes", "cell_rate", "cells"), [
    (8, 1, ("gru",)), (8, 4, ("gru",)), (8, 8, ("gru",)), (128, 4, ("gru",)),
    (8, 1, tuple(CELLS)), (8, 4, tuple(CELLS)), (8, 8, tuple(CELLS)), (8, 2, ("unit",))], ids=str)
def test_snapshot(lanes, cell_rate, cells):
    design = Design(lanes=lanes, cell_rate=cell_rate, acc_words=16 if len(cells) == 1 else 20, cells=cells)
    run_bench(Snapshot(design), "tidegate_sim.benches.snapshot", f"snapshot_{lanes}_{cell_rate}",
              env={"BENCH": json.dumps(asdict(design))})
