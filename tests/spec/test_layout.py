"""Packed words mean the model: events played naively over the memory image give b + W·v̂ in every accumulator."""

from dataclasses import replace

import numpy as np
import pytest

from tidegate.spec.cells import CELLS, UNIT
from tidegate.spec.design import Design
from tidegate.spec.errors import CapacityError
from tidegate.spec.formats import BIAS_DELTAS
from tidegate.spec.layer import Layer
from tidegate.spec.layout import Layout
from tidegate.spec.model import Model, expected_tensors
from tidegate.spec.network import Network
from tidegate.spec.register_values import register_values
from tidegate.spec.registers import BY_NAME
from tidegate.spec.rules import RULES, Diffuse

SHAPES = {"one": (5, [6], 3), "two": (20, [50, 37], 5), "four": (3, [9, 1, 16, 8], 17), "three": (4, [8, 8, 8], 8)}


def design(lanes):
    return Design(lanes=lanes, cell_rate=min(lanes, 4), weight_words=65536, acc_words=2048)


@pytest.mark.parametrize("lanes", [1, 4, 8, 64])
@pytest.mark.parametrize("shape", SHAPES)
def test_events_over_packed_words_give_b_plus_w_v(shape, lanes, model_factory):
    model = model_factory(4, *SHAPES[shape])
    net, t = model.network, {k: v.astype(np.int64) for k, v in model.tensors.items()}
    layout = Layout(net, design(lanes))
    memory, registers = layout.pack(model), register_values(layout)
    assert memory.shape == (layout.weight_words, lanes) and memory.dtype == np.int8
    assert set(registers) <= set(BY_NAME)
    assert all(0 <= v < 1 << BY_NAME[k].bits and BY_NAME[k].writable for k, v in registers.items())

    # A core that knows registers and memory only.
    accumulators = np.zeros((registers["ACC_WORDS"], lanes), np.int64)

    def play(word, target, length, delta):
        for k in range(length):
            accumulators[target + k] += memory[word + k].astype(np.int64) * delta

    for k, delta in enumerate(BIAS_DELTAS):
        play(registers["BIAS_BASE"] + k * registers["ACC_WORDS"], 0, registers["ACC_WORDS"], delta)
    rng = np.random.default_rng(5)
    anchors = []
    for s in range(net.signals):
        anchors.append(np.zeros(net.elements(s), np.int64))
        for _ in range(3 * net.elements(s)):
            i, delta = rng.integers(net.elements(s)), rng.integers(-300, 301)
            anchors[s][i] += delta
            length = registers[f"COLUMN_LENGTH{s}"]
            play(registers[f"COLUMN_BASE{s}"] + i * length, registers[f"COLUMN_TARGET{s}"], length, delta)

    used = np.zeros(accumulators.size, bool)
    flat = accumulators.ravel()

    def check(word, expected):
        start = word * lanes
        assert np.array_equal(flat[start : start + len(expected)], expected)
        assert not used[start : start + len(expected)].any()
        used[start : start + len(expected)] = True

    for l, layer in enumerate(net.layers):
        x = (t[f"gru.{l}.weight_ih"] @ anchors[l]).reshape(3, layer.size)
        h = (t[f"gru.{l}.weight_hh"] @ anchors[l + 1]).reshape(3, layer.size)
        words, target = registers[f"LAYER_WORDS{l}"], registers[f"LAYER_TARGET{l}"]
        for k, part in enumerate((x[2], x[0] + h[0], x[1] + h[1], h[2])):
            check(target + k * words, part + t[f"gru.{l}.bias"][k])
    check(registers["LOGIT_TARGET"], t["classifier.weight"] @ anchors[-1] + t["classifier.bias"])
    assert not flat[~used].any()     # padding stays zero


def test_columns_do_not_overlap_and_dense_words_count_them(model_factory):
    model = model_factory(1, *SHAPES["four"])
    layout = Layout(model.network, design(8))
    position = 0
    for s, column in enumerate(layout.columns):
        assert column.base == position
        position += column.length * model.network.elements(s)
    assert layout.dense_words() == position == layout.bias_base
    assert layout.weight_words == position + 3 * layout.acc_words
    assert all(a + -(-n.size // 4) == b for a, b, n in zip(
        layout.state_base, layout.state_base[1:], model.network.layers, strict=False))


@pytest.mark.parametrize(("limit", "text"), [
    (dict(weight_words=100), "weight memory words"), (dict(acc_words=5), "accumulator words"),
    (dict(features=19), "features"), (dict(neurons=86), "neurons"), (dict(classes=4), "classes")])
def test_a_model_that_does_not_fit_is_refused(limit, text, model_factory):
    net = model_factory(1, *SHAPES["two"]).network
    Layout(net, Design(lanes=8, weight_words=65536, acc_words=2048, cell_rate=1, features=20, neurons=87, classes=5))
    small = Design(**dict(lanes=8, weight_words=65536, acc_words=2048, cell_rate=1) | limit)
    short = [need.what for need in Layout(net, small, check=False).needs if not need.fits]
    assert short == [text]
    with pytest.raises(CapacityError, match=f"needs .* {text}, the board has {next(iter(limit.values()))}"):
        Layout(net, small)


def unit(size, activation="relu", **choices) -> Layer:
    return Layer(size, cell=UNIT, activation=activation, **choices)


