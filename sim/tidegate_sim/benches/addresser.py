"""Bench of ``tidegate_hw.stages.addresser``: every job becomes its words, with a gap only before logits, or where two
jobs would have the same accumulator word in successive cycles."""

import json
import os

import cocotb
from cocotb.triggers import RisingEdge

from tidegate.spec.cells import CELLS
from tidegate.spec.design import Design
from tidegate.spec.network import USUAL_LAYERS
from tidegate_hw.records.job import Copy, Kind, job_layout, tags_layout
from tidegate_hw.records.registers import registers_layout
from tidegate_hw.stages.addresser import Addresser

from ..streams import Source, cycle, pack, reset_dut, rng_for, unpack, wait

DESIGN = Design(**json.loads(os.environ.get("BENCH", '{"lanes": 8, "weight_words": 4096}')))
KINDS = [kind for kind in Kind if kind is not Kind.REST or DESIGN.snapshot]


def random_registers(rng) -> dict[str, int]:
    values = {"BIAS_BASE": rng.randrange(500), "ACC_WORDS": rng.randint(1, 9), "LOGIT_TARGET": rng.randrange(20),
              "CLASSES": rng.randint(0, 3 * DESIGN.lanes)}
    for s in range(USUAL_LAYERS + 1):
        values |= {f"COLUMN_BASE{s}": rng.randrange(500), f"COLUMN_LENGTH{s}": rng.choice([0, 1, 2, 3, 6, 9]),
                   f"COLUMN_TARGET{s}": rng.randrange(20)}
    for l in range(USUAL_LAYERS):
        values |= {f"LAYER_TARGET{l}": rng.randrange(20), f"LAYER_WORDS{l}": rng.choice([0, 1, 2, 5]),
                   f"LAYER_SIZE{l}": rng.randint(0, 9), f"LAYER_CELL{l}": rng.randrange(len(DESIGN.cells))}
        if DESIGN.snapshot:
            values |= {f"LAYER_CLOSE{l}": rng.randint(0, 9), f"LAYER_REST{l}": rng.randint(0, 5)}
    return values


def random_job(rng) -> dict:
    kind = rng.choice(KINDS)
    again = DESIGN.diffuses and kind is Kind.BIAS and rng.random() < 0.7
    signal = rng.randrange(USUAL_LAYERS + 1 if kind is Kind.EVENT or again else USUAL_LAYERS)
    tags = {"fresh": rng.getrandbits(1)} if DESIGN.diffuses else {}
    return {"kind": kind.value, "index": rng.randrange(40), "delta": rng.randint(-2047, 2047),
            "tags": {"copy": rng.choice(list(Copy)).value, "closes": rng.getrandbits(1), "signal": signal, **tags},
            **({"again": int(again)} if DESIGN.diffuses else {})}


