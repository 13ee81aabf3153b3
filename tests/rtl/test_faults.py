"""Every bench fails when one bit of what its component says, or of what it is told, is wrong, now and then."""

import json
from dataclasses import asdict, replace

import pytest
from amaranth import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from tidegate.spec.cells import CELLS
from tidegate.spec.design import Design
from tidegate.spec.rules import RULES
from tidegate_hw.cells.gru import GRUCell, SerialGRUCell
from tidegate_hw.cells.lstm import LSTMCell, SerialLSTMCell
from tidegate_hw.cells.unit import SerialUnitCell, UnitCell
from tidegate_hw.core import Core
from tidegate_hw.handover.copy import Snapshot
from tidegate_hw.handover.logits import Logits, WordLogits
from tidegate_hw.records.job import tags_layout
from tidegate_hw.records.registers import registers_layout
from tidegate_hw.stages.addresser import Addresser
from tidegate_hw.stages.encoder import RULE_LAYOUT, Encoder
from tidegate_hw.stages.lanes import Lanes
from tidegate_hw.stages.scheduler import Scheduler
from tidegate_hw.stages.stop import StopUnit
from tidegate_sim.runner import run_bench

DESIGN = Design(lanes=8, cell_rate=4, encoder_rate=4, weight_words=1024, acc_words=32, features=16, neurons=64,
                classes=16)
BENCH = json.dumps(asdict(DESIGN))
SMALL = Design(lanes=4, cell_rate=1, encoder_rate=2, weight_words=1024, acc_words=32, features=16, neurons=32,
               classes=16, snapshot=False)
SMALL_BENCH = json.dumps(asdict(SMALL))
LSTM_DESIGN, SMALL_LSTM = replace(DESIGN, cells=("lstm",)), replace(SMALL, cells=("lstm",))
LSTM_BENCH, SMALL_LSTM_BENCH = json.dumps(asdict(LSTM_DESIGN)), json.dumps(asdict(SMALL_LSTM))
UNIT_DESIGN, SMALL_UNIT = replace(DESIGN, cells=("unit",)), replace(SMALL, cells=("unit",))
UNIT_BENCH, SMALL_UNIT_BENCH = json.dumps(asdict(UNIT_DESIGN)), json.dumps(asdict(SMALL_UNIT))
ALL, SMALL_ALL = (replace(design, cells=tuple(CELLS), rules=RULES) for design in (DESIGN, SMALL))
ALL_BENCH, SMALL_ALL_BENCH = json.dumps(asdict(ALL)), json.dumps(asdict(SMALL_ALL))


