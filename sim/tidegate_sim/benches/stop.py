"""Bench of ``tidegate_hw.stop``: every frame's decision equals ``tidegate.spec.stop.decisions``."""

import json
import os

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS
from tidegate.spec.stop import HOLD_MAX, MARGIN_MAX, STOP_SHIFT, UNDECIDED, decisions
from tidegate.spec.stop import Stop as Rule
from tidegate_hw.stop import Stop

from ..streams import STALLS, reset_dut, rng_for, wait

DESIGN = Design(**json.loads(os.environ.get("BENCH", '{"lanes": 8, "cell_rate": 2, "classes": 20}')))
FRAMES = 40
LIMIT = 1 << (ACC_BITS - 1)


def logits_of(rng: np.random.Generator, classes: int, margin: int) -> np.ndarray:
    """(FRAMES, classes) accumulators of which many lead by about the margin, some by all that there is."""
    logits = rng.integers(-LIMIT, LIMIT, (FRAMES, classes))
    ties = rng.integers(-4, 4, (FRAMES, classes)) << STOP_SHIFT
    near = np.sort(rng.integers(-LIMIT // 2, LIMIT // 2, (FRAMES, classes)), axis=1)
    near[:, -1] = near[:, -2] + ((margin + rng.integers(-1, 4, FRAMES)) << STOP_SHIFT) + rng.integers(-9, 9, FRAMES)
    steady = np.repeat(np.clip(near[:1], -LIMIT, LIMIT - 1), FRAMES, 0)
    kind = rng.choice(4, (FRAMES, 1), p=[0.1, 0.2, 0.4, 0.3])
    chosen = np.choose(kind, [logits, ties, rng.permuted(np.clip(near, -LIMIT, LIMIT - 1), axis=1), steady])
    return np.where(rng.random((FRAMES, 1)) < 0.05, np.where(rng.random((FRAMES, classes)) < 0.5, -LIMIT, LIMIT - 1),
                    chosen)


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def decisions_equal_rule(dut, stalls):
    rng = np.random.default_rng(rng_for(f"stop {stalls}").getrandbits(32))
    dut.taken.value = dut.done.value = dut.clear.value = 0
    await reset_dut(dut)
    found, ends = 0, 0
    for trial in range(60):
        classes = int(rng.integers(2, DESIGN.classes + 1))
        margin = int(rng.choice([0, 1, int(rng.integers(0, 300)), int(rng.integers(0, MARGIN_MAX)), MARGIN_MAX]))
        hold, stream, on = int(rng.choice([0, 0, 1, 5, HOLD_MAX])), bool(trial % 2), trial % 10 != 9
        allowed = int(rng.integers(0, classes + 1)) if trial % 3 == 0 else classes
        rule = Rule(margin, hold, allowed, stream)
        logits = logits_of(rng, classes, margin)
        expected = decisions(logits[:, None], rule)[:, 0] if on else np.full(FRAMES, UNDECIDED)
        dut.on.value, dut.stream.value, dut.margin.value = int(on), int(stream), margin
        dut.hold.value, dut.classes.value, dut.clear.value = hold, allowed, 1
        await RisingEdge(dut.clk)
        dut.clear.value = 0
        for t, frame in enumerate(logits):
            for k, logit in enumerate(frame):
                while stalls != "none" and rng.random() < 0.3:
                    dut.taken.value = 0
                    dut.logit.value = int(rng.integers(0, 1 << ACC_BITS))       # what is not taken means nothing
                    await RisingEdge(dut.clk)
                dut.logit.value, dut.taken.value = int(logit) % (1 << ACC_BITS), 1
                dut.done.value = int(k == classes - 1)
                await RisingEdge(dut.clk)
                dut.taken.value = dut.done.value = 0
            await wait(dut, Stop.delay)
            assert int(dut.decision.value) == expected[t] + 1, f"{rule}, frame {t}: {frame}"
            ended = not stream and bool((expected[: t + 1] != UNDECIDED).any())
            assert int(dut.ended.value) == ended, f"{rule}, frame {t}"
            if ended:
                ends += 1
                break
        found += int((expected != UNDECIDED).sum())
    assert found > 60 and ends > 5, f"{found} decisions and {ends} ends are too few to tell anything"
