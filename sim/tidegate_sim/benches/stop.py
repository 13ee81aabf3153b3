"""Bench of ``tidegate_hw.stop``: every frame's decision equals ``tidegate.spec.stop.decisions``."""

import json
import os
from dataclasses import replace

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS
from tidegate.spec.stop import HOLD_MAX, MARGIN_MAX, SMOOTH_MAX, STOP_SHIFT, UNDECIDED, Decider, best_two, decisions
from tidegate.spec.stop import Stop as Rule
from tidegate_hw.stages.stop import StopUnit

from ..streams import STALLS, reset_dut, rng_for, wait

DESIGN = Design(**json.loads(os.environ.get("BENCH", '{"lanes": 8, "cell_rate": 2, "classes": 20}')))
FRAMES = 40
LIMIT = 1 << (ACC_BITS - 1)


def a_rule(rng: np.random.Generator, trial: int, logits: np.ndarray, classes: int) -> Rule:
    """A rule for these logits: half are for streams; it compares about where the smoothed logits lead."""
    smooth, stream = int(rng.integers(0, SMOOTH_MAX + 1)), trial % 4 < 2
    lead, _ = best_two(Decider(Rule(0, smooth=smooth)).smooth(logits >> STOP_SHIFT))
    near = [int(v) for v in np.clip(rng.choice(lead, 2) - rng.integers(0, 2, 2), 0, MARGIN_MAX)]
    margin = int(rng.choice([0, 1, *near, *near, int(rng.integers(0, MARGIN_MAX)), MARGIN_MAX]))
    release = int(rng.choice([0, margin, min(margin, near[0]), int(rng.integers(0, margin + 1))]))
    allowed = int(rng.integers(0, classes + 1)) if trial % 3 == 0 else classes
    return Rule(margin, int(rng.choice([0, 0, 1, 2, 5, 12, HOLD_MAX])), allowed, stream, smooth,
                release if stream else None)


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
    logits, classes, rule, done = np.zeros((0, 2), int), 2, Rule(0), 0
    seen = dict.fromkeys(("decisions", "ends", "dropped", "smoothed", "cut short"), 0)
    for trial in range(120):
        on = trial % 10 != 9
        if trial % 4 == 1:          # a reset, and then backwards: what was heard last comes first
            logits = logits[:done][::-1]
        else:
            classes = int(rng.integers(2, DESIGN.classes + 1))
            logits = logits_of(rng, classes, int(rng.integers(0, 300)))
            rule = a_rule(rng, trial, logits, classes)
        expected = decisions(logits[:, None], rule)[:, 0] if on else np.full(len(logits), UNDECIDED)
        heard, left, done = UNDECIDED, 0, 0
        dut.on.value, dut.stream.value = int(on), int(rule.stream)
        dut.margin.value, dut.hold.value = rule.margin, rule.hold
        # more classes than there are means all, up to what the register holds
        most = (1 << len(dut.classes)) - 1
        dut.classes.value = rule.classes if rule.classes < classes else int(rng.integers(classes, most + 1))
        dut.smooth.value = rule.smooth
        dut.release.value = rule.margin if rule.release is None else rule.release
        dut.clear.value = 1
        await RisingEdge(dut.clk)
        dut.clear.value = 0
        await RisingEdge(dut.clk)
        while int(dut.busy.value):
            await RisingEdge(dut.clk)
        for t, frame in enumerate(logits):
            if trial % 7 in (1, 4) and t == 15:          # a reset in the middle of it all
                seen["cut short"] += 1
                break
            for k, logit in enumerate(frame):
                while stalls != "none" and rng.random() < 0.3:
                    dut.taken.value = 0
                    dut.logit.value = int(rng.integers(0, 1 << ACC_BITS))       # what is not taken means nothing
                    await RisingEdge(dut.clk)
                dut.logit.value, dut.taken.value = int(logit) % (1 << ACC_BITS), 1
                dut.done.value = int(k == classes - 1)
                await RisingEdge(dut.clk)
                dut.taken.value = dut.done.value = 0
            await wait(dut, StopUnit.delay)
            done = t + 1
            assert int(dut.decision.value) == expected[t] + 1, f"{rule}, frame {t}: {frame}"
            if expected[t] != UNDECIDED:
                heard, left, seen["decisions"] = expected[t], rule.hold, seen["decisions"] + 1
                seen["smoothed"] += rule.smooth > 0
            elif left:
                left -= 1
            elif rule.stream:
                heard = UNDECIDED
            assert int(dut.heard.value) == heard + 1, f"{rule}, frame {t}: what was heard last"
            ended = not rule.stream and bool((expected[: t + 1] != UNDECIDED).any())
            assert int(dut.ended.value) == ended, f"{rule}, frame {t}"
            if ended:
                seen["ends"] += 1
                break
        if rule.stream and on:
            seen["dropped"] += int((decisions(logits[:, None], replace(rule, hold=0)) != UNDECIDED).sum()
                                   - (expected != UNDECIDED).sum())
    assert min(seen.values()) > 10, f"{seen} is too little to tell anything"
