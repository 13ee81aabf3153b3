import json
from dataclasses import asdict

import pytest

from tidegate.spec import stage_times
from tidegate.spec.cells import CELLS
from tidegate.spec.design import Design
from tidegate.spec.rules import RULES
from tidegate_hw import cells
from tidegate_hw.core import Core
from tidegate_hw.handover.copy import Snapshot
from tidegate_hw.handover.logits import Logits, WordLogits
from tidegate_hw.stages.addresser import Addresser
from tidegate_hw.stages.counters import Counters
from tidegate_hw.stages.encoder import LEAKS, Encoder
from tidegate_hw.stages.lanes import Lanes
from tidegate_hw.stages.scheduler import Scheduler
from tidegate_sim.runner import run_bench

SMALL = {"weight_words": 2048, "acc_words": 64, "features": 16, "neurons": 64, "classes": 16}


@pytest.mark.parametrize(("rates", "cells", "rules"), [
    ((4, 1, 2), ("gru",), ("delta",)), ((8, 4, 4), tuple(CELLS), RULES), ((4, 4, 1), ("unit",), RULES)], ids=str)
def test_core(rates, cells, rules):
    run(Design(*rates, **SMALL, cells=cells, rules=rules))


@pytest.mark.parametrize(("rates", "cells", "rules"), [
    ((4, 1, 1), tuple(CELLS), RULES), ((8, 1, 2), ("lstm",), ("delta",)), ((4, 1, 1), ("unit",), RULES)], ids=str)
def test_core_without_snapshot(rates, cells, rules):
    run(Design(*rates, **SMALL, snapshot=False, cells=cells, rules=rules))


def run(design: Design) -> None:
    run_bench(Core(design), "tidegate_sim.benches.core", f"core_{design.lanes}_{design.snapshot}",
              env={"BENCH": json.dumps(asdict(design))})


def test_cycle_model_has_the_stages_latencies():
    assert (stage_times.ADDRESSER, stage_times.LANES, stage_times.SNAPSHOT, stage_times.SNAPSHOT_ONLY) == (
        Addresser.delay, Lanes.delay, Snapshot.delay, Snapshot.single_delay)
    assert (stage_times.SCHEDULER, stage_times.LOGITS, stage_times.RESULT) == (
        Scheduler.delay, Logits.delay, Counters.delay)
    assert (stage_times.WORD_LOGITS, stage_times.ENCODER) == (WordLogits.delay, Encoder.latency)
    assert (stage_times.REST, stage_times.LEAKS) == (Encoder.gap + 1, LEAKS)


@pytest.mark.parametrize("name", CELLS)
def test_cells_have_the_latencies_that_the_spec_says(name):
    pipelined, serial = cells.CELLS[name]
    assert (CELLS[name].delay, CELLS[name].serial_delay) == (pipelined.delay, serial.delay)
