"""Bench of ``tidegate_hw.core``: every integer of random networks equals golden's, frame by frame."""

import json
import os

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from tidegate.golden import Golden
from tidegate.spec.cells import CELLS, Cell
from tidegate.spec.cycles import frame_cycles
from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS, SIGNAL
from tidegate.spec.layout import Layout
from tidegate.spec.model import Model
from tidegate.spec.register_values import register_values
from tidegate.spec.registers import stop_registers
from tidegate.spec.stop import MARGIN_MAX, SMOOTH_MAX, STOP_SHIFT, UNDECIDED, Decider, Stop, best_two, decisions
from tidegate_hw.records.registers import registers_layout
from tidegate_hw.records.results import result_layout

from ..random_networks import random_model
from ..streams import STALLS, Sink, Source, pack, reset_dut, rng_for, trace_of, wait

DESIGN = Design(**json.loads(os.environ["BENCH"]))

# features, sizes, classes: no multiples of the lanes, one group, more layers, more classes than lanes, more groups than
# the encoder holds
NETWORKS = [(5, [6], 3), (9, [7, 11], 10), (3, [4, 9, 2, 5], 4), (4, [8], 1), (3, [40], 2)]


async def load(dut, model: Model) -> None:
    """Write the weights, which stay for all runs of a model."""
    dut.weight_w__en.value = 1
    for word, row in enumerate(Layout(model.network, DESIGN).pack(model)):
        for lane, weight in enumerate(row):
            dut.weight_w__word.value, dut.weight_w__lane.value = word, lane
            dut.weight_w__data.value = int(weight) & 255
            await RisingEdge(dut.clk)
    dut.weight_w__en.value = 0
    await RisingEdge(dut.clk)


async def clear(dut) -> None:
    dut.clear.value = 1
    await RisingEdge(dut.clk)
    dut.clear.value = 0
    await RisingEdge(dut.clk)
    while not int(dut.ready.value):
        await RisingEdge(dut.clk)


async def watch(dut, seen: dict) -> None:
    """Collect what the cells say of their groups: layer → bits of the stages, a group each, in order."""
    while True:
        await RisingEdge(dut.clk)
        if int(dut.trace__valid.value):
            seen.setdefault(int(dut.trace__layer.value), []).append(int(dut.trace__stages.value))


def random_walk(rng, features: int, frames: int) -> np.ndarray:
    """Frames that stand still, drift and jump: (frames, features) SIGNAL integers."""
    x, walk = np.zeros(features, np.int64), []
    for _ in range(frames):
        step = rng.choice([0, 5, 60, 1000]) * rng.standard_normal(features) * (rng.random(features) < 0.6)
        x = np.clip(x + np.round(step).astype(np.int64), -SIGNAL.max, SIGNAL.max)
        walk.append(x)
    return np.array(walk)


def some_cells(rng, layers: int) -> list[Cell]:
    """A cell that the design has, for each layer."""
    return [CELLS[name] for name in rng.choice(DESIGN.cells, layers)]


def a_stop(model: Model, frames: np.ndarray, dense: bool, rng, stream: bool) -> Stop | None:
    """A rule by which about half of the frames are clear; None for a single class."""
    if model.network.classes < 2:
        return None
    smooth = int(rng.integers(0, SMOOTH_MAX + 1))
    values = Golden(model).run(frames[:, None], dense=dense).logits[:, 0] >> STOP_SHIFT
    lead, _ = best_two(Decider(Stop(0, smooth=smooth)).smooth(values))
    margin = int(np.clip(np.median(lead), 0, MARGIN_MAX))
    release = int(min(margin, lead.min() + rng.integers(0, 2))) if stream else None
    return Stop(margin, int(rng.choice([0, 0, 1, 3])), int(rng.integers(1, model.network.classes + 1)), stream, smooth,
                release)


