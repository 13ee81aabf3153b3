import json
from dataclasses import asdict

from tidegate.spec.design import Design
from tidegate_hw.scheduler import Scheduler
from tidegate_sim.runner import run_bench


def test_scheduler():
    design = Design(lanes=8, weight_words=4096)
    run_bench(Scheduler(design), "tidegate_sim.benches.scheduler", "scheduler",
              env={"BENCH": json.dumps(asdict(design))})
