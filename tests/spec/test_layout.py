"""Packed words mean the model: events played naively over the memory image give b + W·v̂ in every accumulator."""

import numpy as np
import pytest

from tidegate.spec.design import Design
from tidegate.spec.errors import CapacityError
from tidegate.spec.formats import BIAS_DELTAS
from tidegate.spec.layout import Layout
from tidegate.spec.registers import BY_NAME

SHAPES = {"one": (5, [6], 3), "two": (20, [50, 37], 5), "four": (3, [9, 1, 16, 8], 17), "three": (4, [8, 8, 8], 8)}


def design(lanes):
    return Design(lanes=lanes, cell_rate=min(lanes, 4), weight_words=65536, acc_words=2048)


@pytest.mark.parametrize("lanes", [1, 4, 8, 64])
@pytest.mark.parametrize("shape", SHAPES)
def test_events_over_packed_words_give_b_plus_w_v(shape, lanes, model_factory):
    model = model_factory(4, *SHAPES[shape])
    net, t = model.network, {k: v.astype(np.int64) for k, v in model.tensors.items()}
    layout = Layout(net, design(lanes))
    memory, registers = layout.pack(model), layout.registers()
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
