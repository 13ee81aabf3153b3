"""Bench of ``tidegate_hw.stages.encoder``: random groups against the rules of the encoder."""

import json
import os
from collections.abc import Iterator

import cocotb
from amaranth.hdl import signed
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from tidegate.spec import stage_times
from tidegate.spec.fixed import saturate
from tidegate.spec.formats import SIGNAL, THETA_MAX
from tidegate.spec.rules import DELTA_MAX, LEAK_MAX, STEP_MAX, Diffuse, rule_of
from tidegate_hw.records.event import event_layout, group_layout
from tidegate_hw.stages.encoder import MARGIN, RULE_LAYOUT, Encoder

from ..streams import STALLS, Sink, Source, cycle, pack, reset_dut, rng_for, wait

VALUES, DEPTH, LATE, RULES = json.loads(os.environ.get("BENCH", '[4, 6, 1, ["delta"]]'))
DELTAS, DIFFUSES = "delta" in RULES, "diffuse" in RULES
VALUES_LAYOUT = data.ArrayLayout(signed(SIGNAL.bits), VALUES)
EVENT_LAYOUT = event_layout(VALUES * DEPTH)
END = "end"


class Model:
    """The encoder's rule, one element at a time."""

    def __init__(self):
        self.memory = {}

    def events(self, group: dict, theta: int, dense: bool, rule: Diffuse | None = None) -> list[dict]:
        found = []
        for k, v in enumerate(group["values"]):
            if not (group["mask"] >> k) & 1:
                continue
            place = group["address"], k
            fired, sent, memory = rule_of(rule)(v, self.memory.get(place, 0), theta, dense)
            self.memory[place] = int(memory)
            if fired:
                found.append({"index": group["index"] + k, "delta": int(sent), "end": 0})
        return found + [END] * group["last"]


def random_groups(rng, count: int, model: Model) -> Iterator[dict]:
    """Groups whose values stay near their anchors, or jump across the whole range."""
    for n in range(count):
        address = n % DEPTH
        jump = rng.random() < 0.1
        spread = 2 * SIGNAL.max if jump else rng.choice([0, 3, 40, 400])
        values = [saturate(model.memory.get((address, k), 0) + rng.randint(-spread, spread), SIGNAL.bits)
                  for k in range(VALUES)]
        mask = (1 << VALUES) - 1 if rng.random() < 0.8 else rng.getrandbits(VALUES)
        yield {"index": address * VALUES, "address": address, "mask": mask, "last": int(address == DEPTH - 1),
               "values": values}


def random_rule(rng) -> Diffuse:
    """Any rule that an encoder can have; extremes are frequent."""
    step = 1 << rng.choice([0, 4, 8, rng.randrange(STEP_MAX.bit_length())])
    most = DELTA_MAX // step
    lowest, highest = (rng.choice([0, 1, most, rng.randint(0, most)]) for _ in range(2))
    return Diffuse(step, -lowest, highest if lowest or highest else 1, rng.choice([0, 0, 1, rng.randint(1, LEAK_MAX)]),
                   bool(rng.getrandbits(1)))


def rule_registers(rule: Diffuse | None, theta: int) -> int:
    """The bits of the input ``rule``."""
    return 0 if rule is None else pack(RULE_LAYOUT, {
        "diffuse": 1, "zero": rule.zero, "leak": rule.leak, "fraction": rule.step - 1, "offset": rule.step - theta,
        "lowest": rule.lowest * rule.step, "highest": rule.highest * rule.step})


