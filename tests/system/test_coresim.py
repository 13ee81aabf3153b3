"""The core alone against golden and against the cycle model; the long campaign is marked slow."""


import os

import numpy as np
import pytest
from models import random_frames

from tidegate.spec.cells import CELLS, GRU, LSTM, UNIT
from tidegate.spec.design import SIMULATED, Design
from tidegate.spec.errors import ModelError, TidegateError
from tidegate.spec.layout import Layout
from tidegate.spec.register_values import register_values
from tidegate.spec.rules import RULES
from tidegate.spec.stop import Stop
from tidegate_sim import coresim
from tidegate_sim.coresim import mismatches, simulate
from tidegate_sim.measure import predicted_cycles
from tidegate_sim.random_networks import random_model
from tidegate_sim.trace import golden_run
from tidegate_sim.verify import listening_of

# features, sizes, classes: no multiples of lanes or rates, one feature, no classifier, more layers, a frame that
# waits for the logits of the one before, one gate and any rule
NETWORKS = {"one": (20, [50], 7), "two": (21, [50, 37], 7), "small": (1, [3], 1), "bare": (40, [64], 0),
            "four": (13, [33, 8, 70, 5], 64), "many": (5, [9], 64), "lstm": (20, [50, 37], 7),
            "mixed": (13, [9, 33, 16, 5], 12), "units": (14, [60, 21, 9], 9), "all": (13, [9, 33, 16, 25], 12)}
CELLS_OF = {"lstm": [LSTM, LSTM], "mixed": [LSTM, GRU, GRU, LSTM], "units": [UNIT] * 3,
            "all": [LSTM, UNIT, UNIT, GRU]}         # else all GRU
RULES_OF = {"units": RULES, "all": RULES}           # else delta
LANES = 8


def network(name: str, theta: int = 40):
    features, sizes, classes = NETWORKS[name]
    model = random_model(features, sizes, classes, seed=len(name), extreme=name == "four", cells=CELLS_OF.get(name),
                         rules=RULES_OF.get(name, RULES[:1]))
    return model.with_thresholds(*[theta] * model.network.signals)


def clips(model, seed: int = 0) -> list[np.ndarray]:
    return [random_frames(seed + n, length, model.network.features) for n, length in enumerate((40, 1, 25))]


def a_stop(model, frames: list[np.ndarray]) -> Stop | None:
    """A rule for streams by which about half of the frames are clear."""
    return listening_of(model, golden_run(model, frames), frames)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("theta", [0, 40, 700])
@pytest.mark.parametrize("stalls", [0, 0.3])
def test_integers_equal_golden(name, theta, stalls):
    model = network(name, theta)
    frames = clips(model)
    stop = a_stop(model, frames)
    run = simulate(SIMULATED[LANES], model, frames, stalls=stalls, seed=theta, stop=stop)
    stages = {(l, stage) for l, layer in enumerate(model.network.layers) for stage in layer.cell.stages}
    assert run.run.keys() > stages | {(None, "logits")}
    assert mismatches(run, SIMULATED[LANES], model, frames, stop=stop) == (0, None)
    assert stop is None or theta == 700 or (run.decisions > 0).sum() > 1    # at 700 hardly anything ever changes


@pytest.mark.parametrize("name", NETWORKS)
def test_dense_mode_reads_every_column(name):
    model = network(name)
    frames = clips(model)
    run = simulate(SIMULATED[LANES], model, frames, dense=True)
    assert mismatches(run, SIMULATED[LANES], model, frames, dense=True) == (0, None)
    assert (run.weight_words == Layout(model.network, SIMULATED[LANES]).dense_words()).all()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_cycles_equal_the_model(name, dense, apart):
    model = network(name)
    frames = clips(model)
    run = simulate(SIMULATED[LANES], model, frames, dense=dense, apart=apart, trace=False)
    assert run.cycles.tolist() == predicted_cycles(model, SIMULATED[LANES], frames, dense, apart).tolist()
    assert apart or run.total == run.cycles.sum()


def test_frames_apart_do_not_overlap():
    model = network("two")
    frames = clips(model)
    apart, together = (simulate(SIMULATED[LANES], model, frames, apart=x, trace=False) for x in (True, False))
    assert (apart.starts[1:] > apart.completions[:-1]).all()
    assert (apart.cycles == apart.completions - apart.starts).all()
    assert together.total < apart.cycles.sum()
    assert (together.logits == apart.logits).all()


@pytest.mark.slow
def test_waveform(tmp_path):
    model = network("small")
    simulate(SIMULATED[LANES], model, clips(model), waveform=tmp_path / "core.vcd")
    text = (tmp_path / "core.vcd").read_text()
    assert "$enddefinitions" in text and "result_valid" in text and text.count("\n#") > 1000


