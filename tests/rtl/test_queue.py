from tidegate_hw.queue import Queue
from tidegate_sim.runner import run_bench


def test_queue():
    run_bench(Queue(32), "tidegate_sim.benches.queue", "queue")
