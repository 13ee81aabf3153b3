from tidegate.spec.design import Design
from tidegate_hw.column import Column
from tidegate_sim.runner import run_bench


def test_column():
    run_bench(Column(Design(lanes=8, weight_words=4096)), "tidegate_sim.benches.column", "column")
