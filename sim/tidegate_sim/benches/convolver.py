"""Bench of ``tidegate_hw.stages.convolver``: every event of an image becomes the layout's runs, other jobs pass in
order, and the times are those of the cycle model."""

import json
import os

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from tidegate.spec.cells import UNIT
from tidegate.spec.design import Design
from tidegate.spec.errors import TidegateError
from tidegate.spec.layer import Layer
from tidegate.spec.layout import Layout
from tidegate.spec.network import Network
from tidegate.spec.register_values import register_values
from tidegate_hw.records.job import Copy, Kind, job_layout, offer_layout
from tidegate_hw.records.registers import registers_layout
from tidegate_hw.stages.convolver import Convolver

from ..random_networks import random_images
from ..streams import Sink, Source, pack, reset_dut, rng_for, wait

DESIGN = Design(**json.loads(os.environ["BENCH"]))
CHANNELS = (1, 2, 3, 5, 8, 16)


def a_layout(rng, skips: bool, depthwise: bool) -> Layout:
    """A random network of convolutions that fits; with ``skips`` one in which two hear the same signal, and with
    ``depthwise`` the second of them is that."""
    while True:
        try:
            layout = Layout(random_images(np.random.default_rng(rng.randrange(1 << 32)), CHANNELS), DESIGN)
        except TidegateError:
            continue
        second = [layout.images(s)[1][0].depthwise for s in layout.skips]
        if (second or not skips) and (any(second) or not depthwise):
            return layout


def random_job(rng, layout: Layout) -> tuple[dict, list | None]:
    """A job, and for each convolution that hears it, if it is an event, its runs (word, target, length)."""
    kind = rng.choice([Kind.EVENT] * 4 + [Kind.CLOSE, Kind.BIAS])
    signal = rng.choice([*layout.skips, rng.randrange(layout.network.signals)])
    element = rng.randrange(layout.network.elements(signal))
    job = {"kind": kind.value, "index": int(layout.numbers(signal)[element]), "delta": rng.randint(-2047, 2047),
           "tags": {"copy": Copy.NONE.value, "closes": rng.getrandbits(1), "signal": signal, "fresh": 0}, "again": 0}
    if kind is not Kind.EVENT or not layout.network.convolves(signal):
        return job, None
    return job, [[(run.word, run.target, run.length) for run in runs] for runs in layout.image_runs(signal, element)]


def times(first: int, counts: list[list[int]]) -> tuple[list[int], list[int]]:
    """Cycles in which jobs are taken, and their runs (of each convolution so many), if nobody waits for anything else.
    """
    accepted, taken, still = [], [], []             # ``still``: from when until when the stages stand still

    def moving(at: int) -> int:
        for begin, end in still:
            at = end if begin <= at < end else at
        return at

    again = first - 1                               # when the last event that two hear went on for the first of them
    for images in counts:
        accepted.append(moving(max(accepted[-1] + 2 if accepted else first, again + 1)))
        for k, count in enumerate(images):
            enters = accepted[-1]
            if k:
                enters = again = moving(enters + 1)
            at_end = enters + Convolver.delay - 1 + sum(end - begin for begin, end in still if begin >= enters)
            moves = max(at_end, taken[-1] + 1 if taken else 0)
            still += [(at_end, moves)] if moves > at_end else []
            taken += range(moves + 1, moves + 1 + count)
    return accepted, taken


@cocotb.test()
@cocotb.parametrize(stalls=["none", "valid", "ready"])
async def runs_equal_the_layout(dut, stalls):
    rng = rng_for("images")
    source = Source(dut, "i", job_layout(DESIGN), stalls=stalls if stalls == "valid" else "none")
    sink = Sink(dut, "o", offer_layout(DESIGN), stalls=stalls if stalls == "ready" else "none")
    await reset_dut(dut)
    convolved = twice = 0
    for turn in range(16):
        layout = a_layout(rng, turn % 2 == 0, turn % 4 == 0)
        dut.registers.value = pack(registers_layout(DESIGN), register_values(layout))
        dut.on.value = 1
        jobs = [random_job(rng, layout) for _ in range(60)]
        convolved += sum(images is not None for _, images in jobs)
        twice += sum(len(images or ()) == 2 for _, images in jobs)
        await wait(dut, 2)
        sent, taken = len(source.times), len(sink.times)
        del sink.items[:]
        await source.send([job for job, _ in jobs])
        await wait(dut, 2)
        while int(dut.busy.value):
            await RisingEdge(dut.clk)
        await wait(dut, 2)
        got = iter(sink.items)
        for job, images in jobs:
            for k, run in enumerate([run for runs in images for run in runs] if images else [None]):
                offer = next(got)
                assert offer["job"] == job, (offer["job"], job)
                assert (offer["conv"], offer["first"]) == (int(images is not None), int(k == 0))
                assert run is None or (offer["word"], offer["target"], offer["length"]) == run, (layout.network, job, k)
        assert next(got, None) is None
        if stalls == "none":
            counts = [[len(runs) for runs in images] if images else [1] for _, images in jobs]
            assert (source.times[sent:], sink.times[taken:]) == times(source.times[sent], counts)
    assert convolved > 200 and twice > 20


@cocotb.test()
async def every_job_passes_at_once_without_a_convolution(dut):
    rng = rng_for("dense")
    source, sink = Source(dut, "i", job_layout(DESIGN)), Sink(dut, "o", offer_layout(DESIGN))
    network = Network(9, (Layer(5, cell=UNIT, activation="relu"),), Layer(2), (0, 0))
    layout = Layout(network, DESIGN)
    await reset_dut(dut)
    dut.registers.value, dut.on.value = pack(registers_layout(DESIGN), register_values(layout)), 0
    await wait(dut, 2)
    jobs = [random_job(rng, layout)[0] for _ in range(50)]
    await source.send(jobs)
    await wait(dut, 2)
    assert [offer["job"] for offer in sink.items] == jobs and sink.times == source.times
    assert not any(offer["conv"] for offer in sink.items)
