"""Shapes, column lengths and refusals of a network description."""

import json

import numpy as np
import pytest

from tidegate.spec.errors import ModelError
from tidegate.spec.network import Layer, Network

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
    ((3, (), Layer(2), (0,)), "1 to 4"),
    ((3, (Layer(0),), Layer(2), (0, 0)), "at least one neuron"),
    ((3, (Layer(5),) * 5, Layer(2), (0,) * 6), "1 to 4"),
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