class Faulty(wiring.Component):
    """``inner`` with one bit of the member ``path`` inverted one cycle in 37: odd, so that no bench looks past it."""

    def __init__(self, inner: wiring.Component, path: tuple[str, ...], bit: int):
        self.inner, self.path, self.bit = inner, path, bit
        super().__init__(inner.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self.inner
        clock = Signal(6)
        m.d.sync += clock.eq(Mux(clock == 36, 0, clock + 1))
        found = False
        mine = {path: value for path, _, value in self.signature.flatten(self)}
        for path, member, inner in self.signature.flatten(self.inner):
            target, source = (inner, mine[path]) if member.flow == In else (mine[path], inner)
            if path == self.path:
                found = True
                m.d.comb += Value.cast(target).eq(Value.cast(source) ^ ((clock == 36) << self.bit))
            else:
                m.d.comb += target.eq(source)
        assert found, f"no member {self.path}"
        return m


@pytest.mark.parametrize(("name", "component", "path", "bit", "bench"), [
    ("encoder", Encoder(4, 6), ("o", "payload"), 15, '[4, 6, 1, ["delta"]]'),
    ("encoder", Encoder(4, 6, rules=RULES), ("rule",), RULE_LAYOUT["leak"].offset, '[4, 6, 1, ["delta", "diffuse"]]'),
    ("encoder", Encoder(4, 6, rules=RULES, fast=True), ("rule",), RULE_LAYOUT["leak"].offset,
     '[4, 6, 1, ["delta", "diffuse"]]'),
    ("scheduler", Scheduler(DESIGN), ("o", "payload"), 5, BENCH),
    ("addresser", Addresser(DESIGN), ("o", "target"), 0, BENCH),
    ("stop", StopUnit(DESIGN), ("decision",), 0, BENCH),
    ("core", Core(DESIGN), ("result", "payload"), 176, BENCH),
    ("lanes", Lanes(DESIGN), ("copies", "data"), 24, BENCH),
    ("snapshot", Snapshot(DESIGN), ("o", "payload"), 3, BENCH),
    ("snapshot", Snapshot(DESIGN), ("acc",), 5, BENCH),
    ("cells.serial", SerialGRUCell(SMALL), ("values",), 3, SMALL_BENCH),
    ("cells.serial", SerialGRUCell(SMALL), ("trace", "stages"), 18, SMALL_BENCH),
    ("logits", WordLogits(SMALL), ("o", "payload"), 2, SMALL_BENCH),
    ("addresser", Addresser(SMALL), ("o", "target"), 0, SMALL_BENCH),
    ("scheduler", Scheduler(SMALL), ("o", "payload"), 5, SMALL_BENCH),
    ("core", Core(SMALL), ("logit", "payload"), 0, SMALL_BENCH),
    ("cells.pipelined", GRUCell(DESIGN), ("values",), 3, BENCH),
    ("logits", Logits(DESIGN), ("o", "payload"), 2, BENCH),
    ("cells.pipelined", GRUCell(DESIGN), ("trace", "stages"), 200, BENCH),
    pytest.param("core", Core(DESIGN), ("logit", "payload"), 0, BENCH, marks=pytest.mark.slow),
    ("cells.pipelined", LSTMCell(LSTM_DESIGN), ("values",), 3, LSTM_BENCH),
    ("cells.pipelined", LSTMCell(LSTM_DESIGN), ("trace", "stages"), 260, LSTM_BENCH),
    ("cells.serial", SerialLSTMCell(SMALL_LSTM), ("values",), 3, SMALL_LSTM_BENCH),
    ("cells.serial", SerialLSTMCell(SMALL_LSTM), ("trace", "stages"), 70, SMALL_LSTM_BENCH),
    ("cells.pipelined", UnitCell(UNIT_DESIGN), ("values",), 3, UNIT_BENCH),
    ("cells.serial", SerialUnitCell(SMALL_UNIT), ("values",), 3, SMALL_UNIT_BENCH),
    ("scheduler", Scheduler(ALL), ("registers",), registers_layout(ALL)["FEATURES_AFTER"].offset, ALL_BENCH),
    ("scheduler", Scheduler(SMALL_ALL), ("registers",), registers_layout(SMALL_ALL)["LOGIT_CONSUME"].offset,
     SMALL_ALL_BENCH),
    ("addresser", Addresser(SMALL_ALL), ("o", "tags"), tags_layout(SMALL_ALL)["fresh"].offset, SMALL_ALL_BENCH),
    ("lanes", Lanes(ALL), ("fetch", "tags"), tags_layout(ALL)["fresh"].offset, ALL_BENCH),
    ("snapshot", Snapshot(ALL), ("single",), 0, ALL_BENCH),
], ids=lambda x: x if isinstance(x, str) and x.replace(".", "").isidentifier() else "")
def test_bench_finds_a_flipped_bit(name, component, path, bit, bench):
    with pytest.raises(AssertionError, match=r"seed \d+: failed: "):
        run_bench(Faulty(component, path, bit), f"tidegate_sim.benches.{name}",
                  f"faulty_{name.replace('.', '_')}_{path[-1]}",
                  env={"BENCH": bench} if bench else {})
