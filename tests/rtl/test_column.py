import json
from dataclasses import asdict

from tidegate.spec.design import Design
from tidegate_hw.column import Column
from tidegate_sim.runner import run_bench


def test_column():
    design = Design(lanes=8, weight_words=4096)
    run_bench(Column(design), "tidegate_sim.benches.column", "column", env={"BENCH": json.dumps(asdict(design))})