# of single gates; the features feed two layers, the last signal comes back to the first, and there are spikes
SPIKING = Network(5, (unit(9, consumes=True, bias_columns=2, hears=(0, 2)),
                      unit(6, "tanh", consumes=True, bias_columns=3, hears=(0, 1))),
                  Layer(3, consumes=True), (7, 200, 30), (None, Diffuse(256, -1, 2, 4), Diffuse(8, zero=True)))
SPIKES = Design(lanes=4, cell_rate=2, weight_words=1000, acc_words=20, cells=("gru", "unit"), rules=RULES)


def test_registers_of_spikes_and_branches():
    layout = Layout(SPIKING, SPIKES)
    registers = register_values(layout)
    assert (layout.words, layout.layer_target, layout.logit_target, layout.acc_words) == ([3, 2], [0, 3], 5, 6)
    # signal 0 feeds both layers, signal 1 both (its own too), signal 2 both and the logits
    assert [(c.base, c.length, c.target) for c in layout.columns] == [(0, 5, 0), (25, 5, 0), (70, 6, 0)]
    assert [layout.closing(l) for l in range(2)] == [(3, 0), (2, 0)] and layout.bias_base == 106
    expected = {
        "FEATURES_AFTER": 1, "LAYER_CELL0": 1, "LAYER_CELL1": 1, "LAYER_ACTIVATION0": 1, "LAYER_ACTIVATION1": 2,
        # consumed; the bias columns of 32 and 1024 are added again, then all, then none
        "LAYER_CONSUME0": 2, "LAYER_CONSUME1": 1, "LOGIT_CONSUME": 4,
        "RULE0": 0, "LOWEST0": 0, "HIGHEST0": 0, "OFFSET0": 0, "RULE1": 1 | 4 << 2 | 255 << 5, "LOWEST1": 4096 - 256,
        "HIGHEST1": 512, "OFFSET1": 256 - 200, "RULE2": 1 | 1 << 1 | 7 << 5, "LOWEST2": 0, "HIGHEST2": 8,
        "OFFSET2": (1 << 14) + 8 - 30,
    }
    assert {name: registers[name] for name in expected} == expected
    assert all(BY_NAME[name].there(SPIKES) and BY_NAME[name].kept(value, SPIKES) == value
               for name, value in registers.items())
    held = register_values(Layout(replace(SPIKING, rules=(), classifier=Layer(3)), SPIKES))
    assert held["LOGIT_CONSUME"] == held["RULE1"] == held["HIGHEST2"] == 0
    serial = Layout(SPIKING, replace(SPIKES, cell_rate=1, snapshot=False))
    assert [serial.closing(l) for l in range(2)] == [(9, 0), (6, 0)] and "LAYER_CLOSE0" not in register_values(serial)


def test_columns_of_a_network_that_branches_hold_its_weights():
    rng = np.random.default_rng(1)
    net = replace(SPIKING, rules=())
    tensors = {name: (rng.integers(-99, 100, shape) if dtype.kind == "i" else np.ones(shape)).astype(dtype)
               for name, (dtype, shape) in expected_tensors(net).items()}
    tensors["unit.0.bias"], tensors["classifier.bias"] = tensors["unit.0.bias"] * 32, tensors["classifier.bias"] * 0
    model = Model(net, tensors, ("a", "b", "c"))
    layout = Layout(net, SPIKES)
    memory = layout.pack(model).reshape(-1)

    def rows(signal, element):
        """What an event adds to layer 0, layer 1 and the logits, without padding."""
        column = layout.columns[signal]
        start = 4 * (column.base + element * column.length)
        found = memory[start : start + 4 * column.length]
        assert not found[[9, 10, 11, 18, 19]].any()
        return found[:9].tolist(), found[12:18].tolist(), found[20:23].tolist()

    t = {name: tensor.T.tolist() for name, tensor in tensors.items()}
    for i in range(5):
        assert rows(0, i) == (t["unit.0.weight_ih"][i], t["unit.1.weight_ih"][i], [])
    for i in range(9):
        assert rows(1, i) == (t["unit.0.weight_hh"][i], t["unit.1.weight_ih"][5 + i], [])
    for i in range(6):
        assert rows(2, i) == (t["unit.0.weight_ih"][5 + i], t["unit.1.weight_hh"][i], t["classifier.weight"][i])


@pytest.mark.parametrize(("network", "design", "text"), [
    (SPIKING, dict(cells=("gru",), rules=("delta",)),
     "the model needs the cell unit and the rule diffuse, the board has the cell gru and the rule delta; `tidegate "
     "build --board BOARD --cells gru,unit --rules delta,diffuse --to FOLDER`"),
    (SPIKING, dict(rules=("delta",)), "needs the rule diffuse, the board has"),
    (replace(SPIKING, rules=()), dict(rules=("delta",)), "needs the rule diffuse, the board has the cell gru and the "
     "cell unit and the rule delta"),
    (SPIKING, dict(cells=("gru",)), "--cells gru,unit --rules delta,diffuse"),
    (SPIKING, dict(rules=("diffuse",)), "needs the rule delta, the board has .* --rules delta,diffuse --to"),
    (Network(5, (unit(4),), Layer(3), (0, 0)), dict(cells=("lstm",), rules=("delta",)), "--cells lstm,unit --to FOL"),
], ids=lambda x: str(x)[:30])
def test_what_a_design_lacks_is_said(network, design, text):
    Layout(network, replace(SPIKES, cells=tuple(CELLS)))
    with pytest.raises(CapacityError, match=text) as error:
        Layout(network, replace(SPIKES, **design))
    assert "\n" not in str(error.value)
