"""The checklist against boards in Python: sound ones pass, and every broken one fails at the step that is for it."""

import dataclasses
import re

import numpy as np
import pytest
from core_board import FAULTS, LINE, Broken, CoreBoard, Stuck
from fake_board import DIGEST, FakeTransport
from lossy import LossyTransport

from tidegate.golden import selftest as golden
from tidegate.host import memtest, selftest
from tidegate.host.board import Board
from tidegate.host.errors import BoardError
from tidegate.host.selftest import KINDS, PATHS, STEPS, checklist
from tidegate.spec.cells import CELLS, cell_of
from tidegate.spec.design import SIMULATED, Design
from tidegate.spec.formats import SIGNAL
from tidegate.spec.layout import Layout
from tidegate.spec.model import read_model
from tidegate.spec.registers import BY_NAME
from tidegate.spec.rules import RULES

# lanes, cell_rate, encoder_rate, weight_words, acc_words, features, neurons, classes
SMALL = Design(8, 1, 1, 16384, 64, 64, 256, 10)
WIDE = Design(128, 8, 8, 2560, 32, 256, 512, 64)
ODD = Design(8, 2, 4, 300, 64, 13, 64, 4)           # sizes that divide nothing, and half of the lanes have no class
DENSE = dataclasses.replace(SMALL, acc_words=32, weight_words=2048, cells=("unit",))
SPIKING = dataclasses.replace(DENSE, rules=("diffuse",))
MIXED = dataclasses.replace(SMALL, cells=("lstm", "unit"), rules=RULES)
DIFFUSING = dataclasses.replace(SMALL, rules=("diffuse",), snapshot=False)
DESIGNS = [SMALL, WIDE, DENSE, SPIKING, MIXED, DIFFUSING, *SIMULATED.values()]


def name(design: Design) -> str:
    return "-".join((f"{design.lanes}x{design.weight_words}", *design.cells, *design.rules))


def board_of(model: CoreBoard) -> Board:
    return Board(FakeTransport(model), timeout=0.01, patience=0.2)


def run(model: CoreBoard, **kwargs) -> list:
    return list(checklist(lambda: board_of(model), **kwargs))


def one_line(step) -> bool:
    return "\n" not in step.seen and "; " in step.seen          # what was seen; what to do


@pytest.mark.parametrize("design", DESIGNS, ids=name)
def test_a_sound_board_passes(design):
    progress = []
    steps = run(CoreBoard(design), progress=lambda done, total: progress.append((done, total)))
    assert [s.name for s in steps] == list(STEPS) and all(s.passed for s in steps), steps[-1]
    assert all("\n" not in s.seen for s in steps) and DIGEST.hex() in steps[0].seen and "seed 1" in steps[2].seen
    assert progress == sorted(progress) and progress[-1][0] == progress[-1][1]


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_fails_its_step(fault):
    plain = dataclasses.replace(
        SIMULATED[8], weight_words=8192, cells=("gru",), rules=("delta",), addressers=("dense",))
    transport = FakeTransport(Broken(fault, plain if FAULTS[fault] == "stop" else SIMULATED[8]))
    steps = list(checklist(lambda: Board(transport)))
    assert [s.name for s in steps] == list(STEPS[: STEPS.index(FAULTS[fault]) + 1])
    assert [s.passed for s in steps] == [True] * (len(steps) - 1) + [False]
    assert one_line(steps[-1]) and transport.closed
    print(steps[-1].seen)


@pytest.mark.parametrize("fault", ["an activation is another", "no error leaks", "every spike leaves what is left",
                                   "there are no negative levels", "sums that are consumed stay",
                                   "logits that are consumed stay", "a reset leaves what the encoders remember",
                                   "a layer that consumes loses a part of its bias", "a lane multiplies by Δ + 1"])
@pytest.mark.parametrize("design", [SPIKING, dataclasses.replace(SPIKING, acc_words=11)], ids=["deep", "one layer"])
def test_faults_of_a_board_for_spikes(design, fault):
    steps, memory = run(Broken(fault, design)), "there are no negative levels"        # which the memory test needs here
    assert (steps[-1].name, steps[-1].passed) == ("memory" if fault == memory else FAULTS[fault], False)
    assert one_line(steps[-1])


