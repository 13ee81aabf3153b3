"""Bench of ``tidegate_hw.stages.scheduler``: every event becomes its column once, between the right closings."""

import json
import os

import cocotb
from cocotb.triggers import RisingEdge

from tidegate.spec.design import Design
from tidegate.spec.formats import BIAS_DELTAS
from tidegate.spec.network import USUAL_LAYERS
from tidegate_hw.records.event import event_layout
from tidegate_hw.records.job import Copy, Kind, job_layout
from tidegate_hw.records.registers import registers_layout

from ..streams import STALLS, Sink, Source, pack, reset_dut, rng_for, wait

DESIGN = Design(**json.loads(os.environ.get("BENCH", '{"lanes": 8, "weight_words": 4096}')))
EVENTS = {"x": event_layout(DESIGN.features), "h": event_layout(DESIGN.neurons)}
CONSUME = (*(f"LAYER_CONSUME{l}" for l in range(USUAL_LAYERS)), "LOGIT_CONSUME")
HELD_TO_NONE = 2 + len(BIAS_DELTAS)     # values of these registers: held, and consumed with three to no bias columns
END = {"index": 0, "delta": 0, "end": 1}


def random_registers(rng) -> dict[str, int]:
    layers = rng.randint(1, USUAL_LAYERS)
    values = {"LAYERS": layers, "CLASSES": rng.randint(0, 30)}
    values |= {f"LAYER_REST{l}": rng.choice([0, 1, 5]) if DESIGN.snapshot else 0 for l in range(USUAL_LAYERS)}
    if DESIGN.branches:
        values["FEATURES_AFTER"] = rng.choice([0, rng.randrange(layers)])
    if DESIGN.diffuses:
        values |= {name: rng.choice([0, rng.randrange(HELD_TO_NONE)]) for name in CONSUME}
    return values


def job(kind: Kind, signal: int, index: int = 0, delta: int = 0, copy: Copy = Copy.NONE, closes: bool = False,
        fresh: bool = False, again: bool = False) -> dict:
    tags = {"fresh": int(fresh)} if DESIGN.diffuses else {}
    return {"kind": kind.value, "index": index, "delta": delta,
            "tags": {"copy": copy.value, "closes": int(closes), "signal": signal, **tags},
            **({"again": int(again)} if DESIGN.diffuses else {})}


