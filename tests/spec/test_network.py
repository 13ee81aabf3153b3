"""Shapes, column lengths and refusals of a network description."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tidegate.spec.cells import UNIT
from tidegate.spec.errors import ModelError
from tidegate.spec.layer import Layer
from tidegate.spec.network import Network
from tidegate.spec.rules import Diffuse

NET = Network(20, (Layer(50, 7), Layer(37, 6)), Layer(5, 8), (1, 2, 3))


def test_columns_hold_the_rows_of_all_consumers():
    assert NET.signals == 3 and NET.classes == 5
    assert [NET.elements(s) for s in range(3)] == [20, 50, 37]
    assert [NET.column_weights(s) for s in range(3)] == [150, 150 + 111, 111 + 5]
    weights = 150 * 20 + 150 * 50 + 111 * 50 + 111 * 37 + 5 * 37
    assert NET.dense_weights == weights
    assert [NET.max_anchor(s) for s in range(3)] == [2047, 255, 255]


def test_dictionary_round_trip():
    assert Network.from_dict(NET.to_dict()) == NET


@pytest.mark.parametrize(("arguments", "text"), [
    ((0, (Layer(5),), Layer(2), (0, 0)), "feature"),
    ((3, (), Layer(2), (0,)), "1 to 32"),
    ((3, (Layer(0),), Layer(2), (0, 0)), "at least one neuron"),
    ((3, (Layer(5),) * 33, Layer(2), (0,) * 34), "1 to 32"),
    ((3, (Layer(5),), Layer(2), (0,)), "2 signals need 2 thresholds"),
    ((3, (Layer(5),), Layer(2), (0, -1)), "0..4094"),
    ((3, (Layer(5),), Layer(2), (4095, 0)), "0..4094"),
])
def test_refusals(arguments, text):
    with pytest.raises(ModelError, match=text):
        Network(*arguments)


def test_numbers_are_whole():
    numbers = np.int64(3), (Layer(np.int32(5), np.uint8(6)),), Layer(2), (np.int64(1), np.int8(2))
    assert json.loads(json.dumps(Network(*numbers).to_dict())) == Network(3, (Layer(5, 6),), Layer(2), (1, 2)).to_dict()
    for size in (2.0, 2.5, "2", True, None, np.True_, np.float32(2)):
        for make in (lambda: Layer(size), lambda: Layer(4, size), lambda: Network(size, (Layer(5),), Layer(2), (0, 0)),  # noqa: B023
                     lambda: Network(3, (Layer(5),), Layer(2), (0, size))):  # noqa: B023
            with pytest.raises(ModelError, match="is a whole number, not"):
                make()


@pytest.mark.parametrize("arguments", [(-1, 7), (4, 1), (4, 10)])
def test_layers_that_cannot_be(arguments):
    with pytest.raises(ModelError):
        Layer(*arguments)


def unit(size, activation="relu", **choices) -> Layer:
    return Layer(size, cell=UNIT, activation=activation, **choices)


# the features feed both layers, and the second layer's signal comes back to the first
BRANCHED = Network(4, (unit(5, recurrent=False, hears=(0, 2)), unit(6, "tanh", hears=(0, 1))), Layer(3), (1, 2, 3))
SPIKING = Network(4, (unit(5, consumes=True, bias_columns=2), Layer(6, consumes=True)), Layer(3), (1, 256, 3),
                  (None, Diffuse(256, -1, 2), None))


def test_connections_of_a_network_that_branches():
    assert [[(c.layer, c.gate, c.tensor, c.column, c.blocks, c.rows) for c in BRANCHED.connections(s)]
            for s in range(3)] == [
        [(0, 0, "weight_ih", 0, (0,), 5), (1, 0, "weight_ih", 0, (0,), 6)],
        [(1, 0, "weight_ih", 4, (0,), 6)],
        [(0, 0, "weight_ih", 4, (0,), 5), (1, 0, "weight_hh", 0, (0,), 6), (2, 0, "weight", 0, (0,), 3)]]
    assert [BRANCHED.column_weights(s) for s in range(3)] == [11, 6, 14]
    assert [BRANCHED.inputs(l) for l in range(2)] == [4 + 6, 4 + 5]
    assert BRANCHED.features_after == 1 and SPIKING.features_after == NET.features_after == 0
    assert BRANCHED.shape == "relu 5 + tanh 6" and SPIKING.shape == "relu 5 + GRU 6"
    assert NET.plain and not BRANCHED.plain and not SPIKING.plain


def test_neurons_that_spike_are_called_so():
    layers = tuple(unit(5, activation="identity", recurrent=False, consumes=True) for _ in range(2))
    network = Network(4, layers, Layer(3, consumes=True), (256,) * 3, (Diffuse(256, 0, 1),) * 3)
    assert network.shape == "spiking 5 + 5"
    assert replace(network, rules=(None, Diffuse(256, 0, 1), None)).shape == "spiking 5 + identity 5"


def test_hearing_the_signal_before_is_the_default():
    assert Network(4, (unit(5, hears=(0,)), unit(6, hears=(1,))), Layer(3), (0, 0, 0)) == Network(
        4, (unit(5), unit(6)), Layer(3), (0, 0, 0))
    assert Network(4, (unit(5),), Layer(3), (0, 0), (None, None)).rules == ()


def test_what_enters_the_sums():
    # of an anchor, of one Δ of it, and of a spike
    assert [BRANCHED.max_anchor(s) for s in range(3)] == [2047, 2047, 255]
    assert [BRANCHED.reach(s, False) for s in range(3)] == [2047, 2047, 255]
    assert [BRANCHED.reach(s, True) for s in range(3)] == [2047, 2047, 510]
    assert SPIKING.reach(1, True) == 512 and SPIKING.reach(2, True) == 510
    # one bias column is the least that makes a sum 0
    assert SPIKING.replayed_weights == 2 * 5 + 1 * 4 * 6 and NET.replayed_weights == 0
    both = replace(SPIKING, layers=(SPIKING.layers[0], replace(SPIKING.layers[1], bias_columns=1)),
                   classifier=Layer(3, consumes=True, bias_columns=3))
    assert both.replayed_weights == 2 * 5 + 1 * 4 * 6 + 3 * 3


@pytest.mark.parametrize("network", [BRANCHED, SPIKING])
def test_dictionary_round_trip_of_all_there_is(network):
    assert Network.from_dict(json.loads(json.dumps(network.to_dict()))) == network


@pytest.mark.parametrize(("layers", "rules", "text"), [
    ((unit(5, hears=(0, 1)),), (), r"layer 0 hears the signals \[0, 1\].* without its own, 1"),
    ((unit(5, hears=(0, 2)),), (), r"up to 1, without its own"),
    ((unit(5, hears=(2,)), unit(6)), (), "first layer hears the features, signal 0; add it"),
    ((unit(5, recurrent=False), unit(6, hears=(0,))), (), "nothing hears signal 1; let a layer hear it"),
    # what lies between two consumers is not fed
    ((unit(5), unit(6), unit(7, hears=(0, 2))), (), "signal 0 feeds in layers 0 and 2 are no neighbours"),
    ((Layer(5), Layer(6, hears=(0, 1))), (), "signal 0 feeds in layers 0 and 1 are no neighbours"),
    ((unit(5), Layer(6, hears=(0, 1)), unit(7, hears=(0, 2))), (), "layers 1 and 2 are no neighbours"),
    ((unit(5, hears=(0, 3)), unit(6), unit(7)), (), "signal 3 feeds in layers 0 and 2 are no neighbours"),
    ((unit(5), unit(6, consumes=True)), (None, Diffuse(64), None), "signal 1 .* set 'consumes' of layer 0"),
    ((unit(5, recurrent=False), unit(6)), (None, Diffuse(64), None), "must consume; set 'consumes' of layer 1"),
    ((unit(5), unit(6, recurrent=False)), (None, None, Diffuse(64)), "set 'consumes' of the classifier"),
    ((unit(5), unit(6)), (Diffuse(64), None, None), "signal 0 has the rule 'diffuse'.* of layer 0"),
    ((unit(5),), (None, None, Diffuse(64)), "2 signals need 2 rules, not 3"),
], ids=str)
def test_connections_that_cannot_be(layers, rules, text):
    with pytest.raises(ModelError, match=text) as error:
        Network(4, layers, Layer(3), (0,) * (1 + len(layers)), rules)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("arguments", "text"), [
    (dict(cell=UNIT), "activation of the cell unit is identity or relu or tanh or sigmoid, not ''"),
    (dict(activation="relu"), "activation of the cell gru is none, not 'relu'"),
    (dict(recurrent=False), "cell gru always hears its own state; leave 'recurrent' out"),
    (dict(bias_columns=1), "0 in a layer that does not consume, not 1"),
    (dict(consumes=True, bias_columns=4), "0 to 3, and"), (dict(consumes=True, bias_columns=-1), "0 to 3, and"),
    (dict(consumes=True, bias_columns=1.0), "bias_columns is a whole number"),
    (dict(hears=(1, 0)), "once each, ascending"), (dict(hears=(0, 0)), "once each, ascending"),
    (dict(hears=(0.0,)), "number of a signal is a whole number"),
], ids=str)
def test_choices_that_a_layer_has_not(arguments, text):
    with pytest.raises(ModelError, match=text) as error:
        Layer(5, **arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rule", [0, False, "", {}, "diffuse", {"rule": "delta"}], ids=str)
def test_a_description_of_no_rule(rule):
    with pytest.raises(ModelError, match="describes no rule 'diffuse'"):
        Network.from_dict(NET.to_dict() | {"rules": [rule] * NET.signals})


@pytest.mark.parametrize("change", [
    {"recurrent": 1}, {"recurrent": "no"}, {"consumes": None}, {"activation": 3}, {"activation": None},
    {"cell": "neuron"}, {"bias_columns": 3.0},
], ids=str)
def test_descriptions_of_no_layer(change):
    with pytest.raises(ModelError) as error:
        Layer.from_dict(unit(5, consumes=True).to_dict() | change)
    assert "\n" not in str(error.value)
