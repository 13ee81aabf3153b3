"""Layers that hear two images: what they may be, and where a core finds their weights."""

from dataclasses import replace

import numpy as np
import pytest

from tidegate.spec.cells import UNIT
from tidegate.spec.conv import Conv2d
from tidegate.spec.design import ADDRESSERS, Design
from tidegate.spec.errors import CapacityError, ModelError
from tidegate.spec.layer import Layer
from tidegate.spec.layout import Layout, WordRun
from tidegate.spec.model import read_model, save_model
from tidegate.spec.network import Network
from tidegate.spec.register_values import register_values
from tidegate_sim.random_networks import filled

UNITS = {"cell": UNIT, "activation": "relu", "recurrent": False}
FIRST, SECOND = Conv2d(1, 4, 4, 3, 1, 1), Conv2d(8, 4, 4, 3, 1, 1)
IDENTITY = Conv2d(8, 4, 4, 1, depthwise=True)
JUNCTION = Layer(128, conv=SECOND, skip=IDENTITY, hears=(1, 2), **UNITS)


def block(junction: Layer = JUNCTION) -> Network:
    """A residual block: a convolution, another, and one that hears both."""
    made = (Layer(128, conv=FIRST, **UNITS), Layer(128, conv=SECOND, **UNITS), junction)
    return Network(16, made, Layer(3), (0,) * 4)


def design(lanes: int = 8, **more) -> Design:
    return Design(lanes=lanes, cell_rate=2, features=64, acc_words=512, neurons=4096, cells=("unit",),
                  addressers=ADDRESSERS, **more)


def test_what_a_residual_block_is():
    net = block()
    assert net.skips and [len(net.connections(s)) for s in range(4)] == [1, 2, 1, 1]
    assert net.layers[2].fan_in == 1 + 8 * 9 and [c.column for s in (1, 2) for c in net.connections(s)] == [0, 0, 1]
    # of signal 1 an event in the middle of the image reads 9 positions of 8 channels, and the one of its own
    assert net.fan_out(1).reshape(4, 4, 8)[1, 1].tolist() == [9 * 8 + 1] * 8
    assert Network.from_dict(net.to_dict()) == net
    assert not replace(net, layers=net.layers[:2], thresholds=(0,) * 3).skips


def test_a_file_of_its_own_format(tmp_path):
    model = filled(block(), np.random.default_rng(0))
    save_model(model, tmp_path / "block.tidegate")
    assert b'\\"version\\": 8' in (tmp_path / "block.tidegate").read_bytes()
    assert read_model(tmp_path / "block.tidegate").digest == model.digest


@pytest.mark.parametrize(("changes", "text"), [
    (dict(conv=None, size=5), "a layer with 'skip' is a convolution, too"),
    (dict(hears=()), "hears two signals, not 0"), (dict(skip=None), "a convolution hears one signal, not 2"),
    (dict(skip=Conv2d(8, 4, 4, 2, 2, 0)), "outputs of 2 x 2 and 4 x 4"),
    (dict(skip=Conv2d(4, 4, 4, 1, depthwise=True)), "depthwise convolution of 4 channels has as many, not 8"),
])
def test_junctions_that_are_none(changes, text):
    with pytest.raises(ModelError, match=text):
        replace(JUNCTION, **changes)


@pytest.mark.parametrize(("junction", "text"), [
    (replace(JUNCTION, hears=(0, 2), skip=Conv2d(2, 4, 4, 1)), "hears 2 x 4 x 4 elements, signal 0 has 16"),
    (replace(JUNCTION, skip=Conv2d(4, 4, 8, 2, 2), conv=Conv2d(4, 4, 8, 2, 2), size=8 * 8),
     "hears 4 channels of 4 x 8, layer 0 makes 8 of 4 x 4"),
])
def test_images_that_are_others(junction, text):
    with pytest.raises(ModelError, match=text):
        block(junction)


def test_an_image_feeds_two_convolutions_at_most():
    layers = (*block().layers, Layer(128, conv=SECOND, skip=IDENTITY, hears=(1, 3), **UNITS))
    with pytest.raises(ModelError, match="signal 1 feeds 3 convolutions"):
        Network(16, layers, Layer(3), (0,) * 5)


def test_an_event_has_the_runs_of_both():
    layout = Layout(block(), design())
    own, skip = layout.image_runs(1, 0)             # the corner, channel 0: two rows of two positions, and itself
    assert [run.length for run in own] == [2, 2] and [run.length for run in skip] == [1]
    assert layout.runs(1, 0) == [*own, *skip] and layout.words_read(1)[0] == 5
    assert skip[0] == WordRun(layout.skips[1].base, layout.layer_target[2], 1)
    values = register_values(layout)
    assert values["SKIP_CONV1"] == 1 | 1 << 9 and values["SKIP_COLUMN_BASE1"] == layout.skips[1].base
    assert values["SKIP_CONV0"] == values["SKIP_CONV3"] == values["CONV4"] == 0


@pytest.mark.parametrize("lanes", [2, 4, 8])
def test_an_identity_reads_one_word_however_many_channels(lanes):
    layout = Layout(block(), design(lanes))
    words = -(-8 // lanes)
    column = layout.skips[1]
    assert (column.length, column.each) == (words, 1)
    for c in range(8):
        (run,) = layout.image_runs(1, 5 * 8 + c)[1]
        assert run == WordRun(column.base + c, layout.layer_target[2] + 5 * words + c // lanes, 1)
    model = filled(block(), np.random.default_rng(1))
    memory = layout.pack(model)
    weights = model.tensors["unit.2.weight_ih"][:, 0]
    for c in range(8):
        word = memory[column.base + c]
        assert word[c % lanes] == weights[c] and np.count_nonzero(word) <= 1


def test_a_board_without_room_for_skips():
    with pytest.raises(CapacityError, match="two convolutions of one image, for which the board has no room"):
        Layout(block(), design(layers=1))
