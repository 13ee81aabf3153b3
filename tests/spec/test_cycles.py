"""The cycle model against itself and against counting by hand; against the RTL: tests/rtl, tests/system."""

import numpy as np
import pytest

from tidegate.spec.cells import GRU, UNIT
from tidegate.spec.cycles import frame_cycles, latency_cycles, loop, steady_cycles
from tidegate.spec.design import Design
from tidegate.spec.layer import Layer
from tidegate.spec.layout import Layout
from tidegate.spec.network import Network
from tidegate.spec.rules import RULES
from tidegate.spec.stage_times import ADDRESSER, LANES, WORD_LOGITS


def layout(lanes: int, features: int, sizes: tuple[int, ...], classes: int, cell_rate: int, **kwargs) -> Layout:
    network = Network(features, tuple(map(Layer, sizes)), Layer(classes), (0,) * (1 + len(sizes)))
    return Layout(network, Design(lanes=lanes, cell_rate=cell_rate, weight_words=1 << 16, acc_words=512, **kwargs))


def fired(there: Layout, occupancy: float, frames: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    network = there.network
    return [rng.random((frames, network.elements(s))) < occupancy for s in range(network.signals)]


def spread(there: Layout, occupancy: float, frames: int) -> list[np.ndarray]:
    """In every frame the same elements, evenly far from each other."""
    sent = [np.zeros((frames, there.network.elements(s)), bool) for s in range(there.network.signals)]
    for signal in sent:
        elements = signal.shape[1]
        n = round(occupancy * elements)
        signal[:, np.minimum(np.arange(1, n + 1) * elements // (n + 1), elements - 1)] = True
        assert signal.sum() == n * frames
    return sent


def test_dense_frames_cost_their_words_and_little_else():
    there = layout(64, 40, (128,), 12, 8)
    cycles = frame_cycles(there, fired(there, 1.1, 10, 0))
    # nh is copied (2 words), the logits rest one cycle and copy one word
    assert set(cycles[1:-1]) == {there.dense_words() + 2 + 2}


def test_quiet_frames_cost_the_loop():
    there = layout(64, 40, (64,), 12, 8)
    cycles = frame_cycles(there, fired(there, 0.0, 10, 0))
    # close (3 words before nh), the loop with all groups, rest and logits
    assert set(cycles[1:-1]) == {3 + loop(GRU) + 64 // 8 + 2}


@pytest.mark.parametrize("occupancy", [0.02, 0.13, 0.5, 1.1])
@pytest.mark.parametrize(("lanes", "sizes"), [(8, (128,)), (64, (64,)), (64, (128,)), (128, (256,)), (16, (48, 80))])
def test_closed_form_is_near_the_mean(lanes, sizes, occupancy):
    there = layout(lanes, 40, sizes, 12, max(1, lanes // 8))
    sent = fired(there, occupancy, 300, 1)
    mean = frame_cycles(there, sent)[1:-1].mean()
    expected = steady_cycles(there, [x.sum(1).mean() for x in sent])
    # chance makes some frames wait for the cell: the more, the less there is to do meanwhile
    assert expected == pytest.approx(mean, rel=0.12)


# lanes, features a cycle, network
SERIAL = [(8, 1, (40, (128,), 12)), (8, 1, (40, (96,), 20)), (8, 1, (40, (4,), 16)), (8, 1, (60, (2,), 0)),
          (4, 2, (16, (16,), 16)), (16, 2, (40, (48, 80), 12)), (16, 1, (40, (24, 24, 24), 5)),
          (64, 8, (40, (128,), 12))]


@pytest.mark.parametrize("occupancy", [0, 0.02, 0.05, 0.1, 0.3, 1])
@pytest.mark.parametrize(("lanes", "encoder_rate", "shape"), SERIAL)
def test_closed_form_without_snapshot(lanes, encoder_rate, shape, occupancy):
    there = layout(lanes, *shape, cell_rate=1, encoder_rate=encoder_rate, snapshot=False)
    sent = spread(there, occupancy, 10)
    assert set(frame_cycles(there, sent)[3:-1]) == {steady_cycles(there, [x[0].sum() for x in sent])}


@pytest.mark.parametrize("occupancy", [0.02, 0.13, 0.5])
def test_closed_form_without_snapshot_is_near_the_mean(occupancy):
    there = layout(8, 40, (128,), 12, cell_rate=1, encoder_rate=1, snapshot=False)
    sent = fired(there, occupancy, 300, 1)
    mean = frame_cycles(there, sent)[1:-1].mean()
    assert steady_cycles(there, [x.sum(1).mean() for x in sent]) == pytest.approx(mean, rel=0.02)


def test_without_snapshot_dense_frames_cost_their_words_and_the_closing():
    there = layout(8, 40, (128,), 12, cell_rate=1, encoder_rate=1, snapshot=False)
    # 4 words a neuron; 2 words of logits, each after a cycle of rest, the first with the way to its 8 logits
    assert set(frame_cycles(there, spread(there, 1, 10))[1:-1]) == {
        there.dense_words() + 4 * 128 + 2 * (1 + 1) + ADDRESSER + LANES + WORD_LOGITS + 8 - 1}


def test_a_frame_alone_takes_longer_than_one_in_a_row():
    there = layout(64, 40, (64, 64), 12, 8)
    sent = fired(there, 0.13, 50, 2)
    alone, row = frame_cycles(there, sent, apart=True), frame_cycles(there, sent)
    assert alone.sum() > row.sum()


def test_latency_of_a_dense_frame():
    there = layout(64, 40, (128,), 12, 8)
    assert latency_cycles(there, [40, 128]) == frame_cycles(there, fired(there, 1.1, 1, 0), apart=True)[0]
    assert latency_cycles(there, [0, 0]) > loop(GRU)


def units(lanes: int, features: int, sizes: tuple[int, ...], classes: int, cell_rate: int, columns: int | None = None,
          everywhere: bool = False, **kwargs) -> Layout:
    """Layers of single gates; with ``columns`` they consume, with so many bias columns; the features feed the first
    layer, or ``everywhere`` all."""
    consuming = {} if columns is None else {"consumes": True, "bias_columns": columns}
    layers = tuple(Layer(size, cell=UNIT, activation="relu", hears=tuple({0, l}) if everywhere else (), **consuming)
                   for l, size in enumerate(sizes))
    network = Network(features, layers, Layer(classes, **consuming), (0,) * (1 + len(sizes)))
    return Layout(network, Design(lanes=lanes, cell_rate=cell_rate, weight_words=1 << 16, acc_words=512,
                                  cells=("unit",), rules=RULES, **kwargs))


def test_quiet_frames_of_single_gates_cost_the_loop():
    there = units(64, 40, (128,), 12, 8)
    assert set(frame_cycles(there, fired(there, 0.0, 10, 0))[1:-1]) == {loop(UNIT) + 128 // 8 + 2}
    serial = units(64, 40, (128,), 12, 1, snapshot=False)
    # a neuron a cycle, the last 127 after the first; its end takes one cycle more
    assert set(frame_cycles(serial, fired(serial, 0.0, 10, 0))[1:-1]) == {loop(UNIT, False) + 127 + 1 + 2}


@pytest.mark.parametrize(("columns", "again"), [(0, 1), (1, 1), (2, 2), (3, 3)])
def test_dense_frames_that_consume_cost_bias_columns_too(columns, again):
    """Of the layer's 2 words, and of the logits' only one, which takes as long: a job comes every other cycle."""
    held, consumed = units(64, 40, (128,), 12, 8), units(64, 40, (128,), 12, 8, columns)
    dense = [frame_cycles(there, fired(there, 1.1, 10, 0))[1:-1] for there in (held, consumed)]
    assert set(dense[0]) == {held.dense_words() + 2}
    assert set(dense[1]) == {held.dense_words() + 2 + again * (2 + 2)}


def test_a_layer_that_hears_the_features_too_is_closed_by_a_job_of_its_own():
    one, both = units(8, 40, (64, 64), 16, 2), units(8, 40, (64, 64), 16, 2, everywhere=True)
    dense = [frame_cycles(there, fired(there, 1.1, 10, 0))[1:-1] for there in (one, both)]
    # the second layer's 8 words are copied, and the lanes wait for its first event
    assert set(dense[0]) == {one.dense_words() + loop(UNIT) + 1 + 2}
    # the same for the first layer; the next frame's features come while the second layer's events are awaited
    assert set(dense[1]) == {both.dense_words() + loop(UNIT) + 8 + 1 + 2}


def test_columns_of_one_word_take_two_cycles():
    """So long takes a job; and the next begins with the accumulator word at which this one ends."""
    there = units(64, 40, (64,), 12, 8)
    assert [c.length for c in there.columns] == [1, 2]
    dense = frame_cycles(there, fired(there, 1.1, 10, 0))[1:-1]
    assert set(dense) == {2 * 40 + 2 * 64 + 2 + 2}


@pytest.mark.parametrize("occupancy", [0.02, 0.13, 0.5])
@pytest.mark.parametrize("columns", [None, 3])
@pytest.mark.parametrize("snapshot", [True, False])
@pytest.mark.parametrize(("lanes", "sizes", "everywhere"), [
    (64, (128,), False), (8, (64,), False), (8, (32, 32), False), (8, (32, 32), True), (64, (64,), False)])
def test_closed_form_of_single_gates_is_near_the_mean(lanes, sizes, everywhere, snapshot, columns, occupancy):
    there = units(lanes, 40, sizes, 12, max(1, lanes // 8) if snapshot else 1, columns, everywhere, snapshot=snapshot)
    sent = fired(there, occupancy, 100, 1)
    mean = frame_cycles(there, sent)[1:-1].mean()
    assert steady_cycles(there, [x.sum(1).mean() for x in sent]) == pytest.approx(mean, rel=0.15)
