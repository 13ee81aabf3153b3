"""A board from pin to pin: UART, link and core."""

import json
from dataclasses import asdict, replace

import pytest

from tidegate.spec.design import Design
from tidegate_hw.top import UartTop
from tidegate_sim.runner import run_bench

DESIGN = Design(lanes=4, cell_rate=2, encoder_rate=2, weight_words=512, acc_words=32, features=8, neurons=16, classes=8)
WIDE = replace(DESIGN, features=300, weight_words=1024)
DIGEST = bytes(range(16))
DIVISOR = 4


@pytest.mark.parametrize("design", [DESIGN, WIDE], ids=["8 features", "300 features"])
def test_board_streams_frames(design):
    env = {"BENCH": json.dumps(asdict(design)), "DIGEST": DIGEST.hex(), "DIVISOR": str(DIVISOR)}
    assert run_bench(UartTop(design, DIGEST, DIVISOR), "tidegate_sim.benches.top", "uart_top", env=env) == 1