def test_a_wrong_weight_is_found(monkeypatch):
    pack = Layout.pack

    def faulty(self, model):
        memory = pack(self, model)
        memory[self.bias_base + self.acc_words + self.layer_target[0] + self.words[0] + 1, 1] ^= 8
        return memory

    model = network("two")
    frames = clips(model)
    monkeypatch.setattr(Layout, "pack", faulty)
    count, first = mismatches(simulate(SIMULATED[LANES], model, frames), SIMULATED[LANES], model, frames)
    assert count > 0 and first is not None
    assert (first.layer, first.stage, first.index) == (0, "r_arg", 9)


def test_a_core_that_stops_is_one_line(monkeypatch):
    monkeypatch.setattr(coresim, "register_values", lambda layout: register_values(layout) | {"CLASSES": 3})
    with pytest.raises(TidegateError, match="core failed: frame 0 of a clip has another number of logits"):
        simulate(SIMULATED[LANES], network("one"), random_frames(0, 3, 20))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_cycles_over_100000_frames():
    """Random networks of all cells and rules: every frame costs what the formula says, and with stalls the integers
    are the same."""
    rng, frames = np.random.default_rng(3), 0
    while frames < 100_000:
        lanes = int(rng.choice(list(SIMULATED)))
        sizes = rng.integers(1, 160, rng.integers(1, 5)).tolist()
        features, classes = int(rng.integers(1, 70)), int(rng.integers(0, 40))
        try:
            cells = [CELLS[name] for name in rng.choice(list(CELLS), len(sizes))]
            model = random_model(features, sizes, classes, seed=frames, extreme=bool(rng.integers(2)), cells=cells,
                                 rules=RULES[: rng.integers(1, 3)])
            Layout(model.network, SIMULATED[lanes])
        except ModelError:          # its accumulators could wrap, or it does not fit
            continue
        model = model.with_thresholds(*rng.integers(0, rng.choice([2, 60, 600]), model.network.signals).tolist())
        case = f"{lanes} lanes, {features} features, {model.network.shape}, {classes} classes, seed {frames}"
        clip = random_frames(frames, 2000, features)
        stop = a_stop(model, [clip])
        run = simulate(SIMULATED[lanes], model, clip, trace=False, stop=stop)
        frames += len(clip)
        print(case, flush=True)
        assert run.cycles.tolist() == predicted_cycles(model, SIMULATED[lanes], [clip]).tolist(), case
        assert mismatches(run, SIMULATED[lanes], model, clip, stop=stop) == (0, None), case
        part = clip[:200]
        stalled = simulate(SIMULATED[lanes], model, part, stalls=float(rng.uniform(0.05, 0.6)), seed=frames,
                           trace=False)
        # it may even be done a little sooner: features come when nobody waits for the lanes
        assert stalled.total >= stalled.weight_words.sum(), case
        assert mismatches(stalled, SIMULATED[lanes], model, part) == (0, None), case
    print(f"{frames} frames")