def frame_of(rng, first: int, masks: list[int], rule: Diffuse | None, theta: int) -> list[dict]:
    """The groups from ``first`` on, one each mask; their values are small or near what the rule decides by, or any.

    Those of a group mostly have one sign, so that errors add up and saturate.
    """
    groups = []
    for n, mask in enumerate(masks):
        sign, about = rng.choice([-1, 1]), rng.choice([0, theta // 2, theta, rule.step if rule else 0, SIGNAL.max])
        values = [saturate(sign * about + rng.randint(-3, 3) * rng.choice([0, 1, 30]), SIGNAL.bits)
                  if rng.random() < 0.8 else rng.randint(-SIGNAL.max, SIGNAL.max) for _ in range(VALUES)]
        groups.append({"index": (first + n) * VALUES, "address": first + n, "mask": mask,
                       "last": int(n == len(masks) - 1), "values": values})
    return groups


class GroupSource(Source):
    """Sends groups; the values of each are there LATE cycles after it was taken, and only then."""

    def __init__(self, dut, stalls: str = "none"):
        super().__init__(dut, "i", group_layout(VALUES, DEPTH), stalls=stalls)
        self.values = dut.values

    async def send_groups(self, groups: list[dict]) -> None:
        for group in groups:
            await self.send([{name: group[name] for name in group if name != "values"}])
            cocotb.start_soon(self._show(cycle(), pack(VALUES_LAYOUT, group["values"])))

    async def _show(self, taken: int, values: int) -> None:
        for _ in range(LATE - 1):
            await RisingEdge(self.clk)
        self.values.value = values
        await RisingEdge(self.clk)
        if taken + 1 not in self.times[-LATE - 1 :]:
            self.values.value = self.rng.getrandbits(len(self.values))


def events_of(items: list[dict]) -> list:
    return [END if item["end"] else item for item in items]


async def begin(dut) -> None:
    """Reset, with the rule ``delta`` and Θ = 0, and clear."""
    dut.clear.value, dut.theta.value, dut.dense.value = 0, 0, 0
    if DIFFUSES:
        dut.rule.value = 0
    await reset_dut(dut)
    await clear(dut)


async def clear(dut) -> None:
    dut.clear.value = 1
    await wait(dut, 1)
    dut.clear.value = 0
    await wait(dut, DEPTH + 1)
    assert not int(dut.busy.value), f"clear takes more than {DEPTH} cycles"


@cocotb.test(skip=not DELTAS)
@cocotb.parametrize(stalls=STALLS)
async def events_equal_model(dut, stalls):
    rng = rng_for("groups")
    source = GroupSource(dut, stalls)
    sink = Sink(dut, "o", EVENT_LAYOUT, stalls=stalls)
    await begin(dut)
    model, fired = Model(), 0
    for theta in (0, 1, 30, 300, 2 * SIGNAL.max, 30):
        for dense in (0, 1):
            dut.theta.value, dut.dense.value = theta, dense
            expected = []
            for group in random_groups(rng, 8 * DEPTH, model):
                expected += model.events(group, theta, bool(dense))
                await source.send_groups([group])
            got = events_of(await sink.receive(len(expected))) if expected else []
            assert got == expected, next((a, b) for a, b in zip(got, expected, strict=True) if a != b)
            await wait(dut, 2 * VALUES + 4)
            assert not int(dut.busy.value) and not sink.items, "more events than expected"
            fired += len(expected)
        if rng.random() < 0.5:
            await clear(dut)
            model = Model()
    assert fired > 200


@cocotb.test(skip=not DIFFUSES)
@cocotb.parametrize(stalls=STALLS)
async def rules_take_turns(dut, stalls):
    """Two layers share the encoder, each with a rule, groups and masks of its own; every clear gives them others."""
    rng = rng_for("rules")
    source = GroupSource(dut, stalls)
    sink = Sink(dut, "o", EVENT_LAYOUT, stalls=stalls)
    await begin(dut)
    events = saturated = 0
    for turn in range(24):
        await clear(dut)
        model, half = Model(), rng.randint(1, DEPTH - 1)
        layers = []
        for first, count in ((0, half), (half, DEPTH - half)):
            rule = random_rule(rng) if turn % 3 or first or not DELTAS else None
            step = rule.step if rule else 30
            theta = rng.choice([0, 1, step // 2, step, 2 * step, THETA_MAX, rng.randint(0, THETA_MAX)])
            layers.append((first, [rng.getrandbits(VALUES) | rng.choice([0, (1 << VALUES) - 1]) for _ in range(count)],
                           rule, theta))
        for _ in range(12):
            for first, masks, rule, theta in layers:
                dense = int(rng.random() < 0.2)
                dut.theta.value, dut.dense.value, dut.rule.value = theta, dense, rule_registers(rule, theta)
                groups = frame_of(rng, first, masks, rule, theta)
                expected = [event for group in groups for event in model.events(group, theta, bool(dense), rule)]
                await source.send_groups(groups)
                got = events_of(await sink.receive(len(expected)))
                assert got == expected, next((rule, theta, dense, a, b)
                                             for a, b in zip(got, expected, strict=True) if a != b)
                await wait(dut, 4)
                assert not int(dut.busy.value) and not sink.items, "more events than expected"
                events += len(expected) - 1
        saturated += sum(abs(memory) == SIGNAL.max for memory in model.memory.values())
    assert events > 200 and saturated > 0, "hardly anything fired, or no error was saturated"


@cocotb.test()
@cocotb.parametrize(rule=[None] * DELTAS + [Diffuse(256, zero=True)] * DIFFUSES)
async def latency_and_throughput(dut, rule):
    """As ``spec/stage_times.py`` has it: groups cycle by cycle, events one a cycle, 2 cycles for having waited."""
    source, sink = GroupSource(dut), Sink(dut, "o", EVENT_LAYOUT)
    await begin(dut)
    if DIFFUSES:
        dut.rule.value = rule_registers(rule, 0)
    for turn, counts in enumerate(([1] * 4, [VALUES] * 4, [0, 0, 1, VALUES], [0, 0, 0, min(2, VALUES)], [1, 0, 0])):
        groups = [{"index": 0, "address": a, "mask": (1 << n) - 1, "last": int(a == len(counts) - 1),
                   "values": [1000 - 100 * turn] * VALUES} for a, n in enumerate(counts)]
        start = len(source.times), len(sink.times)
        await source.send_groups(groups)
        await sink.receive(sum(counts) + 1)
        taken, sent = source.times[start[0]], sink.times[start[1]:]
        assert source.times[start[0]:] == list(range(taken, taken + len(counts)))
        expected = stage_times.event_times(taken + LATE, counts)
        first = next(j for j, n in enumerate([*counts[:-1], 1]) if n)
        assert expected[0] == taken + Encoder(VALUES, DEPTH, late=LATE).delay + first
        assert sent == expected, f"{counts} events at {[t - taken for t in sent]}"
        await wait(dut, 2 * VALUES)


@cocotb.test()
async def room_is_enough(dut):
    """While nobody takes events: when ``room`` falls, MARGIN more groups find their place."""
    source, sink = GroupSource(dut), Sink(dut, "o", EVENT_LAYOUT, stalls="ready")
    sink.stall_rate = 1.0
    await begin(dut)
    dut.dense.value = 1
    sent, after = 0, 0
    while after < MARGIN:
        after += not int(dut.room.value)
        await source.send_groups([{"index": sent % DEPTH, "address": sent % DEPTH, "mask": 1, "last": 0,
                                   "values": [sent] * VALUES}])
        sent += 1
    sink.stall_rate = 0.0
    assert [event["index"] for event in await sink.receive(sent)] == [k % DEPTH for k in range(sent)]
