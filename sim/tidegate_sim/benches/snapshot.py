"""Bench of ``tidegate_hw.handover.copy``: groups equal the copies, as early as the last gate's words allow."""

import json
import os

import cocotb
from cocotb.triggers import RisingEdge

from tidegate.spec.cells import CELLS
from tidegate.spec.design import Design
from tidegate.spec.formats import ACC_BITS
from tidegate_hw.handover.copy import Snapshot
from tidegate_hw.records.gates import gates_layout, neurons_layout, order, skew
from tidegate_hw.records.job import Copy

from ..streams import STALLS, Sink, cycle, reset_dut, rng_for, unpack, wait

DESIGN = Design(**json.loads(os.environ.get("BENCH", '{"lanes": 8, "cell_rate": 2, "acc_words": 64}')))

GATES = range(DESIGN.gates)
KINDS = sorted({len(CELLS[name].gates) == 1 for name in DESIGN.cells})      # a layer's cell may have a single gate


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def groups_equal_copies(dut, stalls):
    rng = rng_for("snapshot")
    lanes, g = DESIGN.lanes, DESIGN.cell_rate
    sink = Sink(dut, "o", neurons_layout(DESIGN))
    dut.copies__copy.value, dut.copies__coming.value, dut.copies__coming_closes.value, dut.room.value = 0, 0, 0, 1
    await reset_dut(dut)

    async def hesitate():
        """No room now and then."""
        while True:
            dut.room.value = int(rng.random() < 0.5)
            await RisingEdge(dut.clk)

    accs = [[] for _ in GATES]

    async def watch(gate: int):
        """A gate's accumulators come SKEW cycles after their group."""
        while True:
            await RisingEdge(dut.clk)
            if cycle() - skew(DESIGN, gate) in sink.times[-8:]:
                accs[gate].append(unpack(gates_layout(DESIGN), int(dut.acc.value))[gate])

    for gate in GATES:
        cocotb.start_soon(watch(gate))
    if stalls in ("ready", "both"):
        cocotb.start_soon(hesitate())

    async def play(cycles: list[tuple[Copy, int]], last: list[tuple[Copy, int]], after: list[tuple[Copy, int]]) -> int:
        """Copies cycle by cycle, each kind told one cycle ahead; gives the cycle of the ``last`` gate's first."""
        began, every, close = 0, [*cycles, *last, *after], len(cycles) + len(last) - 1
        for k, ((kind, _), (copied, data)) in enumerate(zip([*every, (Copy.NONE, 0)], [(Copy.NONE, 0), *every],
                                                            strict=True)):
            dut.copies__coming.value, dut.copies__copy.value, dut.copies__data.value = kind.value, copied.value, data
            dut.copies__coming_closes.value = int(k == close)
            await RisingEdge(dut.clk)
            if k == len(cycles) + 1:
                began = cycle()
        dut.copies__copy.value = 0
        return began

    def pause() -> list[tuple[Copy, int]]:
        """Now and then copies for others, or none."""
        pauses = []
        while stalls in ("valid", "both") and rng.random() < 0.5:
            pauses.append((rng.choice([Copy.NONE, Copy.LOGITS]), rng.getrandbits(ACC_BITS * lanes)))
        return pauses

    for turn in range(20 * len(KINDS)):
        single = KINDS[turn] if turn < len(KINDS) else rng.choice(KINDS)
        most = min(DESIGN.neurons, DESIGN.acc_words // (1 if single else len(GATES)) * lanes)
        size = most if turn < len(KINDS) else rng.randint(1, most)      # at first as many as there can be
        words = -(-size // lanes)
        dut.words.value, dut.size.value = words, size
        if DESIGN.choices:
            dut.single.value = int(single)
        # a cell with a single gate takes it when others take their first
        mine = order(DESIGN)[:1] if single else GATES
        copies = {gate: [rng.getrandbits(ACC_BITS * lanes) for _ in range(words)] for gate in mine}
        *gates, last = [[(Copy.GATES, word) for word in copies[gate]] for gate in mine]
        gates = [word for gate in gates for word in gate]
        began = await play([*gates[: -words - 1], *pause(), *gates[-words - 1 :]], last, pause())
        groups = await sink.receive(-(-size // g))
        await wait(dut, DESIGN.gates)
        if stalls == "none":
            delay = Snapshot.single_delay if single else Snapshot.delay
            assert sink.times[-len(groups):] == [began + delay + n for n in range(len(groups))]
        for n, group in enumerate(groups):
            assert group["index"] == n * g and group["last"] == (n == len(groups) - 1)
            assert group["mask"] == sum(1 << k for k in range(g) if n * g + k < size)
            for gate in mine:
                word, lane = copies[gate][n * g // lanes], n * g % lanes
                for k in range(g):
                    bits = (word >> (ACC_BITS * (lane + k))) & ((1 << ACC_BITS) - 1)
                    assert accs[gate][n][k] & ((1 << ACC_BITS) - 1) == bits, (n, gate, k)
        for taken in accs:
            taken.clear()