def words(registers: dict, job: dict) -> list[tuple]:
    """(word if it matters, target, delta, event, first, last, tags) of each cycle."""
    kind, signal, base = Kind(job["kind"]), job["tags"]["signal"], None
    pitch, targets = 0, None        # words from one column to the next; what is added to the target, if not 0, 1, 2 …
    logit_words = -(-registers["CLASSES"] // DESIGN.lanes)
    if kind is Kind.EVENT:
        base, length, target = (registers[f"COLUMN_{name}{signal}"] for name in ("BASE", "LENGTH", "TARGET"))
        pitch = length
    elif kind is Kind.BIAS:
        base, length, target, pitch = registers["BIAS_BASE"], registers["ACC_WORDS"], 0, registers["ACC_WORDS"]
        if job.get("again"):
            length, target = of_layer(registers, signal) if signal < USUAL_LAYERS else (
                logit_words, registers["LOGIT_TARGET"])
            base += target
    elif kind is Kind.LOGITS:
        length, target = logit_words, registers["LOGIT_TARGET"]
        if not DESIGN.snapshot:
            length, target = 1, target + job["index"]
    else:
        target = registers[f"LAYER_TARGET{signal}"]
        if DESIGN.snapshot:
            close, rest = registers[f"LAYER_CLOSE{signal}"], registers[f"LAYER_REST{signal}"]
            length, target = (close, target) if kind is Kind.CLOSE else (rest, target + close)
        else:       # each neuron in turn: its gates, 1, 2, 3, 0, or its only one
            gates, size = gates_of(registers, signal), registers[f"LAYER_SIZE{signal}"]
            length, turn = gates * size, registers[f"LAYER_WORDS{signal}"]
            if gates == 1 or turn:
                targets = [k // gates // DESIGN.lanes + (k + 1) % gates * turn for k in range(max(1, length))]
    length = max(1, length)
    return [(None if base is None else base + job["index"] * pitch + k,
             (target + step) % 2 ** len(cocotb.top.o__target), job["delta"], int(kind is Kind.EVENT), int(k == 0),
             int(k == length - 1), job["tags"])
            for k, step in enumerate(targets or range(length))]


def gates_of(registers: dict, layer: int) -> int:
    return len(CELLS[DESIGN.cells[registers[f"LAYER_CELL{layer}"]]].gates)


def of_layer(registers: dict, layer: int) -> tuple[int, int]:
    """All accumulator words of a layer: how many, and the first."""
    if DESIGN.snapshot:
        words = registers[f"LAYER_CLOSE{layer}"] + registers[f"LAYER_REST{layer}"]
    else:
        words = gates_of(registers, layer) * registers[f"LAYER_WORDS{layer}"]
    return words, registers[f"LAYER_TARGET{layer}"]


@cocotb.test()
@cocotb.parametrize(stalls=["none", "valid"])
async def fetches_equal_model(dut, stalls):
    rng = rng_for("jobs")
    source = Source(dut, "i", job_layout(DESIGN), stalls=stalls)
    seen, times, clashed = [], [], 0

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if int(dut.o__valid.value):
                times.append(cycle())
                seen.append((int(dut.o__word.value), int(dut.o__target.value), dut.o__delta.value.to_signed(),
                             int(dut.o__event.value), int(dut.o__first.value), int(dut.o__last.value),
                             unpack(tags_layout(DESIGN), int(dut.o__tags.value))))

    await reset_dut(dut)
    cocotb.start_soon(watch())
    for _ in range(8):
        registers = random_registers(rng)
        dut.registers.value = pack(registers_layout(DESIGN), registers)
        jobs = [random_job(rng) for _ in range(80)]
        seen.clear()
        times.clear()
        start = len(source.times)
        await source.send(jobs)
        await wait(dut, 4 * (4 + max(DESIGN.gates * 9, 9 + 5)))     # the longest job, and those that wait behind it
        assert not int(dut.busy.value)
        expected = [word for job in jobs for word in words(registers, job)]
        assert [(None if want[0] is None else got[0], *got[1:]) for got, want in zip(seen, expected, strict=True)
                ] == expected
        if DESIGN.choices:
            assert not any(now - then == 1 and got[1] == before[1] and got[4] for then, now, before, got in zip(
                times, times[1:], seen, seen[1:], strict=False)), "a job begins where the one before has just ended"
        if stalls == "none":
            # a job is taken two cycles after the one before, and when the third before it has begun
            taken, at = [source.times[start]], 0
            at_words, firsts, ended, clashes = [], [], None, 0
            for k, job in enumerate(jobs):
                if k:
                    taken.append(max(taken[-1] + 2, firsts[k - 3] if k >= 3 else 0))
                mine = words(registers, job)
                firsts.append(max(at, taken[k] + Addresser.delay) + (job["kind"] == Kind.LOGITS.value))
                if DESIGN.choices and firsts[k] == at and mine[0][1] == ended:
                    firsts[k] += 1
                    clashes += 1
                at, ended = firsts[k] + len(mine), mine[-1][1]
                at_words += range(firsts[k], at)
            assert (source.times[start:], times) == (taken, at_words)
            clashed += clashes
    assert clashed or not DESIGN.choices or stalls != "none", "no job began where the one before had ended"