class Model:
    """The jobs that events become."""

    def __init__(self, registers: dict):
        self.registers, self.features_after = registers, registers.get("FEATURES_AFTER", 0)

    def column(self, signal: int, event: dict, **copies) -> dict:
        return job(Kind.EVENT, signal, event["index"], event["delta"], **copies)

    def close(self, layer: int, event: dict | None) -> list[dict]:
        consume = self.registers.get(f"LAYER_CONSUME{layer}", 0)
        rest = self.registers[f"LAYER_REST{layer}"] != 0
        copies = {"copy": Copy.GATES, "closes": not rest}
        if event is None:
            first = [job(Kind.CLOSE, layer, **copies)]
        elif DESIGN.snapshot and not self.features_after:
            first = [self.column(0, event, **copies)]
        else:
            first = [self.column(0, event), job(Kind.CLOSE, layer, **copies)]
        return [*first, *([job(Kind.REST, layer, **copies | {"closes": True})] if rest else []),
                *self.again(layer, consume)]

    def again(self, signal: int, consume: int) -> list[dict]:
        """The bias columns that come again, as the register says, the first in place of the sums; if none, one times
        0."""
        if not consume:
            return []
        last = len(BIAS_DELTAS) - 1
        if consume > 1 + last:
            return [job(Kind.BIAS, signal, last, 0, fresh=True, again=True)]
        return [job(Kind.BIAS, signal, k, BIAS_DELTAS[k], fresh=k == consume - 1, again=True)
                for k in range(consume - 1, 1 + last)]

    def logits(self) -> list[dict]:
        consume = self.registers.get("LOGIT_CONSUME", 0)
        words = 1 if DESIGN.snapshot else max(1, -(-self.registers["CLASSES"] // DESIGN.lanes))
        return [*(job(Kind.LOGITS, 0, k, copy=Copy.LOGITS) for k in range(words)),
                *self.again(DESIGN.layers, consume)]

    def frame(self, x: list[dict], hs: list[list[dict]]) -> list[dict]:
        """The jobs of a frame; all its features but the last may come among those of the frame before, once its layer
        FEATURES_AFTER is closed."""
        jobs = self.close(0, x[-1] if x else None)
        for layer, events in enumerate(hs):
            jobs += self.close(layer, None) if layer else []
            jobs += [self.column(layer + 1, event) for event in events]
        return [*jobs, *self.logits()]


def random_events(rng, most: int) -> list[dict]:
    return [{"index": rng.randrange(DESIGN.features), "delta": rng.randint(-2047, 2047), "end": 0}
            for _ in range(rng.choice([0, 1, 2, rng.randint(0, most)]))]


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def jobs_equal_model(dut, stalls):
    rng = rng_for("scheduler")
    x, h = (Source(dut, name, layout, stalls=stalls) for name, layout in EVENTS.items())
    sink = Sink(dut, "o", job_layout(DESIGN), stalls=stalls)
    dut.bias.value, dut.blocked.value, dut.registers.value = 0, 0, 0
    await reset_dut(dut)
    for turn in range(12 + HELD_TO_NONE * DESIGN.diffuses):
        registers = random_registers(rng)
        if turn >= 12:          # every layer, and the logits, have every value
            registers |= {name: (turn + n) % HELD_TO_NONE for n, name in enumerate(CONSUME)} | {"LAYERS": USUAL_LAYERS}
        model, frames = Model(registers), 6
        dut.registers.value = pack(registers_layout(DESIGN), registers)
        assert int(dut.idle.value)
        dut.bias.value = 1
        await RisingEdge(dut.clk)
        dut.bias.value = 0
        bias = await sink.receive(len(BIAS_DELTAS))
        assert bias == [job(Kind.BIAS, 0, k, delta) for k, delta in enumerate(BIAS_DELTAS)]
        xs = [random_events(rng, 8) for _ in range(frames)]
        hs = [[random_events(rng, 8) for _ in range(registers["LAYERS"])] for _ in range(frames)]
        sent = cocotb.start_soon(x.send([e for events in xs for e in [*events, END]]))
        early = [(frame, e) for frame, events in enumerate(xs) for e in events[:-1]]
        for frame, (frame_x, frame_h) in enumerate(zip(xs, hs, strict=True)):
            expected = model.frame(frame_x, frame_h)
            closings, got, layer = 0, [], 0
            while len(got) < len(expected):
                new = (await sink.receive(1))[0]
                if early and new == model.column(0, early[0][1]):
                    ahead = early.pop(0)[0] - frame
                    assert ahead == bool(got), "features of the wrong frame"
                    assert not ahead or closings > model.features_after, "features among those of the frame before"
                    assert not ahead or expected[len(got)]["kind"] not in (Kind.REST.value, Kind.BIAS.value)
                    continue
                assert new == expected[len(got)]
                got.append(new)
                closings += new["tags"]["closes"]
                if closings > layer:            # the cell answers a closing with the layer's hidden events
                    cocotb.start_soon(h.send([*frame_h[layer], END]))
                    layer += 1
        await sent
        assert not early, "features that were never added"
        await wait(dut, 3)


@cocotb.test()
async def logits_wait_while_blocked(dut):
    x, h, sink = Source(dut, "x", EVENTS["x"]), Source(dut, "h", EVENTS["h"]), Sink(dut, "o", job_layout(DESIGN))
    dut.bias.value, dut.blocked.value, dut.registers.value = 0, 1, pack(
        registers_layout(DESIGN), {"LAYERS": 1, **({"LAYER_REST0": 1} if DESIGN.snapshot else {})})
    await reset_dut(dut)
    await x.send([END])
    await h.send([END])
    await wait(dut, 20)
    closing = [Kind.CLOSE.value, Kind.REST.value] if DESIGN.snapshot else [Kind.CLOSE.value]
    assert [new["kind"] for new in sink.items] == closing
    dut.blocked.value = 0
    assert (await sink.receive(len(closing) + 1))[-1]["kind"] == Kind.LOGITS.value