def test_no_answer():
    class Silent(FakeTransport):
        def read(self, timeout):
            return b""

    (step,) = checklist(lambda: Board(Silent(CoreBoard()), timeout=0.01, patience=0.1))
    assert (step.name, step.passed) == ("identify", False)
    assert "is the board powered and the bitstream loaded?" in step.seen


def test_wrong_digest():
    (step,) = checklist(lambda: Board(FakeTransport(CoreBoard()), expect_digest="00" * 16))
    assert (step.name, step.passed) == ("identify", False) and "the manifest says 000000000000" in step.seen


def test_a_bad_cable(monkeypatch):
    monkeypatch.setattr(selftest, "_TIMEOUT", 0.01)
    transport = LossyTransport(FakeTransport(CoreBoard()), seed=3, rate=0.01)
    steps = list(checklist(lambda: Board(transport, timeout=0.01)))
    assert [s.passed for s in steps] == [True, False]
    assert "had to be repeated" in steps[1].seen and one_line(steps[1])


def test_a_cable_that_gets_bad_later_is_mentioned(monkeypatch):
    transport = LossyTransport(FakeTransport(CoreBoard()), seed=3, rate=0)
    monkeypatch.setattr(selftest, "_TIMEOUT", 0.1)        # longer than a busy machine takes to answer
    steps = []
    for step in checklist(lambda: Board(transport, timeout=0.1)):
        steps.append(step)
        transport.rate = 0.02 * (step.name == "link")
    assert all(s.passed for s in steps) and "requests had to be repeated" in steps[2].seen
    assert not any("repeated" in s.seen for s in steps if s.name != "memory")


def test_the_register_is_as_it_was():
    model = CoreBoard()
    model.registers |= {selftest.REGISTER: 0x1234, "LAYERS": 2}
    steps = checklist(lambda: board_of(model))
    assert next(steps).passed and next(steps).passed
    assert model.registers[selftest.REGISTER] == 0x1234 and model.registers["LAYERS"] == 0
    steps.close()


# The memory


class Flipping(CoreBoard):
    """One bit of one byte goes wrong when it is written in one of the fills (0 or 1)."""

    def __init__(self, design: Design, fill: int, byte: int, bit: int):
        super().__init__(design)
        self.fill, self.byte, self.bit = fill, byte, bit

    def _write_weights(self, payload):
        answer = super()._write_weights(payload)
        start = int.from_bytes(payload[:4], "little")
        if start <= self.byte < start + len(payload) - 4:
            self.weights[self.byte] ^= (self.fill == 0) << self.bit
            self.fill -= 1
        return answer


@pytest.mark.parametrize("design", [SMALL, SIMULATED[16], SIMULATED[64]], ids=name)
def test_a_single_wrong_bit_is_found_wherever_it_is(design):
    draw = np.random.default_rng(1)
    size = design.weight_bytes
    for byte in {0, size - 1, *draw.integers(0, size, 8).tolist()}:
        word, lane = divmod(byte, design.lanes)
        model = Flipping(design, int(draw.integers(2)), byte, int(draw.integers(8)))
        what = rf"^word {word} is wrong in lanes {lane}\.\.{lane}: .* \(1 wrong weights"
        with pytest.raises(memtest.MemoryFault, match=what):
            memtest.check_memory(board_of(model), seed=byte)


def test_lanes_without_a_class():
    """A bit that is stuck, one way or the other, in lanes that no logit shows."""
    bias, draw = 12, np.random.default_rng(2)       # words at either end that the bias of the cells takes
    for byte in draw.integers(bias * ODD.lanes, (ODD.weight_words - bias) * ODD.lanes, 40).tolist():
        word, lane = divmod(byte, ODD.lanes)
        with pytest.raises(memtest.MemoryFault, match=rf"^word {word} is wrong in lanes") as error:
            memtest.check_memory(board_of(Stuck(ODD, byte, *draw.integers((8, 2)).tolist())), seed=1)
        assert (f"lanes {lane}..{lane}: " if lane < ODD.classes else "lanes 4..7, or") in str(error.value)


