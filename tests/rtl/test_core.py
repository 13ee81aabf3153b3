import json
from dataclasses import asdict

import pytest

from tidegate.spec import cycles
from tidegate.spec.design import Design
from tidegate_hw.cell import Cell
from tidegate_hw.column import Column
from tidegate_hw.core import Core
from tidegate_hw.counters import Counters
from tidegate_hw.encoder import Encoder
from tidegate_hw.lanes import Lanes
from tidegate_hw.logits import Logits, WordLogits
from tidegate_hw.scheduler import Scheduler
from tidegate_hw.serial_cell import SerialCell
from tidegate_hw.snapshot import Snapshot
from tidegate_sim.runner import run_bench

SMALL = {"weight_words": 2048, "acc_words": 64, "features": 16, "neurons": 64, "classes": 16}


@pytest.mark.parametrize("rates", [(4, 1, 2), (8, 4, 4)], ids="lanes{0[0]}".format)
def test_core(rates):
    run(Design(*rates, **SMALL))


@pytest.mark.parametrize("rates", [(4, 1, 1), (8, 1, 2)], ids="lanes{0[0]}".format)
def test_core_without_snapshot(rates):
    run(Design(*rates, **SMALL, snapshot=False))


def run(design: Design) -> None:
    run_bench(Core(design), "tidegate_sim.benches.core", f"core_{design.lanes}_{design.snapshot}",
              env={"BENCH": json.dumps(asdict(design))})


def test_cycle_model_has_the_stages_latencies():
    encoder = Encoder(1, 1)
    assert (cycles.COLUMN, cycles.LANES, cycles.SNAPSHOT, cycles.SCHEDULER, cycles.LOGITS, cycles.RESULT) == (
        Column.delay, Lanes.delay, Snapshot.delay, Scheduler.delay, Logits.delay, Counters.delay)
    assert (cycles.CELL, cycles.SERIAL_CELL, cycles.INTERVAL, cycles.WORD_LOGITS) == (
        Cell.delay, SerialCell.delay, SerialCell.interval, WordLogits.delay)
    assert cycles.ENCODER == encoder.delay - encoder.late
