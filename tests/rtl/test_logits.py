import json
from dataclasses import asdict

import pytest

from tidegate.spec.design import Design
from tidegate_hw.handover.logits import Logits, WordLogits
from tidegate_sim.runner import run_bench


@pytest.mark.parametrize(("lanes", "cell_rate", "classes"), [(8, 2, 20), (16, 16, 40), (4, 1, 4), (32, 4, 10)])
def test_logits(lanes, cell_rate, classes):
    design = Design(lanes=lanes, cell_rate=cell_rate, classes=classes)
    run_bench(Logits(design), "tidegate_sim.benches.logits", f"logits_{lanes}",
              env={"BENCH": json.dumps(asdict(design))})


@pytest.mark.parametrize(("lanes", "classes"), [(8, 20), (4, 4)])
def test_word_logits(lanes, classes):
    design = Design(lanes=lanes, cell_rate=1, classes=classes, snapshot=False)
    run_bench(WordLogits(design), "tidegate_sim.benches.logits", f"word_logits_{lanes}",
              env={"BENCH": json.dumps(asdict(design))})
