"""The checklist against boards in Python: sound ones pass, and every broken one fails at the step that is for it."""

import dataclasses

import numpy as np
import pytest
from core_board import FAULTS, LINE, Broken, CoreBoard, Stuck
from fake_board import DIGEST, FakeTransport
from lossy import LossyTransport

from tidegate.golden import selftest as golden
from tidegate.host import memtest, selftest
from tidegate.host.board import Board
from tidegate.host.errors import BoardError
from tidegate.host.selftest import STEPS, checklist
from tidegate.spec.design import SIMULATED, Design
from tidegate.spec.formats import SIGNAL
from tidegate.spec.layout import Layout
from tidegate.spec.model import read_model
from tidegate.spec.registers import BY_NAME

# lanes, cell_rate, encoder_rate, weight_words, acc_words, features, neurons, classes
SMALL = Design(8, 1, 1, 16384, 64, 64, 256, 10)
WIDE = Design(128, 8, 8, 2560, 32, 256, 512, 64)
ODD = Design(8, 2, 4, 300, 64, 13, 64, 4)           # sizes that divide nothing, and half of the lanes have no class
DESIGNS = [SMALL, WIDE, *SIMULATED.values()]


def name(design: Design) -> str:
    return f"{design.lanes}x{design.weight_words}"


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
    transport = FakeTransport(Broken(fault))
    steps = list(checklist(lambda: Board(transport)))
    assert [s.name for s in steps] == list(STEPS[: STEPS.index(FAULTS[fault]) + 1])
    assert [s.passed for s in steps] == [True] * (len(steps) - 1) + [False]
    assert one_line(steps[-1]) and transport.closed
    print(steps[-1].seen)


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
    monkeypatch.setattr(selftest, "_TIMEOUT", 0.01)
    steps = []
    for step in checklist(lambda: Board(transport, timeout=0.01)):
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


@pytest.mark.parametrize(("centre", "own"), [*zip(memtest.CENTRES, (range(128), range(-128, 0)), strict=True)])
def test_the_cell_tells_half_of_all_weights_from_all_others(centre, own):
    """Whatever came before."""
    weights = np.arange(-128, 128)
    for before in range(-128, 128):
        v = memtest.cell_signal(np.stack([np.full(256, before), weights]), centre)[1]
        assert all((v == v[128 + w]).sum() == 1 for w in own), before


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
    board.load(selftest.model_for(board.design))
    memtest.check_memory(board, seed=1)
    assert board.model is None and board.read_register("LAYERS") == 0
    with pytest.raises(BoardError, match="no model is loaded"):
        board.stream(np.zeros((1, 37), int))


def test_registers_hold_what_the_test_needs():
    assert 2 * SIGNAL.max < memtest.NEVER < 1 << BY_NAME["THETA1"].bits
    for design in DESIGNS:
        assert BY_NAME[selftest.REGISTER].writable and design.acc_words >= memtest.GATE_WORDS + 2


# Golden's integers


@pytest.mark.parametrize(("cells", "layers"), selftest.PATHS)
def test_what_ships_is_what_golden_gives(cells, layers):
    """Bit for bit; else `python -m tidegate.golden.selftest` makes it anew."""
    shipped, made = read_model(selftest.PATHS[cells, layers]), golden.selftest_model(layers, cells)
    assert {layer.cell.name for layer in made.network.layers} <= set(cells)
    assert (shipped.network, shipped.digest, shipped.card) == (made.network, made.digest, made.card)
    frames = np.array(shipped.card["frames"])
    for mode in selftest.MODES:
        assert shipped.card[mode] == golden.expected(shipped, frames, mode == "dense")


@pytest.mark.parametrize(("cells", "layers"), selftest.PATHS)
def test_the_models_are_worth_testing_with(cells, layers):
    model = read_model(selftest.PATHS[cells, layers])
    events, logits = (np.array(model.card["delta"][what]) for what in ("events", "logits"))
    assert (events[:, 0] == 0).any() and (logits.std(0) > 300).all()
    assert (logits != np.array(model.card["dense"]["logits"])).any(1).mean() > 0.9
    for s in range(layers + 1):
        assert 0.03 < events[:, s].mean() / model.network.elements(s) < 0.6
        assert (np.array(model.card["dense"]["events"])[:, s] == model.network.elements(s)).all()
    assert selftest.PATHS[cells, layers].stat().st_size < 70_000


def test_a_board_gets_the_deepest_model_that_fits():
    for design in DESIGNS:
        deepest = len(selftest.model_for(design).network.layers)
        assert deepest == 4 if design in SIMULATED.values() else deepest >= 1
    small = dataclasses.replace(SMALL, acc_words=40)
    assert len(selftest.model_for(small).network.layers) == 1
    assert Layout(selftest.model_for(small).network, small)
    (*_, last) = run(CoreBoard(dataclasses.replace(SMALL, acc_words=20)))
    assert not last.passed and "too small" in last.seen