async def run(dut, source: Source, logit: Sink, result: Sink, seen: dict, model: Model, frames: np.ndarray,
              dense: bool, apart: bool, stop: Stop | None = None) -> tuple[np.ndarray, int]:
    """Stream frames from reset and compare all that golden knows; gives the cycles of each frame, and all events.

    ``apart``: every frame comes after the result of the one before, else as soon as the core takes it.  ``stop``: the
    rule in force; if it ends the clip, no frame after the decision may be run.
    """
    golden, layout = Golden(model), Layout(model.network, DESIGN)
    classes, e, signals = model.network.classes, DESIGN.encoder_rate, model.network.signals
    dut.registers.value = pack(registers_layout(DESIGN), register_values(layout) | stop_registers(stop, classes, dense))
    await clear(dut)
    seen.clear()
    trace = golden.run(frames[:, None], dense=dense, keep_layers=True)
    decided = np.full(len(frames), UNDECIDED) if stop is None else decisions(trace.logits[:, 0], stop)
    ends = stop is not None and not stop.stream
    run_of = int((decided != UNDECIDED).argmax()) + 1 if ends and (decided != UNDECIDED).any() else len(frames)

    async def feed(frame) -> None:
        padded = np.pad(frame, (0, -len(frame) % e)).reshape(-1, e)
        await source.send([sum((int(v) & 0xFFF) << (12 * k) for k, v in enumerate(group)) for group in padded])

    async def feed_all() -> None:
        for frame in frames:
            await feed(frame)

    if not apart:
        cocotb.start_soon(feed_all())
    cycles, fetched = [], 0
    for t, frame in enumerate(frames[:run_of]):
        if apart:
            await feed(frame)
        logits = await logit.receive(classes)
        counters = (await result.receive(1))[0]
        for l, layer in enumerate(model.network.layers):
            groups = -(-layer.size // DESIGN.cell_rate)
            got = [trace_of(bits, layer.cell, DESIGN.cell_rate) for bits in seen[l][:groups]]
            del seen[l][:groups]
            for stage in layer.cell.stages:
                values = [value for group in got for value in group[stage]][: layer.size]
                assert values == getattr(trace.layers[l], stage)[t, 0].tolist(), f"frame {t} layer {l} {stage}"
        events = trace.events[t, 0].tolist()
        words = sum(n * c.length for n, c in zip(events, layout.columns, strict=True))
        assert counters["events"][:signals] == events, f"frame {t}: events"
        assert counters["weight_words"] == words, f"frame {t}: weight words"
        fetched += words
        signed = [(v ^ (1 << (ACC_BITS - 1))) - (1 << (ACC_BITS - 1)) for v in logits]
        assert signed == trace.logits[t, 0].tolist(), f"frame {t}: logits"
        assert counters["frames"] == t
        assert counters["decision"] == decided[t] + 1, f"frame {t}: decision by {stop}"
        cycles.append(counters["cycles"])
        if apart:
            while not int(dut.ready.value):
                await RisingEdge(dut.clk)
    if apart:
        for frame in frames[run_of:]:
            await feed(frame)
    for _ in range(1000):           # what is not run is still taken
        if int(dut.frames.value) == len(frames):
            break
        await RisingEdge(dut.clk)
    await wait(dut, 60)
    assert int(dut.ready.value) and int(dut.frames.value) == len(frames)
    assert not result.items and not logit.items, "a frame was run after the decision"
    assert int(dut.ended.value) == (run_of < len(frames) or (ends and decided[-1] != UNDECIDED))
    assert sum(cycles) >= fetched, "more than a word in a cycle"
    return np.array(cycles), int(trace.events.sum())


def fired(model: Model, frames: np.ndarray, dense: bool) -> list[np.ndarray]:
    """Which elements are sent: per signal, bool (T, elements)."""
    golden, steps = Golden(model), []
    state = golden.initial_state()
    for frame in frames:
        step, state = golden.step(frame[None], state, dense)
        steps.append(step)
    return [np.concatenate([step.fired[s] for step in steps]) for s in range(model.network.signals)]


@cocotb.test()
@cocotb.parametrize((("stalls", "apart"), [*((stalls, False) for stalls in STALLS), ("none", True)]))
async def integers_equal_golden(dut, stalls, apart):
    rng = np.random.default_rng(rng_for("core").getrandbits(32))
    source, logit = Source(dut, "frame", stalls=stalls), Sink(dut, "logit", stalls=stalls)
    result = Sink(dut, "result", result_layout(DESIGN), stalls=stalls)
    dut.clear.value, dut.weight_w__en.value, dut.registers.value = 0, 0, 0
    await reset_dut(dut)
    seen: dict = {}
    cocotb.start_soon(watch(dut, seen))
    for n, (features, sizes, classes) in enumerate(NETWORKS):
        model = random_model(features, sizes, classes, seed=int(rng.integers(1 << 30)), extreme=n == 1,
                             cells=some_cells(rng, len(sizes)), rules=DESIGN.rules)
        await load(dut, model)
        events = []
        for theta, dense in ((0, False), (40, False), (700, False), (40, True)):
            model = model.with_thresholds(*(max(0, theta - 13 * s) for s in range(model.network.signals)))
            frames = random_walk(rng, features, 8)
            stop = a_stop(model, frames, dense, rng, stream=True)
            cycles, sent = await run(dut, source, logit, result, seen, model, frames, dense, apart, stop)
            events.append(sent)
            expected = frame_cycles(Layout(model.network, DESIGN), fired(model, frames, dense), apart)
            if stalls == "none":        # a stalled core may even be done sooner: features come when nobody waits
                assert cycles.tolist() == expected.tolist(), f"network {n}, Θ {theta}, dense {dense}"
        assert events[0] > events[2] or model.network.rules, "a large threshold must save events"
        assert events[3] == 8 * (features + sum(sizes)), "dense mode sends every element"


@cocotb.test()
@cocotb.parametrize((("stalls", "apart"), [("none", False), ("both", False), ("none", True)]))
async def runs_no_frame_after_a_decision(dut, stalls, apart):
    rng = np.random.default_rng(rng_for("early").getrandbits(32))
    source, logit = Source(dut, "frame", stalls=stalls), Sink(dut, "logit", stalls=stalls)
    result, saved = Sink(dut, "result", result_layout(DESIGN), stalls=stalls), 0
    dut.clear.value, dut.weight_w__en.value, dut.registers.value = 0, 0, 0
    await reset_dut(dut)
    seen: dict = {}
    cocotb.start_soon(watch(dut, seen))
    for features, sizes, classes in NETWORKS:
        if classes < 2:
            continue
        model = random_model(features, sizes, classes, seed=int(rng.integers(1 << 30)), extreme=False,
                             cells=some_cells(rng, len(sizes)), rules=DESIGN.rules)
        await load(dut, model)
        frames = random_walk(rng, features, 10)
        for _ in range(4):          # from reset each time
            stop = a_stop(model, frames, False, rng, stream=False)
            cycles, _ = await run(dut, source, logit, result, seen, model, frames, False, apart, stop)
            expected = frame_cycles(Layout(model.network, DESIGN), fired(model, frames, False), apart=True)
            if stalls == "none":
                assert cycles.tolist() == expected[: len(cycles)].tolist()
            saved += len(frames) - len(cycles)
    assert saved > 5, "hardly any frame was saved"


@cocotb.test()
async def nonsense_registers_do_not_hang(dut):
    """Nonsense registers, their lengths below 64: the core comes back by itself."""
    rng = rng_for("nonsense")
    source, sinks = Source(dut, "frame"), [Sink(dut, "logit"), Sink(dut, "result")]
    dut.clear.value, dut.weight_w__en.value, dut.registers.value = 0, 0, 0
    await reset_dut(dut)
    for _ in range(10):
        values = {name: rng.getrandbits(shape.width) & rng.choice([1, 7, 63]) for name, shape in
                  ((n, registers_layout(DESIGN)[n].shape) for n, _ in registers_layout(DESIGN))}
        values |= {"LAYERS": rng.randint(1, 7), "FEATURES": rng.randint(1, 8), "CLASSES": rng.randint(0, 20)}
        dut.registers.value = pack(registers_layout(DESIGN), values)
        await clear(dut)
        await source.send([0] * -(-values["FEATURES"] // DESIGN.encoder_rate))
        for _ in range(20_000):
            await RisingEdge(dut.clk)
            if int(dut.ready.value):
                break
        assert int(dut.ready.value), f"still busy with {values}"
        await wait(dut, 2)
        for sink in sinks:
            sink.items.clear()