def random_design(rng) -> Design:
    """A small core: lanes, rates, capacities, cells, rules, with or without a snapshot."""
    lanes, snapshot = 1 << int(rng.integers(0, 5)), bool(rng.integers(4))
    cell_rate = 1 << int(rng.integers(0, lanes.bit_length())) if snapshot else 1
    cells = tuple(name for name in CELLS if rng.integers(2)) or tuple(CELLS)
    features = int(rng.integers(1, 30))
    encoder_rate = 1 << int(rng.integers(0, min(4, features.bit_length())))
    return Design(lanes, cell_rate, encoder_rate, weight_words=int(rng.integers(600, 6000)),
                  acc_words=int(rng.integers(12, 200)), features=features,
                  neurons=cell_rate * int(rng.integers(1, 1 + 80 // cell_rate)), classes=int(rng.integers(1, 20)),
                  layers=int(rng.integers(1, 5)), snapshot=snapshot, cells=cells,
                  rules=(RULES[:1], RULES, RULES, RULES[1:])[rng.integers(4)])


def random_network(design: Design, rng, seed: int):
    """A network that fits the design, and fills one of its capacities if it can; None if none was found."""
    for _ in range(200):
        layers = int(rng.integers(1, design.layers + 1))
        sizes = rng.integers(1, max(2, design.neurons // layers + 1), layers).tolist()
        cells = [CELLS[name] for name in rng.choice(design.cells, layers)]
        features = design.features if rng.integers(2) else int(rng.integers(1, design.features + 1))
        classes = design.classes if rng.integers(2) else int(rng.integers(0, design.classes + 1))
        try:
            model = random_model(features, sizes, classes, seed=seed, extreme=bool(rng.integers(2)), cells=cells,
                                 rules=design.rules)
            Layout(model.network, design)
        except ModelError:
            continue
        return model.with_thresholds(*rng.integers(0, rng.choice([2, 60, 600]), model.network.signals).tolist())
    return None


@pytest.mark.slow
@pytest.mark.timeout(14400)
def test_a_hundred_random_designs():
    """Integers and cycles of random networks on random designs (how many: TIDEGATE_DESIGNS, first: TIDEGATE_SEED)."""
    wanted, seed = int(os.environ.get("TIDEGATE_DESIGNS", 100)), int(os.environ.get("TIDEGATE_SEED", 11))
    done = 0
    while done < wanted:
        rng, seed = np.random.default_rng(seed), seed + 1
        design = random_design(rng)
        models = [model for n in range(3) if (model := random_network(design, rng, 3 * seed + n)) is not None]
        if not models:
            continue
        for model in models:
            case = f"seed {seed - 1}: {design}, {model.network.features} features, {model.network.shape}"
            clip = random_frames(seed, 150, model.network.features)
            stop = a_stop(model, [clip])
            run = simulate(design, model, clip, stop=stop)
            assert mismatches(run, design, model, clip, stop=stop) == (0, None), case
            assert run.cycles.tolist() == predicted_cycles(model, design, [clip]).tolist(), case
            stalled = simulate(design, model, clip[:60], stalls=0.3, seed=seed)
            assert mismatches(stalled, design, model, clip[:60]) == (0, None), case
        done += 1
        print(f"{done}: seed {seed - 1}: {design}", flush=True)


# one or two of everything, so that indices have no or few bits; classes on both sides of a power of two; no memory left
EXTREMES = {
    "two": (Design(lanes=4, cell_rate=2, encoder_rate=2, weight_words=64, acc_words=10, features=2, neurons=2,
                   classes=2), (2, [2], 2)),
    "one": (Design(lanes=1, cell_rate=1, encoder_rate=1, weight_words=22, acc_words=5, features=1, neurons=1, classes=1,
                   layers=1), (1, [1], 1)),
    "serial": (Design(lanes=2, cell_rate=1, encoder_rate=1, weight_words=22, acc_words=5, features=1, neurons=1,
                      classes=2, layers=1, snapshot=False), (1, [1], 2)),
    "fifteen": (Design(lanes=4, cell_rate=4, encoder_rate=1, weight_words=200, acc_words=12, features=2, neurons=8,
                       classes=15, layers=2), (2, [4, 4], 15)),
    "sixteen": (Design(lanes=8, cell_rate=8, encoder_rate=2, weight_words=200, acc_words=6, features=3, neurons=8,
                       classes=16, layers=1), (3, [5], 16)),
    "more words of logits than neurons": (Design(lanes=1, cell_rate=1, encoder_rate=1, weight_words=639, acc_words=134,
                                                 features=4, neurons=8, classes=10, layers=1, snapshot=False),
                                          (3, [4], 10)),
    "one gate": (Design(lanes=1, cell_rate=1, encoder_rate=1, weight_words=9, acc_words=2, features=1, neurons=1,
                        classes=1, layers=1, cells=("unit",), rules=RULES), (1, [1], 1)),
    "one gate, serial": (Design(lanes=2, cell_rate=1, encoder_rate=1, weight_words=22, acc_words=3, features=2,
                                neurons=3, classes=2, layers=1, snapshot=False, cells=("unit",), rules=RULES),
                         (2, [3], 2)),
    "one gate in the room of four": (Design(lanes=4, cell_rate=2, encoder_rate=1, weight_words=426, acc_words=10,
                                            features=4, neurons=36, classes=4, layers=1, cells=("gru", "unit"),
                                            rules=RULES), (4, [36], 4)),
}


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=() if " of " in name or name == "two" else pytest.mark.slow) for name in EXTREMES])
def test_extreme_designs(name):
    """Integers and cycles of a network that fills a design, with a rule that takes all of its classes."""
    design, shape = EXTREMES[name]
    model = random_model(*shape, seed=5, extreme=True, cells=[CELLS[design.cells[-1]]] * len(shape[1]),
                         rules=design.rules).with_thresholds(*[20] * (len(shape[1]) + 1))
    clip = random_frames(2, 120, shape[0])
    stop = None if shape[2] < 2 else Stop(0, stream=True, classes=shape[2])
    run = simulate(design, model, clip, stop=stop)
    assert mismatches(run, design, model, clip, stop=stop) == (0, None)
    assert run.cycles.tolist() == predicted_cycles(model, design, [clip]).tolist()
    assert stop is None or (run.decisions > 0).any()


def test_settings_reach_the_executable():
    """The registers are packed as the gateware has them."""
    from tidegate.spec.registers import REGISTERS
    from tidegate_hw.records.registers import REGISTERS_LAYOUT
    from tidegate_hw.records.results import result_layout

    offset = 0
    for register in REGISTERS:
        if register.writable:
            assert REGISTERS_LAYOUT[register.name].offset == offset
            offset += register.bits
    assert REGISTERS_LAYOUT.size == offset
    for layers in (1, 4, 5, 32):
        design = Design(layers=layers)
        result, counters = result_layout(design), coresim.counters(design)
        assert result.size == 8 * np.dtype(counters).itemsize
        assert [name for name, _ in result] == [entry[0] for entry in counters]
