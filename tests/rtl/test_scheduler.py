from tidegate.spec.design import Design
from tidegate_hw.scheduler import Scheduler
from tidegate_sim.runner import run_bench


def test_scheduler():
    run_bench(Scheduler(Design(lanes=8, weight_words=4096)), "tidegate_sim.benches.scheduler", "scheduler")
