"""Bench of ``tidegate_hw.scheduler``: every event becomes its column once, between the right closings."""

import json
import os

import cocotb
from cocotb.triggers import RisingEdge

from tidegate.spec.design import Design
from tidegate.spec.formats import BIAS_DELTAS
from tidegate.spec.network import MAX_LAYERS, MAX_SIGNALS
from tidegate_hw.event import event_layout
from tidegate_hw.job import Copy, job_layout
from tidegate_hw.registers import registers_layout

from ..streams import STALLS, Sink, Source, pack, reset_dut, rng_for, wait

DESIGN = Design(**json.loads(os.environ.get("BENCH", '{"lanes": 8, "weight_words": 4096}')))
EVENTS = {"x": event_layout(DESIGN.features), "h": event_layout(DESIGN.neurons)}
CLOSED = Copy.NH if DESIGN.snapshot else Copy.GATES      # the copy after which a layer is closed
END = {"index": 0, "delta": 0, "end": 1}


def random_registers(rng) -> dict[str, int]:
    values = {"LAYERS": rng.randint(1, MAX_LAYERS), "CLASSES": rng.randint(0, 30), "LOGIT_TARGET": rng.randrange(50),
              "BIAS_BASE": rng.randrange(500), "ACC_WORDS": rng.randint(4, 50)}
    for s in range(MAX_SIGNALS):
        values |= {f"COLUMN_BASE{s}": rng.randrange(500), f"COLUMN_LENGTH{s}": rng.randint(3, 9),
                   f"COLUMN_TARGET{s}": rng.randrange(20)}
    for l in range(MAX_LAYERS):
        values |= {f"LAYER_WORDS{l}": rng.randint(1, 5), f"LAYER_TARGET{l}": rng.randrange(20),
                   f"LAYER_SIZE{l}": rng.randint(1, 40)}
    return values


class Model:
    """The jobs that events become."""

    def __init__(self, registers: dict):
        self.registers = registers

    def column(self, signal: int, event: dict, copy: Copy = Copy.NONE) -> dict:
        base, length, target = (self.registers[f"COLUMN_{x}{signal}"] for x in ("BASE", "LENGTH", "TARGET"))
        return {"base": base, "index": event["index"], "length": length, "target": target, "delta": event["delta"],
                "turn": 0, "gap": 0, "tags": {"copy": copy.value, "weights": 1, "signal": signal}}

    def copy(self, kind: Copy, target: int, length: int, signal: int, gap: int = 0, turn: int = 0) -> dict:
        return {"base": 0, "index": 0, "length": length, "target": target, "turn": turn, "delta": 0, "gap": gap,
                "tags": {"copy": kind.value, "weights": 0, "signal": signal}}

    def close(self, layer: int, event: dict | None) -> list[dict]:
        words, target, size = (self.registers[f"LAYER_{x}{layer}"] for x in ("WORDS", "TARGET", "SIZE"))
        if not DESIGN.snapshot:
            copy = self.copy(Copy.GATES, target + words, 4 * size, layer, turn=words)
            return [copy] if event is None else [self.column(0, event), copy]
        first = (self.copy(Copy.GATES, target, 3 * words, layer) if event is None
                 else self.column(0, event, Copy.GATES))
        return [first, self.copy(Copy.NH, target + 3 * words, words, layer)]

    def logits(self) -> list[dict]:
        words, target = -(-self.registers["CLASSES"] // DESIGN.lanes), self.registers["LOGIT_TARGET"]
        if DESIGN.snapshot:
            return [self.copy(Copy.LOGITS, target, words, 0, gap=1)]
        return [self.copy(Copy.LOGITS, target + k, 1, 0, gap=1) for k in range(max(1, words))]

    def frame(self, x: list[dict], hs: list[list[dict]]) -> list[dict]:
        """The jobs of a frame; all its features but the last may come among those of the frame before."""
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
    for _ in range(12):
        registers = random_registers(rng)
        model, frames = Model(registers), 6
        dut.registers.value = pack(registers_layout(DESIGN), registers)
        assert int(dut.idle.value)
        dut.bias.value = 1
        await RisingEdge(dut.clk)
        dut.bias.value = 0
        bias = await sink.receive(len(BIAS_DELTAS))
        assert [(job["base"], job["index"], job["length"], job["target"], job["delta"]) for job in bias] == [
            (registers["BIAS_BASE"], k, registers["ACC_WORDS"], 0, delta) for k, delta in enumerate(BIAS_DELTAS)]
        xs = [random_events(rng, 8) for _ in range(frames)]
        hs = [[random_events(rng, 8) for _ in range(registers["LAYERS"])] for _ in range(frames)]
        sent = cocotb.start_soon(x.send([e for events in xs for e in [*events, END]]))
        early = [e for events in xs for e in events[:-1]]
        for frame_x, frame_h in zip(xs, hs, strict=True):
            expected = model.frame(frame_x, frame_h)
            closings, got, layer = 0, [], 0
            while len(got) < len(expected):
                job = (await sink.receive(1))[0]
                if early and job == model.column(0, early[0]):
                    early.pop(0)
                    continue
                assert job == expected[len(got)]
                got.append(job)
                closings += job["tags"]["copy"] == CLOSED.value
                if closings > layer:            # the cell answers a closing with the layer's hidden events
                    cocotb.start_soon(h.send([*frame_h[layer], END]))
                    layer += 1
        await sent
        assert not early, "features that were never added"
        await wait(dut, 3)


@cocotb.test()
async def logits_wait_while_blocked(dut):
    x, h, sink = Source(dut, "x", EVENTS["x"]), Source(dut, "h", EVENTS["h"]), Sink(dut, "o", job_layout(DESIGN))
    dut.bias.value, dut.blocked.value, dut.registers.value = 0, 1, pack(registers_layout(DESIGN), {"LAYERS": 1})
    await reset_dut(dut)
    await x.send([END])
    await h.send([END])
    await wait(dut, 20)
    closing = [Copy.GATES.value, Copy.NH.value] if DESIGN.snapshot else [Copy.GATES.value]
    assert [job["tags"]["copy"] for job in sink.items] == closing
    dut.blocked.value = 0
    assert (await sink.receive(len(closing) + 1))[-1]["tags"]["copy"] == Copy.LOGITS.value