@pytest.mark.parametrize("byte", [5, ODD.weight_bytes - 1])
def test_words_through_which_others_are_seen(byte):
    for bit in range(8):
        with pytest.raises(memtest.MemoryFault, match=r"through which it is seen|^word (0|299) is wrong"):
            memtest.check_memory(board_of(Stuck(ODD, byte, bit, 1)), seed=1)


# boards of each way to see lanes without a class, with each rule
OF_EACH_WAY = [dataclasses.replace(ODD, cells=cells, rules=rules) for cells in (("gru",), ("unit",), tuple(CELLS))
               for rules in (RULES[:1], RULES[1:], RULES)]


@pytest.mark.parametrize("design", OF_EACH_WAY, ids=name)
def test_lanes_without_a_class_show_through_cells(design):
    """Whatever was on the board before; a bit that is stuck is found."""
    model = CoreBoard(design)
    board, draw = board_of(model), np.random.default_rng(3)
    left = ("LAYER_CONSUME", "LOGIT_CONSUME", "RULE", "LAYER_ACTIVATION")
    model.registers |= {register: 1 for register in model.registers if register.startswith(left)}
    assert re.fullmatch(r"300 words of 8 lanes hold .* \(seed 1\)", memtest.check_memory(board, seed=1))
    for lane in (2, 6):
        byte = int(draw.integers(12, 288)) * design.lanes + lane
        with pytest.raises(memtest.MemoryFault, match=rf"^word {byte // 8} is wrong in lanes"):
            memtest.check_memory(board_of(Stuck(design, byte, *draw.integers((8, 2)).tolist())), seed=1)


def test_lanes_that_nothing_shows():
    """An LSTM does not show weights, so the step says what it has not seen."""
    seen = memtest.check_memory(board_of(CoreBoard(dataclasses.replace(ODD, cells=("lstm",)))), seed=1)
    assert seen.startswith("300 words of 4 lanes hold") and seen.endswith("; the other 4 lanes show nowhere")


@pytest.mark.parametrize("eyes", memtest.EYES, ids=lambda eyes: eyes.cell.name)
def test_a_cell_tells_weights_from_all_others(eyes):
    """Whatever came before; around one centre all, around one of two those of its half."""
    weights, told = np.arange(-128, 128), set()
    for centre in eyes.centres:
        own = set(weights.tolist())
        for before in range(-128, 128):
            v = eyes.signal(np.stack([np.full(256, before), weights]), centre)[1]
            own &= {w for w in weights.tolist() if (v == v[128 + w]).sum() == 1}
        told |= own
    assert told == set(weights.tolist())


def test_an_address_line_is_called_one():
    what = rf"^word 0 is wrong in lanes 0\.\.7: it holds what was written to word {LINE}, so an address line"
    with pytest.raises(memtest.MemoryFault, match=what):
        memtest.check_memory(board_of(Broken("an address line is stuck")), seed=1)


class Recording(CoreBoard):
    """``log``: the whole memory at every frame that follows a write."""

    def __init__(self, design: Design):
        super().__init__(design)
        self.log, self._written = [], False

    def _write_weights(self, payload):
        self._written = True
        return super()._write_weights(payload)

    def frame(self, number, values):
        if self._written:
            self.log.append(np.frombuffer(bytes(self.weights), np.int8))
            self._written = False
        return super().frame(number, values)


def test_all_is_written_before_anything_is_looked_at():
    model = Recording(SMALL)
    memtest.check_memory(board_of(model), seed=5)
    first, second = model.log
    assert (first == ~second).all() and len(set(first.tolist())) == 256


def test_the_board_has_no_model_afterwards():
    board = board_of(CoreBoard())
    board.load(read_model(PATHS["selftest-unit-diffuse", 4]))
    memtest.check_memory(board, seed=1)
    assert board.model is None and board.read_register("LAYERS") == 0
    with pytest.raises(BoardError, match="no model is loaded"):
        board.stream(np.zeros((1, 37), int))


def test_registers_hold_what_the_test_needs():
    assert 2 * SIGNAL.max < memtest.NEVER < 1 << BY_NAME["THETA1"].bits
    for design in DESIGNS:
        assert BY_NAME[selftest.REGISTER].writable and design.acc_words >= design.gates + 2


# Golden's integers


@pytest.mark.parametrize(("kind", "layers"), PATHS)
def test_what_ships_is_what_golden_gives(kind, layers):
    """Bit for bit; else `python -m tidegate.golden.selftest` makes it anew."""
    cell, rule, addresser = KINDS[kind]
    shipped, made = read_model(PATHS[kind, layers]), golden.selftest_model(layers, cell_of(cell), rule, addresser)
    assert [layer.cell.name for layer in made.network.layers] == [cell] * layers
    assert all((made.network.rule(s) is None) == (rule == "delta") for s in range(layers + 1))
    assert (shipped.network, shipped.digest, shipped.card) == (made.network, made.digest, made.card)
    frames = np.array(shipped.card["frames"])
    for mode in selftest.MODES:
        assert shipped.card[mode] == golden.expected(shipped, frames, mode == "dense")


@pytest.mark.parametrize(("kind", "layers"), PATHS)
def test_the_models_are_worth_testing_with(kind, layers):
    model = read_model(PATHS[kind, layers])
    events, logits = (np.array(model.card["delta"][what]) for what in ("events", "logits"))
    assert (events[:, 0] == 0).any() and (logits.std(0) > 300).all()
    dense = np.array(model.card["dense"]["logits"])
    # with ``diffuse`` dense mode sends no more than is sent anyway, and zeros
    assert (logits == dense).all() if model.network.rules else (logits != dense).any(1).mean() > 0.9
    for s in range(layers + 1):
        assert 0.03 < events[:, s].mean() / model.network.elements(s) < 0.7
        assert (np.array(model.card["dense"]["events"])[:, s] == model.network.elements(s)).all()
    assert PATHS[kind, layers].stat().st_size < 70_000


def test_the_models_have_what_a_layer_may_choose():
    layers, consuming = ([x for kind, rule in (("selftest-unit", 0), ("selftest-unit-diffuse", 1)) if rule in rules
                          for x in read_model(PATHS[kind, 4]).network.layers] for rules in ((0, 1), (1,)))
    assert {layer.activation for layer in consuming} == set(CELLS["unit"].activations)
    assert {layer.bias_columns for layer in consuming} == set(range(4))
    assert {layer.recurrent for layer in layers} == {True, False}
    assert {layer.hears for layer in layers} == {(), (0, 1), (0, 2)}
    rules = read_model(PATHS["selftest-unit-diffuse", 4]).network.rules
    deepest = read_model(PATHS["selftest-conv2d", 4]).network
    assert deepest.skips and {layer.conv.depthwise for layer in deepest.layers if layer.conv} == {True, False}
    assert {rule.zero for rule in rules} == {True, False} and any(rule.lowest < 0 for rule in rules)
    assert len({rule.leak for rule in rules}) == 5 and len({rule.step for rule in rules}) > 1


def test_a_board_gets_the_deepest_models_that_fit():
    for design in DESIGNS:
        found = selftest.models_for(design)
        assert [KINDS[kind] for kind in found] == [
            *((c, r, "dense") for r in RULES for c in CELLS if c in design.cells and r in design.rules),
            *(("unit", r, "conv2d") for r in RULES if design.convolves and r in design.rules)]
        for model in filter(None, found.values()):
            deepest = 2 if model.network.skips and design.lanes == 128 else 4
            assert len(model.network.layers) == deepest if design in SIMULATED.values() else Layout(
                model.network, design)
    (one,) = selftest.models_for(dataclasses.replace(SMALL, acc_words=40)).values()
    assert one is not None and len(one.network.layers) == 1
    (*_, last) = run(CoreBoard(dataclasses.replace(SMALL, acc_words=20)))
    assert not last.passed and "too small" in last.seen


def test_a_kind_that_does_not_fit_is_named():
    design = dataclasses.replace(SMALL, acc_words=32, cells=tuple(CELLS))
    golden = run(CoreBoard(design))[STEPS.index("golden")]
    assert golden.passed and golden.seen.startswith("4 unit layers with delta; 64 frames in sparse mode and in dense")
    assert golden.seen.endswith("; the board is too small for the models of gru with delta, lstm with delta")
